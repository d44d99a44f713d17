//! No two files of a room use each other, not even by way of others: found by reading what each file names.
//!
//! A name that a room's top file hands on is followed to the file it comes from. A top file and the files below it may know
//! each other: that is how a module is put together.

use super::code;
use std::collections::{BTreeMap, BTreeSet};

type Path = Vec<String>;

/// The sources of `src`, by module.
struct Modules {
    files: BTreeMap<Path, (String, String)>,
    /// For each module the names that it imports, with where they come from.
    imports: BTreeMap<Path, BTreeMap<String, Path>>,
}

impl Modules {
    fn new(sources: &BTreeMap<String, String>) -> Self {
        let module = |file: &str| {
            let name = file.trim_end_matches(".rs").trim_end_matches("/mod");
            name.split('/').map(str::to_owned).collect::<Path>()
        };
        let files = sources.iter().map(|(file, text)| (module(file), (file.clone(), text.clone()))).collect();
        let mut all = Self { files, imports: BTreeMap::new() };
        for (module, (_, text)) in &all.files {
            let named = uses(text).into_iter().filter_map(|(path, name)| Some((name, all.absolute(module, &path)?)));
            all.imports.insert(module.clone(), named.collect());
        }
        all
    }

    /// A path as it is written in a module, from the crate on; none if it is another crate's.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<Path> {
        let (mut from, mut rest) = (module.to_vec(), path);
        match rest.first()?.as_str() {
            "crate" => return Some(rest.get(1..)?.to_vec()),
            "self" => rest = rest.get(1..)?,
            "super" => {
                while rest.first().is_some_and(|part| part == "super") {
                    from.pop();
                    rest = rest.get(1..)?;
                }
            }
            first => {
                let mut child = from.clone();
                child.push(first.to_owned());
                self.files.get(&child)?;
            }
        }
        from.extend(rest.iter().cloned());
        Some(from)
    }

    /// The module that a path resolves to, through re-exports.
    fn home(&self, path: &[String], depth: usize) -> Option<Path> {
        let module =
            (1..=path.len()).rev().map(|length| &path[..length]).find(|part| self.files.contains_key(*part))?;
        let handed_on = path.get(module.len()).and_then(|name| self.imports[module].get(name));
        match handed_on.filter(|next| *next != path && depth < 8) {
            Some(next) => self.home(next, depth + 1),
            None => Some(module.to_vec()),
        }
    }

    /// The files that each file uses.
    fn arrows(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let related = |a: &Path, b: &Path| a.starts_with(b) || b.starts_with(a);
        let arrows = self.files.iter().map(|(module, (file, text))| {
            let paths = uses(text).into_iter().map(|(path, _)| path).chain(inline(text));
            let homes = paths.filter_map(|path| self.home(&self.absolute(module, &path)?, 0));
            let others = homes.filter(|home| !related(home, module));
            (file.as_str(), others.map(|home| self.files[&home].0.as_str()).collect())
        });
        arrows.collect()
    }
}

/// Each `use` of a text: the path, and the name it has here.
fn uses(text: &str) -> Vec<(Path, String)> {
    let mut found = Vec::new();
    for statement in text.split(';') {
        let start = statement.match_indices("use ").map(|(at, _)| at);
        let own = |at: &usize| {
            statement[..*at].rsplit('\n').next().is_some_and(|line| {
                let line = line.trim();
                line.is_empty() || line == "pub" || line.starts_with("pub(")
            })
        };
        if let Some(at) = start.into_iter().find(own) {
            leaves(&statement[at + 4..], &[], &mut found);
        }
    }
    found
}

fn leaves(tree: &str, before: &[String], found: &mut Vec<(Path, String)>) {
    let parts = |text: &str| {
        text.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect::<Path>()
    };
    let tree = tree.trim();
    if let Some((head, rest)) = tree.split_once('{') {
        let path = [before.to_vec(), parts(head)].concat();
        let (mut depth, mut start) = (0, 0);
        let inner = rest.trim_end().trim_end_matches('}');
        for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
            depth += i32::from(c == '{') - i32::from(c == '}');
            if c == ',' && depth == 0 {
                leaves(&inner[start..at], &path, found);
                start = at + 1;
            }
        }
    } else if !tree.is_empty() {
        let (path, name) = tree.split_once(" as ").unwrap_or((tree, tree.rsplit("::").next().unwrap_or(tree)));
        found.push(([before.to_vec(), parts(path)].concat(), name.trim().to_owned()));
    }
}

/// Each path of a text that begins at the crate or above.
fn inline(text: &str) -> Vec<Path> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let starts = ["crate::", "super::"].into_iter().flat_map(|start| text.match_indices(start));
    let starts = starts.filter(|(at, _)| !text[..*at].ends_with(|c: char| word(c) || c == ':'));
    let paths = starts.map(|(at, _)| {
        let end = text[at..].find(|c: char| !word(c) && c != ':').map_or(text.len(), |end| at + end);
        text[at..end].split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect()
    });
    paths.collect()
}

/// The files on a cycle of uses.
fn circles<'f>(arrows: &BTreeMap<&'f str, BTreeSet<&'f str>>) -> Vec<&'f str> {
    let reaches_itself = |file: &&&str| {
        let (mut seen, mut queue) = (BTreeSet::new(), vec![**file]);
        while let Some(next) = queue.pop() {
            for used in arrows.get(next).into_iter().flatten() {
                if used == *file {
                    return true;
                }
                if seen.insert(*used) {
                    queue.push(used);
                }
            }
        }
        false
    };
    arrows.keys().filter(reaches_itself).copied().collect()
}

#[test]
fn no_two_files_use_each_other() {
    let mut sources = code();
    sources.retain(|file, _| !matches!(file.as_str(), "lib.rs" | "main.rs"));
    let found = Modules::new(&sources);
    assert_eq!(circles(&found.arrows()), Vec::<&str>::new());
}

#[test]
fn circles_are_seen_through_what_a_top_file_hands_on() {
    let source = |file: &str, text: &str| (file.to_owned(), text.to_owned());
    let sources = BTreeMap::from([
        source("room/mod.rs", "mod a;\nmod b;\nmod c;\npub use a::{A, Other as One};\npub(crate) use b::B;\n"),
        source("room/a.rs", "use super::B;\n"),
        source("room/b.rs", "fn f() { crate::room::One::new() }\n"),
        source("room/c.rs", "use super::{\n    a::A,\n    B,\n};\n"),
    ]);
    let modules = Modules::new(&sources);
    assert_eq!(circles(&modules.arrows()), ["room/a.rs", "room/b.rs"]);
}
