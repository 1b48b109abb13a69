//! Header lines in one text: a request has a dozen of them, and each as two strings of its own would cost two dozen allocations.

use std::mem;
use std::ops::Range;

/// Names and values, in their order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct HeaderLines {
    /// All names and values, one after another.
    text: String,
    /// Where each name and each value ends in `text`.
    ends: Vec<(usize, usize)>,
}

impl HeaderLines {
    /// Without lines; room for so many, of so many bytes together.
    pub fn with_capacity(lines: usize, bytes: usize) -> Self {
        HeaderLines { text: String::with_capacity(bytes), ends: Vec::with_capacity(lines) }
    }

    /// Appends a line.
    pub fn push(&mut self, name: &str, value: &str) {
        self.text.push_str(name);
        let name_end = self.text.len();
        self.text.push_str(value);
        self.ends.push((name_end, self.text.len()));
    }

    /// All lines.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.places().map(|(name, value)| (&self.text[name], &self.text[value]))
    }

    /// Where each name and each value is in `text`.
    fn places(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let mut start = 0;
        self.ends.iter().map(move |&(name_end, end)| (mem::replace(&mut start, end)..name_end, name_end..end))
    }

    /// All values of a header; names are compared without regard to case.
    pub fn values<'h>(&'h self, name: &str) -> impl Iterator<Item = &'h str> {
        self.places().filter_map(move |(own, value)| {
            // Most names differ in length already.
            let is_named = own.len() == name.len() && self.text[own].eq_ignore_ascii_case(name);
            is_named.then(|| &self.text[value])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_in_their_order() {
        let mut lines = HeaderLines::default();
        let given = [("Host", "h"), ("X-A", ""), ("x-a", "b: c")];
        given.iter().for_each(|(name, value)| lines.push(name, value));
        assert_eq!(lines.iter().collect::<Vec<_>>(), given);
        assert_eq!(lines.values("X-a").collect::<Vec<_>>(), ["", "b: c"]);
        assert_eq!(lines.values("h").next(), None);
    }
}
