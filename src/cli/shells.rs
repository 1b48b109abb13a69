//! `gambi completions` and `gambi man`, generated from the table of commands and the manual.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::commands::{COMMANDS, COMMON, Command, Flag};
use super::context::Context;
use super::failure::Failure;
use super::manual::TOPICS;
use super::markdown::{as_roff, roff};
use super::output;
use super::synonyms::{documented_flags, names};

/// Prints a shell's completion script.
pub fn completions(context: &Context<'_>) -> Result<(), Failure> {
    let shell = context.required("shell")?;
    let script = match shell.as_str() {
        "bash" => bash(),
        "zsh" => format!("#compdef gambi\nautoload -U +X bashcompinit && bashcompinit\n{}", bash()),
        "fish" => fish(),
        _ => return Err(Failure::usage(format!("the shell must be bash, zsh or fish, not \"{shell}\""))),
    };
    output::line(script.trim_end())
}

/// Prints the man page.
pub fn man(_: &Context<'_>) -> Result<(), Failure> {
    output::line(man_page().trim_end())
}

/// The words that may follow these words of a command line.
fn next_words(words: &[&str]) -> BTreeSet<&'static str> {
    match words {
        [] => command_words(words).into_iter().chain(["help"]).collect(),
        ["help"] => command_words(&[]).into_iter().chain(TOPICS.iter().map(|topic| topic.name)).collect(),
        _ => command_words(words),
    }
}

fn command_words(words: &[&str]) -> BTreeSet<&'static str> {
    let begins = |c: &&Command| c.path.len() > words.len() && c.path.iter().zip(words).all(|(a, b)| a == b);
    COMMANDS.iter().filter(begins).map(|c| c.path[words.len()]).collect()
}

fn flags(command: &Command) -> String {
    let names = command.all_flags().flat_map(|flag| names(command.path, flag));
    names.filter(|name| name.starts_with("--")).collect::<Vec<_>>().join(" ")
}

fn joined(words: BTreeSet<&str>) -> String {
    words.into_iter().collect::<Vec<_>>().join(" ")
}

fn bash() -> String {
    let mut cases = String::new();
    for word in next_words(&[]) {
        let next = joined(next_words(&[word]));
        if !next.is_empty() {
            let _ = writeln!(cases, "    {word}) words=\"{next} --help\" ;;");
        }
    }
    for command in COMMANDS {
        let _ = writeln!(cases, "    \"{}\") words=\"{}\" ;;", command.name(), flags(command));
    }
    let common: Vec<String> = COMMON.iter().map(|flag| format!("--{}", flag.name)).collect();
    format!(
        "_gambi() {{\n  local cur=${{COMP_WORDS[COMP_CWORD]}} path= word words=\n  \
         for word in \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"; do\n    case $word in -*) break ;; esac\n    \
         path=\"${{path:+$path }}$word\"\n  done\n  case $path in\n    \"\") words=\"{} {}\" ;;\n{cases}  esac\n  \
         COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}}\ncomplete -o default -F _gambi gambi gambiarra\n",
        joined(next_words(&[])),
        common.join(" ")
    )
}

fn fish() -> String {
    let mut out = String::from("complete -c gambi -f\n");
    for word in next_words(&[]) {
        let _ = writeln!(out, "complete -c gambi -n __fish_use_subcommand -a {word}");
        for next in next_words(&[word]) {
            let _ = writeln!(
                out,
                "complete -c gambi -n '__fish_seen_subcommand_from {word}; and not __fish_seen_subcommand_from {}' -a {next}",
                joined(next_words(&[word]))
            );
        }
    }
    for command in COMMANDS {
        let seen: Vec<String> = command.path.iter().map(|word| format!("__fish_seen_subcommand_from {word}")).collect();
        for flag in command.all_flags() {
            let names = names(command.path, flag).into_iter().map(|name| match name.strip_prefix("--") {
                Some(long) => format!(" -l {long}"),
                None => format!(" -s {}", name.trim_start_matches('-')),
            });
            let value = if flag.value.is_some() { " -r -F" } else { "" };
            let help = flag.help.replace('\'', "\\'");
            let _ = writeln!(
                out,
                "complete -c gambi -n '{}'{}{value} -d '{help}'",
                seen.join("; and "),
                names.collect::<String>()
            );
        }
    }
    out
}

fn man_page() -> String {
    let mut out = format!(
        ".TH GAMBI 1 \"\" \"gambi {}\" \"User Commands\"\n.SH NAME\ngambi \\- rooms for the local LLMs of a network\n\
         .SH SYNOPSIS\n.B gambi\n.I COMMAND\n[\\fIflags\\fR]\n.SH COMMON FLAGS\n",
        env!("CARGO_PKG_VERSION")
    );
    man_flags(&mut out, &[], COMMON);
    out.push_str(".SH COMMANDS\n");
    for command in COMMANDS {
        let _ = writeln!(out, ".SS gambi {}\n{}.", roff(&command.name()), roff(command.about));
        man_flags(&mut out, command.path, &documented_flags(command));
        for (what, line) in command.examples {
            let _ = writeln!(out, ".PP\n{}:\n.PP\n.RS 4\n{}\n.RE", roff(what), roff(line));
        }
    }
    for topic in TOPICS.iter().filter(|topic| !topic.is_generated()) {
        out.push_str(&as_roff(&topic.text()));
    }
    out.push_str(
        ".SH EXIT STATUS\n0 done, 1 unexpected, 2 wrong usage, 3 no connection or no credentials, 4 refused by the hub's \
         state.\n.SH FILES\n~/.config/gambi/config.json\n",
    );
    out
}

fn man_flags(out: &mut String, path: &[&str], flags: &[&Flag]) {
    for flag in flags {
        let value = flag.value.map(|value| format!(" \\fI{}\\fR", roff(value))).unwrap_or_default();
        let names = roff(&names(path, flag).join(", "));
        let _ = writeln!(out, ".TP\n\\fB{names}\\fR{value}\n{}", roff(flag.help));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_and_man_page_name_every_command_and_flag() {
        for text in [bash(), fish(), man_page()] {
            for command in COMMANDS {
                for flag in command.all_flags() {
                    let roffed = roff(flag.name);
                    assert!(text.contains(flag.name) || text.contains(&roffed), "{} --{}", command.name(), flag.name);
                }
                assert!(command.path.iter().all(|word| text.contains(word)));
            }
        }
        for text in [bash(), fish()] {
            assert!(TOPICS.iter().all(|topic| text.contains(topic.name)));
        }
    }

    #[test]
    fn the_man_page_contains_the_manual_without_markdown() {
        let page = man_page();
        for section in ["ROUTING", "SECURITY", "LIMITS", "OLDER CLIENTS"] {
            assert_eq!(page.matches(&format!(".SH {section}\n")).count(), 1, "{section}");
        }
        assert!(!page.contains("```") && !page.contains("\n| "), "Markdown is left in it");
    }
}
