//! Watching a hub: what the plain table and the terminal interface have in common. It uses the library's public API only.
//!
//! Rules and views are pure (`state`, `figures`, `text`, `table`, `changes`); threads are in `feed`, and whoever shows it
//! writes to the terminal: `cli` the plain table, `tui` the rest.

pub mod changes;
pub mod clean;
pub mod clock;
pub mod feed;
pub mod figures;
pub mod people;
#[cfg(test)]
pub mod samples;
pub mod state;
#[cfg(test)]
mod state_tests;
pub mod table;
pub mod text;
mod widths;

use std::time::Duration;

use crossbeam_channel::{Receiver, select, tick};

use gambi::Error;
use gambi::client::Client;

use feed::Feed;
use state::{News, State};

/// A hub that is being watched.
pub struct Watching {
    /// What is known of it.
    pub state: State,
    /// Its threads.
    pub feed: Feed,
    /// What they find.
    pub news: Receiver<News>,
}

impl Watching {
    /// Watches a hub: the rooms with those codes, which must be there, or the first few. The password is that of the
    /// private ones among them.
    ///
    /// # Errors
    /// When the hub can't be reached or refuses, or has no such room.
    pub fn start(client: Client, rooms: &[String], password: Option<&str>) -> Result<Self, Error> {
        let state = State::new(client.hub_url(), rooms);
        for code in rooms {
            client.rooms().get(code)?;
        }
        let (feed, news) = Feed::start(client)?;
        for (code, password) in rooms.iter().filter_map(|code| Some((code, password?))) {
            feed.unlock(code, password);
        }
        Ok(Watching { state, feed, news })
    }

    /// Takes in what has been heard until now.
    pub fn catch_up(&mut self) {
        while let Ok(news) = self.news.try_recv() {
            self.state.hear(news, clock::now());
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
        mut show: impl FnMut(&State, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let ticks = tick(every);
        loop {
            select! {
                recv(stop) -> _ => return Ok(()),
                recv(ticks) -> _ => show(&self.state, clock::now())?,
                recv(self.news) -> news => {
                    if let Ok(news) = news {
                        self.state.hear(news, clock::now());
                    }
                    self.catch_up();
                }
            }
        }
    }
}
