//! A dialog's fields: what is typed into them. Pure.

use super::keys::Key;
use crate::monitor::text::clean;

/// The longest text that a field takes, in characters.
const MOST: usize = 500;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Text.
    Text,
    /// Text that is not shown.
    Secret,
    /// Yes or no.
    Switch,
}

/// A field.
#[derive(Clone, PartialEq, Eq)]
pub struct Field {
    /// What it is.
    pub label: &'static str,
    /// What kind of value it holds.
    pub holds: Holds,
    /// Characters before the cursor and behind it; of a switch, the first part is empty unless it is on.
    before: String,
    behind: String,
}

/// Fields, one of which is typed into.
#[derive(Clone, PartialEq, Eq)]
pub struct Form {
    /// From top to bottom.
    pub fields: Vec<Field>,
    /// Which is typed into.
    pub at: usize,
    /// What was wrong with what was sent.
    pub error: Option<String>,
    /// Whether what was sent is under way.
    pub busy: bool,
}

impl Field {
    /// A field for text.
    pub fn text(label: &'static str, value: &str) -> Self {
        Field { label, holds: Holds::Text, before: value.to_owned(), behind: String::new() }
    }

    /// A field for a secret.
    pub fn secret(label: &'static str) -> Self {
        Field { holds: Holds::Secret, ..Field::text(label, "") }
    }

    /// A field that is on or off; off at first.
    pub fn switch(label: &'static str) -> Self {
        Field { holds: Holds::Switch, ..Field::text(label, "") }
    }

    /// Whether a switch is on.
    pub fn is_on(&self) -> bool {
        !self.before.is_empty()
    }

    /// What was typed.
    pub fn value(&self) -> String {
        format!("{}{}", self.before, self.behind)
    }

    /// Puts a value in place of what was typed.
    pub fn set(&mut self, value: &str) {
        (self.before, self.behind) = (value.to_owned(), String::new());
    }

    /// What is shown before the cursor and behind it.
    pub fn shown(&self) -> (String, String) {
        let hide = |text: &str| "*".repeat(text.chars().count());
        match self.holds {
            Holds::Secret => (hide(&self.before), hide(&self.behind)),
            _ => (clean(&self.before), clean(&self.behind)),
        }
    }

    fn insert(&mut self, text: &str) {
        let room = MOST.saturating_sub(self.before.chars().count() + self.behind.chars().count());
        self.before.extend(text.chars().filter(|c| !c.is_control()).take(room));
    }

    fn press(&mut self, key: &Key) {
        match key {
            Key::Char(' ') if self.holds == Holds::Switch => {
                self.before = if self.is_on() { String::new() } else { "on".into() };
            }
            _ if self.holds == Holds::Switch => {}
            Key::Char(c) => self.insert(&c.to_string()),
            Key::Paste(text) => self.insert(text),
            Key::Backspace => drop(self.before.pop()),
            Key::Delete => drop(take_first(&mut self.behind)),
            Key::Left => self.behind.insert_str(0, &self.before.pop().map(String::from).unwrap_or_default()),
            Key::Right => self.before.extend(take_first(&mut self.behind)),
            Key::Home => self.behind.insert_str(0, &std::mem::take(&mut self.before)),
            Key::End => self.before.push_str(&std::mem::take(&mut self.behind)),
            Key::Ctrl('u') => self.before.clear(),
            _ => {}
        }
    }
}

fn take_first(text: &mut String) -> Option<char> {
    (!text.is_empty()).then(|| text.remove(0))
}

impl Form {
    /// A form that begins with its first field.
    pub fn new(fields: Vec<Field>) -> Self {
        Form { fields, at: 0, error: None, busy: false }
    }

    /// A field's value, without spaces around it unless it is a secret.
    pub fn value(&self, label: &str) -> String {
        let Some(field) = self.fields.iter().find(|field| field.label == label) else { return String::new() };
        if field.holds == Holds::Secret { field.value() } else { field.value().trim().to_owned() }
    }

    /// Whether a switch is on.
    pub fn is_on(&self, label: &str) -> bool {
        self.fields.iter().any(|field| field.label == label && field.is_on())
    }

    /// Goes to a field.
    pub fn go_to(&mut self, label: &str) {
        self.at = self.fields.iter().position(|field| field.label == label).unwrap_or(self.at);
    }

    /// Says what was wrong, at a field.
    pub fn fail(&mut self, error: &str) {
        (self.error, self.busy) = (Some(clean(error)), false);
    }

    /// Takes a key that is neither Enter nor Esc.
    pub fn press(&mut self, key: &Key) {
        let fields = self.fields.len();
        match key {
            Key::Tab | Key::Down => self.at = (self.at + 1) % fields,
            Key::BackTab | Key::Up => self.at = (self.at + fields - 1) % fields,
            key => {
                self.error = None;
                if let Some(field) = self.fields.get_mut(self.at) {
                    field.press(key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(form: &mut Form, keys: &[Key]) {
        keys.iter().for_each(|key| form.press(key));
    }

    #[test]
    fn text_is_typed_mended_and_pasted() {
        let mut form = Form::new(vec![Field::text("Name", "")]);
        typed(&mut form, &[Key::Char('b'), Key::Char('ü'), Key::Left, Key::Left, Key::Char('a'), Key::End]);
        assert_eq!(form.value("Name"), "abü");
        typed(&mut form, &[Key::Backspace, Key::Home, Key::Delete, Key::Paste(" c\r\nd\u{1b} ".into()), Key::Right]);
        assert_eq!(form.value("Name"), "cd b");
        typed(&mut form, &[Key::Ctrl('u'), Key::Left, Key::Delete, Key::Paste("x".repeat(10_000))]);
        assert_eq!(form.value("Name").len(), MOST);
    }

    #[test]
    fn secrets_are_not_shown_and_switches_switched() {
        let mut form = Form::new(vec![Field::secret("Password"), Field::switch("Private")]);
        typed(&mut form, &[Key::Char(' '), Key::Char('p'), Key::Left]);
        assert_eq!((form.value("Password"), form.fields[0].shown()), (" p".into(), ("*".into(), "*".into())));
        typed(&mut form, &[Key::Tab, Key::Char('x'), Key::Char(' ')]);
        assert!(form.is_on("Private") && !form.is_on("Password "));
        typed(&mut form, &[Key::Char(' '), Key::Down]);
        assert_eq!((form.is_on("Private"), form.at), (false, 0));
    }
}
