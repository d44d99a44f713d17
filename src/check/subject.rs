//! What to judge: a torch, an environment, a program, libraries, or names.
//!
//! Takes paths, names or an interpreter; gives a [`Subject`], or the error. Reads only as much of a file as shows
//! whether it is a program.

use super::names::cuda_major;
use crate::host::{Hints, Host};
use crate::loader::{Loader, ProgramKind};
use crate::loader::{Object, ObjectError, Objects};
use crate::python::{Distribution, Interpreter, distributions};
use crate::python::{TorchBuild, library_files};
use crate::tables::parse_library_name;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The target of a check.
#[derive(Debug, Clone)]
pub struct Subject {
    pub(super) of: String,
    pub(super) at: Option<PathBuf>,
    /// The program that loads it. For [`What::Program`], the program is the target.
    pub(super) program: Option<PathBuf>,
    pub(super) what: What,
    pub(super) cuda: Option<u64>,
    pub(super) sites: Vec<PathBuf>,
}

/// The ways of loading.
#[derive(Debug, Clone)]
pub(super) enum What {
    /// A program as it starts, then libraries it opens.
    Program(Vec<PathBuf>),
    /// Libraries, opened by path one after the other.
    Libraries(Vec<PathBuf>),
    /// `import torch`.
    Torch(Box<TorchBuild>),
    /// Each extension module of an environment that needs an NVIDIA library.
    Environment(Vec<PathBuf>),
    /// Names to open; each with whether it is required.
    Names(Vec<(OsString, bool)>),
    /// `import torch`, then extension modules of other packages.
    Extensions(Box<TorchBuild>, Vec<PathBuf>),
    /// A library, then the names that it opens.
    Opener(PathBuf, Vec<(OsString, bool)>),
    /// One package of an environment.
    Package(Box<Package>),
}

/// The files that a package loads.
#[derive(Debug, Clone, Default)]
pub(super) struct Package {
    /// The torch that it imports first.
    pub(super) torch: Option<TorchBuild>,
    /// Its extension modules.
    pub(super) files: Vec<PathBuf>,
    /// Those of its modules that are opened only for CUDA.
    pub(super) plugins: Vec<PathBuf>,
    /// The package's library that opens the names; `None`: the program.
    pub(super) opener: Option<PathBuf>,
    /// Names or paths to open; each with whether it is required.
    pub(super) names: Vec<(OsString, bool)>,
    /// Whether it raises an error without a library that it opens itself, and does not go on.
    pub(super) stops: bool,
}

/// Why a target cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubjectError {
    /// The file is not an ELF object of this machine.
    #[error("cannot check `{}`: {says}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        says: String,
    },
    /// The program has another loader.
    #[error("cannot check `{}`: its loader `{}` is not glibc's ld.so", path.display(), interpreter.display())]
    OtherLoader {
        /// The program.
        path: PathBuf,
        /// Its `PT_INTERP`.
        interpreter: PathBuf,
    },
    /// Two programs cannot share a process.
    #[error("cannot check `{}` and `{}` together: both are programs", .0.display(), .1.display())]
    TwoPrograms(PathBuf, PathBuf),
}

impl Hints for SubjectError {}

impl Subject {
    /// The objects that `import torch` maps.
    #[must_use]
    pub fn torch(torch: TorchBuild, interpreter: &Interpreter) -> Self {
        Self {
            of: format!("torch {}", torch.version),
            at: Some(torch.dir.clone()),
            program: Some(interpreter.program.clone()),
            cuda: torch.cuda_release().map(|(major, _)| major.into()),
            sites: torch.sites.clone(),
            what: What::Torch(Box::new(torch)),
        }
    }

    /// Every extension module of an environment that depends on an NVIDIA library.
    #[must_use]
    pub fn environment(objects: &Objects, interpreter: &Interpreter) -> Self {
        let host = objects.host();
        let installed: Vec<Distribution> =
            interpreter.paths.iter().flat_map(|site| distributions(host, site)).collect();
        let all = library_files(host, &interpreter.paths);
        let mut files = roots(objects, all.clone());
        files.splice(0..0, loaded_before(objects, &all, &files));
        Self {
            of: "the environment".to_owned(),
            at: Some(interpreter.prefix.clone()),
            program: Some(interpreter.program.clone()),
            what: What::Environment(files),
            cuda: cuda_major(installed.iter()),
            sites: interpreter.paths.clone(),
        }
    }

    /// A program and the libraries that it opens, or libraries that `program` opens. Paths are absolute.
    ///
    /// # Errors
    ///
    /// [`SubjectError`], if this machine's ld.so does not load a file.
    pub fn files(loader: &Loader, files: &[PathBuf], interpreter: Option<&Interpreter>) -> Result<Self, SubjectError> {
        let (mut own, mut libraries) = (None, Vec::new());
        for path in files {
            match role_of(loader, path)? {
                Role::Library => libraries.push(path.clone()),
                Role::Program if own.is_none() => own = Some(path.clone()),
                Role::Program => return Err(SubjectError::TwoPrograms(own.unwrap_or_default(), path.clone())),
            }
        }
        let names: Vec<String> = files.iter().map(|path| format!("`{}`", path.display())).collect();
        let program = own.clone().or_else(|| interpreter.map(|interpreter| interpreter.program.clone()));
        Ok(Self {
            of: names.join(", "),
            at: files.first().cloned(),
            what: if own.is_some() { What::Program(libraries) } else { What::Libraries(libraries) },
            program,
            cuda: None,
            sites: interpreter.map(|interpreter| interpreter.paths.clone()).unwrap_or_default(),
        })
    }

    /// Names to open; each with whether it is required.
    #[must_use]
    pub fn names(of: String, names: Vec<(OsString, bool)>, interpreter: Option<&Interpreter>) -> Self {
        Self {
            of,
            at: None,
            program: interpreter.map(|interpreter| interpreter.program.clone()),
            what: What::Names(names),
            cuda: None,
            sites: interpreter.map(|interpreter| interpreter.paths.clone()).unwrap_or_default(),
        }
    }

    /// The program that loads it.
    #[must_use]
    pub fn program(&self) -> Option<&Path> {
        self.program.as_deref()
    }

    /// Whether the target is the program itself.
    #[must_use]
    pub fn is_program(&self) -> bool {
        matches!(self.what, What::Program(_))
    }

    /// Whether the target is a list of packages, which are imported one by one and need not share a process.
    #[must_use]
    pub fn is_apart(&self) -> bool {
        matches!(self.what, What::Environment(_) | What::Package(_))
    }

    /// The target in a few words: `cupy-cuda12x 14.2.0`.
    #[must_use]
    pub fn of(&self) -> &str {
        &self.of
    }

    /// Whether the target is every extension module of an environment.
    #[must_use]
    pub fn is_environment(&self) -> bool {
        matches!(self.what, What::Environment(_))
    }

    /// Whether the target needs no NVIDIA library.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.what {
            What::Environment(files) | What::Extensions(_, files) => files.is_empty(),
            What::Package(package) => package.files.is_empty() && package.names.is_empty() && package.opener.is_none(),
            _ => false,
        }
    }
}

/// The imported files: those that no file beside them needs and that depend on an NVIDIA library. Their run paths
/// bring the others.
pub(super) fn roots(objects: &Objects, files: Vec<PathBuf>) -> Vec<PathBuf> {
    let opened: Vec<(PathBuf, Arc<Object>)> =
        files.into_iter().filter_map(|path| Some((path.clone(), objects.open(&path).ok()?))).collect();
    let mut by_name: BTreeMap<&OsStr, usize> = BTreeMap::new();
    for (index, (path, object)) in opened.iter().enumerate() {
        by_name.entry(object.name()).or_insert(index);
        by_name.entry(path.file_name().unwrap_or_default()).or_insert(index);
    }
    let mut needed_by: Vec<Vec<usize>> = vec![Vec::new(); opened.len()];
    let mut queue = Vec::new();
    for (index, (path, object)) in opened.iter().enumerate() {
        for name in &object.facts.needed {
            if let Some(users) = by_name.get(name.as_os_str()).and_then(|needed| needed_by.get_mut(*needed)) {
                users.push(index);
            }
        }
        let ours = |name: &OsStr| parse_library_name(name).is_some();
        if object.facts.needed.iter().any(|name| ours(name)) && !path.file_name().is_some_and(ours) {
            queue.push(index);
        }
    }
    let mut reached = BTreeSet::new();
    while let Some(index) = queue.pop() {
        if reached.insert(index) {
            queue.extend(needed_by.get(index).into_iter().flatten());
        }
    }
    // In a dependency cycle no file is the root: open a library of the cycle on its own.
    let top = |index: &usize| needed_by.get(*index).is_none_or(|users| users.iter().all(|user| user == index));
    reached.iter().filter(|index| top(index)).filter_map(|index| Some(opened.get(*index)?.0.clone())).collect()
}

/// Whether the package of a library opens it by path when it is imported: RAPIDS' wheels have a `load.py` beside its directory.
pub(super) fn is_loaded_by_package(host: &Host, library: &Path) -> bool {
    library.parent().and_then(Path::parent).is_some_and(|package| host.is_file(&package.join("load.py")))
}

/// The libraries that `files` need, and that their own packages open by path, each after what it needs itself.
pub(super) fn loaded_before(objects: &Objects, all: &[PathBuf], files: &[PathBuf]) -> Vec<PathBuf> {
    let loads = |file: &&PathBuf| is_loaded_by_package(objects.host(), file);
    let by_name: BTreeMap<&OsStr, &PathBuf> =
        all.iter().filter(loads).filter_map(|file| Some((file.file_name()?, file))).collect();
    let needed = |file: &Path| -> Vec<&PathBuf> {
        let Ok(object) = objects.open(file) else { return Vec::new() };
        object.facts.needed.iter().filter_map(|name| by_name.get(name.as_os_str()).copied()).collect()
    };
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    // A file is entered, and comes again to be listed when all that it needs is.
    let mut stack: Vec<(&PathBuf, bool)> =
        files.iter().rev().flat_map(|file| needed(file)).map(|file| (file, false)).collect();
    while let Some((file, is_done)) = stack.pop() {
        if is_done {
            order.push(file.clone());
        } else if seen.insert(file) {
            stack.push((file, true));
            stack.extend(needed(file).into_iter().map(|file| (file, false)));
        }
    }
    order
}

enum Role {
    Program,
    Library,
}

/// Whether a file is a program or a library; an error if ld.so does not load it.
fn role_of(loader: &Loader, path: &Path) -> Result<Role, SubjectError> {
    let refused = |says: String| Err(SubjectError::File { path: path.to_owned(), says });
    if let Err(error) = loader.objects().host().stat(path) {
        return refused(error.to_string());
    }
    match ProgramKind::of(loader, path) {
        // A static program needs no loader, and is a valid target.
        ProgramKind::Dynamic { .. } | ProgramKind::Static => Ok(Role::Program),
        ProgramKind::Library => Ok(Role::Library),
        ProgramKind::Musl { interpreter } | ProgramKind::OtherLoader { interpreter } => {
            Err(SubjectError::OtherLoader { path: path.to_owned(), interpreter })
        }
        ProgramKind::Script { interpreter, .. } => refused(format!("it is a script for `{}`", interpreter.display())),
        ProgramKind::Directory => refused("it is a directory".to_owned()),
        ProgramKind::Empty => refused("it is empty".to_owned()),
        // A truncated library is a library: ld.so reports the error.
        ProgramKind::Unreadable(ObjectError::Truncated) => Ok(Role::Library),
        ProgramKind::Unreadable(error) => refused(error.to_string()),
    }
}
