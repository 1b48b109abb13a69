//! Styles of text for people on a terminal. `Context` knows whether they may be used.

/// Begins dimmed text, and ends every style.
pub const DIM: &str = "\x1b[2m";
pub const RESET: &str = "\x1b[0m";

/// Text that is of less interest than what is around it.
pub fn dim(text: &str, styled: bool) -> String {
    if styled { format!("{DIM}{text}{RESET}") } else { text.to_owned() }
}
