//! The target of a request: files, a torch, an environment, a native program, or none.
//!
//! Takes the request and the machine; gives the target before any of its files is read. A native program is its own
//! target: its linked libraries make the requirement, and the active or named environment provides the copies.

use super::{Request, RequestError};
use crate::host::Host;
use crate::loader::Objects;
use crate::python::TorchBuild;
use crate::python::{self, Command, Interpreter, Options, find_on_path};
use crate::target::{Closure, Kind, Requirement};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The target of a request.
pub(super) enum RequestTarget {
    /// ELF files, and the program that loads them.
    Files(Vec<PathBuf>, Option<PathBuf>),
    Torch(Box<TorchBuild>, Interpreter),
    Environment(Interpreter),
    /// A program that opens its libraries by name only; the user provides copies for it.
    Program(PathBuf),
    /// A torch that is not installed, and the interpreter with another release, and that release.
    Spec(Requirement, Option<(PathBuf, String)>),
    /// No target that needs CUDA: the reason, and the requirement found.
    Nothing(String, Option<Requirement>),
}

impl Request {
    pub(super) fn target(&self, host: &Host, objects: &Objects) -> Result<RequestTarget, RequestError> {
        let command = Command::read(host, &self.command);
        if !self.files.is_empty() {
            let files = self.files.iter().map(|path| host.absolute(path)).collect();
            return Ok(RequestTarget::Files(files, command.map(|command| command.program)));
        }
        let named = self.python.as_deref().map(|python| (python.to_owned(), Options::default()));
        let started = command.as_ref().and_then(|command| Some((command.program.clone(), command.python.clone()?)));
        let explicit = named.is_some() || started.is_some();
        let native = command.filter(|_| started.is_none() && self.spec.is_auto()).map(|command| command.program);
        if let Some(program) = native.as_ref().filter(|program| needs_cuda(objects, program)) {
            return Ok(RequestTarget::Files(vec![program.clone()], Some(program.clone())));
        }
        let found = named.or(started).or_else(|| match &native {
            // A native program does not use a Python that only happens to be on PATH.
            Some(_) => active_python(host),
            None => default_python(host),
        });
        let Some((program, options)) = found else {
            return match native {
                Some(program) if self.lays_down_copies(host) => Ok(RequestTarget::Program(program)),
                Some(program) => {
                    let why = "is not linked against CUDA, and no environment is active";
                    Ok(RequestTarget::Nothing(format!("`{}` {why}", program.display()), None))
                }
                None if self.spec.is_auto() => {
                    let why = "no Python found, and no other target given";
                    Ok(RequestTarget::Nothing(why.to_owned(), None))
                }
                None => Ok(RequestTarget::Spec(self.spec.require()?, None)),
            };
        };
        let interpreter = match Interpreter::find(host, &program, &options) {
            Ok(interpreter) => interpreter,
            Err(error) if explicit => return Err(error.into()),
            Err(error) if self.spec.is_auto() => return Ok(RequestTarget::Nothing(error.to_string(), None)),
            Err(_) => return Ok(RequestTarget::Spec(self.spec.require()?, None)),
        };
        match TorchBuild::find(host, &interpreter.paths) {
            Ok(torch) if self.spec.admits_build(&torch) => {
                if torch.cuda.is_none() {
                    if let Some(program) = native.filter(|_| self.lays_down_copies(host)) {
                        return Ok(RequestTarget::Program(program));
                    }
                    let why = format!("torch {} in `{}` is built without CUDA", torch.version, torch.site().display());
                    let mut requirement = Requirement::new(Kind::Torch, format!("torch {}", torch.version));
                    requirement.path = Some(torch.dir);
                    return Ok(RequestTarget::Nothing(why, Some(requirement)));
                }
                Ok(RequestTarget::Torch(Box::new(torch), interpreter))
            }
            Ok(torch) if explicit => Err(RequestError::OtherTorch {
                python: interpreter.program,
                found: torch.version,
                requested: self.spec.to_string(),
            }),
            Err(_) if self.spec.is_auto() => Ok(RequestTarget::Environment(interpreter)),
            Ok(torch) => Ok(RequestTarget::Spec(self.spec.require()?, Some((interpreter.program, torch.version)))),
            Err(_) => Ok(RequestTarget::Spec(self.spec.require()?, None)),
        }
    }

    /// The program that the command starts, unless it is a Python.
    pub(super) fn native(&self, host: &Host) -> Option<PathBuf> {
        Command::read(host, &self.command).filter(|command| command.python.is_none()).map(|command| command.program)
    }

    /// Whether the user provides copies: `--use`, `--place`, `CUDASHIM_PLACE`.
    pub(super) fn lays_down_copies(&self, host: &Host) -> bool {
        let listed = host.env("CUDASHIM_PLACE").is_some_and(|list| !list.is_empty());
        !self.places.is_empty() || !self.policy.fixed.is_empty() || listed
    }

    /// The interpreter of the environment for this command: a native program that uses the environment's set replaces
    /// the interpreter in the process.
    pub(super) fn started(&self, host: &Host, interpreter: &Interpreter) -> Interpreter {
        self.native(host).map_or_else(|| interpreter.clone(), |program| interpreter.clone().within(program))
    }

    /// The environment's requirement, for the native program that the command starts: the program keeps its own
    /// copies, and the plan covers it. Copies that the user provides also serve the environment's Python, which the
    /// program may start.
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

    /// The package directories of the named or active environment, for a target outside it.
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

/// Whether a program, or a library it is linked with, needs an NVIDIA library.
pub(super) fn needs_cuda(objects: &Objects, program: &Path) -> bool {
    crate::launch::door::linked(objects, program).is_some()
}

/// The Python of the active environment.
fn active_python(host: &Host) -> Option<(PathBuf, Options)> {
    let active = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(|name| host.env(name));
    let mut pythons = active.map(|prefix| Path::new(prefix).join("bin/python"));
    pythons.find(|python| host.stat(python).is_ok()).map(|python| found(host, python))
}

/// The default Python: that of the active environment, else the project's, else the one on PATH.
pub(super) fn default_python(host: &Host) -> Option<(PathBuf, Options)> {
    let on_path = || ["python3", "python"].into_iter().find_map(|name| find_on_path(host, OsStr::new(name)));
    let project = || Some(host.cwd().join(".venv/bin/python")).filter(|python| host.stat(python).is_ok());
    active_python(host).or_else(|| Some(found(host, project().or_else(on_path)?)))
}

fn found(host: &Host, program: PathBuf) -> (PathBuf, Options) {
    let origin = if named(host, &program) { python::Origin::Named } else { python::Origin::Found };
    (program, Options { origin, ..Options::default() })
}

/// Whether an absolute path names a Python: through a variable, or an element of PATH. A relative or empty element
/// resolves to any file in the working directory.
fn named(host: &Host, python: &Path) -> bool {
    let path = host.env("PATH").unwrap_or(OsStr::new("/bin:/usr/bin"));
    let mut listed = std::env::split_paths(path).filter(|dir| dir.is_absolute());
    let mut active = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(|name| host.env(name)).map(Path::new);
    active.any(|prefix| prefix.is_absolute() && python.starts_with(prefix))
        || listed.any(|dir| python.parent() == Some(&dir))
}
