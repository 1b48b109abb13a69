//! What was said in a conversation, as the file that it is saved to.

use std::path::{Path, PathBuf};

use crate::monitor::clean::multi_line;

/// A question and its answer.
#[derive(Debug, Clone)]
pub struct Turn {
    pub question: String,
    pub answer: String,
    /// Who answered, in one line.
    pub by: String,
}

/// The conversation as Markdown. What a model wrote is made safe for the terminal that shows the file.
pub fn markdown(title: &str, system: Option<&str>, turns: &[Turn]) -> String {
    let mut text = format!("# {title}\n");
    let mut part = |heading: &str, body: &str| text += &format!("\n## {heading}\n\n{}\n", body.trim());
    if let Some(system) = system {
        part("System", system);
    }
    for turn in turns {
        part("You", &turn.question);
        part(&turn.by, &multi_line(&turn.answer));
    }
    text
}

/// The file that a person names: `~/` stands for the home directory, as in a shell.
pub fn expand(name: &str, home: Option<String>) -> PathBuf {
    match (name.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_saved_as_markdown() {
        let turn =
            Turn { question: "Why?\n\nReally.".into(), answer: "Because\u{1b}.\n".into(), by: "ann · llama3".into() };
        assert_eq!(
            markdown("Room LAB001", Some("Be brief."), &[turn]),
            "# Room LAB001\n\n## System\n\nBe brief.\n\n## You\n\nWhy?\n\nReally.\n\n## ann · llama3\n\nBecause\u{fffd}.\n"
        );
        assert_eq!(markdown("Room LAB001", None, &[]), "# Room LAB001\n");
    }

    #[test]
    fn a_tilde_is_the_home_directory() {
        assert_eq!(expand("~/a b.md", Some("/h".into())), Path::new("/h/a b.md"));
        assert_eq!(expand("~/a", None), Path::new("~/a"));
        assert_eq!(expand("a~/b", Some("/h".into())), Path::new("a~/b"));
    }
}
