//! Reading many answers at once. With a thread for each, most of what a token of many slow streams costs is to wake its thread. So
//! where many requests are in progress, one thread reads all answers that have begun, and sends the hub what has come of them
//! together. Only on systems with a [`PollSet`], and not over TLS; other answers are read by the worker that began them.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread;

use super::forward::{Answer, Buffers, Forwarder, NO_THREAD};
use super::running::Running;
use crate::net::client::ClientConnection;
use crate::net::poll_set::{Number, PollSet};
use crate::sync::{STACK_SIZE, lock};

/// Where at least so many requests are in progress, their answers are read by one thread.
const MANY_REQUESTS: usize = 16;
/// What is to be sent is sent as soon as it is so long, in bytes, although there is more to read.
const MAX_UNSENT: usize = 64 << 10;

/// Answers that are read by one thread, while there are any.
pub struct Streams {
    set: PollSet,
    forwarder: Arc<Forwarder>,
    running: Arc<Running>,
    inbox: Mutex<Inbox>,
}

/// Answers that the thread has not seen yet.
#[derive(Default)]
struct Inbox {
    answers: Vec<(Number, Answer)>,
    next: Number,
    has_thread: bool,
}

impl Streams {
    /// Without answers.
    ///
    /// # Errors
    /// Where the system cannot wait for many connections at once.
    pub fn new(forwarder: Arc<Forwarder>, running: Arc<Running>) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Streams { set: PollSet::new()?, forwarder, running, inbox: Mutex::default() }))
    }

    /// Takes an answer. Gives it back where the caller has to read it.
    pub fn take(self: &Arc<Self>, answer: Answer) -> Option<Answer> {
        if self.running.count() < MANY_REQUESTS {
            return Some(answer);
        }
        let mut inbox = lock(&self.inbox);
        let number = inbox.next;
        if answer.stream().add_to(&self.set, number).is_err() {
            return Some(answer);
        }
        if !inbox.has_thread {
            if self.spawn_reader().is_err() {
                answer.stream().remove_from(&self.set);
                return Some(answer);
            }
            inbox.has_thread = true;
        }
        inbox.next += 1;
        inbox.answers.push((number, answer));
        None
    }

    fn spawn_reader(self: &Arc<Self>) -> io::Result<()> {
        let streams = self.clone();
        thread::Builder::new().name("streams".into()).stack_size(STACK_SIZE).spawn(move || streams.read()).map(drop)
    }

    /// The thread's work: reads until there are no answers.
    fn read(self: &Arc<Self>) {
        let mut buffers = self.forwarder.new_buffers();
        let (mut answers, mut ready) = (HashMap::new(), Vec::new());
        while self.receive(&mut answers) {
            if self.set.wait(&mut ready).is_err() {
                // Their requests fail on the hub, which does not hear of them any more.
                return self.running.cancel_all();
            }
            self.receive(&mut answers);
            for number in ready.drain(..) {
                if let Some(answer) = answers.remove(&number)
                    && let Some(rest) = self.read_one(answer, &mut buffers)
                {
                    answers.insert(number, rest);
                }
                if buffers.unsent() > MAX_UNSENT {
                    self.forwarder.send(&mut buffers);
                }
            }
            // If the tunnel is lost, its reader cancels all requests.
            self.forwarder.send(&mut buffers);
        }
    }

    /// Moves new answers to the others. False if there are none at all, and the thread is to end.
    fn receive(&self, answers: &mut HashMap<Number, Answer>) -> bool {
        let mut inbox = lock(&self.inbox);
        answers.extend(inbox.answers.drain(..));
        inbox.has_thread = !answers.is_empty();
        inbox.has_thread
    }

    /// Reads once from an answer that has something to read, or has ended. Gives it back if more is to come here.
    fn read_one(self: &Arc<Self>, answer: Answer, buffers: &mut Buffers) -> Option<Answer> {
        if answer.cancel().is_paused() {
            answer.stream().remove_from(&self.set);
            self.give_away(answer);
            return None;
        }
        let read = |call: &mut ClientConnection, out: &mut Vec<u8>| {
            let read = call.read_once(out);
            // Before the connection serves another request, whose answer may come into the set again.
            if !matches!(read, Ok(false)) {
                call.stream().remove_from(&self.set);
            }
            read
        };
        self.forwarder.pass_on(answer, read, buffers, |id| self.running.remove(id))
    }

    /// Reads the rest of a paused answer on a thread of its own, which can wait until it is resumed.
    fn give_away(self: &Arc<Self>, answer: Answer) {
        let (streams, id) = (self.clone(), answer.id().to_owned());
        let finish = move || {
            let mut buffers = streams.forwarder.new_buffers();
            streams.forwarder.finish(answer, &mut buffers, |id| streams.running.remove(id));
        };
        if thread::Builder::new().name("tunnel".into()).stack_size(STACK_SIZE).spawn(finish).is_err() {
            self.running.remove(&id);
            self.forwarder.refuse(&id, NO_THREAD);
        }
    }
}
