//! Watching a hub: the parts that the plain table and the terminal interface share. Uses the library's public API only.
//!
//! Rules and views are pure (`state`, `model`, `stats`, `text`, `table`, `changes`); `feed` has the threads. Output is
//! written elsewhere: by `cli` for the plain table, by `tui` for the terminal interface.

pub mod changes;
pub mod clean;
pub mod clock;
pub mod feed;
#[cfg(test)]
pub mod fixtures;
pub mod model;
pub mod state;
#[cfg(test)]
mod state_tests;
pub mod stats;
pub mod table;
pub mod text;
mod widths;
pub mod words;

use std::time::Duration;

use crossbeam_channel::{Receiver, select, tick};

use gambi::Error;
use gambi::client::Client;

use feed::{Feed, check_room};
use state::{MonitorState, Update};

/// A hub that is being watched.
pub struct HubMonitor {
    /// What is known of the hub.
    pub state: MonitorState,
    /// The threads that produce the updates.
    pub feed: Feed,
    /// Updates that are not yet applied to `state`.
    pub updates: Receiver<Update>,
}

impl HubMonitor {
    /// Starts to watch the rooms with those codes, which must exist, or the first few rooms if none is given.
    /// `password` is that of the private ones among them.
    ///
    /// # Errors
    /// When the hub can't be reached or refuses, or has no such room.
    pub fn start(client: Client, rooms: &[String], password: Option<&str>) -> Result<Self, Error> {
        let state = MonitorState::new(client.hub_url(), rooms);
        for code in rooms {
            check_room(&client, code)?;
        }
        let (feed, updates) = Feed::start(client)?;
        for (code, password) in rooms.iter().filter_map(|code| Some((code, password?))) {
            feed.unlock(code, password);
        }
        Ok(HubMonitor { state, feed, updates })
    }

    /// Applies all updates that are waiting.
    pub fn drain_updates(&mut self) {
        while let Ok(update) = self.updates.try_recv() {
            self.state.on_update(update, clock::now());
        }
        self.feed.watch(self.state.watched());
    }

    /// Calls `show` every `every` until `stop` receives something or closes.
    ///
    /// # Errors
    /// The first error of `show`.
    pub fn show<S, E>(
        &mut self,
        stop: &Receiver<S>,
        every: Duration,
        mut show: impl FnMut(&MonitorState, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let ticks = tick(every);
        loop {
            select! {
                recv(stop) -> _ => return Ok(()),
                recv(ticks) -> _ => show(&self.state, clock::now())?,
                recv(self.updates) -> update => {
                    if let Ok(update) = update {
                        self.state.on_update(update, clock::now());
                    }
                    self.drain_updates();
                }
            }
        }
    }
}
