//! Test fixtures: a hub on a port of its own, a scripted provider, a participant that speaks the tunnel protocol by
//! hand, and plain sockets. They wait for conditions, never for a fixed time.

#![allow(dead_code, unused_imports)] // Each test file uses its own part of this.

mod fake_hub;
mod hub;
mod old_hub;
mod process;
mod raw;
mod runtime;
mod scripted;
mod terminal;
mod tools;
mod wire;

pub use fake_hub::{FakeHub, Part, Sent};
pub use hub::{TestHub, Watcher, registration};
pub use old_hub::OldHub;
pub use process::{Killed, Process, joined};
pub use raw::{Conn, Response, metric, request};
pub use runtime::RawParticipant;
pub use scripted::{FakeProvider, Script, Seen, chat_chunks, tool_call};
pub use terminal::Terminal;
pub use tools::{python, skip};
pub use wire::{Wire, connect};

use std::time::{Duration, Instant};

/// The timeout of every wait. Longer than anything here can take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `look` returns something.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a condition holds.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    wait_for(what, || holds().then_some(()));
}
