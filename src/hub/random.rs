//! Random bytes of the operating system, for secrets and ids.

use crate::state::id;

/// Fills a buffer with random bytes of the operating system.
///
/// # Panics
/// When the system returns an error: no secret can be made then, so the request must not continue. The panic ends that
/// request's connection only.
pub fn random(bytes: &mut [u8]) {
    if let Err(error) = crate::random::fill(bytes) {
        panic!("the system gives no random numbers: {error}");
    }
}

/// A random UUID.
pub fn fresh_uuid() -> String {
    id::uuid(&mut random)
}
