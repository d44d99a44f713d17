//! What `site.py` adds to `sys.path` when an interpreter starts.
//!
//! Takes a prefix or a site directory; returns the directories in the order of `sys.path`, and the file whose effect
//! only a run would show. Runs nothing. The rules are those of CPython's `Lib/site.py`, 3.8 to 3.15, with Debian's
//! changes.

use super::pth::{Line, mapped};
use crate::host::{Host, Kind};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Depth of `.pth` files that add directories with `.pth` files; CPython itself would fail.
const DEPTH: usize = 16;

/// Modules that `site` imports last, where they exist.
const CUSTOM: [&str; 2] = ["sitecustomize", "usercustomize"];

/// The packages that finders are searched for.
const PACKAGES: [&str; 2] = ["torch", "nvidia"];

/// The lines of Debian's own `sitecustomize.py`.
const DEBIAN: [&str; 6] =
    ["try:", "import apport_python_hook", "except ImportError:", "pass", "else:", "apport_python_hook.install()"];

/// The state of an interpreter during its start.
#[derive(Debug)]
pub(super) struct Site<'h> {
    host: &'h Host,
    /// `(3, 12)`.
    version: (u32, u32),
    known: BTreeSet<PathBuf>,
    /// Directories whose files were read, and whether another file had added them: read again, they add nothing.
    entered: BTreeSet<(PathBuf, bool)>,
    paths: Vec<PathBuf>,
    /// Directories of packages that only finders know.
    found: Vec<PathBuf>,
    /// Since 3.15, import lines run after all directories are added.
    later: Vec<(PathBuf, PathBuf, Line)>,
    /// The file whose effect only a run would show.
    unknown: Option<PathBuf>,
}

impl<'h> Site<'h> {
    /// A start with these entries on `sys.path` before `site` runs.
    pub(super) fn new(host: &'h Host, version: (u32, u32), before: Vec<PathBuf>) -> Self {
        let mut site = Self {
            host,
            version,
            known: BTreeSet::new(),
            entered: BTreeSet::new(),
            paths: Vec::new(),
            found: Vec::new(),
            later: Vec::new(),
            unknown: None,
        };
        for path in before {
            site.append(&path);
        }
        site
    }

    /// Records another file whose effect only a run would show.
    pub(super) fn mark_unknown(&mut self, because_of: &Path) {
        self.unknown.get_or_insert_with(|| because_of.to_owned());
    }

    /// `site.addsitepackages` for one prefix: the existing directories of `site.getsitepackages`.
    pub(super) fn add_prefix(&mut self, prefix: &Path, libdir: &str, python: &str) {
        let mut dirs = vec![format!("{libdir}/{python}/site-packages")];
        if libdir != "lib" {
            dirs.push(format!("lib/{python}/site-packages"));
        }
        let debian = "lib/python3/dist-packages".to_owned();
        if self.host.is_dir(&prefix.join(&debian)) {
            dirs.extend([format!("local/lib/{python}/dist-packages"), debian, format!("lib/{python}/dist-packages")]);
        }
        for dir in dirs.iter().map(|dir| prefix.join(dir)) {
            if self.host.is_dir(&dir) {
                self.add(&dir);
            }
        }
    }

    /// `site.addsitedir` as `site.main` calls it.
    pub(super) fn add(&mut self, dir: &Path) {
        self.add_deep(dir, 0);
    }

    fn add_deep(&mut self, dir: &Path, depth: usize) {
        let dir = normalized(self.host, dir);
        self.append(&dir);
        if depth > DEPTH || !self.entered.insert((dir.clone(), depth > 0)) {
            return;
        }
        let Ok(entries) = self.host.list(&dir) else { return };
        let names: Vec<&OsStr> = entries.iter().map(|entry| entry.name.as_os_str()).collect();
        let is_hidden = |name: &OsStr| name.as_bytes().starts_with(b".");
        for entry in &entries {
            let name = entry.name.as_bytes();
            let Some(stem) = name.strip_suffix(b".pth").filter(|_| !is_hidden(&entry.name)) else { continue };
            if entry.kind == Kind::Directory {
                continue;
            }
            let started = self.starts() && names.binary_search(&OsStr::from_bytes(&[stem, b".start"].concat())).is_ok();
            self.add_file(&dir, &dir.join(&entry.name), started, depth);
        }
        // An entry point of a `.start` file (PEP 829) is some function of some package.
        let start = names.iter().find(|name| self.starts() && name.as_bytes().ends_with(b".start") && !is_hidden(name));
        if let Some(start) = start {
            self.mark_unknown(&dir.join(start));
        }
    }

    fn starts(&self) -> bool {
        self.version >= (3, 15)
    }

    /// `site.addpackage`: one `.pth` file; without its imports where a `.start` file replaces them.
    fn add_file(&mut self, dir: &Path, file: &Path, started: bool, depth: usize) {
        let Ok(bytes) = self.host.read(file) else { return };
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").filter(|_| self.version >= (3, 13)).unwrap_or(&bytes);
        for line in bytes.split(|byte| matches!(byte, b'\n' | b'\r')) {
            match Line::read(line) {
                Line::Nothing => {}
                Line::Directory(path) => {
                    let path = normalized(self.host, &dir.join(path));
                    if !self.known.contains(&path) && self.host.stat(&path).is_ok() {
                        self.append(&path);
                    }
                }
                _ if started => {}
                line if self.starts() && depth == 0 => self.later.push((dir.to_owned(), file.to_owned(), line)),
                line => self.run(dir, file, line, depth),
            }
        }
    }

    fn run(&mut self, dir: &Path, file: &Path, line: Line, depth: usize) {
        match line {
            Line::Sites(dirs) => dirs.iter().for_each(|dir| self.add_deep(dir, depth + 1)),
            Line::Finder(module) => {
                let text = self.host.read_text(&dir.join(module).with_extension("py")).unwrap_or_default();
                self.found.extend(PACKAGES.iter().filter_map(|package| mapped(&text, package)));
            }
            Line::Nothing | Line::Directory(_) => {}
            Line::Unknown => self.mark_unknown(file),
        }
    }

    fn append(&mut self, path: &Path) {
        let path = normalized(self.host, path);
        if self.known.insert(path.clone()) {
            self.paths.push(path);
        }
    }

    /// `sys.path` at the end of the start, then the directories of finders; and the file whose effect only a run would
    /// show, if any. `library` is the directory of the standard library.
    pub(super) fn finish(mut self, library: Option<&Path>) -> (Vec<PathBuf>, Option<PathBuf>) {
        for (dir, file, line) in std::mem::take(&mut self.later) {
            self.run(&dir, &file, line, 0);
        }
        let dirs: Vec<PathBuf> = library.map(Path::to_owned).into_iter().chain(self.paths.iter().cloned()).collect();
        for file in dirs.iter().flat_map(|dir| customs(self.host, dir)) {
            if !is_debians(&self.host.read_text(&file).unwrap_or_default()) {
                self.mark_unknown(&file);
            }
        }
        self.paths.append(&mut self.found);
        (self.paths, self.unknown)
    }
}

/// The modules of a directory that `site` imports last.
fn customs(host: &Host, dir: &Path) -> Vec<PathBuf> {
    let names = CUSTOM.iter().flat_map(|name| [format!("{name}.py"), (*name).to_owned()]);
    names.map(|name| dir.join(name)).filter(|path| host.stat(path).is_ok()).collect()
}

fn is_debians(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).peekable();
    lines.peek().is_some() && lines.all(|line| DEBIAN.contains(&line))
}

/// `site.makepath`: absolute, and `..` taken away as text.
fn normalized(host: &Host, path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in host.absolute(path).components() {
        match part {
            Component::ParentDir => drop(out.pop()),
            part => out.push(part),
        }
    }
    out
}

/// Stamps every file that determines an interpreter's `sys.path`: the paths hold while these stay the same.
pub(super) fn stamp_files(host: &Host, paths: &[PathBuf]) {
    for dir in paths {
        for entry in host.list(dir).unwrap_or_default() {
            let name = entry.name.as_bytes();
            let custom = CUSTOM.iter().any(|custom| name.starts_with(custom.as_bytes()));
            if custom || name.ends_with(b".pth") || name.ends_with(b".start") {
                let path = dir.join(&entry.name);
                let _ = host.stat(&path);
                if custom && host.is_dir(&path) {
                    let _ = host.stat(&path.join("__init__.py"));
                }
            }
        }
    }
}

/// `site.getusersitepackages`; `None` where the environment names no home directory.
pub(super) fn user_site(host: &Host, python: &str, from_environment: bool) -> Option<PathBuf> {
    let base = host.env("PYTHONUSERBASE").filter(|_| from_environment).map(PathBuf::from);
    let base = base.or_else(|| host.env("HOME").map(|home| Path::new(home).join(".local")))?;
    Some(base.join(format!("lib/{python}/site-packages")))
}

/// The entries of `PYTHONPATH`; an empty one is the working directory.
pub(super) fn python_path(host: &Host) -> Vec<PathBuf> {
    let Some(list) = host.env("PYTHONPATH") else { return Vec::new() };
    let entries = list.as_bytes().split(|byte| *byte == b':');
    entries.map(|entry| normalized(host, Path::new(OsStr::from_bytes(entry)))).collect()
}
