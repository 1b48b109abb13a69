//! The manual: one page for each topic, embedded in the binary so that it can be read offline. The page of flags is generated
//! from the table of commands; the other pages are the files in `src/manual`.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::commands::{COMMANDS, COMMON, Flag};
use super::synonyms::{documented_flags, names};

/// A page of the manual.
#[derive(Debug)]
pub struct Topic {
    /// The argument of `gambi help`.
    pub name: &'static str,
    /// Description, one line.
    pub about: &'static str,
    /// Markdown; `None` for the page that is generated.
    page: Option<&'static str>,
}

impl Topic {
    /// The page, as Markdown.
    pub fn text(&self) -> Cow<'static, str> {
        self.page.map_or_else(|| flags_page().into(), Cow::Borrowed)
    }

    /// Whether the page is generated from the table of commands.
    pub fn is_generated(&self) -> bool {
        self.page.is_none()
    }
}

/// Finds a topic by its name.
pub fn find(name: &str) -> Option<&'static Topic> {
    TOPICS.iter().find(|topic| topic.name == name)
}

const fn topic(name: &'static str, about: &'static str, page: &'static str) -> Topic {
    Topic { name, about, page: Some(page) }
}

/// All topics, in the order in which the help lists them.
pub static TOPICS: &[Topic] = &[
    topic("install", "Building, static binaries, packages, services", include_str!("../manual/install.md")),
    topic("rooms", "Passwords, private and declared rooms, settings, expiry", include_str!("../manual/rooms.md")),
    topic("participants", "Joining with each kind of provider", include_str!("../manual/participants.md")),
    topic("clients", "A room's routes; curl, OpenAI, Anthropic", include_str!("../manual/clients.md")),
    topic("routing", "Which participant gets a request", include_str!("../manual/routing.md")),
    topic("dashboard", "The hub's page for browsers", include_str!("../manual/dashboard.md")),
    topic("monitor", "Watching rooms in a terminal", include_str!("../manual/monitor.md")),
    topic("metrics", "Metrics of rooms, Prometheus", include_str!("../manual/metrics.md")),
    topic("logs", "The hub's log", include_str!("../manual/logs.md")),
    topic("security", "Keys, passwords, tokens; what is not protected", include_str!("../manual/security.md")),
    topic("proxies", "TLS with Caddy or nginx", include_str!("../manual/proxies.md")),
    topic("discovery", "Finding hubs by mDNS", include_str!("../manual/discovery.md")),
    topic("config", "The config file and environment variables", include_str!("../manual/config.md")),
    topic("scripting", "Output formats, exit codes, signals", include_str!("../manual/scripting.md")),
    topic("limits", "Sizes, times and counts", include_str!("../manual/limits.md")),
    Topic { name: "flags", about: "Every flag of every command", page: None },
    topic("older-clients", "The older API and command names", include_str!("../manual/older-clients.md")),
    topic("library", "Embedding hubs and participants in Rust", include_str!("../manual/library.md")),
    topic("protocol", "The wire protocol", include_str!("../proto/PROTOCOL.md")),
];

fn flags_page() -> String {
    let mut out = String::from("# Flags\n\n`gambi COMMAND --help` shows the flags of one command, with examples.\n");
    out.push_str("\n## Every command\n\n");
    table(&mut out, &[], COMMON);
    for command in COMMANDS {
        let _ = writeln!(out, "\n## gambi {}\n\n{}.\n", command.name(), command.about);
        let flags = documented_flags(command);
        if !flags.is_empty() {
            table(&mut out, command.path, &flags);
        }
    }
    out
}

fn table(out: &mut String, path: &[&str], flags: &[&Flag]) {
    out.push_str("| flag | what it does |\n|---|---|\n");
    for flag in flags {
        let value = flag.value.map(|value| format!(" {value}")).unwrap_or_default();
        let row = format!("`{}{value}` | {}", names(path, flag).join(", "), flag.help);
        let bars = row.replace('|', "\\|").replacen(" \\| ", " | ", 1);
        let _ = writeln!(out, "| {bars} |");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_flags_has_all_of_them() {
        let page = find("flags").unwrap().text();
        for command in COMMANDS {
            assert!(page.contains(&format!("## gambi {}\n", command.name())), "{}", command.name());
            for flag in command.all_flags() {
                assert!(page.contains(&format!("--{}", flag.name)) && page.contains(&flag.help.replace('|', "\\|")));
            }
        }
        assert!(page.contains("| `--direct off\\|private\\|any` | Which"), "{page}");
    }

    #[test]
    fn every_page_begins_with_its_title_and_ends_with_a_line_end() {
        for topic in TOPICS {
            let text = topic.text();
            assert!(text.starts_with("# ") && text.ends_with('\n'), "{}", topic.name);
            assert!(!topic.about.ends_with('.') && !topic.name.contains(' '), "{}", topic.name);
        }
    }
}
