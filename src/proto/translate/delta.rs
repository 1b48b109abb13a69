//! What an answer of Chat Completions consists of, whichever server it comes from.

/// A part of an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum ChatDelta<'a> {
    /// The provider's name for the model.
    Model(&'a str),
    /// Text of the answer.
    Text(&'a str),
    /// Text of a refusal.
    Refusal(&'a str),
    /// Text that the model thought.
    Reasoning(&'a str),
    /// The URL of an image, often a `data:` one.
    Image(&'a str),
    /// A tool call begins. Calls are numbered in the order in which they begin; their arguments may be interleaved.
    CallStart {
        /// Its number.
        call: usize,
        /// The provider's id for it, unless an earlier call has the same one.
        id: Option<&'a str>,
        /// The function's name.
        name: &'a str,
    },
    /// Arguments of a call that has begun.
    CallArguments {
        /// The call's number.
        call: usize,
        /// A part of the JSON text.
        text: &'a str,
    },
    /// Token counts. Later ones replace earlier ones.
    Usage(TokenCounts),
    /// Why the answer ends. Nothing but token counts comes after it, as a rule.
    Finish(Finish),
    /// The answer has failed. Nothing comes after it.
    Error(&'a str),
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model was done. Reasons that are not known count as this one.
    Stop,
    /// It is done for now, and waits for the results of its calls.
    ToolCalls,
    /// The limit on tokens was reached.
    Length,
    /// A filter withheld the rest.
    ContentFilter,
}

/// Token counts of an answer. A count that the provider left out is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenCounts {
    /// Tokens of the prompt.
    pub input: u64,
    /// Of the input, those that came from a cache.
    pub cached: u64,
    /// Tokens of the answer.
    pub output: u64,
    /// Of the output, those of reasoning.
    pub reasoning: u64,
    /// Both, as the provider counts them.
    pub total: u64,
}

/// Takes the deltas as they are read.
pub type Sink<'s> = &'s mut dyn FnMut(ChatDelta<'_>);
