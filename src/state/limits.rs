//! What a person with a key of their own may use.

/// The limits of a person; `None` is unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests at a time.
    pub at_once: Option<u32>,
    /// Requests in a minute, which may come together.
    pub per_minute: Option<u32>,
    /// Tokens of prompts and answers in a day, by UTC.
    pub tokens_per_day: Option<u64>,
}
