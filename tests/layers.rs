//! The house's rules on who may import whom. A breach is a line in a file, and this test names it.

use std::fs;
use std::path::{Path, PathBuf};

/// Each room, and the rooms of `crate::` that it may name. `budget`, `error`, `machine`, `names` and `trust` are everybody's.
const RULES: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("state", &["proto"]),
    ("tunnel", &["proto"]),
    ("http", &[]),
    ("hub", &["state", "tunnel", "http", "proto"]),
    ("participant", &["client", "tunnel", "http", "proto"]),
    ("client", &["proto"]),
    ("provider", &["http", "proto"]),
    ("discovery.rs", &["client", "proto"]),
    ("monitor", &[]),
    ("tui", &["monitor"]),
    ("budget.rs", &[]),
    ("error.rs", &["proto"]),
    ("machine.rs", &[]),
    ("names.rs", &[]),
    ("trust.rs", &[]),
];

/// Crates that only one room may use.
const OWNED: &[(&str, &[&str])] = &[
    ("tiny_http", &["http"]),
    ("httparse", &["http"]),
    ("tungstenite", &["tunnel"]),
    ("mdns_sd", &["discovery.rs"]),
    ("rustls", &["trust.rs", "tunnel"]),
    ("argon2", &["hub"]),
    ("blake2", &["hub"]),
    ("lexopt", &["cli"]),
    ("signal_hook", &["cli"]),
    ("ratatui", &["tui"]),
    ("crossterm", &["tui"]),
];

fn sources(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// The names that follow a prefix in a line of code, such as `crate::`.
fn named<'a>(line: &'a str, prefix: &str) -> Vec<&'a str> {
    let ident = |rest: &'a str| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("");
    line.match_indices(prefix).map(|(at, _)| ident(&line[at + prefix.len()..])).collect()
}

fn breaches(room: &str, line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let code = line.split("//").next().unwrap_or("");
    if let Some((_, allowed)) = RULES.iter().find(|(name, _)| *name == room) {
        let stem = room.trim_end_matches(".rs");
        for name in named(code, "crate::") {
            if name != stem
                && !["budget", "error", "machine", "names", "trust"].contains(&name)
                && !allowed.contains(&name)
            {
                found.push(format!("names crate::{name}"));
            }
        }
    }
    for (krate, owners) in OWNED {
        let word = format!("{krate}::");
        let start = code.find(&word).filter(|&at| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
        if start.is_some() && !owners.contains(&room) {
            found.push(format!("uses {krate}"));
        }
    }
    found
}

#[test]
fn every_line_keeps_to_its_room() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut files, mut found) = (Vec::new(), Vec::new());
    sources(&root, &mut files);
    assert!(files.len() > 30, "the sources were not found");
    for file in files {
        let inside = file.strip_prefix(&root).unwrap();
        let room = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//! "), "{} does not say what lives there", inside.display());
        for (number, line) in text.lines().enumerate() {
            let place = format!("{}:{}", inside.display(), number + 1);
            found.extend(breaches(room, line).into_iter().map(|what| format!("{place} {what}")));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_breach_is_seen() {
    assert_eq!(breaches("proto", "use crate::state::Now;"), ["names crate::state"]);
    assert_eq!(breaches("hub", "let x = crate::participant::probe();"), ["names crate::participant"]);
    assert_eq!(breaches("client", "use tungstenite::Message;"), ["uses tungstenite"]);
    assert!(breaches("hub", "use crate::proto::management::Meta; // not crate::cli").is_empty());
}
