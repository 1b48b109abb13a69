//! Scrolling of lists.

/// The first visible index of a list of `all` lines in which `selected` must be visible in `rows` rows.
pub fn first_visible(selected: usize, all: usize, rows: usize) -> usize {
    selected.saturating_sub(rows / 2).min(all.saturating_sub(rows))
}
