//! Subjects for libraries that are loaded beside torch, or by objects that open libraries by name.
//!
//! Takes an environment; gives the [`Subject`] for its torch extensions, or for one library with the names that it is
//! known to open. Reads only the dependencies of the files; judges nothing.

use super::Subject;
use super::subject::What;
use crate::loader::Objects;
use crate::python::Interpreter;
use crate::python::{TorchBuild, library_files};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

impl Subject {
    /// The extension modules of other packages that need torch's libraries, each as if imported after torch; without
    /// those that `skip` names.
    #[must_use]
    pub fn extensions(
        objects: &Objects,
        torch: &TorchBuild,
        interpreter: &Interpreter,
        skip: impl Fn(&Path) -> bool,
    ) -> Self {
        let host = objects.host();
        let of_torch = |name: &OsString| {
            let name = name.as_encoded_bytes();
            name.starts_with(b"libtorch") || name.starts_with(b"libc10")
        };
        let extends = |path: &PathBuf| objects.open(path).is_ok_and(|object| object.facts.needed.iter().any(of_torch));
        let files = library_files(host, &interpreter.paths);
        let files = files.into_iter().filter(|path| !path.starts_with(&torch.dir) && !skip(path) && extends(path));
        Self {
            of: "the extensions of torch".to_owned(),
            at: Some(interpreter.prefix.clone()),
            program: Some(interpreter.program.clone()),
            cuda: torch.cuda_release().map(|(major, _)| major.into()),
            sites: torch.sites.clone(),
            what: What::Extensions(Box::new(torch.clone()), files.collect()),
        }
    }

    /// Files that are opened by path after `import torch`: extensions that do not need torch's libraries.
    #[must_use]
    pub fn after_torch(torch: &TorchBuild, interpreter: &Interpreter, files: Vec<PathBuf>) -> Self {
        Self {
            of: "libraries opened after torch".to_owned(),
            at: files.first().cloned(),
            program: Some(interpreter.program.clone()),
            cuda: torch.cuda_release().map(|(major, _)| major.into()),
            sites: torch.sites.clone(),
            what: What::Extensions(Box::new(torch.clone()), files),
        }
    }

    /// A library that opens names through its own run paths; each name with whether it is required.
    #[must_use]
    pub fn opener(file: &Path, names: Vec<(OsString, bool)>, interpreter: &Interpreter) -> Self {
        Self {
            of: format!("`{}`", file.display()),
            at: Some(file.to_owned()),
            program: Some(interpreter.program.clone()),
            cuda: None,
            sites: interpreter.paths.clone(),
            what: What::Opener(file.to_owned(), names),
        }
    }

    /// The subject without some of the files that are judged one by one.
    #[must_use]
    pub fn without(mut self, left_out: impl Fn(&Path) -> bool) -> Self {
        if let What::Environment(files) | What::Extensions(_, files) = &mut self.what {
            files.retain(|path| !left_out(path));
        }
        self
    }

    /// The files that are judged one by one.
    #[must_use]
    pub fn files_in_question(&self) -> &[PathBuf] {
        match &self.what {
            What::Extensions(_, files) | What::Environment(files) | What::Program(files) | What::Libraries(files) => {
                files
            }
            _ => &[],
        }
    }
}
