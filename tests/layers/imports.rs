//! Which source file imports which, read from the text, and the circles among them.
//!
//! An import is any path that starts with `crate`, `super` or `self`, in a `use` declaration or in the code, and any `use`
//! of a child module. A name that a module itself imports leads to the file that defines it. `mod` declarations are no
//! imports, and inline test modules, which stand last in a file, are not read.

use std::collections::{BTreeMap, BTreeSet};

type Path = Vec<String>;

/// The source files of a crate by module path; `lib.rs` has the empty path.
#[derive(Default)]
pub struct Sources {
    modules: BTreeMap<Path, Module>,
}

#[derive(Default)]
struct Module {
    file: String,
    code: String,
    uses: Vec<Use>,
}

/// One name of a `use` declaration, its braces expanded.
#[derive(Debug, PartialEq)]
struct Use {
    path: Path,
    /// The name that it gets in this module.
    name: String,
}

impl Sources {
    /// Adds a file by its path below `src`, with `/` between the parts.
    pub fn add(&mut self, file: &str, text: &str) {
        let mut path: Path = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        if path.last().is_some_and(|last| last == "mod" || file == "lib.rs") {
            path.pop();
        }
        let (code, uses) = split_uses(text);
        self.modules.insert(path, Module { file: file.to_owned(), code, uses });
    }

    /// The import circles: sets of more than one file in which each file reaches each other one by imports.
    pub fn circles(&self) -> Vec<BTreeSet<&str>> {
        let edges = self.edges();
        let reached: BTreeMap<&str, BTreeSet<&str>> = edges.keys().map(|file| (*file, reach(file, &edges))).collect();
        let mut circles = BTreeSet::new();
        for (file, others) in &reached {
            let circle: BTreeSet<&str> = others.iter().copied().filter(|other| reached[other].contains(file)).collect();
            if circle.len() > 1 {
                circles.insert(circle);
            }
        }
        circles.into_iter().collect()
    }

    /// Each file and the files that it imports.
    pub fn edges(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        self.modules.iter().map(|(path, module)| (module.file.as_str(), self.imports(path, module))).collect()
    }

    fn imports(&self, path: &Path, module: &Module) -> BTreeSet<&str> {
        let named = module.uses.iter().map(|import| import.path.clone()).chain(paths_in(&module.code));
        let files = named.filter_map(|name| self.resolve(path, &name, 8));
        files.filter(|file| *file != module.file).collect()
    }

    /// The file that defines what a path names, seen from a module; `None` for other crates. `depth` bounds the chain of
    /// re-exports that is followed.
    fn resolve(&self, from: &[String], path: &[String], depth: usize) -> Option<&str> {
        let (mut at, mut rest) = self.start(from, path)?;
        while let Some((next, after)) = rest.split_first() {
            let mut child = at.clone();
            child.push(next.clone());
            if !self.modules.contains_key(&child) {
                break;
            }
            (at, rest) = (child, after);
        }
        let module = self.modules.get(&at)?;
        let exported = module.uses.iter().find(|import| rest.first() == Some(&import.name));
        match exported.filter(|_| depth > 0) {
            Some(import) => self.resolve(&at, &import.path, depth - 1).or(Some(&module.file)),
            None => Some(&module.file),
        }
    }

    /// Where a path starts: a module, and what follows it.
    fn start<'p>(&self, from: &[String], path: &'p [String]) -> Option<(Path, &'p [String])> {
        let (first, mut rest) = path.split_first()?;
        let mut at = from.to_vec();
        match first.as_str() {
            // The binary knows the library by its name.
            "crate" | "gambi" => at.clear(),
            "self" => {}
            "super" => {
                at.pop();
                while rest.first().is_some_and(|next| next == "super") {
                    at.pop();
                    rest = &rest[1..];
                }
            }
            child => {
                at.push(child.to_owned());
                self.modules.get(&at)?;
            }
        }
        Some((at, rest))
    }
}

fn reach<'a>(from: &'a str, edges: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<&'a str> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(file) = open.pop() {
        open.extend(edges[file].iter().copied().filter(|next| seen.insert(*next)));
    }
    seen
}

/// A file's code without comments, `use` declarations and its inline test module; and the `use` declarations.
fn split_uses(text: &str) -> (String, Vec<Use>) {
    let (mut code, mut uses, mut open) = (String::new(), Vec::new(), None::<String>);
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let next_opens = lines.peek().is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'));
        if (line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test,")) && next_opens {
            break;
        }
        let line = line.split("//").next().unwrap_or("").trim();
        if let Some(declaration) = &mut open {
            declaration.push_str(line);
        } else if line.starts_with("use ") || (line.starts_with("pub") && line.contains(" use ")) {
            open = Some(line.to_owned());
        } else {
            code.push_str(line);
            code.push('\n');
        }
        if let Some(declaration) = open.take_if(|declaration| declaration.ends_with(';')) {
            let (_, tree) = declaration.split_once("use ").unwrap_or_default();
            expand(&[], tree.trim_end_matches(';'), &mut uses);
        }
    }
    (code, uses)
}

/// Expands `a::{b, c::{d, self}}` into one entry for each name.
fn expand(prefix: &[String], tree: &str, uses: &mut Vec<Use>) {
    let tree = tree.trim();
    if let Some((head, group)) = tree.split_once('{') {
        let mut prefix = prefix.to_vec();
        prefix.extend(head.split("::").filter(|part| !part.trim().is_empty()).map(|part| part.trim().to_owned()));
        let group = group.trim_end().trim_end_matches('}');
        // A nested group lost its closing braces above; they do not matter, since names are split at the outer commas.
        let (mut depth, mut from) = (0_i32, 0);
        for (at, c) in group.char_indices() {
            depth += i32::from(c == '{') - i32::from(c == '}');
            if c == ',' && depth == 0 {
                expand(&prefix, &group[from..at], uses);
                from = at + 1;
            }
        }
        return expand(&prefix, &group[from..], uses);
    }
    if tree.is_empty() {
        return;
    }
    let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias)));
    let mut full = prefix.to_vec();
    full.extend(path.split("::").map(|part| part.trim().to_owned()));
    if full.len() > 1 && full.last().is_some_and(|last| last == "self") {
        full.pop();
    }
    let name = alias.map(str::to_owned).or_else(|| full.last().cloned()).unwrap_or_default();
    uses.push(Use { path: full, name });
}

/// Paths in code that start with `crate::` or `super::`.
fn paths_in(code: &str) -> Vec<Path> {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            if code[..at].ends_with(|c: char| part_of_name(c) || c == ':') {
                continue;
            }
            let path = code[at..].split(|c: char| !part_of_name(c) && c != ':').next().unwrap_or("");
            found.push(path.trim_end_matches(':').split("::").map(str::to_owned).collect());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let mut sources = Sources::default();
        files.iter().for_each(|(file, text)| sources.add(file, text));
        let owned = |circle: BTreeSet<&str>| circle.into_iter().map(str::to_owned).collect();
        sources.circles().into_iter().map(owned).collect()
    }

    #[test]
    fn a_circle_of_files_is_found_however_they_import() {
        for back in
            ["use super::one::One;", "use crate::a::{\n    one::{One, Other},\n};", "fn f(_: super::one::One) {}"]
        {
            let files = [("a/mod.rs", "mod one;\nmod two;"), ("a/one.rs", "use super::two::Two;"), ("a/two.rs", back)];
            assert_eq!(circles(&files), [["a/one.rs", "a/two.rs"]], "{back}");
        }
        let three =
            [("a.rs", "use crate::b;"), ("b.rs", "use crate::c::{self, C};"), ("c.rs", "use crate::a::A as B;")];
        assert_eq!(circles(&three), [["a.rs", "b.rs", "c.rs"]]);
    }

    #[test]
    fn re_exports_tests_and_comments_make_no_circle() {
        let facade = [
            (
                "a/mod.rs",
                "mod one;\nmod two;\npub use one::One;\n#[cfg(test)]\nmod tests {\n    use super::two::Two;\n}",
            ),
            ("a/one.rs", "// use super::two::Two;\nuse std::fmt;"),
            ("a/two.rs", "use super::One;\n#[cfg(test)]\nmod tests {\n    use super::*;\n}"),
        ];
        assert_eq!(circles(&facade), Vec::<Vec<String>>::new());
    }

    #[test]
    fn a_module_and_its_child_that_import_each_other_are_a_circle() {
        let files = [("a/mod.rs", "mod one;\npub use one::One;\npub struct Top;"), ("a/one.rs", "use super::Top;")];
        assert_eq!(circles(&files), [["a/mod.rs", "a/one.rs"]]);
    }
}
