//! What the environment loads, judged by `check`.
//!
//! Takes a machine; gives the judgements of what is imported or opened there, with the plan in force where there is one.
//! Judges nothing itself.

use crate::check::{self, Depth, Judgement, Subject, predict};
use crate::machine::{Checked, Machine};
use std::path::{Path, PathBuf};

/// What is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    /// The files or the program that are asked for.
    Target,
    /// `import torch`.
    Torch,
    /// The extensions of torch, each as if imported after it.
    Extensions,
    /// All else in the environment that needs a library of NVIDIA's: packages that need not share a process.
    Environment,
    /// What a rule asks for by itself.
    Other,
}

/// One thing that is loaded.
#[derive(Debug)]
pub(crate) struct Judged {
    /// What it is.
    pub(crate) whom: Whom,
    /// The files in question, where these are judged one by one.
    pub(crate) files: Vec<PathBuf>,
    /// What it comes to.
    pub(crate) judgement: Judgement,
}

impl Judged {
    /// `import torch`, then everything else of the environment that needs a library of NVIDIA's.
    pub(super) fn all(machine: &Machine) -> Vec<Self> {
        let (request, loader) = (machine.request(), machine.loader());
        if !request.files.is_empty() || request.is_of_its_own(machine.host()) {
            return match request.subject(loader) {
                Ok(Checked::Subject(subject)) => vec![Self { whom: Whom::Target, ..Self::of(machine, &subject) }],
                _ => Vec::new(),
            };
        }
        let environment = machine.environment();
        let Some(interpreter) = &environment.interpreter else { return Vec::new() };
        let objects = machine.objects();
        let torch = environment.torch.as_ref().filter(|torch| torch.cuda.is_some());
        let extensions = torch.map(|torch| Subject::extensions(objects, torch, interpreter, is_variant));
        let extends =
            |path: &Path| extensions.iter().any(|subject| subject.files_in_question().iter().any(|file| file == path));
        let others = Subject::environment(objects, interpreter).without(|path| is_variant(path) || extends(path));
        let torch = torch.map(|torch| Subject::torch(torch.clone(), interpreter));
        let subjects = [
            torch.map(|subject| (Whom::Torch, subject)),
            Some((Whom::Environment, others)),
            extensions.clone().map(|subject| (Whom::Extensions, subject)),
        ];
        let subjects = subjects.into_iter().flatten().filter(|(_, subject)| !subject.is_empty());
        subjects.map(|(whom, subject)| Self { whom, ..Self::of(machine, &subject) }).collect()
    }

    /// One thing that is loaded.
    pub(super) fn of(machine: &Machine, subject: &Subject) -> Self {
        let judgement = predict(machine.loader(), subject, Depth::Symbols, machine.in_force());
        Self { whom: Whom::Other, files: subject.files_in_question().to_vec(), judgement }
    }

    /// What `check` found, first causes first: what ends the load, what meets and should not, what is missed later.
    pub(super) fn in_order(&self) -> Vec<&check::Finding> {
        let mut seen: Vec<&check::Finding> = self.judgement.findings.iter().collect();
        seen.sort_by_key(|seen| seen.phase);
        seen
    }
}

/// Whether a file is one of the libraries of bitsandbytes, of which all but one are never opened.
pub(crate) fn is_variant(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"libbitsandbytes_"))
}
