//! The prompts of earlier conversations: a file with one on each line, for its owner's eyes only.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::cli::private_file;

/// The most prompts that are kept.
pub const MAX_PROMPTS: usize = 1000;
/// The size at which the file is shortened, in bytes. A prompt longer than a sixteenth of it is not kept.
const MAX_FILE: usize = 256 << 10;
const MAX_PROMPT: usize = MAX_FILE / 16;

/// The file of earlier prompts. Failures are no reason to end a conversation: prompts are then kept for its time only.
pub struct History {
    path: Option<PathBuf>,
    /// Texts that no kept prompt contains, such as the room's password.
    secrets: Vec<String>,
}

impl History {
    /// The history in that file, or in none.
    pub fn new(path: Option<PathBuf>, secrets: Vec<String>) -> Self {
        History { path, secrets: secrets.into_iter().filter(|secret| !secret.is_empty()).collect() }
    }

    /// The prompts in the file, the oldest first.
    pub fn load(&self) -> Vec<String> {
        let Some(path) = &self.path else { return Vec::new() };
        let mut bytes = Vec::new();
        let Ok(file) = fs::File::open(path) else { return Vec::new() };
        // Another program may have written it. Twice the limit is more than this one writes.
        if file.take(2 * MAX_FILE as u64).read_to_end(&mut bytes).is_err() {
            return Vec::new();
        }
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let kept = &lines[lines.len().saturating_sub(MAX_PROMPTS)..];
        if bytes.len() > MAX_FILE || kept.len() < lines.len() {
            let _ = shorten(path, kept);
        }
        kept.iter().map(|line| decode(line)).collect()
    }

    /// Whether a prompt is kept: it is not long, does not begin with a space, and has no secret in it.
    pub fn takes(&self, prompt: &str) -> bool {
        let has_secret =
            self.secrets.iter().any(|secret| prompt.contains(secret.as_str())) || prompt.contains("gambi:");
        !prompt.trim().is_empty() && !prompt.starts_with(' ') && prompt.len() <= MAX_PROMPT && !has_secret
    }

    /// Appends a prompt to the file.
    pub fn add(&self, prompt: &str) {
        if let Some(path) = self.path.as_deref().filter(|_| self.takes(prompt)) {
            let _ = append(path, &encode(prompt));
        }
    }
}

fn append(path: &Path, line: &str) -> std::io::Result<()> {
    private_file::append_to(path)?.write_all(format!("{line}\n").as_bytes())
}

/// Replaces the file by one with the last of these lines, as many as fill half of it.
fn shorten(path: &Path, lines: &[&str]) -> std::io::Result<()> {
    let mut size = 0;
    let fits = |line: &&&str| {
        size += line.len() + 1;
        size <= MAX_FILE / 2
    };
    let mut last: Vec<&str> = lines.iter().rev().take_while(fits).copied().collect();
    last.reverse();
    private_file::replace(path, &(last.join("\n") + "\n"))
}

/// A prompt as one line.
fn encode(prompt: &str) -> String {
    prompt.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r")
}

fn decode(line: &str) -> String {
    let mut prompt = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('n')) => prompt.push('\n'),
            ('\\', Some('r')) => prompt.push('\r'),
            (_, Some(escaped)) => prompt.push(escaped),
            (c, None) => prompt.push(c),
        }
    }
    prompt
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A history of its own, removed at the end.
    struct Lab(PathBuf);

    impl Lab {
        fn new(name: &str) -> Self {
            Lab(std::env::temp_dir().join(format!("gambi-history-{}-{name}", std::process::id())))
        }

        fn history(&self) -> History {
            History::new(Some(self.path()), vec!["hunter2".into(), String::new()])
        }

        fn path(&self) -> PathBuf {
            self.0.join("state/gambi/chat_history")
        }
    }

    impl Drop for Lab {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn prompts_come_back_as_they_were_from_a_file_for_its_owner() {
        let lab = Lab::new("back");
        let prompts = ["one", "two\nlines \\n and \\", "日本\r\n"];
        prompts.iter().for_each(|prompt| lab.history().add(prompt));
        assert_eq!(lab.history().load(), prompts);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&lab.path()), mode(lab.path().parent().unwrap())), (0o600, 0o700));
        fs::set_permissions(lab.path(), Permissions::from_mode(0o644)).unwrap();
        lab.history().add("more");
        assert_eq!(mode(&lab.path()), 0o600);
    }

    #[test]
    fn secrets_and_what_begins_with_a_space_are_not_kept() {
        let lab = Lab::new("secrets");
        let long = "x".repeat(MAX_PROMPT + 1);
        for prompt in ["my password is hunter2", "join gambi:04GABC", " between us", "\n", &long] {
            lab.history().add(prompt);
        }
        assert!(!lab.path().exists());
    }

    #[test]
    fn the_file_does_not_grow_without_end() {
        let lab = Lab::new("long");
        lab.history().add("first");
        let prompt = "x".repeat(MAX_PROMPT - 1);
        fs::write(lab.path(), format!("{prompt}\n").repeat(MAX_FILE / MAX_PROMPT + 1)).unwrap();
        assert_eq!(lab.history().load().len(), MAX_FILE / MAX_PROMPT + 1);
        assert!(fs::metadata(lab.path()).unwrap().len() <= MAX_FILE as u64 / 2);
        fs::write(lab.path(), "x\n".repeat(MAX_PROMPTS) + "last\n").unwrap();
        assert_eq!(lab.history().load().len(), MAX_PROMPTS);
        assert_eq!(lab.history().load().last().unwrap(), "last");
    }
}
