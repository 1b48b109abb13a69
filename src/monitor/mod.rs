//! HubMonitor a hub: what the plain table and the terminal interface have in common. It uses the library's public API only.
//!
//! Rules and views are pure (`state`, `figures`, `text`, `table`, `changes`); threads are in `feed`, and whoever shows it
//! writes to the terminal: `cli` the plain table, `tui` the rest.

pub mod changes;
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

use std::time::Duration;

use crossbeam_channel::{Receiver, select, tick};

use gambi::Error;
use gambi::client::Client;

use feed::Feed;
use state::{MonitorState, Update};

/// A hub that is being watched.
pub struct HubMonitor {
    /// What is known of it.
    pub state: MonitorState,
    /// Its threads.
    pub feed: Feed,
    /// What they find.
    pub update: Receiver<Update>,
}

impl HubMonitor {
    /// Watches a hub: the rooms with those codes, which must be there, or the first few. The password is that of the
    /// private ones among them.
    ///
    /// # Errors
    /// When the hub can't be reached or refuses, or has no such room.
    pub fn start(client: Client, rooms: &[String], password: Option<&str>) -> Result<Self, Error> {
        let state = MonitorState::new(client.hub_url(), rooms);
        for code in rooms {
            client.rooms().get(code)?;
        }
        let (feed, update) = Feed::start(client)?;
        for (code, password) in rooms.iter().filter_map(|code| Some((code, password?))) {
            feed.unlock(code, password);
        }
        Ok(HubMonitor { state, feed, update })
    }

    /// Takes in what has been heard until now.
    pub fn drain_updates(&mut self) {
        while let Ok(update) = self.update.try_recv() {
            self.state.on_update(update, clock::now());
        }
        self.feed.watch(self.state.watched());
    }

    /// Shows what is known every so often, until something stops it.
    ///
    /// # Errors
    /// When it can't be shown.
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
                recv(self.update) -> update => {
                    if let Ok(update) = update {
                        self.state.on_update(update, clock::now());
                    }
                    self.drain_updates();
                }
            }
        }
    }
}
