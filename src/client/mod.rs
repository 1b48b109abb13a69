//! The SDK: a hub's routes as blocking methods, each call with a deadline.
//!
//! `management` has the management routes, `chat` the inference routes of a room, `events` and `watch` the event streams,
//! `legacy` the routes of hubs that have no v1 plane.

pub(crate) mod backoff;
mod chat;
mod chat_stream;
mod events;
pub(crate) mod http;
mod legacy;
mod management;
mod stopper;
mod watch;

pub use chat::{Answer, Chat, Model, Room};
pub use chat_stream::{ChatEvent, ChatStream};
pub use events::EventStream;
pub use legacy::Legacy;
pub use management::{Client, Participants, Rooms};
pub use stopper::Stopper;
pub use watch::{Watch, WatchStopper, Watched};
