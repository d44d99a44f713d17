//! A request answered: whom it is for, what that needs, what is chosen.
//!
//! Finds the interpreter meant and its torch, looks into the places, and resolves. The one way from a question to a plan.

use super::meant::{Meant, default_python, needs_cuda};
use super::request::{Answer, Checked, Request, RequestError};
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
    /// Where whoever is meant cannot be described, or nothing fits.
    pub fn answer(&self, host: &Host) -> Result<Answer, RequestError> {
        let objects = Objects::new(host);
        self.answer_by(&Loader::new(&objects))
    }

    /// Answers the request as [`Request::answer`] does, with a loader and the files it has read already.
    ///
    /// # Errors
    ///
    /// As [`Request::answer`].
    #[doc(hidden)]
    pub fn answer_by(&self, loader: &Loader) -> Result<Answer, RequestError> {
        let objects = loader.objects();
        let host = objects.host();
        let meant = self.meant(host, objects)?;
        let here = match &meant {
            Meant::Spec(_, here) => here.clone(),
            _ => None,
        };
        let (mut requirement, closure) = match meant {
            Meant::Nothing(why, requirement) => {
                return Ok(Answer { requirement, resolution: None, nothing: Some(why), problems: Vec::new() });
            }
            Meant::Files(files, program) => {
                for path in &files {
                    objects
                        .open(path)
                        .map_err(|error| RequestError::File { path: path.clone(), says: error.to_string() })?;
                }
                let (mut requirement, closure) = Requirement::of_files(loader, &files, program.as_deref());
                requirement.sites.extend(self.around(host)?);
                (requirement, closure)
            }
            Meant::Program(program) => Requirement::of_files(loader, std::slice::from_ref(&program), Some(&program)),
            Meant::Torch(torch, interpreter) => {
                let started = self.started(host, &interpreter);
                self.of_started(host, torch.require(objects, loader, Some(&started)), &interpreter)
            }
            Meant::Environment(interpreter) => {
                let started = self.started(host, &interpreter);
                let found = Requirement::of_environment(objects, loader, &started);
                let (requirement, closure) = self.of_started(host, found, &interpreter);
                let wheels = places::sites(host, &interpreter.paths);
                let is_nothing = requirement.wants.is_empty() && requirement.releases.is_empty() && wheels.is_empty();
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
            Meant::Spec(requirement, _) => (requirement, Closure::start(loader, None)),
        };
        if requirement.programs.is_empty() {
            // A library by itself, a torch that is not installed: for what the command starts, or the Python that is meant.
            let started = Command::read(host, &self.command).map(|command| command.program);
            let meant = || self.interpreter(host).ok().flatten().map(|interpreter| interpreter.program);
            requirement.programs.extend(started.or_else(meant));
        }
        let mut inventory = Inventory::scan(objects, self.all_places(host, loader, &requirement, &closure));
        for (soname, path) in &self.policy.fixed {
            inventory.take(objects, soname, path);
        }
        let mut problems = inventory.problems.clone();
        let resolution = match resolve::resolve(&requirement, &closure, &inventory, loader, &self.policy) {
            Ok(resolution) => resolution,
            Err(none) => {
                // Of a torch that is not the one that is here, it is no news that its libraries are not.
                if let Some((python, found)) = here {
                    return Err(RequestError::OtherTorch { python, found, wanted: self.spec.to_string() });
                }
                return Err(RequestError::NoSolution { source: Box::new(none), requirement: Box::new(requirement) });
            }
        };
        problems.extend(resolution.torn.iter().cloned());
        Ok(Answer { requirement: Some(requirement), resolution: Some(resolution), nothing: None, problems })
    }

    /// Whether the command may start any environment: nobody is named, and its program is neither a Python nor a
    /// program that needs CUDA itself.
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

    /// Whether the command itself is the consumer: a program linked against CUDA, and nobody else is named.
    #[must_use]
    #[doc(hidden)]
    pub fn is_of_its_own(&self, host: &Host) -> bool {
        let command = Command::read(host, &self.command);
        self.spec.is_auto()
            && self.python.is_none()
            && self.files.is_empty()
            && self.policy.fixed.is_empty()
            && command.is_some_and(|command| command.python.is_none())
    }

    /// What `check` judges: the consumer meant, as it would be loaded today.
    ///
    /// # Errors
    ///
    /// As [`Request::answer`]; [`RequestError::NotInstalled`], where a torch is meant that is not there.
    #[doc(hidden)]
    pub fn subject(&self, loader: &Loader) -> Result<Checked, RequestError> {
        let objects = loader.objects();
        let host = objects.host();
        Ok(match self.meant(host, objects)? {
            Meant::Torch(torch, interpreter) => Checked::Subject(Box::new(Subject::torch(*torch, &interpreter))),
            Meant::Environment(interpreter) => {
                let subject = Subject::environment(objects, &interpreter);
                if subject.is_empty() {
                    let program = interpreter.program.display();
                    let why =
                        format!("`{program}` has no torch, and nothing in its environment needs a library of NVIDIA's");
                    return Ok(Checked::Nothing(why));
                }
                Checked::Subject(Box::new(subject))
            }
            // A program that is started is none of the environment that is active, and looks for nothing there; what stands
            // there is said to.
            Meant::Files(files, Some(program)) if files == [program.as_path()] => {
                let around = self.interpreter(host).ok().flatten();
                Checked::Subject(Box::new(Subject::files(loader, &files, around.as_ref())?))
            }
            Meant::Files(files, _) => Checked::Subject(Box::new(Subject::files(loader, &files, None)?)),
            Meant::Program(program) => Checked::Subject(Box::new(Subject::files(loader, &[program], None)?)),
            Meant::Spec(..) => return Err(RequestError::NotInstalled(self.spec.to_string())),
            Meant::Nothing(why, _) => Checked::Nothing(why),
        })
    }

    /// Whether anything is wrong with what is asked for itself where `plan` is handed out, or nothing is: what stands
    /// beside it, and packages of an environment that need not be imported, do not count.
    pub(super) fn is_wrong(&self, loader: &Loader, plan: Option<&Plan>) -> bool {
        let Ok(Checked::Subject(subject)) = self.subject(loader) else { return false };
        let judgement = predict(loader, &subject, Depth::Symbols, plan);
        let of_driver = |name: &String| parse_library_name(name).is_some_and(|name| name.row.is_driver());
        let counts = |finding: &&check::Finding| finding.absent().is_empty() || !finding.absent().iter().all(of_driver);
        !subject.is_apart() && judgement.findings.iter().any(|finding| counts(&finding))
    }

    /// The interpreter meant, where one is named or there is one.
    ///
    /// # Errors
    ///
    /// [`RequestError::Interpreter`], where the one that is named cannot be described.
    #[doc(hidden)]
    pub fn interpreter(&self, host: &Host) -> Result<Option<Interpreter>, RequestError> {
        if let Some(python) = &self.python {
            return Ok(Some(Interpreter::find(host, python, &Options::default())?));
        }
        Ok(default_python(host).and_then(|(program, options)| Interpreter::find(host, &program, &options).ok()))
    }

    /// The interpreter of the environment that is served: the one named, else the one that the command starts, else, where
    /// there is no command, the default.
    ///
    /// # Errors
    ///
    /// [`RequestError::Interpreter`], where one of the first two cannot be described.
    #[doc(hidden)]
    pub fn environment(&self, host: &Host) -> Result<Option<Interpreter>, RequestError> {
        let command = Command::read(host, &self.command).and_then(|command| Some((command.program, command.python?)));
        match command.filter(|_| self.python.is_none()) {
            Some((program, options)) => Ok(Some(Interpreter::find(host, &program, &options)?)),
            None if self.python.is_some() || self.command.is_empty() => self.interpreter(host),
            None => Ok(None),
        }
    }

    /// All of the request that can change its answer, as text. Of the command only the program counts, and how a
    /// Python is started: another argument of the script is the same question.
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

    /// Given places, the consumer's own, then those of the machine.
    fn all_places(&self, host: &Host, loader: &Loader, requirement: &Requirement, closure: &Closure<'_>) -> Vec<Place> {
        let mut places = places::sites(host, &requirement.sites);
        let from_environment = host.env("CUDASHIM_PLACE").unwrap_or_default();
        let listed = std::env::split_paths(from_environment).filter(|path| !path.as_os_str().is_empty());
        for dir in self.places.iter().cloned().chain(listed) {
            places.extend(places::given(host, &dir));
        }
        // Its own run paths may lead anywhere.
        let own = closure.own_directories();
        let dirs = closure.family_directories().into_iter().chain(own.iter().map(|dir| tidy(dir)));
        places.extend(dirs.map(places::found));
        // A fixed choice may stand anywhere.
        for dir in self.policy.fixed.values().filter_map(|path| path.parent()) {
            places.extend(places::given(host, dir).into_iter().take(1));
        }
        places.extend(places::machine(host, loader));
        places
    }
}
