//! Limits of the answers that are translated, whatever API they are for.

/// The most bytes of texts, names and arguments in one answer. The last events take several times as much.
pub const MAX_HELD: usize = 16 << 20;
/// The most items, and parts of items, that an answer may have.
pub const MAX_PARTS: usize = 1024;
/// The most tool calls that one answer, or one turn of a conversation, may have.
pub const MAX_CALLS: usize = 1024;
