//! What a handler notes of a request, for whoever tells of it when it is over. What the names mean is not known here.

use std::borrow::Cow;

/// Something that was noted.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    /// A text.
    Text(Cow<'static, str>),
    /// A count, or a time in some unit.
    Number(u64),
}

impl From<&'static str> for Note {
    fn from(text: &'static str) -> Self {
        Note::Text(text.into())
    }
}

impl From<String> for Note {
    fn from(text: String) -> Self {
        Note::Text(text.into())
    }
}

impl From<u64> for Note {
    fn from(number: u64) -> Self {
        Note::Number(number)
    }
}

/// Notes by name. There are few: they are searched from the first to the last.
#[derive(Debug, Default)]
pub struct Notes(Vec<(&'static str, Note)>);

impl Notes {
    /// Notes something, in place of what had that name before.
    pub fn set(&mut self, name: &'static str, note: Note) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = note,
            None => self.0.push((name, note)),
        }
    }

    /// What was noted under a name.
    pub fn get(&self, name: &str) -> Option<&Note> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, note)| note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_note_of_a_name_counts() {
        let mut notes = Notes::default();
        notes.set("a", 1.into());
        notes.set("b", "x".into());
        notes.set("a", String::from("y").into());
        assert_eq!((notes.get("a"), notes.get("b")), (Some(&Note::from("y")), Some(&Note::from("x"))));
        assert_eq!(notes.get("c"), None);
    }
}
