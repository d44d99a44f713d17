//! A Python environment without torch: every ELF file in it that needs or dlopens CUDA names.
//!
//! All of its needs are soft: packages of one environment may need conflicting releases, and
//! each gets what the others allow.

use super::{Closure, Kind, Requirement};
use crate::inventory::family_name;
use crate::loader::Objects;
use crate::loader::{Loader, ProgramKind};
use crate::python::{Interpreter, library_files};
use crate::tables::parse_library_name;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

impl Requirement {
    /// The requirement of the environment of an interpreter.
    #[must_use]
    #[doc(hidden)]
    pub fn of_environment<'l>(objects: &Objects, loader: &'l Loader, interpreter: &Interpreter) -> (Self, Closure<'l>) {
        let host = objects.host();
        let mut closure = Closure::start(loader, Some(&interpreter.program));
        let mut requirement =
            Self::new(Kind::Environment, format!("the environment `{}`", interpreter.prefix.display()));
        requirement.path = Some(interpreter.prefix.clone());
        requirement.sites.clone_from(&interpreter.paths);
        requirement.programs = interpreter.programs();
        requirement.openers = interpreter.openers(host);
        for path in library_files(host, &interpreter.paths) {
            let Ok(object) = objects.open(&path) else { continue };
            let bundled = path.file_name().and_then(parse_library_name).filter(|name| name.hash.is_some());
            if let Some(name) = bundled {
                // A bundled dispatcher opens its parts by name; older ones than itself lack functions that it calls.
                if let (Some("cudnn"), Some(version)) = (name.row.group, &name.version)
                    && version.numbers().len() >= 3
                {
                    requirement.releases.push(("cudnn".to_owned(), version.clone(), path.clone()));
                }
            } else if object.facts.needed.iter().any(|name| family_name(name).is_some()) {
                closure.open(&path);
            }
        }
        closure.require(&mut requirement, |_| false);
        (requirement, closure)
    }

    /// The requirement of ELF files; `program` loads them, if it is known.
    #[must_use]
    #[doc(hidden)]
    pub fn of_files<'l>(loader: &'l Loader, files: &[PathBuf], program: Option<&Path>) -> (Self, Closure<'l>) {
        let is_program = |file: &&PathBuf| !matches!(ProgramKind::of(loader, file), ProgramKind::Library);
        let (programs, libraries): (Vec<&PathBuf>, Vec<&PathBuf>) = files.iter().partition(is_program);
        let (first, others) = programs.split_first().map_or((None, &[][..]), |(first, others)| (Some(first), others));
        let mut closure = match first {
            Some(first) => Closure::of_program(loader, first),
            None => Closure::start(loader, program),
        };
        for file in &libraries {
            closure.open(file);
        }
        let opened: Vec<PathBuf> = libraries.into_iter().cloned().collect();
        let closure = closure.with_its_own(first.map(|first| first.as_path()).or(program), &opened);
        let names: Vec<String> = files.iter().map(|file| format!("`{}`", file.display())).collect();
        let mut requirement = Self::new(Kind::Elf, names.join(", "));
        requirement.path = files.first().cloned();
        requirement.keeps_its_own = true;
        requirement.sites = closure.sites();
        let programs = program.into_iter().chain(programs.iter().map(|program| program.as_path()));
        let programs: BTreeSet<PathBuf> = programs.map(|program| loader.host().absolute(program)).collect();
        requirement.programs.extend(programs);
        closure.require(&mut requirement, |_| true);
        // Two programs share no process, but may share a plan.
        for other in others {
            Closure::of_program(loader, other).require(&mut requirement, |_| true);
        }
        (requirement, closure)
    }
}
