//! The laws of `docs/DESIGN.md`, kept by reading the sources.
//!
//! A law that must give way is changed here and there in the same commit.

mod circles;
mod pages;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The rooms of `src`, floor by floor: a room uses only rooms of the floors above its own, so no arrow runs back.
const FLOORS: [&[&str]; 10] = [
    &["elf", "host", "tables"],
    &["image", "loader", "python"],
    &["inventory"],
    &["driver", "target"],
    &["plan"],
    &["check", "launch", "resolve"],
    &["report"],
    &["machine"],
    &["diagnose"],
    &["cli"],
];

/// Words, and the files or directories below `src` that may hold them.
const HOMES: [(&[&str], &[&str]); 5] = [
    (
        &["std::fs", "fs::", "std::io::stdin"],
        &["host/", "inventory/places/walk/", "plan/read.rs", "machine/cache", "launch/", "cli/"],
    ),
    (
        &["std::process::{Command", "std::process::Command", "exec("],
        &["host/bounded.rs", "python/ask.rs", "launch/probe/", "cli/"],
    ),
    (&["clap::", "clap_complete::", "anstream::", "env_logger::"], &["cli/"]),
    (&["print!", "println!", "eprint!", "eprintln!", "io::stdout", "io::stderr", "process::exit"], &["cli/"]),
    (&["unsafe ", "unsafe_code"], &["host/map.rs", "launch/open.rs"]),
];

/// Lines that a Rust file may have.
const LINES: usize = 600;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below a directory, by their path from there.
fn rust_files(dir: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut queue = vec![dir.to_owned()];
    while let Some(next) = queue.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                queue.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

/// The sources without comments and unit tests.
fn code() -> BTreeMap<String, String> {
    let mut files = rust_files(&root().join("src"));
    for text in files.values_mut() {
        let mut code = text.as_str();
        let mut rest = "";
        if let Some((before, after)) = text.split_once("#[cfg(test)]\nmod tests {") {
            code = before;
            rest = after.split_once("\n}\n").map_or("", |(_, rest)| rest);
        }
        let lines = code.lines().chain(rest.lines());
        *text = lines.map(without_comment).collect::<Vec<_>>().join("\n");
    }
    files
}

/// A line up to its comment. `://` is an address, not a comment.
fn without_comment(line: &str) -> &str {
    let starts = line.match_indices("//").map(|(at, _)| at);
    let start = starts.into_iter().find(|&at| !line[..at].ends_with(':'));
    start.map_or(line, |at| &line[..at])
}

/// Where `word` begins a separate word in `text`.
fn words<'t>(text: &'t str, word: &'t str) -> impl Iterator<Item = usize> + 't {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| !text[..at].ends_with(inside))
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// The floor of a room.
fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// What `text`, the code of `room`, uses against the table.
fn forbidden_uses(room: &str, text: &str) -> Vec<(usize, String)> {
    let Some(own) = floor(room) else { return vec![(1, format!("`{room}` has no place in the table of floors"))] };
    let mut wrong = Vec::new();
    for at in words(text, "crate::") {
        let rest = &text[at + "crate::".len()..];
        let used = &rest[..rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len())];
        if used.is_empty() {
            wrong.push((line_of(text, at), "name one room in a use of the crate".into()));
        } else if used != room && floor(used).is_none_or(|floor| floor >= own) {
            wrong.push((line_of(text, at), format!("`{room}` may not use `{used}`")));
        }
    }
    wrong
}

#[test]
fn rooms_use_only_floors_above() {
    let mut wrong = Vec::new();
    for (file, text) in code() {
        if matches!(file.as_str(), "lib.rs" | "main.rs") {
            continue;
        }
        let room = file.split(['/', '.']).next().unwrap();
        wrong.extend(forbidden_uses(room, &text).into_iter().map(|(line, says)| format!("src/{file}:{line}: {says}")));
        // `super` of a room's top file is the crate.
        if file.matches('/').count() == usize::from(file.ends_with("/mod.rs"))
            && words(&text, "super::").next().is_some()
        {
            wrong.push(format!("src/{file}: write `crate::`"));
        }
        if text.contains("super::super::super::") {
            wrong.push(format!("src/{file}: write `crate::`"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The reader of the sources sees what it looks for.
    assert_eq!(forbidden_uses("elf", "\nuse crate::host::Host;"), [(2, "`elf` may not use `host`".into())]);
    assert_eq!(forbidden_uses("report", "x(crate::machine::y)").len(), 1);
    assert_eq!(forbidden_uses("resolve", "use crate::{cli};").len(), 1);
    assert_eq!(forbidden_uses("loader", "use crate::host::escape;"), []);
}

#[test]
fn words_stay_in_their_homes() {
    let mut wrong = Vec::new();
    let code = code();
    for (forbidden, homes) in HOMES {
        for (file, text) in &code {
            if homes.iter().any(|home| file.starts_with(home)) {
                continue;
            }
            for word in forbidden {
                // `rustix::fs::` is counted with `fs::`; `std::os::unix::fs` has traits only.
                let places = words(text, word).filter(|&at| !text[..at].ends_with("unix::"));
                wrong.extend(
                    places.map(|at| format!("src/{file}:{}: `{word}` has its home in {homes:?}", line_of(text, at))),
                );
            }
        }
        // A home that is never used is a law that guards nothing.
        let used = |home: &&str| {
            code.iter().any(|(file, text)| {
                file.starts_with(home) && forbidden.iter().any(|word| words(text, word).next().is_some())
            })
        };
        let exists = |home: &&str| root().join("src").join(home).exists();
        assert!(homes.iter().filter(|home| exists(home)).all(used), "one of {homes:?} holds none of {forbidden:?}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Rooms that an answer is found in; files of theirs that serve a survey alone, or only take variables away; and words that
/// are no variables, or that a survey alone reads.
const ANSWERING: [&str; 7] =
    ["inventory/places/", "python/", "loader/", "machine/cache", "machine/request", "machine/target", "target/"];
const SURVEYING: [&str; 15] = [
    "application",
    "cvmfs",
    "easybuild",
    "flatpak",
    "hpc_sdk",
    "interpreter",
    "julia",
    "library_cache",
    "snap",
    "spack",
    "store",
    "tensorrt",
    "variable",
    "venv",
    "provenance",
];
const NO_VARIABLES: [&str; 21] = [
    "EBROOT",
    "PYTHON",
    "CARGO_PKG_VERSION",
    "CUDASHIM_",
    "DT_RPATH",
    "DT_RUNPATH",
    "GLIBC_ABI_DT_RELR",
    "CONDA_ENVS_DIRS",
    "CONDA_ENVS_PATH",
    "CONDA_EXE",
    "CONDA_PKGS_DIRS",
    "CONDA_ROOT",
    "CUDA_DIR",
    "CUDNN_HOME",
    "CUDNN_ROOT",
    "CUSPARSELT_ROOT",
    "CUTENSOR_ROOT",
    "MAMBA_ROOT_PREFIX",
    "NCCL_ROOT",
    "NVSHMEM_HOME",
    "XDG_DATA_HOME",
];

/// A variable that is read and not in the table makes two answers of one question: the shim does not pass it on, and the
/// cache does not see that it changed.
#[test]
fn variables_that_are_read_are_in_the_table() {
    let is_name = |word: &&str| {
        word.chars().all(|c| c.is_ascii_uppercase() || c == '_')
            && (word.len() > 3 && word.contains('_') || word.starts_with("PYTHON") || word.starts_with("EBROOT"))
    };
    let mut wrong = Vec::new();
    for (path, text) in code() {
        let surveys =
            SURVEYING.iter().any(|file| path == format!("inventory/places/{file}.rs")) || path == "python/ask.rs";
        if surveys || !ANSWERING.iter().any(|room| path.starts_with(room)) {
            continue;
        }
        let words = text.split('"').skip(1).step_by(2).filter(is_name);
        let unknown =
            words.filter(|word| cudashim::internal::tables::variable(word).is_none() && !NO_VARIABLES.contains(word));
        wrong.extend(unknown.map(|word| format!("src/{path}: `{word}` is not in data/variables.tsv")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_has_a_safety_comment() {
    let mut count = 0;
    for (file, text) in rust_files(&root().join("src")) {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            if words(without_comment(line), "unsafe ").next().is_none() {
                continue;
            }
            count += 1;
            let above = lines[..at].iter().rev().take_while(|line| line.trim_start().starts_with("//"));
            let argued = above.into_iter().any(|line| line.contains("SAFETY:") || line.contains("# Safety"));
            assert!(argued, "src/{file}:{}: no SAFETY comment", at + 1);
        }
    }
    assert!(count > 0, "the mmap of src/host/map.rs was not seen");
}

#[test]
fn files_have_a_header_and_stay_short() {
    let mut wrong = Vec::new();
    for path in repository().iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")) {
        // A file that is listed and gone is being moved.
        let Ok(text) = fs::read_to_string(path) else { continue };
        let shown = path.strip_prefix(root()).unwrap().display();
        if !text.starts_with("//! ") {
            wrong.push(format!("{shown}: does not begin with `//!`"));
        }
        let lines = text.lines().count();
        if lines > LINES {
            wrong.push(format!("{shown}: {lines} lines, {LINES} are allowed"));
        }
        if text.contains('\r') || !text.ends_with('\n') {
            wrong.push(format!("{shown}: lines end in LF, the last one too"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every file of the repository; those of the working tree's own directories where there is no repository.
fn repository() -> Vec<PathBuf> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    if let Ok(listed) = listed
        && listed.status.success()
        && !listed.stdout.is_empty()
    {
        let names = String::from_utf8(listed.stdout).unwrap();
        return names.split_terminator('\0').map(|name| root().join(name)).collect();
    }
    eprintln!("not a git repository: only Rust files are read");
    let files =
        |dir: &str| rust_files(&root().join(dir)).into_keys().map(|file| Path::new(dir).join(file)).collect::<Vec<_>>();
    ["src", "tests"].into_iter().flat_map(files).map(|file| root().join(file)).collect()
}

#[test]
fn files_hold_no_paths_of_a_machine_and_no_notes() {
    // Spelt so that this file does not hold what it looks for.
    let paths = [concat!("/ro", "ot/"), concat!("/ho", "me/runner"), concat!("/wo", "rk/shared")];
    let notes = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let mut wrong = Vec::new();
    let files = repository();
    assert!(files.iter().any(|file| file.ends_with("tests/tidy.rs") || file.ends_with("src/lib.rs")));
    for file in files {
        // A file that is listed and gone is being moved; what is no text has no words.
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let shown = file.strip_prefix(root()).unwrap().display();
        for path in paths {
            wrong.extend(
                text.find(path).map(|at| format!("{shown}:{}: a path of one machine: {path}", line_of(&text, at))),
            );
        }
        for note in notes {
            let whole = words(&text, note)
                .find(|at| !text[at + note.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_'));
            wrong.extend(whole.map(|at| format!("{shown}:{}: {note}", line_of(&text, at))));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn design_names_every_room() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let modules: BTreeSet<&str> = lib.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';')).collect();
    let design = fs::read_to_string(root().join("docs/DESIGN.md")).unwrap();
    assert!(modules.len() > 10, "{modules:?}");
    assert!(design.lines().count() <= 90, "docs/DESIGN.md is to be read in one go: {} lines", design.lines().count());
    let rows: BTreeSet<&str> = design.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(rows, modules, "docs/DESIGN.md has one row for each module of src/lib.rs");
    assert_eq!(
        FLOORS.iter().copied().flatten().copied().collect::<BTreeSet<_>>(),
        modules,
        "tests/tidy.rs has a place for each module of src/lib.rs"
    );
}

/// One table of what can be wrong, and a rule for each row.
#[test]
fn findings_have_rows_and_rows_have_rules() {
    let ids: BTreeSet<&str> = cudashim::internal::tables::finding_rows().iter().map(|row| row.id).collect();
    let mut sources = rust_files(&root().join("src"));
    sources.retain(|path, _| !path.starts_with("tables/"));
    let messages = fs::read_to_string(root().join("data/messages.tsv")).unwrap();
    let named = |id: &str| {
        sources.values().any(|text| text.contains(&format!("\"{id}\""))) || words(&messages, id).next().is_some()
    };
    let without_rule: Vec<&&str> = ids.iter().filter(|id| !named(id)).collect();
    assert!(without_rule.is_empty(), "rows of data/findings.tsv without a rule: {without_rule:?}");
    for (path, text) in &sources {
        for maker in ["case.finding(\"", "Finding::new(\"", "Finding::of(\"", "self.add(\"", "self.problem(\""] {
            for (at, _) in text.match_indices(maker) {
                let id = text[at + maker.len()..].split('"').next().unwrap_or_default();
                assert!(ids.contains(id), "{path}:{}: `{id}` is no row of data/findings.tsv", line_of(text, at));
            }
        }
    }
}
