//! The requirement of an installed torch.

use super::{Closure, Kind, Requirement};
use crate::host::Kind as FileKind;
use crate::loader::{Loader, Objects};
use crate::python::{Interpreter, TorchBuild};
use std::os::unix::ffi::OsStrExt;

impl TorchBuild {
    /// The requirement from its own objects: those that `import torch` maps, and those that it opens later.
    #[must_use]
    #[doc(hidden)]
    pub fn require<'l>(
        &self,
        objects: &Objects,
        loader: &'l Loader,
        interpreter: Option<&Interpreter>,
    ) -> (Requirement, Closure<'l>) {
        let host = objects.host();
        let mut closure = Closure::start(loader, interpreter.map(|interpreter| interpreter.program.as_path()));
        let mut imported = vec![self.dir.join("lib/libtorch_global_deps.so")];
        let mut later = Vec::new();
        for (dir, list) in [(self.dir.clone(), true), (self.dir.join("lib"), false)] {
            for entry in host.list(&dir).unwrap_or_default() {
                let name = entry.name.as_bytes();
                if entry.kind == FileKind::Directory || !name.ends_with(b".so") {
                    continue;
                }
                let path = dir.join(&entry.name);
                if list && name.starts_with(b"_C.") {
                    imported.push(path);
                } else if !imported.contains(&path) {
                    later.push(path);
                }
            }
        }
        imported.retain(|path| host.is_file(path));
        for path in imported.iter().chain(&later) {
            closure.open(path);
        }
        let hard = closure.reached_from(imported.len());
        let mut requirement = Requirement::new(Kind::Torch, format!("torch {}", self.version));
        requirement.path = Some(self.dir.clone());
        requirement.cuda = self.cuda_release();
        requirement.pins.clone_from(&self.pins);
        requirement.sites.clone_from(&self.sites);
        requirement.programs = interpreter.map(Interpreter::programs).unwrap_or_default();
        requirement.openers = interpreter.map(|interpreter| interpreter.openers(host)).unwrap_or_default();
        closure.require(&mut requirement, |index| hard.contains(&index));
        (requirement, closure)
    }
}
