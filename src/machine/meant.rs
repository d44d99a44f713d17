//! Whom a request is for: files, a torch, an environment, a program of no Python, or nobody.
//!
//! Takes the request and the machine; gives the consumer before anything of it is read. A program that is no Python is
//! served for itself: what it is linked against asks, and the environment that is active or named provides.

use super::{Request, RequestError};
use crate::host::Host;
use crate::loader::Objects;
use crate::python::TorchBuild;
use crate::python::{self, Command, Interpreter, Options, find_on_path};
use crate::target::{Closure, Kind, Requirement};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The consumer found, before anything is read of it.
pub(super) enum Meant {
    /// ELF files, and the program that loads them.
    Files(Vec<PathBuf>, Option<PathBuf>),
    Torch(Box<TorchBuild>, Interpreter),
    Environment(Interpreter),
    /// A program that names its libraries only as it runs; copies are laid down for it.
    Program(PathBuf),
    /// A torch, and the interpreter that has another, with what it has.
    Spec(Requirement, Option<(PathBuf, String)>),
    /// Why, and who was found to ask for nothing.
    Nothing(String, Option<Requirement>),
}

impl Request {
    pub(super) fn meant(&self, host: &Host, objects: &Objects) -> Result<Meant, RequestError> {
        let command = Command::read(host, &self.command);
        if !self.files.is_empty() {
            let files = self.files.iter().map(|path| host.absolute(path)).collect();
            return Ok(Meant::Files(files, command.map(|command| command.program)));
        }
        let named = self.python.as_deref().map(|python| (python.to_owned(), Options::default()));
        let started = command.as_ref().and_then(|command| Some((command.program.clone(), command.python.clone()?)));
        let explicit = named.is_some() || started.is_some();
        let native = command.filter(|_| started.is_none() && self.spec.is_auto()).map(|command| command.program);
        if let Some(program) = native.as_ref().filter(|program| needs_cuda(objects, program)) {
            return Ok(Meant::Files(vec![program.clone()], Some(program.clone())));
        }
        let found = named.or(started).or_else(|| match &native {
            // A Python that happens to be on PATH is nothing to a program that is none.
            Some(_) => active_python(host),
            None => default_python(host),
        });
        let Some((program, options)) = found else {
            return match native {
                Some(program) if self.lays_down_copies(host) => Ok(Meant::Program(program)),
                Some(program) => {
                    let why = "is not linked against CUDA, and no environment is active";
                    Ok(Meant::Nothing(format!("`{}` {why}", program.display()), None))
                }
                None if self.spec.is_auto() => {
                    let why = "no Python found, and no other target given";
                    Ok(Meant::Nothing(why.to_owned(), None))
                }
                None => Ok(Meant::Spec(self.spec.require()?, None)),
            };
        };
        let interpreter = match Interpreter::find(host, &program, &options) {
            Ok(interpreter) => interpreter,
            Err(error) if explicit => return Err(error.into()),
            Err(error) if self.spec.is_auto() => return Ok(Meant::Nothing(error.to_string(), None)),
            Err(_) => return Ok(Meant::Spec(self.spec.require()?, None)),
        };
        match TorchBuild::find(host, &interpreter.paths) {
            Ok(torch) if self.spec.admits_build(&torch) => {
                if torch.cuda.is_none() {
                    if let Some(program) = native.filter(|_| self.lays_down_copies(host)) {
                        return Ok(Meant::Program(program));
                    }
                    let why = format!("torch {} in `{}` is built without CUDA", torch.version, torch.site().display());
                    let mut requirement = Requirement::new(Kind::Torch, format!("torch {}", torch.version));
                    requirement.path = Some(torch.dir);
                    return Ok(Meant::Nothing(why, Some(requirement)));
                }
                Ok(Meant::Torch(Box::new(torch), interpreter))
            }
            Ok(torch) if explicit => Err(RequestError::OtherTorch {
                python: interpreter.program,
                found: torch.version,
                wanted: self.spec.to_string(),
            }),
            Err(_) if self.spec.is_auto() => Ok(Meant::Environment(interpreter)),
            Ok(torch) => Ok(Meant::Spec(self.spec.require()?, Some((interpreter.program, torch.version)))),
            Err(_) => Ok(Meant::Spec(self.spec.require()?, None)),
        }
    }

    /// The program that the command starts, where that is no Python.
    pub(super) fn native(&self, host: &Host) -> Option<PathBuf> {
        Command::read(host, &self.command).filter(|command| command.python.is_none()).map(|command| command.program)
    }

    /// Whether the user says which copies there are: `--use`, `--place`.
    pub(super) fn lays_down_copies(&self, host: &Host) -> bool {
        let listed = host.env("CUDASHIM_PLACE").is_some_and(|list| !list.is_empty());
        !self.places.is_empty() || !self.policy.fixed.is_empty() || listed
    }

    /// The interpreter of an environment as it serves the command: another program that is to get the environment's set
    /// takes its place in the process.
    pub(super) fn started(&self, host: &Host, interpreter: &Interpreter) -> Interpreter {
        self.native(host).map_or_else(|| interpreter.clone(), |program| interpreter.clone().within(program))
    }

    /// The environment's requirement for the program that the command starts: what that has of its own stands, and the
    /// plan is for it. What the user laid down holds for the environment's Python as well, which the command may start.
    pub(super) fn of_started<'l>(
        &self,
        host: &Host,
        (mut requirement, mut closure): (Requirement, Closure<'l>),
        interpreter: &Interpreter,
    ) -> (Requirement, Closure<'l>) {
        if let Some(program) = self.native(host) {
            closure = closure.with_its_own(Some(&program), &[]);
            requirement.keeps_its_own = true;
            requirement.programs = vec![program];
            if self.python.is_some() || self.lays_down_copies(host) {
                requirement.programs.extend(interpreter.programs());
                requirement.openers = interpreter.openers(host);
            }
        }
        (requirement, closure)
    }

    /// Where the environment that is named or active keeps its packages, for a consumer that is none of it.
    pub(super) fn around(&self, host: &Host) -> Result<Vec<PathBuf>, RequestError> {
        let options = Options::default();
        if let Some(python) = &self.python {
            return Ok(Interpreter::find(host, python, &options)?.paths);
        }
        let active = active_python(host).and_then(|(python, options)| Interpreter::find(host, &python, &options).ok());
        let mut around = active.map(|interpreter| interpreter.paths).unwrap_or_default();
        around.extend(host.env("CONDA_PREFIX").map(PathBuf::from));
        Ok(around)
    }
}

/// Whether a program, or what it is linked against, needs a library of NVIDIA's.
pub(super) fn needs_cuda(objects: &Objects, program: &Path) -> bool {
    crate::launch::door::linked(objects, program).is_some()
}

/// The Python of the active environment.
fn active_python(host: &Host) -> Option<(PathBuf, Options)> {
    let active = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(|name| host.env(name));
    let mut pythons = active.map(|prefix| Path::new(prefix).join("bin/python"));
    pythons.find(|python| host.stat(python).is_ok()).map(|python| found(host, python))
}

/// The Python that is meant where none is named: of the active environment, else of the project's, else the one on PATH.
pub(super) fn default_python(host: &Host) -> Option<(PathBuf, Options)> {
    let on_path = || ["python3", "python"].into_iter().find_map(|name| find_on_path(host, OsStr::new(name)));
    let project = || Some(host.cwd().join(".venv/bin/python")).filter(|python| host.stat(python).is_ok());
    active_python(host).or_else(|| Some(found(host, project().or_else(on_path)?)))
}

fn found(host: &Host, program: PathBuf) -> (PathBuf, Options) {
    let meant = if named(host, &program) { python::Meant::Named } else { python::Meant::Found };
    (program, Options { meant, ..Options::default() })
}

/// Whether a Python is named by an absolute path: by a variable, or by an element of PATH. An element that is relative, or
/// empty, leads to whatever stands in the working directory.
fn named(host: &Host, python: &Path) -> bool {
    let path = host.env("PATH").unwrap_or(OsStr::new("/bin:/usr/bin"));
    let mut listed = std::env::split_paths(path).filter(|dir| dir.is_absolute());
    let mut active = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(|name| host.env(name)).map(Path::new);
    active.any(|prefix| prefix.is_absolute() && python.starts_with(prefix))
        || listed.any(|dir| python.parent() == Some(&dir))
}
