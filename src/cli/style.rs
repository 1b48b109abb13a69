//! Styles of text for people on a terminal: none where `NO_COLOR` or the kind of terminal asks for none.

use std::io::{IsTerminal, stderr};

use super::context::Context;

/// Begins dimmed text, and ends every style.
pub const DIM: &str = "\x1b[2m";
pub const RESET: &str = "\x1b[0m";

/// Whether the kind of terminal is one that knows no control sequences.
pub fn is_dumb(context: &Context<'_>) -> bool {
    context.variable("TERM").is_none_or(|term| term == "dumb")
}

/// Whether text on stderr may be styled.
pub fn styles_stderr(context: &Context<'_>) -> bool {
    stderr().is_terminal() && !is_dumb(context) && context.variable("NO_COLOR").is_none()
}

/// Text that is of less interest than what is around it.
pub fn dim(text: &str, styled: bool) -> String {
    if styled { format!("{DIM}{text}{RESET}") } else { text.to_owned() }
}
