//! The help, generated from the table of commands, and the pages of the manual.

use std::fmt::Write as _;

use super::commands::{COMMON, Command, Flag};
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
  gambi participant join -r CODE --participant-id ME -m MODEL    join the room with your Ollama
  gambi chat -r CODE 'Hello!'                   send a chat to the room (`gambi help` lists all commands)
";

const OUTRO: &str = "\
Exit codes: 0 done, 1 unexpected, 2 wrong usage, 3 no connection or no credentials, 4 refused by the hub's state.
Values are taken from flags, then environment variables, then ~/.config/gambi/config.json, then the defaults.
";

/// Help on the commands whose paths begin with `words`: a page for a single command, otherwise a list.
pub fn help(words: &[String]) -> String {
    match below(words).as_slice() {
        [one] if one.path.len() == words.len() => page(one),
        several => list(words, several),
    }
}

/// A page of the manual, rendered for a terminal or as Markdown. The help of a command with the topic's name comes first.
pub fn topic(topic: &Topic, for_terminal: bool) -> String {
    let text = topic.text();
    let text = if for_terminal { markdown::for_terminal(&text) } else { text.into_owned() };
    match below(&[topic.name.to_owned()]).as_slice() {
        [command] => format!("{}\n{text}", page(command)),
        _ => text,
    }
}

fn list(words: &[String], commands: &[&Command]) -> String {
    let mut out = String::new();
    if words.is_empty() {
        let _ = writeln!(out, "{INTRO}\n");
    }
    let noun: String = words.iter().map(|word| format!(" {word}")).collect();
    let _ = writeln!(out, "Usage: gambi{noun} COMMAND [flags]\n\nCommands:");
    let width = commands.iter().map(|c| c.name().len()).max().unwrap_or(0);
    for command in commands {
        let _ = writeln!(out, "  {:width$}  {}", command.name(), command.about);
    }
    if words.is_empty() {
        out.push_str("\nThe manual, by topic (`gambi help TOPIC`):\n");
        for topic in TOPICS {
            let _ = writeln!(out, "  {:width$}  {}", topic.name, topic.about);
        }
    }
    out.push_str("\nFor every command:\n");
    flags(&mut out, &[], COMMON);
    let _ = write!(out, "\n`gambi COMMAND --help` shows a command's own flags, and examples.\n{OUTRO}");
    out
}

fn page(command: &Command) -> String {
    let alone = command.positional.and_then(|flag| flag.value).map(|value| format!(" {value}")).unwrap_or_default();
    let mut out = format!("{}.\n\nUsage: gambi {}{} [flags]\n\nFlags:\n", command.about, command.name(), alone);
    flags(&mut out, command.path, command.flags);
    out.push_str("\nFor every command:\n");
    flags(&mut out, command.path, COMMON);
    out.push_str("\nExamples:\n");
    for (what, line) in command.examples {
        let _ = writeln!(out, "  # {what}\n  {line}");
    }
    let _ = write!(out, "\n{OUTRO}");
    out
}

fn flags(out: &mut String, path: &[&str], flags: &[&Flag]) {
    let width = flags.iter().map(|f| left_column(path, f).len()).max().unwrap_or(0).min(34);
    for flag in flags {
        let column = left_column(path, flag);
        if column.len() > width {
            let _ = writeln!(out, "  {column}\n  {:width$}  {}", "", flag.help);
        } else {
            let _ = writeln!(out, "  {column:width$}  {}", flag.help);
        }
    }
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

    #[test]
    fn topics_are_listed_and_shown_as_markdown_or_rendered() {
        for page in TOPICS {
            assert!(help(&[]).contains(&format!("  {} ", page.name)), "{}", page.name);
            assert!(topic(page, false).ends_with(&*page.text()), "{}", page.name);
            let set = topic(page, true);
            assert!(set.contains("\u{1b}[1m") && !set.contains("\n# "), "{}", page.name);
        }
        let monitor = crate::cli::manual::find("monitor").unwrap();
        assert!(topic(monitor, false).contains("--plain") && topic(monitor, false).contains("# Monitor"));
    }

    #[test]
    fn every_command_has_a_page_with_all_its_flags_and_an_example() {
        for command in COMMANDS {
            let words: Vec<String> = command.path.iter().map(|&word| word.to_owned()).collect();
            let page = help(&words);
            for flag in command.all_flags() {
                assert!(page.contains(&format!("--{}", flag.name)), "{} --{}", command.name(), flag.name);
            }
            assert!(page.contains("Examples:\n  # "), "{}", command.name());
            assert!(help(&[]).contains(&command.name()));
            assert!(help(&words[..1]).contains(command.about));
        }
    }
}
