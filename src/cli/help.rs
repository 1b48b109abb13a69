//! The help, generated from the table of commands, and the pages of the manual.

use std::fmt::Write as _;

use super::commands::{Command, Flag};
use super::manual::{TOPICS, Topic};
use super::markdown;
use super::parse::below;
use super::synonyms::names;

const INTRO: &str =
    "Rooms for the local LLMs of a network: a hub, tunnelled participants, one OpenAI-compatible address.";

/// Printed by `gambi` without arguments.
pub const START: &str = "\
gambi puts the local LLMs of a network in a room, at one OpenAI-compatible address.
  gambi demo                                    try it: hub, provider and participant in one process
  gambi hub serve --mdns                        start a hub; then, with its address as GAMBI_HUB:
  gambi room create --name Lab                  create a room and get its code
  gambi join -r CODE                            join the room with your Ollama, LM Studio, vLLM or llama.cpp
  gambi chat -r CODE 'Hello!'                   send a chat to the room (`gambi help` lists all commands)
";

const OUTRO: &str = "\
Every command also takes --hub, --key-file, --format, --quiet and others: `gambi help flags`.
Exit codes and the order of flags, variables and the config file: `gambi help scripting`.
";

/// Help on the commands whose paths begin with `words`: a page for a single command, otherwise a list.
///
/// `columns` is the terminal's width.
pub fn help(words: &[String], columns: usize) -> String {
    match below(words).as_slice() {
        [one] if one.path.len() == words.len() => page(one, columns),
        several => list(words, several, columns),
    }
}

/// A page of the manual, rendered for a terminal or as Markdown. The help of a command with the topic's name comes first.
pub fn topic(topic: &Topic, for_terminal: bool, columns: usize) -> String {
    let text = topic.text();
    let text = if for_terminal { markdown::for_terminal(&text) } else { text };
    match below(&[topic.name.to_owned()]).as_slice() {
        [command] => format!("{}\n{text}", page(command, columns)),
        _ => text,
    }
}

/// The commands in the groups of the overview, by the first word of their paths.
const GROUPS: &[(&str, &[&str])] = &[
    ("Try it", &["demo", "provider"]),
    ("Hub and rooms", &["hub", "room", "discover"]),
    ("Participants", &["participant"]),
    ("Use a room", &["models", "chat", "events", "monitor"]),
    ("Keys", &["key", "usage"]),
    ("This program", &["help", "version", "completions", "man", "openapi", "service"]),
    ("Older names", &["serve", "create", "list", "join"]),
];

fn list(words: &[String], commands: &[&Command], columns: usize) -> String {
    let mut out = String::new();
    if words.is_empty() {
        let _ = writeln!(out, "{INTRO}\n");
    }
    let noun: String = words.iter().map(|word| format!(" {word}")).collect();
    let _ = writeln!(out, "Usage: gambi{noun} COMMAND [flags]");
    let width = commands.iter().map(|c| c.name().len()).max().unwrap_or(0);
    for (title, members) in GROUPS {
        let of_group: Vec<_> = commands.iter().filter(|command| members.contains(&command.path[0])).collect();
        if !of_group.is_empty() {
            let _ = writeln!(out, "\n{}:", if words.is_empty() { title } else { "Commands" });
        }
        for command in of_group {
            row(&mut out, &command.name(), command.about, width, columns);
        }
    }
    if words.is_empty() {
        out.push_str("\nThe manual, by topic (`gambi help TOPIC`):\n");
        for topic in TOPICS {
            row(&mut out, topic.name, topic.about, width, columns);
        }
    }
    out.push_str("\n`gambi COMMAND --help` shows a command's flags and examples.\n");
    out
}

fn page(command: &Command, columns: usize) -> String {
    let alone = command.positional.and_then(|flag| flag.value).map(|value| format!(" {value}")).unwrap_or_default();
    let mut out = format!("{}.\n\nUsage: gambi {}{} [flags]\n\nFlags:\n", command.about, command.name(), alone);
    flags(&mut out, command.path, command.flags, columns);
    out.push_str("\nExamples:\n");
    for (what, line) in command.examples {
        let _ = writeln!(out, "  # {what}\n  {line}");
    }
    let _ = write!(out, "\n{OUTRO}");
    out
}

fn flags(out: &mut String, path: &[&str], flags: &[&Flag], columns: usize) {
    let width = flags.iter().map(|f| left_column(path, f).len()).max().unwrap_or(0).min(34);
    for flag in flags {
        row(out, &left_column(path, flag), flag.help, width, columns);
    }
}

/// A row of two columns, the left one `width` wide. The text of the right one is wrapped to the terminal's `columns`.
fn row(out: &mut String, left: &str, text: &str, width: usize, columns: usize) {
    // Two spaces before each column. On a narrow terminal the right one keeps a readable width.
    let room = columns.saturating_sub(width + 4).max(30);
    let mut lines = wrapped(text, room).into_iter();
    if left.len() > width {
        let _ = writeln!(out, "  {left}");
    } else {
        let _ = writeln!(out, "  {left:width$}  {}", lines.next().unwrap_or_default());
    }
    for line in lines {
        let _ = writeln!(out, "  {:width$}  {line}", "");
    }
}

/// The lines of a text of words, each as long as fits.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The left column: all names and the placeholder.
fn left_column(path: &[&str], flag: &Flag) -> String {
    let names = names(path, flag).join(", ");
    let indent = if names.starts_with("--") { "    " } else { "" };
    let value = flag.value.map_or(String::new(), |value| format!(" {value}"));
    format!("{indent}{names}{value}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::commands::COMMANDS;

    const WIDE: usize = 1000;

    #[test]
    fn topics_are_listed_and_shown_as_markdown_or_rendered() {
        for page in TOPICS {
            assert!(help(&[], WIDE).contains(&format!("  {} ", page.name)), "{}", page.name);
            assert!(topic(page, false, WIDE).ends_with(&*page.text()), "{}", page.name);
            let set = topic(page, true, WIDE);
            assert!(set.contains("\u{1b}[1m") && !set.contains("\n# "), "{}", page.name);
        }
        let monitor = crate::cli::manual::find("monitor").unwrap();
        assert!(topic(monitor, false, WIDE).contains("--plain") && topic(monitor, false, WIDE).contains("# Monitor"));
    }

    #[test]
    fn every_command_has_a_page_with_all_its_flags_and_an_example() {
        for command in COMMANDS {
            let words: Vec<String> = command.path.iter().map(|&word| word.to_owned()).collect();
            let page = help(&words, WIDE);
            for flag in command.flags {
                assert!(page.contains(&format!("--{}", flag.name)), "{} --{}", command.name(), flag.name);
            }
            assert!(page.contains("Examples:\n  # "), "{}", command.name());
            assert!(help(&[], WIDE).contains(&command.name()));
            assert!(help(&words[..1], WIDE).contains(command.about));
        }
    }

    #[test]
    fn every_command_is_in_one_group() {
        for command in COMMANDS {
            let groups = GROUPS.iter().filter(|(_, members)| members.contains(&command.path[0]));
            assert_eq!(groups.count(), 1, "{}", command.name());
        }
    }

    #[test]
    fn texts_are_wrapped_to_the_terminal() {
        for columns in [70, 80, 120] {
            for command in COMMANDS {
                let page = page(command, columns);
                let flags = page.split("Examples:").next().unwrap();
                let long = flags.lines().find(|line| line.chars().count() > columns && line.starts_with("    "));
                assert_eq!(long, None, "{columns} columns");
            }
        }
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("abcdefghij k", 4), ["abcdefghij", "k"]);
    }
}
