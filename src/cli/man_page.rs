//! `gambi man`, generated from the table of commands and the manual.

use std::fmt::Write as _;

use super::commands::{COMMANDS, COMMON, Flag};
use super::context::Context;
use super::failure::Failure;
use super::manual::TOPICS;
use super::markdown::{as_roff, roff};
use super::output;
use super::synonyms::{documented_flags, names};

/// Prints the man page.
pub fn man(_: &Context<'_>) -> Result<(), Failure> {
    output::line(man_page().trim_end())
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
    fn the_man_page_names_every_command_and_flag() {
        let page = man_page();
        for command in COMMANDS {
            for flag in command.all_flags() {
                assert!(page.contains(&roff(flag.name)), "{} --{}", command.name(), flag.name);
            }
            assert!(command.path.iter().all(|word| page.contains(word)));
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
