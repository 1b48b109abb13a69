//! The rules on which module may import which. A violation is reported with its file and line.

#[path = "layers/imports.rs"]
mod imports;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module, and the modules of `crate::` that it may name. Every module may name `budget`, `error`, `fingerprint`,
/// `machine`, `random` and `sync`.
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
    ("discovery", &["client", "proto"]),
    ("monitor", &[]),
    ("chat", &["monitor"]),
    ("tui", &["chat", "monitor"]),
    ("budget.rs", &[]),
    ("error.rs", &["proto"]),
    ("fingerprint.rs", &[]),
    ("machine.rs", &[]),
    ("sync.rs", &[]),
];

/// The parts of `hub`, directories and single files, and the other parts that each may import. `hub/mod.rs` and the tests in
/// `hub/properties.rs` may import all of them. `context` and `options` import the types of their fields, from files that do
/// not import them back: that would be a circle.
const HUB_PARTS: &[(&str, &[&str])] = &[
    ("api", &["relay", "access", "tunnels", "observe", "context", "error_shape", "handler", "random", "respond"]),
    ("relay", &["tunnels", "observe", "context", "error_shape", "options", "random", "respond"]),
    ("access", &["context", "random", "respond"]),
    ("tunnels", &["access", "observe", "maintenance", "context", "handler", "respond"]),
    ("observe", &["context"]),
    ("maintenance", &["context", "respond"]),
    ("context", &["access", "relay", "tunnels", "observe", "maintenance", "options", "random"]),
    ("handler", &["respond"]),
    ("respond", &["error_shape", "observe"]),
    ("error_shape", &[]),
    ("options", &["access", "maintenance", "observe"]),
    ("random", &[]),
];

/// Crates that only the listed modules may use.
const OWNED: &[(&str, &[&str])] = &[
    ("tiny_http", &["http"]),
    ("httparse", &["http", "net"]),
    ("tungstenite", &["tunnel"]),
    ("mdns_sd", &["discovery"]),
    ("rustls", &["net"]),
    ("argon2", &["hub"]),
    ("flate2", &["build.rs", "cli", "hub"]),
    ("blake2", &["hub"]),
    ("lexopt", &["cli"]),
    ("rustyline", &["cli"]),
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
            if name != stem
                && !["budget", "error", "fingerprint", "machine", "random", "sync"].contains(&name)
                && !allowed.contains(&name)
            {
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

fn read_sources() -> imports::Sources {
    let (root, mut sources) = (root(), imports::Sources::default());
    for file in source_files(&root) {
        let inside = file.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
        sources.add(&inside, &fs::read_to_string(&file).unwrap());
    }
    sources
}

/// The part of `hub` that a file belongs to; `None` outside of `hub`, and for the files that may import every part.
fn hub_part(file: &str) -> Option<&str> {
    let part = file.strip_prefix("hub/")?.split('/').next()?.trim_end_matches(".rs");
    (!["mod", "properties"].contains(&part)).then_some(part)
}

/// Imports among the parts of `hub` that [`HUB_PARTS`] does not allow.
fn hub_violations(sources: &imports::Sources) -> Vec<String> {
    let mut found = Vec::new();
    for (file, imported) in sources.edges() {
        let Some(part) = hub_part(file) else { continue };
        let allowed = HUB_PARTS.iter().find(|(name, _)| *name == part).map_or(&[][..], |(_, allowed)| allowed);
        let forbidden =
            imported.into_iter().filter(|other| hub_part(other).is_some_and(|o| o != part && !allowed.contains(&o)));
        found.extend(forbidden.map(|other| format!("{file} imports {other}")));
    }
    found
}

#[test]
fn every_part_of_the_hub_imports_only_what_it_may() {
    let sources = read_sources();
    let found = hub_violations(&sources);
    assert!(found.is_empty(), "{found:#?}");
    // A rule that no import uses would hide a wrong direction later.
    let edges = sources.edges();
    let imports = |part: &str, other: &str| {
        edges.iter().any(|(file, imported)| {
            hub_part(file) == Some(part) && imported.iter().any(|file| hub_part(file) == Some(other))
        })
    };
    let unused: Vec<_> = HUB_PARTS
        .iter()
        .flat_map(|(part, allowed)| allowed.iter().map(move |other| (*part, *other)))
        .filter(|(part, other)| !imports(part, other))
        .collect();
    assert!(unused.is_empty(), "{unused:?}");
}

#[test]
fn no_new_file_is_part_of_an_import_circle() {
    let sources = read_sources();
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

/// Modules that a text names without the ending of their files, such as `relay/slots`.
fn named_modules(text: &str) -> Vec<&str> {
    let is_module = |word: &&str| {
        let dir = word.split_once('/').map_or("", |(dir, _)| dir);
        let known = RULES.iter().chain(HUB_PARTS).any(|(name, _)| *name == dir);
        known && !word.contains('.')
    };
    text.split(|c: char| !c.is_ascii_lowercase() && !"_/.".contains(c)).filter(is_module).collect()
}

#[test]
fn the_architecture_names_modules_that_exist() {
    let root = root();
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let named = named_modules(&text);
    assert!(named.len() > 10, "{named:?}");
    let exists = |name: &&str| {
        let places = [root.join(name), root.join("hub").join(name)];
        places.iter().any(|place| place.is_dir() || place.with_extension("rs").is_file())
    };
    let missing: Vec<_> = named.into_iter().filter(|name| !exists(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
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
fn comments_name_parts_of_the_protocol_that_exist() {
    let root = root();
    let protocol = fs::read_to_string(root.join("proto/PROTOCOL.md")).unwrap();
    let titles: Vec<&str> = protocol.lines().filter(|line| line.starts_with("##")).collect();
    let mut named = 0;
    for file in source_files(&root) {
        let text = fs::read_to_string(&file).unwrap();
        // A reference may go on in the next line of its comment.
        let lines = text.lines().map(|line| line.trim_start_matches(['/', '!', ' ']));
        let text = lines.collect::<Vec<_>>().join(" ");
        for part in text.split("PROTOCOL.md, \"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let exists = titles.iter().any(|title| title.trim_start_matches('#').trim() == part);
            assert!(exists, "{} names \"{part}\"", file.display());
            named += 1;
        }
    }
    assert!(named > 10, "{named}");
}

#[test]
fn a_forbidden_import_is_found() {
    assert_eq!(violations("proto", "use crate::state::Now;"), ["names crate::state"]);
    assert_eq!(violations("hub", "let x = crate::participant::probe();"), ["names crate::participant"]);
    assert_eq!(violations("client", "use tungstenite::Message;"), ["uses tungstenite"]);
    assert!(violations("hub", "use crate::proto::management::Meta; // not crate::cli").is_empty());
    let mut sources = imports::Sources::default();
    for module in ["hub", "hub/api"] {
        sources.add(&format!("{module}/mod.rs"), "");
    }
    sources.add("hub/api/routes.rs", "use crate::hub::relay;");
    sources.add("hub/relay/mod.rs", "use crate::hub::api::routes;");
    assert_eq!(hub_violations(&sources), ["hub/relay/mod.rs imports hub/api/routes.rs"]);
}
