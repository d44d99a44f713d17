//! The link maps of the environment, judged by `check`.
//!
//! Takes a machine; gives the judgements of the modules that it imports and the libraries that it opens, with the
//! plan in force if there is one. Judges nothing itself.

use crate::check::{self, Depth, Judgement, Subject, predict};
use crate::machine::{Checked, Machine};
use std::path::{Path, PathBuf};

/// The kind of target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TargetKind {
    /// The requested files or program.
    Target,
    /// `import torch`.
    Torch,
    /// The extensions of torch, each as if imported after it.
    Extensions,
    /// The other consumers of NVIDIA libraries in the environment: packages that need not share a process.
    Environment,
    /// A target that a rule requests.
    Other,
}

/// One judged target.
#[derive(Debug)]
pub(crate) struct Judged {
    /// The kind of target.
    pub(crate) kind: TargetKind,
    /// The files, if they are judged one by one.
    pub(crate) files: Vec<PathBuf>,
    /// The judgement.
    pub(crate) judgement: Judgement,
}

impl Judged {
    /// `import torch`, then everything else of the environment that needs an NVIDIA library.
    pub(super) fn all(machine: &Machine) -> Vec<Self> {
        let (request, loader) = (machine.request(), machine.loader());
        if !request.files.is_empty() || request.is_native_target(machine.host()) {
            return match request.subject(loader) {
                Ok(Checked::Subject(subject)) => vec![Self { kind: TargetKind::Target, ..Self::of(machine, &subject) }],
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
            torch.map(|subject| (TargetKind::Torch, subject)),
            Some((TargetKind::Environment, others)),
            extensions.clone().map(|subject| (TargetKind::Extensions, subject)),
        ];
        let subjects = subjects.into_iter().flatten().filter(|(_, subject)| !subject.is_empty());
        subjects.map(|(kind, subject)| Self { kind, ..Self::of(machine, &subject) }).collect()
    }

    /// Judges one target.
    pub(super) fn of(machine: &Machine, subject: &Subject) -> Self {
        let judgement = predict(machine.loader(), subject, Depth::Symbols, machine.in_force());
        Self { kind: TargetKind::Other, files: subject.files_in_question().to_vec(), judgement }
    }

    /// The findings of `check`, causes first: load failures, conflicts, then failures at a later use.
    pub(super) fn in_order(&self) -> Vec<&check::Finding> {
        let mut seen: Vec<&check::Finding> = self.judgement.findings.iter().collect();
        seen.sort_by_key(|seen| seen.phase);
        seen
    }
}

/// Whether a file is one of bitsandbytes' libraries, of which it opens only one.
pub(crate) fn is_variant(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"libbitsandbytes_"))
}
