//! Randomness of the system, for secrets and names.

use crate::state::id;

/// Fills a buffer from the system's source of randomness.
///
/// # Panics
/// When the system has none: then no secret can be drawn, and whoever asked for one must not go on. Only the
/// connection that asked ends.
pub fn random(bytes: &mut [u8]) {
    if let Err(error) = getrandom::fill(bytes) {
        panic!("the system gives no random numbers: {error}");
    }
}

/// A fresh UUID.
pub fn fresh_uuid() -> String {
    id::uuid(&mut random)
}
