//! Random participant ids and tokens.

use crate::error::{Error, Reason};
use crate::proto::management::uuid_of;

/// A random UUID (version 4), unique enough to serve as a participant id and secret enough to serve as a token.
///
/// # Errors
/// When the system gives no random numbers.
pub fn fresh_id() -> Result<String, Error> {
    let mut bytes = [0; 16];
    crate::random::fill(&mut bytes).map_err(|e| Error::System { what: "reading randomness", reason: Reason::of(e) })?;
    Ok(uuid_of(bytes))
}
