//! All rooms of a hub. Every change returns the events that it caused; the caller passes them to the watchers.
//!
//! Passwords are not checked here: hashing takes too long to be done under the registry's lock.

mod expiry;
mod ownership;
mod queue;
mod quota;
mod registration;
mod rooms;
mod slots;
#[cfg(test)]
mod tests;

pub use expiry::{Deleted, NotDeleted, RoomExpiry};
pub use ownership::Denied;
pub use registration::{Missing, NewRoom, NotRegistered, Opened, Proof, Registering, Upserted};
pub use rooms::Registry;
pub use slots::{Outcome, PickError, Picked};
