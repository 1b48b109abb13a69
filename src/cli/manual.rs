//! The manual: one page for each topic, embedded in the binary so that it can be read offline. The page of flags is generated
//! from the table of commands; the other pages are the files in `src/manual`.

use std::fmt::Write as _;
use std::io::Read as _;

use flate2::read::GzDecoder;

use super::commands::{COMMANDS, COMMON, Flag};
use super::synonyms::{documented_flags, names};

/// A page of the manual.
#[derive(Debug)]
pub struct Topic {
    /// The argument of `gambi help`.
    pub name: &'static str,
    /// Description, one line.
    pub about: &'static str,
    /// Markdown, compressed with gzip by the build script; `None` for the page that is generated.
    page: Option<&'static [u8]>,
}

impl Topic {
    /// The page, as Markdown.
    pub fn text(&self) -> String {
        let Some(page) = self.page else { return flags_page() };
        let mut text = String::new();
        GzDecoder::new(page).read_to_string(&mut text).expect("the build script has compressed a text");
        text
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

const fn topic(name: &'static str, about: &'static str, page: &'static [u8]) -> Topic {
    Topic { name, about, page: Some(page) }
}

/// A page by the name that the build script (`src/build.rs`) gives it.
macro_rules! page {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".md.gz"))
    };
}

/// All topics, in the order in which the help lists them.
pub static TOPICS: &[Topic] = &[
    topic("install", "Building, static binaries, packages, services", page!("install")),
    topic("rooms", "Passwords, private and declared rooms, settings, expiry", page!("rooms")),
    topic("participants", "Joining with each kind of provider", page!("participants")),
    topic("clients", "A room's routes; curl, OpenAI, Anthropic", page!("clients")),
    topic("routing", "Which participant gets a request", page!("routing")),
    topic("dashboard", "The hub's page for browsers", page!("dashboard")),
    topic("monitor", "Watching rooms in a terminal", page!("monitor")),
    topic("metrics", "Metrics of rooms, Prometheus", page!("metrics")),
    topic("logs", "The hub's log", page!("logs")),
    topic("security", "Keys, passwords, tokens; what is not protected", page!("security")),
    topic("proxies", "TLS with Caddy or nginx", page!("proxies")),
    topic("discovery", "Finding hubs by mDNS", page!("discovery")),
    topic("config", "The config file and environment variables", page!("config")),
    topic("scripting", "Output formats, exit codes, signals", page!("scripting")),
    topic("limits", "Sizes, times and counts", page!("limits")),
    Topic { name: "flags", about: "Every flag of every command", page: None },
    topic("older-clients", "The older API and command names", page!("older-clients")),
    topic("library", "Embedding hubs and participants in Rust", page!("library")),
    topic("protocol", "The wire protocol", page!("protocol")),
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
