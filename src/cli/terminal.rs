//! The size of the terminal.

use std::io::stdout;
use std::os::fd::AsFd;

/// The columns of the terminal that a file leads to; 80 where it leads to none.
pub fn columns(of: impl AsFd) -> usize {
    terminal_size::terminal_size_of(of).map_or(80, |(width, _)| usize::from(width.0))
}

/// The columns and rows of the terminal on standard output, else what `COLUMNS` and `LINES` say.
pub fn size(variable: impl Fn(&str) -> Option<String>) -> (usize, usize) {
    let number = |name: &str| variable(name).and_then(|text| text.parse().ok());
    match terminal_size::terminal_size_of(stdout()) {
        Some((width, height)) if width.0 > 0 && height.0 > 0 => (width.0.into(), height.0.into()),
        _ => (number("COLUMNS").unwrap_or(80), number("LINES").unwrap_or(24)),
    }
}
