//! Answers a request: the target, its requirement, the chosen set.
//!
//! Finds the interpreter and its torch, scans the places, and resolves. The only way from a request to a plan.

use super::request::{Answer, Checked, Request, RequestError};
use super::target::{RequestTarget, default_python, needs_cuda};
use crate::check::{self, Depth, Subject, predict};
use crate::host::Host;
use crate::host::tidy;
use crate::inventory::Inventory;
use crate::inventory::places::{self, Place};
use crate::loader::Loader;
use crate::loader::Objects;
use crate::plan::Plan;
use crate::python::{Command, Interpreter, Options};
use crate::resolve::{self};
use crate::tables::parse_library_name;
use crate::target::{Closure, Requirement};
use std::path::{Path, PathBuf};

impl Request {
    /// Answers the request on a machine.
    ///
    /// # Errors
    ///
    /// If the target cannot be described, or no set fits.
    pub fn answer(&self, host: &Host) -> Result<Answer, RequestError> {
        let objects = Objects::new(host);
        self.answer_by(&Loader::new(&objects))
    }

    /// Answers the request as [`Request::answer`] does, with a given loader and the files it has read already.
    ///
    /// # Errors
    ///
    /// As [`Request::answer`].
    #[doc(hidden)]
    pub fn answer_by(&self, loader: &Loader) -> Result<Answer, RequestError> {
        let objects = loader.objects();
        let host = objects.host();
        let target = self.target(host, objects)?;
        let here = match &target {
            RequestTarget::Spec(_, here) => here.clone(),
            _ => None,
        };
        let (mut requirement, closure) = match target {
            RequestTarget::Nothing(why, requirement) => {
                return Ok(Answer { requirement, resolution: None, nothing: Some(why), problems: Vec::new() });
            }
            RequestTarget::Files(files, program) => {
                for path in &files {
                    objects
                        .open(path)
                        .map_err(|error| RequestError::File { path: path.clone(), says: error.to_string() })?;
                }
                let (mut requirement, closure) = Requirement::of_files(loader, &files, program.as_deref());
                requirement.sites.extend(self.around(host)?);
                (requirement, closure)
            }
            RequestTarget::Program(program) => {
                Requirement::of_files(loader, std::slice::from_ref(&program), Some(&program))
            }
            RequestTarget::Torch(torch, interpreter) => {
                let started = self.started(host, &interpreter);
                self.of_started(host, torch.require(objects, loader, Some(&started)), &interpreter)
            }
            RequestTarget::Environment(interpreter) => {
                let started = self.started(host, &interpreter);
                let found = Requirement::of_environment(objects, loader, &started);
                let (requirement, closure) = self.of_started(host, found, &interpreter);
                let wheels = places::sites(host, &interpreter.paths);
                let is_nothing = requirement.needs.is_empty() && requirement.releases.is_empty() && wheels.is_empty();
                if is_nothing && !self.lays_down_copies(host) {
                    let why = format!(
                        "`{}` has no torch, and nothing in its environment needs CUDA",
                        interpreter.program.display()
                    );
                    return Ok(Answer {
                        requirement: Some(requirement),
                        resolution: None,
                        nothing: Some(why),
                        problems: Vec::new(),
                    });
                }
                (requirement, closure)
            }
            RequestTarget::Spec(requirement, _) => (requirement, Closure::start(loader, None)),
        };
        if requirement.programs.is_empty() {
            // A lone library, or a torch that is not installed, runs in the program of the command or in the selected
            // Python.
            let started = Command::read(host, &self.command).map(|command| command.program);
            let selected = || self.interpreter(host).ok().flatten().map(|interpreter| interpreter.program);
            requirement.programs.extend(started.or_else(selected));
        }
        let mut inventory = Inventory::scan(objects, self.all_places(host, loader, &requirement, &closure));
        for (soname, path) in &self.policy.fixed {
            inventory.take(objects, soname, path);
        }
        let mut problems = inventory.problems.clone();
        let resolution = match resolve::resolve(&requirement, &closure, &inventory, loader, &self.policy) {
            Ok(resolution) => resolution,
            Err(none) => {
                // The installed torch differs from the requested one: report this instead of its missing libraries.
                if let Some((python, found)) = here {
                    return Err(RequestError::OtherTorch { python, found, requested: self.spec.to_string() });
                }
                return Err(RequestError::NoSolution { source: Box::new(none), requirement: Box::new(requirement) });
            }
        };
        problems.extend(resolution.torn.iter().cloned());
        Ok(Answer { requirement: Some(requirement), resolution: Some(resolution), nothing: None, problems })
    }

    /// Whether the command may start any environment: the request names no target, and the program is neither a
    /// Python nor one that needs CUDA.
    #[must_use]
    #[doc(hidden)]
    pub fn is_open(&self, host: &Host) -> bool {
        let named = !self.spec.is_auto() || self.python.is_some() || !self.files.is_empty();
        let laid_down = !self.places.is_empty() || !self.policy.fixed.is_empty() || !self.policy.forbidden.is_empty();
        let command = Command::read(host, &self.command);
        !named
            && !laid_down
            && command
                .is_some_and(|command| command.python.is_none() && !needs_cuda(&Objects::new(host), &command.program))
    }

    /// Whether the command itself is the target: a program outside Python, and the request names nothing else.
    #[must_use]
    #[doc(hidden)]
    pub fn is_native_target(&self, host: &Host) -> bool {
        let command = Command::read(host, &self.command);
        self.spec.is_auto()
            && self.python.is_none()
            && self.files.is_empty()
            && self.policy.fixed.is_empty()
            && command.is_some_and(|command| command.python.is_none())
    }

    /// The target that `check` judges, as ld.so would load it today.
    ///
    /// # Errors
    ///
    /// As [`Request::answer`]; [`RequestError::NotInstalled`], if the requested torch is not installed.
    #[doc(hidden)]
    pub fn subject(&self, loader: &Loader) -> Result<Checked, RequestError> {
        let objects = loader.objects();
        let host = objects.host();
        Ok(match self.target(host, objects)? {
            RequestTarget::Torch(torch, interpreter) => {
                Checked::Subject(Box::new(Subject::torch(*torch, &interpreter)))
            }
            RequestTarget::Environment(interpreter) => {
                let subject = Subject::environment(objects, &interpreter);
                if subject.is_empty() {
                    let program = interpreter.program.display();
                    let why =
                        format!("`{program}` has no torch, and nothing in its environment needs an NVIDIA library");
                    return Ok(Checked::Nothing(why));
                }
                Checked::Subject(Box::new(subject))
            }
            // A native program does not belong to the active environment and does not search it; its copies only
            // appear in the report.
            RequestTarget::Files(files, Some(program)) if files == [program.as_path()] => {
                let around = self.interpreter(host).ok().flatten();
                Checked::Subject(Box::new(Subject::files(loader, &files, around.as_ref())?))
            }
            RequestTarget::Files(files, _) => Checked::Subject(Box::new(Subject::files(loader, &files, None)?)),
            RequestTarget::Program(program) => Checked::Subject(Box::new(Subject::files(loader, &[program], None)?)),
            RequestTarget::Spec(..) => return Err(RequestError::NotInstalled(self.spec.to_string())),
            RequestTarget::Nothing(why, _) => Checked::Nothing(why),
        })
    }

    /// Whether the requested target has a defect with `plan` handed out, or without any plan. Ignores what is loaded
    /// beside it, and packages of an environment that need not be imported.
    pub(super) fn is_wrong(&self, loader: &Loader, plan: Option<&Plan>) -> bool {
        let Ok(Checked::Subject(subject)) = self.subject(loader) else { return false };
        let judgement = predict(loader, &subject, Depth::Symbols, plan);
        let of_driver = |name: &String| parse_library_name(name).is_some_and(|name| name.row.is_driver());
        let counts = |finding: &&check::Finding| finding.absent().is_empty() || !finding.absent().iter().all(of_driver);
        !subject.is_apart() && judgement.findings.iter().any(|finding| counts(&finding))
    }

    /// The interpreter that the request names, else the default, if there is one.
    ///
    /// # Errors
    ///
    /// [`RequestError::Interpreter`], if the named interpreter cannot be described.
    #[doc(hidden)]
    pub fn interpreter(&self, host: &Host) -> Result<Option<Interpreter>, RequestError> {
        if let Some(python) = &self.python {
            return Ok(Some(Interpreter::find(host, python, &Options::default())?));
        }
        Ok(default_python(host).and_then(|(program, options)| Interpreter::find(host, &program, &options).ok()))
    }

    /// The interpreter of the target environment: the one named, else the one that the command starts, else, without
    /// a command, the default.
    ///
    /// # Errors
    ///
    /// [`RequestError::Interpreter`], if one of the first two cannot be described.
    #[doc(hidden)]
    pub fn environment(&self, host: &Host) -> Result<Option<Interpreter>, RequestError> {
        let command = Command::read(host, &self.command).and_then(|command| Some((command.program, command.python?)));
        match command.filter(|_| self.python.is_none()) {
            Some((program, options)) => Ok(Some(Interpreter::find(host, &program, &options)?)),
            None if self.python.is_some() || self.command.is_empty() => self.interpreter(host),
            None => Ok(None),
        }
    }

    /// Every part of the request that can change its answer, as text. Of the command, only the program and Python's
    /// start options count: other script arguments ask the same question.
    pub(super) fn question(&self, host: &Host, command: Option<&Command>) -> String {
        let command = command.map(|command| {
            let options = command.python.clone().map(|mut options| {
                options.script = options.script.and_then(|script| host.absolute(&script).parent().map(Path::to_owned));
                options
            });
            (&command.program, options)
        });
        let python = self.python.as_deref().map(|python| host.absolute(python));
        let absolute = |paths: &[PathBuf]| paths.iter().map(|path| host.absolute(path)).collect::<Vec<_>>();
        format!(
            "{} {python:?} {:?} {:?} {:?} {command:?}",
            self.spec,
            absolute(&self.files),
            absolute(&self.places),
            self.policy
        )
    }

    /// The given places, then the target's, then those of the machine.
    fn all_places(&self, host: &Host, loader: &Loader, requirement: &Requirement, closure: &Closure<'_>) -> Vec<Place> {
        let mut places = places::sites(host, &requirement.sites);
        let from_environment = host.env("CUDASHIM_PLACE").unwrap_or_default();
        let listed = std::env::split_paths(from_environment).filter(|path| !path.as_os_str().is_empty());
        for dir in self.places.iter().cloned().chain(listed) {
            places.extend(places::given(host, &dir));
        }
        // The target's run paths may name any directory.
        let own = closure.own_directories();
        let dirs = closure.family_directories().into_iter().chain(own.iter().map(|dir| tidy(dir)));
        places.extend(dirs.map(places::found));
        // A fixed copy may be in any directory.
        for dir in self.policy.fixed.values().filter_map(|path| path.parent()) {
            places.extend(places::given(host, dir).into_iter().take(1));
        }
        places.extend(places::machine(host, loader));
        places
    }
}
