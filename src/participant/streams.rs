//! Reading many answers at once. With a thread for each, most of what a token of many slow streams costs is to wake its thread. So
//! where many requests are in progress, one thread reads the rest of each answer that begins, and sends the hub what has come of them
//! together. Only on systems with a [`PollSet`], and not over TLS; other answers are read by the worker that began them.

use std::collections::HashMap;
use std::io;
use std::mem;
use std::sync::{Arc, Mutex};
use std::thread;

use super::forward::{Buffers, Forwarder, NO_THREAD, OngoingAnswer};
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
    inbox: Mutex<Inbox>,
}

/// Answers that the thread has not seen yet.
#[derive(Default)]
struct Inbox {
    answers: Vec<(Number, OngoingAnswer)>,
    next: Number,
    has_thread: bool,
}

impl Streams {
    /// Without answers.
    ///
    /// # Errors
    /// Where the system cannot wait for many connections at once.
    pub fn new(forwarder: Arc<Forwarder>) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Streams { set: PollSet::new()?, forwarder, inbox: Mutex::default() }))
    }

    /// Takes an answer. Gives it back where the caller has to read it.
    pub fn take(self: &Arc<Self>, answer: OngoingAnswer) -> Option<OngoingAnswer> {
        if self.forwarder.running.count() < MANY_REQUESTS {
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

    /// The thread's work: reads until there are no answers, or the tunnel is lost.
    fn read(&self) {
        let mut buffers = self.forwarder.new_buffers();
        let mut taken = TakenAnswers { streams: self, answers: HashMap::new(), ended: false };
        let mut ready = Vec::new();
        while taken.receive() {
            if self.set.wait(&mut ready).is_err() {
                return;
            }
            taken.receive();
            for number in ready.drain(..) {
                if let Some(answer) = taken.answers.remove(&number)
                    && let Some(rest) = self.read_one(answer, &mut buffers)
                {
                    taken.answers.insert(number, rest);
                }
                if buffers.unsent() > MAX_UNSENT && !self.forwarder.send(&mut buffers) {
                    return;
                }
            }
            if !self.forwarder.send(&mut buffers) {
                return;
            }
        }
    }

    /// Reads once from an answer that has something to read, or has ended. Gives it back if more is to come here.
    fn read_one(&self, answer: OngoingAnswer, buffers: &mut Buffers) -> Option<OngoingAnswer> {
        if answer.handle().is_paused() {
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
        self.forwarder.pass_on(answer, read, buffers)
    }

    /// Reads the rest of a paused answer on a thread of its own, which can wait until it is resumed.
    fn give_away(&self, answer: OngoingAnswer) {
        let (forwarder, id) = (self.forwarder.clone(), answer.id().to_owned());
        let finish = move || {
            let mut buffers = forwarder.new_buffers();
            forwarder.finish(answer, &mut buffers);
        };
        if thread::Builder::new().name("paused".into()).stack_size(STACK_SIZE).spawn(finish).is_err() {
            self.forwarder.running.remove(&id);
            self.forwarder.refuse(&id, NO_THREAD);
        }
    }
}

/// The answers that the thread has seen. If it ends although there are some, their requests fail.
struct TakenAnswers<'s> {
    streams: &'s Streams,
    answers: HashMap<Number, OngoingAnswer>,
    /// Whether there were none any more, and the next answer starts another thread.
    ended: bool,
}

impl TakenAnswers<'_> {
    /// Moves new answers to the others. False if there are none at all: the thread is to end.
    fn receive(&mut self) -> bool {
        let mut inbox = lock(&self.streams.inbox);
        self.answers.extend(inbox.answers.drain(..));
        self.ended = self.answers.is_empty();
        inbox.has_thread = !self.ended;
        inbox.has_thread
    }
}

impl Drop for TakenAnswers<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let more = {
            let mut inbox = lock(&self.streams.inbox);
            inbox.has_thread = false;
            mem::take(&mut inbox.answers)
        };
        for (_, answer) in self.answers.drain().chain(more) {
            self.streams.forwarder.running.cancel(answer.id());
            self.streams.forwarder.refuse(answer.id(), "the participant cannot read the provider's answer any more");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::{Duration, Instant};

    use super::super::follow::ProviderState;
    use super::super::job::Job;
    use super::super::load::Load;
    use super::super::provider::ProviderClient;
    use super::*;
    use crate::net::io::socket_pair;
    use crate::proto::tunnel::encode_end;
    use crate::tunnel::{self, Reader, TunnelEnds, TunnelLimits, Writer};

    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

    /// The streams of a tunnel, and the hub's end of that.
    struct Lab {
        streams: Arc<Streams>,
        /// Dropped, it would end the tunnel.
        _reader: Reader,
        writer: Writer,
        hub: TcpStream,
        load: Arc<Load>,
    }

    impl Lab {
        fn new() -> Self {
            let (hub, tunnel) = socket_pair();
            hub.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let TunnelEnds { reader, writer } =
                tunnel::serve(Arc::new(tunnel.into()), Vec::new(), TunnelLimits::default()).unwrap();
            let provider = ProviderClient::new("http://127.0.0.1:1", &[]).unwrap();
            let state = Arc::new(ProviderState::new(None));
            let forwarder = Arc::new(Forwarder::new(provider, state, writer.clone(), true));
            let streams = Streams::new(forwarder).unwrap();
            Lab { streams, _reader: reader, writer, hub, load: Arc::new(Load::new(1)) }
        }

        /// Adds requests in progress until there are so many.
        fn fill(&self, requests: usize) {
            (self.streams.forwarder.running.count()..requests)
                .for_each(|n| self.streams.forwarder.running.add(&n.to_string(), Arc::default()));
        }

        /// An answer whose head has been read, and its provider.
        fn answer(&self, id: &str) -> (OngoingAnswer, TcpStream) {
            let (mut provider, own) = socket_pair();
            provider.write_all(HEAD).unwrap();
            let mut call = ClientConnection::new(own).unwrap();
            call.send([b"", b""], |_| ()).unwrap();
            let job = Job::new(id.into(), Err(String::new()), self.load.take(0).unwrap(), None);
            assert!(job.cancel.attach(call.stream()));
            self.streams.forwarder.running.add(id, job.cancel.clone());
            (OngoingAnswer::new(job, call), provider)
        }

        fn has_thread(&self) -> bool {
            lock(&self.streams.inbox).has_thread
        }

        /// What the hub has been sent, up to these bytes.
        fn sent_until(&mut self, end: &str) {
            let (mut sent, mut byte) = (Vec::new(), [0]);
            while !sent.ends_with(end.as_bytes()) {
                self.hub.read_exact(&mut byte).unwrap();
                sent.extend(byte);
            }
        }
    }

    fn wait_until(what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds() {
            assert!(Instant::now() < deadline, "{what}");
            thread::yield_now();
        }
    }

    #[test]
    fn many_answers_are_read_by_one_thread_that_ends_with_them() {
        let mut lab = Lab::new();
        let (few, _provider) = lab.answer("few");
        assert!(lab.streams.take(few).is_some(), "each of few is left to its worker");
        for _ in 0..2 {
            lab.fill(MANY_REQUESTS);
            let answers = ["a", "b"].map(|id| (id, lab.answer(id)));
            let providers = answers.map(|(id, (answer, provider))| {
                assert!(lab.streams.take(answer).is_none());
                (id, provider)
            });
            assert!(lab.has_thread());
            for (id, mut provider) in providers {
                provider.write_all(b"5\r\npiece\r\n").unwrap();
                lab.sent_until(&format!("{id}piece"));
                provider.write_all(b"0\r\n\r\n").unwrap();
                lab.sent_until(&encode_end(id));
            }
            wait_until("the thread to end", || !lab.has_thread());
            assert_eq!(lab.streams.forwarder.running.count(), MANY_REQUESTS);
        }
        wait_until("what has been sent to count no more", || lab.load.is_idle());
    }

    #[test]
    fn a_paused_answer_gets_a_thread_of_its_own() {
        let mut lab = Lab::new();
        lab.fill(MANY_REQUESTS);
        let (answer, mut provider) = lab.answer("a");
        lab.streams.forwarder.running.set_paused("a", true);
        assert!(lab.streams.take(answer).is_none());
        provider.write_all(b"5\r\npiece\r\n0\r\n\r\n").unwrap();
        wait_until("the thread to give it away", || !lab.has_thread());
        assert!(!lab.load.is_idle());
        lab.streams.forwarder.running.set_paused("a", false);
        lab.sent_until(&encode_end("a"));
    }

    #[test]
    fn answers_end_with_their_tunnel() {
        let lab = Lab::new();
        lab.fill(MANY_REQUESTS);
        let (answer, mut provider) = lab.answer("a");
        assert!(lab.streams.take(answer).is_none());
        lab.writer.close(1000, "");
        provider.write_all(b"5\r\npiece\r\n").unwrap();
        wait_until("the thread to end", || !lab.has_thread());
        wait_until("the request to end", || lab.load.is_idle());
        assert_eq!(lab.streams.forwarder.running.count(), MANY_REQUESTS);
    }
}
