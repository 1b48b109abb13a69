//! `gambi completions`: a script for each shell, which calls `gambi completions SHELL -- WORDS...` to complete the last of the
//! words. What can follow is decided here, from the table of commands.

use super::commands::{COMMON, Command, Flag};
use super::context::Context;
use super::failure::Failure;
use super::manual::TOPICS;
use super::output;
use super::parse::{self, TRAILING, below};
use super::synonyms::names;

/// In place of candidates: the shell completes the names of files.
const FILES: &str = ":files";

/// Prints a shell's completion script or, given words, what the last of them can be completed to.
pub fn completions(context: &Context<'_>) -> Result<(), Failure> {
    let shell = Shell::parse(&context.required("shell")?)?;
    let text = match context.values(TRAILING) {
        [] => shell.script().trim_end().to_owned(),
        words => match candidates(words) {
            Candidates::Files => FILES.to_owned(),
            Candidates::Words { before, found } if !found.is_empty() => shell.lines(&before, &found),
            Candidates::Words { .. } => return Ok(()),
        },
    };
    output::line(&text)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    fn parse(text: &str) -> Result<Self, Failure> {
        match text {
            "bash" => Ok(Shell::Bash),
            "zsh" => Ok(Shell::Zsh),
            "fish" => Ok(Shell::Fish),
            _ => Err(Failure::usage(format!("the shell must be bash, zsh or fish, not \"{text}\""))),
        }
    }

    fn script(self) -> &'static str {
        match self {
            Shell::Bash => include_str!("completions/gambi.bash"),
            Shell::Zsh => include_str!("completions/gambi.zsh"),
            Shell::Fish => include_str!("completions/gambi.fish"),
        }
    }

    /// The candidates as the shell's script reads them, one a line. `before` is the part of the word that stays: zsh has
    /// set it aside already.
    fn lines(self, before: &str, found: &[Candidate]) -> String {
        let line = |candidate: &Candidate| match self {
            Shell::Bash => format!("{before}{}", candidate.word),
            Shell::Zsh => format!("{}:{}", candidate.word.replace(':', "\\:"), candidate.about),
            Shell::Fish => format!("{before}{}\t{}", candidate.word, candidate.about),
        };
        found.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// What a word can be completed to.
#[derive(Debug, PartialEq)]
enum Candidates {
    /// The name of a file.
    Files,
    /// One of these words, after the part of the word that stays, such as `--format=`.
    Words { before: String, found: Vec<Candidate> },
}

#[derive(Debug, PartialEq)]
struct Candidate {
    word: String,
    about: &'static str,
}

/// What is known of a command line before the word that is completed.
#[derive(Default)]
struct CommandLine {
    path: Vec<String>,
    /// The flag whose value comes next.
    pending: Option<&'static Flag>,
    /// Whether the command's positional argument has been given.
    has_positional: bool,
    /// Whether `--` was given: the rest belongs to another command.
    foreign: bool,
}

impl CommandLine {
    fn command(&self) -> Option<&'static Command> {
        parse::find(&self.path)
    }

    fn read(&mut self, word: &str) {
        match self.pending {
            // Bash takes `--flag=value` for three words.
            Some(_) if word == "=" => {}
            Some(_) => self.pending = None,
            None if self.foreign => {}
            None if word == "--" => self.foreign = true,
            None if word.starts_with('-') => {
                self.pending = parse::flag(self.command(), word).filter(|flag| flag.value.is_some());
            }
            None if self.command().is_some() => self.has_positional = true,
            None => self.path.push(word.to_owned()),
        }
    }

    /// What may follow where no flag is awaited or begun.
    fn next(&self) -> Vec<Candidate> {
        let Some(command) = self.command() else { return next_words(&self.path) };
        let positional = command.positional.filter(|_| !self.has_positional).map(values);
        match positional {
            Some(Candidates::Words { found, .. }) if !found.is_empty() => found,
            _ => self.flags(),
        }
    }

    fn flags(&self) -> Vec<Candidate> {
        let (path, own) = self.command().map_or((&[][..], &[][..]), |command| (command.path, command.flags));
        let flags = own.iter().chain(COMMON);
        let named =
            |flag: &'static Flag| names(path, flag).into_iter().map(|word| Candidate { word, about: flag.help });
        flags.flat_map(|flag| named(flag)).filter(|candidate| candidate.word.starts_with("--")).collect()
    }
}

fn candidates(words: &[String]) -> Candidates {
    let (last, earlier) = words.split_last().map_or(("", words), |(last, earlier)| (last.as_str(), earlier));
    let mut line = CommandLine::default();
    earlier.iter().for_each(|word| line.read(word));
    if let Some(flag) = line.pending {
        return begun(values(flag), if last == "=" { "" } else { last });
    }
    if line.foreign {
        return begun(Candidates::Words { before: String::new(), found: Vec::new() }, last);
    }
    if let Some((name, value)) = last.split_once('=').filter(|_| last.starts_with("--")) {
        let values = parse::flag(line.command(), name).filter(|flag| flag.value.is_some()).map(values);
        return match values {
            Some(Candidates::Words { found, .. }) => {
                begun(Candidates::Words { before: format!("{name}="), found }, value)
            }
            other => other.unwrap_or(Candidates::Files),
        };
    }
    let found = if last.starts_with('-') { line.flags() } else { line.next() };
    begun(Candidates::Words { before: String::new(), found }, last)
}

/// Those of the candidates that begin as the word does.
fn begun(candidates: Candidates, with: &str) -> Candidates {
    match candidates {
        Candidates::Words { before, mut found } => {
            found.retain(|candidate| candidate.word.starts_with(with));
            Candidates::Words { before, found }
        }
        files => files,
    }
}

/// The values of a flag, as far as its placeholder names them: `text|json|ndjson`, `URL|auto`, `FILE`.
fn values(flag: &'static Flag) -> Candidates {
    let alternatives = || flag.value.unwrap_or_default().split('|');
    if alternatives().any(|name| matches!(name, "FILE" | "PATH")) {
        return Candidates::Files;
    }
    let fixed = |word: &&str| word.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let found = alternatives().filter(fixed).map(|word| Candidate { word: word.to_owned(), about: "" }).collect();
    Candidates::Words { before: String::new(), found }
}

/// The words of commands, or of the manual's topics, that may follow these words.
fn next_words(path: &[String]) -> Vec<Candidate> {
    let is_help = path.first().is_some_and(|word| word == "help");
    let path = if is_help { &path[1..] } else { path };
    let mut found: Vec<Candidate> = Vec::new();
    let mut add = |word: &str, about| {
        if !found.iter().any(|known| known.word == word) {
            found.push(Candidate { word: word.to_owned(), about });
        }
    };
    for command in below(path) {
        if let Some(&word) = command.path.get(path.len()) {
            // A noun has several commands, so none of their descriptions.
            add(word, if command.path.len() == path.len() + 1 { command.about } else { "" });
        }
    }
    if path.is_empty() {
        if is_help {
            TOPICS.iter().for_each(|topic| add(topic.name, topic.about));
        } else {
            add("help", "Help on a command, or a page of the manual");
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::commands::COMMANDS;

    fn complete(line: &str) -> Vec<String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        match candidates(&words) {
            Candidates::Files => vec![FILES.to_owned()],
            Candidates::Words { before, found } => {
                found.into_iter().map(|candidate| format!("{before}{}", candidate.word)).collect()
            }
        }
    }

    #[test]
    fn every_command_flag_topic_and_fixed_value_is_completed() {
        for command in COMMANDS {
            for (at, word) in command.path.iter().enumerate() {
                let line: Vec<&str> = command.path[..at].iter().copied().chain([&word[..1]]).collect();
                assert!(complete(&line.join(" ")).iter().any(|found| found == word), "{line:?}");
            }
            for flag in command.all_flags() {
                let name = format!("--{}", flag.name);
                assert!(complete(&format!("{} {name}", command.name())).contains(&name), "{} {name}", command.name());
                let Some(placeholder) = flag.value else { continue };
                let found = complete(&format!("{} {name} ", command.name()));
                assert_eq!(found, complete(&format!("{} {name} = ", command.name())), "as bash splits it");
                if matches!(placeholder, "FILE" | "PATH" | "PATH|-") {
                    assert_eq!(found, [FILES], "{} {name}", command.name());
                } else if placeholder.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "|-".contains(c))
                {
                    assert_eq!(found.join("|"), placeholder, "{} {name}", command.name());
                } else {
                    assert!(found.is_empty() || placeholder == "URL|auto", "{} {name}: {found:?}", command.name());
                }
            }
        }
        assert!(TOPICS.iter().all(|topic| complete("help ").iter().any(|word| word == topic.name)));
    }

    #[test]
    fn the_place_in_the_line_decides() {
        for (line, found) in [
            ("ro", &["room"][..]),
            ("room cr", &["create"]),
            ("--hub http://h room cr", &["create"]),
            ("--quiet participant le", &["leave"]),
            ("help participant he", &["heartbeat"]),
            ("room list --sort n", &["name"]),
            ("room list --sort=n", &["--sort=name"]),
            ("room list --sort = n", &["name"]),
            ("serve -p 1 --direct o", &["off"]),
            ("completions z", &["zsh"]),
            ("service l", &["launchd"]),
            ("service launchd --fo", &["--for", "--format"]),
            ("participant join --config ", &[FILES]),
            ("hub serve --key-file=", &[FILES]),
            ("room create --name x", &[]),
            ("service systemd -- --m", &[]),
            ("nonsense ", &[]),
        ] {
            assert_eq!(complete(line), found, "{line}");
        }
        assert!(complete("room create ").contains(&"--name".to_owned()));
        assert!(complete("chat ").contains(&"--system".to_owned()));
        assert!(complete("room list --sort name ").contains(&"--reverse".to_owned()));
    }
}
