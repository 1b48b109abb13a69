//! The rules on which module may import which. A violation is reported with its file and line.

#[path = "layers/imports.rs"]
mod imports;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module, and the modules of `crate::` that it may name. Every module may name `budget`, `error`, `machine` and
/// `sync`.
const RULES: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("state", &["proto"]),
    ("net", &[]),
    ("tunnel", &["proto", "net"]),
    ("http", &["net"]),
    ("hub", &["state", "tunnel", "http", "net", "proto"]),
    ("participant", &["client", "tunnel", "net", "proto"]),
    ("client", &["proto", "net"]),
    ("provider", &["http", "proto"]),
    ("discovery.rs", &["client", "proto"]),
    ("monitor", &[]),
    ("tui", &["monitor"]),
    ("budget.rs", &[]),
    ("error.rs", &["proto"]),
    ("machine.rs", &[]),
    ("sync.rs", &[]),
];

/// Crates that only the listed modules may use.
const OWNED: &[(&str, &[&str])] = &[
    ("tiny_http", &["http"]),
    ("httparse", &["http", "net"]),
    ("tungstenite", &["tunnel"]),
    ("mdns_sd", &["discovery.rs"]),
    ("rustls", &["net", "tunnel"]),
    ("argon2", &["hub"]),
    ("flate2", &["hub"]),
    ("blake2", &["hub"]),
    ("lexopt", &["cli"]),
    ("signal_hook", &["cli"]),
    ("ratatui", &["tui"]),
    ("crossterm", &["tui"]),
];

/// Top-level modules that still have import circles, and how many of their files are in one. The numbers only go down; a
/// module that is not listed has none.
const FILES_IN_CIRCLES: &[(&str, usize)] = &[];

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

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn source_files(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    sources(root, &mut files);
    assert!(files.len() > 30, "the sources were not found");
    files
}

/// The names that follow a prefix in a line of code, such as `crate::`.
fn named<'a>(line: &'a str, prefix: &str) -> Vec<&'a str> {
    let ident = |rest: &'a str| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("");
    line.match_indices(prefix).map(|(at, _)| ident(&line[at + prefix.len()..])).collect()
}

fn violations(module: &str, line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let code = line.split("//").next().unwrap_or("");
    if let Some((_, allowed)) = RULES.iter().find(|(name, _)| *name == module) {
        let stem = module.trim_end_matches(".rs");
        for name in named(code, "crate::") {
            if name != stem && !["budget", "error", "machine", "sync"].contains(&name) && !allowed.contains(&name) {
                found.push(format!("names crate::{name}"));
            }
        }
    }
    for (krate, owners) in OWNED {
        let word = format!("{krate}::");
        let start = code.find(&word).filter(|&at| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
        if start.is_some() && !owners.contains(&module) {
            found.push(format!("uses {krate}"));
        }
    }
    found
}

#[test]
fn every_module_imports_only_what_it_may() {
    let root = root();
    let mut found = Vec::new();
    for file in source_files(&root) {
        let inside = file.strip_prefix(&root).unwrap();
        let module = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//! "), "{} has no module documentation", inside.display());
        for (number, line) in text.lines().enumerate() {
            let place = format!("{}:{}", inside.display(), number + 1);
            found.extend(violations(module, line).into_iter().map(|what| format!("{place} {what}")));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn no_new_file_is_part_of_an_import_circle() {
    let (root, mut sources) = (root(), imports::Sources::default());
    for file in source_files(&root) {
        let inside = file.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
        sources.add(&inside, &fs::read_to_string(&file).unwrap());
    }
    let circles = sources.circles();
    let mut counts = BTreeMap::new();
    for file in circles.iter().flatten() {
        *counts.entry(file.split('/').next().unwrap()).or_insert(0) += 1;
    }
    let allowed =
        |module: &str| FILES_IN_CIRCLES.iter().find(|(name, _)| *name == module).map_or(0, |(_, files)| *files);
    let too_many: Vec<_> = counts.iter().filter(|(module, files)| **files > allowed(module)).collect();
    assert!(too_many.is_empty(), "{too_many:?} in the circles {circles:#?}");
}

/// Files that a Markdown text names in backticks, by their endings.
fn named_files(text: &str) -> Vec<&str> {
    let ends = |name: &str| [".rs", ".md", ".json"].iter().any(|end| name.ends_with(end));
    text.split('`').skip(1).step_by(2).filter(|name| ends(name) && !name.contains(' ')).collect()
}

#[test]
fn the_architecture_names_files_that_exist() {
    let root = root();
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    // Fences would count as backticks.
    let prose: String = text.split("```").step_by(2).collect();
    let named = named_files(&prose);
    assert!(named.len() > 30, "{named:?}");
    let exists = |name: &&str| {
        let places = [root.join(name), root.join("hub").join(name), root.join("..").join(name)];
        places.iter().any(|place| place.exists())
    };
    let missing: Vec<_> = named.into_iter().filter(|name| !exists(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_forbidden_import_is_found() {
    assert_eq!(violations("proto", "use crate::state::Now;"), ["names crate::state"]);
    assert_eq!(violations("hub", "let x = crate::participant::probe();"), ["names crate::participant"]);
    assert_eq!(violations("client", "use tungstenite::Message;"), ["uses tungstenite"]);
    assert!(violations("hub", "use crate::proto::management::Meta; // not crate::cli").is_empty());
}
