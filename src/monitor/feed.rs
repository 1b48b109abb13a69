//! The threads that watch a hub: one follows its stream of events, one looks again and again at what no event tells, and
//! private rooms have streams of their own. What they find goes into one bounded channel.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use gambi::Error;
use gambi::client::{Client, Watched};
use gambi::proto::management::RoomSummary;

use super::clock;
use super::state::News;

/// News that may wait. Events beyond it are counted, not kept; the next look makes up for them.
const QUEUE: usize = 10_000;
/// The pause between two looks at few rooms; so many more rooms make it as long once more.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const FEW: u32 = 4;
/// A look that takes long makes the next one wait so many times as long: a slow hub is not to be slowed.
const PATIENCE: u32 = 20;
/// The pause after the hub has refused its stream of events.
const REFUSED_FOR: Duration = Duration::from_secs(30);

/// What watches a hub. Its threads go on for as long as the process, or until nobody takes the news any more.
pub struct Feed {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    news: Sender<News>,
    wanted: Mutex<Wanted>,
    /// Asks for a look now; one that is on its way will do.
    wake: Sender<()>,
}

#[derive(Default)]
struct Wanted {
    /// Codes of the rooms whose participants are to be listed.
    rooms: BTreeSet<String>,
    /// Clients that know the password of a private room, by its code.
    keys: HashMap<String, Client>,
    /// Codes of the rooms that have a stream of their own.
    streams: BTreeSet<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Feed {
    /// Looks once, so that a hub that is not there is known at once, and watches from then on.
    ///
    /// # Errors
    /// When the hub can't be reached or refuses, or no thread can be started.
    pub fn start(client: Client) -> Result<(Feed, Receiver<News>), Error> {
        let (news, heard) = bounded(QUEUE);
        let (wake, woken) = bounded(1);
        let shared = Arc::new(Shared { client, news, wanted: Mutex::default(), wake });
        let (rooms, ahead) = shared.rooms()?;
        let _ = shared.news.send(News::Rooms(rooms, ahead));
        let failed = |e: io::Error| Error::System { what: "starting a thread", reason: e.to_string() };
        let follower = shared.clone();
        thread::Builder::new().name("events".into()).spawn(move || follower.follow()).map_err(failed)?;
        let looker = shared.clone();
        thread::Builder::new().name("look".into()).spawn(move || looker.keep_looking(&woken)).map_err(failed)?;
        Ok((Feed { shared }, heard))
    }

    /// From now on, the participants of these rooms are listed, and of no others.
    pub fn watch(&self, rooms: BTreeSet<String>) {
        let mut wanted = lock(&self.shared.wanted);
        if wanted.rooms != rooms {
            wanted.rooms = rooms;
            drop(wanted);
            self.look();
        }
    }

    /// Takes the password of a private room.
    pub fn unlock(&self, room: &str, password: &str) {
        let client = self.shared.client.clone().with_room_password(password);
        lock(&self.shared.wanted).keys.insert(room.to_uppercase(), client);
        self.look();
    }

    /// Looks now, not only when it is time.
    pub fn look(&self) {
        let _ = self.shared.wake.try_send(());
    }
}

impl Shared {
    /// All rooms, and how far the hub's clock is ahead of ours.
    fn rooms(&self) -> Result<(Vec<RoomSummary>, i64), Error> {
        let before = clock::now();
        let told = self.client.health()?.timestamp;
        let ours = before + clock::now().saturating_sub(before) / 2;
        let ahead = i64::try_from(i128::from(told) - i128::from(ours)).unwrap_or_default();
        Ok((self.client.rooms().list()?, ahead))
    }

    /// False when nobody takes the news any more.
    fn tell(&self, news: News) -> bool {
        self.news.send(news).is_ok()
    }

    fn keep_looking(self: Arc<Self>, woken: &Receiver<()>) {
        loop {
            let began = Instant::now();
            // What is wrong is told by the stream of events.
            if let Ok((rooms, ahead)) = self.rooms() {
                let there = rooms.clone();
                if !self.tell(News::Rooms(rooms, ahead)) {
                    return;
                }
                there.iter().for_each(|room| self.look_into(room));
            }
            let rooms = u32::try_from(lock(&self.wanted).rooms.len()).unwrap_or(u32::MAX);
            let pause = (LOOK_EVERY * (1 + rooms / FEW)).max(began.elapsed() * PATIENCE);
            let _ = woken.recv_timeout(pause);
        }
    }

    fn look_into(self: &Arc<Self>, room: &RoomSummary) {
        let wanted = lock(&self.wanted);
        if !wanted.rooms.contains(&room.code) {
            return;
        }
        let key = wanted.keys.get(&room.code).cloned();
        drop(wanted);
        let code = room.code.clone();
        if room.private && key.is_none() {
            self.tell(News::Refused(code, "private: its password is needed".into()));
            return;
        }
        let private = room.private;
        let client = key.as_ref().unwrap_or(&self.client);
        match client.participants(&code).list() {
            Ok(members) => {
                self.tell(News::Members(code.clone(), members));
                // A hub that is older than this program measures nothing.
                if let Ok(metrics) = client.rooms().metrics(&code) {
                    self.tell(News::Measured(Box::new(metrics)));
                }
                if let Some(client) = key.filter(|_| private) {
                    self.follow_private(&code, client);
                }
            }
            Err(error) if error.status().is_some_and(|status| status != 404) => {
                // Showing a wrong password again and again would make everybody at this address wait.
                lock(&self.wanted).keys.remove(&code);
                self.tell(News::Refused(code, error.to_string()));
            }
            Err(_) => {}
        }
    }

    /// The hub's own stream is silent about private rooms.
    fn follow_private(self: &Arc<Self>, code: &str, client: Client) {
        if !lock(&self.wanted).streams.insert(code.to_owned()) {
            return;
        }
        let (shared, code) = (self.clone(), code.to_owned());
        let follow = move || {
            for item in client.watch(Some(&code)) {
                match item {
                    // Those are in the hub's own stream too.
                    Ok(Watched::Event(event)) if event.kind.starts_with("room.") || event.kind == "connected" => {}
                    Ok(Watched::Event(event)) => {
                        if shared.news.send(News::Event(event)).is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
            lock(&shared.wanted).streams.remove(&code);
        };
        // Without a thread there are the looks.
        let _ = thread::Builder::new().name("room events".into()).spawn(follow);
    }

    fn follow(&self) {
        // A hub that refuses now, for too many connections or after a restart, may let us in later.
        while self.follow_once() {
            thread::sleep(REFUSED_FOR);
        }
    }

    /// Follows the stream until the hub refuses it; false when nobody takes the news any more.
    fn follow_once(&self) -> bool {
        let mut skipped = 0;
        for item in self.client.watch(None) {
            let news = match item {
                Ok(Watched::Event(event)) if event.kind == "connected" => {
                    let _ = self.wake.try_send(());
                    News::Linked
                }
                Ok(Watched::Event(event)) => match self.news.try_send(News::Event(event)) {
                    Ok(()) if skipped > 0 => News::Skipped(std::mem::take(&mut skipped)),
                    Ok(()) => continue,
                    Err(TrySendError::Full(_)) => {
                        skipped += 1;
                        continue;
                    }
                    Err(TrySendError::Disconnected(_)) => return false,
                },
                Ok(Watched::Broken { error, pause }) => {
                    let again = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                    News::Lost { reason: error.to_string(), again: Some(again) }
                }
                Ok(_) => continue,
                Err(error) => {
                    let again = u64::try_from(REFUSED_FOR.as_millis()).ok();
                    News::Lost { reason: error.to_string(), again }
                }
            };
            if !self.tell(news) {
                return false;
            }
        }
        true
    }
}
