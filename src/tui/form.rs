//! The fields of a dialog, and editing them. Pure.

use super::keys::Key;
use crate::monitor::clean::{multi_line, one_line};
use crate::monitor::text::clean;

/// The longest text that a field accepts, in characters.
const MAX_CHARS: usize = 500;
/// The longest prompt.
const MAX_PROMPT: usize = 16_384;

/// The kind of a field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// Text.
    Text,
    /// Text that is not shown.
    Secret,
    /// Yes or no.
    Switch,
    /// Text of several lines.
    Prompt,
}

/// A field of a form.
#[derive(Clone, PartialEq, Eq)]
pub struct Field {
    /// The label shown before it; identifies the field in its form.
    pub label: &'static str,
    /// The kind of its value.
    pub kind: FieldKind,
    /// The text before and after the cursor. A switch is on when `before` is not empty.
    before: String,
    after: String,
}

/// A form: fields, one of which has the focus.
#[derive(Clone, PartialEq, Eq)]
pub struct Form {
    /// From top to bottom.
    pub fields: Vec<Field>,
    /// The index of the field that has the focus.
    pub focus: usize,
    /// The error of the last submission, safe to print.
    pub error: Option<String>,
    /// Whether a submission is pending.
    pub busy: bool,
}

impl Field {
    /// A text field.
    pub fn text(label: &'static str, value: &str) -> Self {
        Field { label, kind: FieldKind::Text, before: value.to_owned(), after: String::new() }
    }

    /// A field whose text is shown as asterisks.
    pub fn secret(label: &'static str) -> Self {
        Field { kind: FieldKind::Secret, ..Field::text(label, "") }
    }

    /// A switch, off at first.
    pub fn switch(label: &'static str) -> Self {
        Field { kind: FieldKind::Switch, ..Field::text(label, "") }
    }

    /// A prompt, which has no label.
    pub fn prompt() -> Self {
        Field { kind: FieldKind::Prompt, ..Field::text("", "") }
    }

    /// Whether a switch is on.
    pub fn is_on(&self) -> bool {
        !self.before.is_empty()
    }

    /// The whole text.
    pub fn value(&self) -> String {
        format!("{}{}", self.before, self.after)
    }

    /// Replaces the text and moves the cursor to its end.
    pub fn set(&mut self, value: &str) {
        (self.before, self.after) = (value.to_owned(), String::new());
    }

    /// The text before and after the cursor as it is displayed.
    pub fn shown(&self) -> (String, String) {
        let hide = |text: &str| "*".repeat(text.chars().count());
        match self.kind {
            FieldKind::Secret => (hide(&self.before), hide(&self.after)),
            FieldKind::Prompt => (multi_line(&self.before), multi_line(&self.after)),
            _ => (one_line(&self.before), one_line(&self.after)),
        }
    }

    fn insert(&mut self, text: &str) {
        let (most, has_lines) = if self.kind == FieldKind::Prompt { (MAX_PROMPT, true) } else { (MAX_CHARS, false) };
        let room = most.saturating_sub(self.before.chars().count() + self.after.chars().count());
        // Terminals end the lines of a paste with carriage returns.
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let fits = |c: &char| !c.is_control() || (has_lines && matches!(c, '\n' | '\t'));
        self.before.extend(text.chars().filter(fits).take(room));
    }

    /// Handles a key that edits text.
    pub fn on_key(&mut self, key: &Key) {
        match key {
            Key::Ctrl('j') if self.kind == FieldKind::Prompt => self.insert("\n"),
            Key::Char(' ') if self.kind == FieldKind::Switch => {
                self.before = if self.is_on() { String::new() } else { "on".into() };
            }
            _ if self.kind == FieldKind::Switch => {}
            Key::Char(c) => self.insert(&c.to_string()),
            Key::Paste(text) => self.insert(text),
            Key::Backspace => drop(self.before.pop()),
            Key::Delete => drop(take_first(&mut self.after)),
            Key::Left => self.after.insert_str(0, &self.before.pop().map(String::from).unwrap_or_default()),
            Key::Right => self.before.extend(take_first(&mut self.after)),
            Key::Home => self.after.insert_str(0, &std::mem::take(&mut self.before)),
            Key::End => self.before.push_str(&std::mem::take(&mut self.after)),
            Key::Ctrl('u') => self.before.clear(),
            Key::Ctrl('w') => {
                let kept = self.before.trim_end().trim_end_matches(|c: char| !c.is_whitespace()).len();
                self.before.truncate(kept);
            }
            _ => {}
        }
    }
}

fn take_first(text: &mut String) -> Option<char> {
    (!text.is_empty()).then(|| text.remove(0))
}

impl Form {
    /// A form whose first field has the focus.
    pub fn new(fields: Vec<Field>) -> Self {
        Form { fields, focus: 0, error: None, busy: false }
    }

    /// A field's value: trimmed, unless it is a secret.
    pub fn value(&self, label: &str) -> String {
        let Some(field) = self.fields.iter().find(|field| field.label == label) else { return String::new() };
        if field.kind == FieldKind::Secret { field.value() } else { field.value().trim().to_owned() }
    }

    /// Whether a switch is on.
    pub fn is_on(&self, label: &str) -> bool {
        self.fields.iter().any(|field| field.label == label && field.is_on())
    }

    /// Moves the focus to a field.
    pub fn focus_on(&mut self, label: &str) {
        self.focus = self.fields.iter().position(|field| field.label == label).unwrap_or(self.focus);
    }

    /// Shows an error and accepts input again.
    pub fn fail(&mut self, error: &str) {
        (self.error, self.busy) = (Some(clean(error)), false);
    }

    /// Handles a key other than Enter and Esc.
    pub fn on_key(&mut self, key: &Key) {
        let fields = self.fields.len();
        match key {
            Key::Tab | Key::Down => self.focus = (self.focus + 1) % fields,
            Key::BackTab | Key::Up => self.focus = (self.focus + fields - 1) % fields,
            key => {
                self.error = None;
                if let Some(field) = self.fields.get_mut(self.focus) {
                    field.on_key(key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(form: &mut Form, keys: &[Key]) {
        keys.iter().for_each(|key| form.on_key(key));
    }

    #[test]
    fn text_is_typed_edited_and_pasted() {
        let mut form = Form::new(vec![Field::text("Name", "")]);
        typed(&mut form, &[Key::Char('b'), Key::Char('ü'), Key::Left, Key::Left, Key::Char('a'), Key::End]);
        assert_eq!(form.value("Name"), "abü");
        typed(&mut form, &[Key::Backspace, Key::Home, Key::Delete, Key::Paste(" c\r\nd\u{1b} ".into()), Key::Right]);
        assert_eq!(form.value("Name"), "cd b");
        typed(&mut form, &[Key::Ctrl('u'), Key::Left, Key::Delete, Key::Paste("x".repeat(10_000))]);
        assert_eq!(form.value("Name").len(), MAX_CHARS);
    }

    #[test]
    fn a_prompt_has_lines_and_loses_its_last_word() {
        let mut field = Field::prompt();
        for key in [Key::Paste("one\r\ntwo\u{1b}".into()), Key::Ctrl('j'), Key::Paste("three four ".into())] {
            field.on_key(&key);
        }
        assert_eq!(field.value(), "one\ntwo\nthree four ");
        field.on_key(&Key::Ctrl('w'));
        assert_eq!(field.value(), "one\ntwo\nthree ");
        (0..5).for_each(|_| field.on_key(&Key::Ctrl('w')));
        assert_eq!(field.value(), "");
        field.on_key(&Key::Paste("é".repeat(2 * MAX_PROMPT)));
        assert_eq!(field.value().chars().count(), MAX_PROMPT);
    }

    #[test]
    fn secrets_are_hidden_and_switches_are_toggled() {
        let mut form = Form::new(vec![Field::secret("Password"), Field::switch("Private")]);
        typed(&mut form, &[Key::Char(' '), Key::Char('p'), Key::Left]);
        assert_eq!((form.value("Password"), form.fields[0].shown()), (" p".into(), ("*".into(), "*".into())));
        typed(&mut form, &[Key::Tab, Key::Char('x'), Key::Char(' ')]);
        assert!(form.is_on("Private") && !form.is_on("Password "));
        typed(&mut form, &[Key::Char(' '), Key::Down]);
        assert_eq!((form.is_on("Private"), form.focus), (false, 0));
    }
}
