//! The facts of a kept plan on this machine, a line for each.
//!
//! Takes a plan and a machine; gives [`Check`]s. A file with the stat in the plan is the file of the plan, as for the
//! shim; only others are read, for their build ID or digest. Searches for nothing, and runs nothing but a given
//! interpreter without a `pyvenv.cfg`.

use super::usable::{REFUSED, is_moving};
use super::within;
use crate::driver::{self, rules};
use crate::host::{Host, Kind, Stat};
use crate::loader::Loader;
use crate::loader::Objects;
use crate::plan::{Drift, Identity, Plan, PlanFor, PlanLibrary, Unfit};
use crate::python::TorchBuild;
use crate::python::{Command, Interpreter, InterpreterError, Options, Origin};
use crate::tables::Version;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

/// Where to look besides the known places.
#[derive(Debug, Clone, Default)]
pub struct Here {
    /// `--python PY`: the interpreter of this machine, or the directory of its environment.
    pub python: Option<PathBuf>,
    /// `--place DIR`.
    pub places: Vec<PathBuf>,
}

/// The state of a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// Unchanged.
    Holds,
    /// Changed, but the lock can still be used.
    Differs,
    /// Changed, so that the lock cannot be used as it is.
    Drifted,
}

/// The subject of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum What {
    /// The file of the lock itself.
    Lock,
    /// The target: the torch, the files, the environment.
    Consumer,
    /// The Python.
    Python,
    /// The driver, with its libraries.
    Driver,
    /// A program that it is for.
    Program,
    /// A library.
    Library,
    /// A package that brings some.
    Package,
}

/// The kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Change {
    /// It no longer exists.
    Gone,
    /// It cannot be read.
    Unreadable,
    /// The same build, as another file or in another place.
    Moved,
    /// The same build ID, and another size: it was changed in place.
    OtherSize,
    /// Another build.
    OtherBuild,
    /// Another file of unknown build.
    Unidentified,
    /// Another version.
    OtherVersion,
    /// Others may change the file.
    Unfit,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    /// Its subject.
    pub what: What,
    /// Its name: a soname, `torch`, `driver`.
    pub name: String,
    /// Its state.
    pub state: State,
    /// The change, if any.
    pub change: Option<Change>,
    /// The fact, in a clause.
    pub says: String,
    /// The file, where there is one.
    pub path: Option<PathBuf>,
    /// The file that the path resolves to now, where that is not the locked one.
    pub resolves_to: Option<PathBuf>,
}

impl Check {
    pub(super) fn new(what: What, name: &str, says: String) -> Self {
        let name = name.to_owned();
        Self { what, name, state: State::Holds, change: None, says, path: None, resolves_to: None }
    }

    fn at(mut self, path: &Path) -> Self {
        self.path = Some(path.to_owned());
        self
    }

    pub(super) fn differs(mut self, change: Change) -> Self {
        (self.state, self.change) = (State::Differs, Some(change));
        self
    }

    fn drifted(mut self, change: Change) -> Self {
        (self.state, self.change) = (State::Drifted, Some(change));
        self
    }
}

/// The checks of a plan.
#[derive(Debug, Clone)]
#[must_use]
pub struct Verification {
    /// All checks, in order.
    pub checks: Vec<Check>,
}

impl Verification {
    /// Whether the plan can be used as it is.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.drifted().next().is_none()
    }

    /// The checks that make it unusable.
    pub fn drifted(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.state == State::Drifted)
    }

    /// Whether the only fault is the lock file itself: its owner, or who may write to it.
    #[must_use]
    pub fn is_only_unfit(&self) -> bool {
        self.drifted().all(|check| check.what == What::Lock)
    }

    /// Whether `--relocate` may fix it: nothing is known to be of another build or version.
    #[must_use]
    pub fn may_be_relocated(&self) -> bool {
        self.drifted().all(|check| match check.what {
            What::Driver => check.change != Some(Change::Gone),
            What::Lock | What::Python => false,
            _ => matches!(check.change, Some(Change::Gone | Change::Moved)),
        })
    }
}

/// Checks a plan that was read from `file`, an absolute path outside the machine's root.
///
/// # Errors
///
/// Where the given interpreter cannot be described.
pub fn verify(host: &Host, file: &Path, plan: &Plan, here: &Here) -> Result<Verification, InterpreterError> {
    let mut checks = Vec::new();
    if let Some(unfit) = Unfit::find(&Host::current(), file) {
        checks.push(Check::new(What::Lock, "lock", unfit.to_string()).at(file).drifted(Change::Unfit));
    }
    let named =
        here.python.as_deref().map(|python| Interpreter::find(host, python, &Options::default())).transpose()?;
    for made_for in &plan.made_for {
        checks.extend(consumer(host, plan, made_for, named.as_ref()));
    }
    checks.extend(python(host, plan, named.as_ref()));
    let objects = Objects::new(host);
    checks.extend(driver(&Loader::new(&objects), plan));
    for program in plan.programs.iter().filter(|program| is_gone(host, program)) {
        let says = format!("`{}`, the program of the lock, is missing", program.display());
        checks.push(Check::new(What::Program, "program", says).at(program).drifted(Change::Gone));
    }
    if plan.libraries.is_empty() {
        let says = "the lock has no libraries".to_owned();
        checks.push(Check::new(What::Library, "library", says).drifted(Change::Unidentified));
    }
    let outside = outside(host, plan, named.as_ref(), here);
    let libraries = plan.libraries.iter().filter(|library| !library.is_driver());
    checks.extend(libraries.map(|library| {
        let check = self::library(&objects, library);
        let refused = outside.iter().find(|(soname, _)| *soname == library.soname);
        if let Some((_, why)) = refused.filter(|_| check.state != State::Drifted) {
            return Check {
                says: format!("{} {why}, and is not handed out", check.says),
                ..check.drifted(Change::Unfit)
            };
        }
        match check.change {
            Some(change) if !plan.is_its_own(library) => {
                Check { says: format!("{}; it is left to the loader", check.says), ..check.differs(change) }
            }
            _ => check,
        }
    }));
    Ok(Verification { checks })
}

/// The libraries that `run --plan` would not hand out to the program of the lock, and why. Never runs an interpreter
/// that only the lock names.
fn outside(host: &Host, plan: &Plan, named: Option<&Interpreter>, here: &Here) -> Vec<(String, String)> {
    let program = named.map(|interpreter| &interpreter.program).or(plan.programs.first());
    let command = program.and_then(|program| Command::read(host, &[program.clone().into_os_string()]));
    let command = command.map(|command| {
        let origin = if named.is_some() { Origin::Named } else { Origin::Found };
        Command { python: command.python.map(|options| Options { origin, ..options }), ..command }
    });
    within(host, plan.clone(), command.as_ref(), &here.places).1
}

fn is_gone(host: &Host, path: &Path) -> bool {
    let gone = |error: io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    host.stat(path).err().is_some_and(gone)
}

/// The torch directory that an interpreter imports.
pub(crate) fn torch_dir(host: &Host, interpreter: &Interpreter) -> Option<PathBuf> {
    let mut dirs = interpreter.paths.iter().map(|site| site.join("torch"));
    dirs.find(|dir| host.is_file(&dir.join("__init__.py")))
}

fn consumer(host: &Host, plan: &Plan, made_for: &PlanFor, named: Option<&Interpreter>) -> Option<Check> {
    let path = made_for.path.as_deref()?;
    let check = |says: String| Check::new(What::Consumer, &made_for.kind, says);
    if made_for.kind != "torch" {
        return Some(if is_gone(host, path) {
            check(format!("`{}` is gone", path.display())).at(path).drifted(Change::Gone)
        } else {
            check(made_for.text.clone()).at(path)
        });
    }
    let dir = match named {
        None => path.to_owned(),
        Some(interpreter) => {
            let Some(dir) = torch_dir(host, interpreter) else {
                let says = format!("is not installed for `{}`", interpreter.program.display());
                return Some(check(says).at(&interpreter.program).drifted(Change::Gone));
            };
            dir
        }
    };
    let Some((version, cuda)) = TorchBuild::recorded_version(host, &dir) else {
        return Some(if is_gone(host, &dir) {
            check(format!("`{}` is gone", dir.display())).at(&dir).drifted(Change::Gone)
        } else {
            let says = format!("cannot read the version of `{}`", dir.join("version.py").display());
            check(says).at(&dir).drifted(Change::Unreadable)
        });
    };
    let locked = plan.with("torch").and_then(|with| with.version.as_deref());
    if let Some(locked) = locked.filter(|locked| *locked != version) {
        let says = format!("is {version}, was {locked}, in `{}`", dir.display());
        return Some(check(says).at(&dir).drifted(Change::OtherVersion));
    }
    let locked = plan.with("torch").and_then(|with| with.cuda.as_deref());
    if let (Some(locked), Some(cuda)) = (locked, &cuda)
        && locked != cuda
    {
        let says = format!("{version} is built with CUDA {cuda}, was with {locked}, in `{}`", dir.display());
        return Some(check(says).at(&dir).drifted(Change::OtherVersion));
    }
    let says = format!("{version} in `{}`", dir.display());
    if host.canonical(&dir).ok() != host.canonical(path).ok() {
        let says = format!("{says}, was in `{}`", path.display());
        return Some(check(says).at(&dir).drifted(Change::Moved));
    }
    Some(check(says).at(&dir))
}

/// Without a given interpreter, only that of a virtual environment, whose `pyvenv.cfg` has the version.
fn python(host: &Host, plan: &Plan, named: Option<&Interpreter>) -> Option<Check> {
    let locked = plan.with("python")?.version.as_deref()?;
    let own = || {
        let in_venv = |program: &&PathBuf| {
            let prefix = program.parent().and_then(Path::parent);
            prefix.is_some_and(|prefix| host.is_file(&prefix.join("pyvenv.cfg")))
        };
        Interpreter::find(host, plan.programs.iter().find(in_venv)?, &Options::default()).ok()
    };
    let found = match named {
        Some(interpreter) => interpreter.clone(),
        None => own()?,
    };
    let check = |says| Check::new(What::Python, "python", says).at(&found.program);
    if found.version == locked {
        return Some(check(format!("{locked} in `{}`", found.prefix.display())));
    }
    let says = format!("is {}, was {locked}, in `{}`", found.version, found.prefix.display());
    Some(check(says).differs(Change::OtherVersion))
}

fn driver(loader: &Loader, plan: &Plan) -> Option<Check> {
    let host = loader.host();
    let own: Vec<&PlanLibrary> = plan.libraries.iter().filter(|library| library.is_driver()).collect();
    let with = plan.with("driver");
    if with.is_none() && own.is_empty() {
        return None;
    }
    let was = with.and_then(|with| with.version.as_deref());
    let is = driver::version_at_once(loader);
    let changed = own.iter().filter(|library| library.drift(host).is_some()).count();
    let cuda = plan.with("torch").and_then(|with| Version::parse(with.cuda.as_deref()?));
    let needs = is.as_ref().zip(cuda.as_ref()).and_then(|(driver, cuda)| match rules::on_driver(cuda, driver) {
        rules::Verdict::NeedsDriver { floor: Some(floor) } => Some(format!("CUDA {cuda} requires {floor} or newer")),
        rules::Verdict::NeedsDriver { floor: None } => Some(format!("CUDA {cuda} requires a newer one")),
        _ => None,
    });
    let same = was == is.as_ref().map(Version::as_str);
    let mut says = match (was, &is) {
        (None, None) if with.is_some() => "no driver (unchanged)".to_owned(),
        (None, None) => "none".to_owned(),
        (Some(was), None) => format!("no driver, was {was}"),
        (None, Some(is)) if with.is_some() => format!("is {is}, was none"),
        (None, Some(is)) => is.to_string(),
        (Some(_), Some(is)) if same => is.to_string(),
        (Some(was), Some(is)) => format!("is {is}, was {was}"),
    };
    if changed > 0 {
        let verb = if changed == 1 { "has" } else { "have" };
        let all = own.len();
        let _ = write!(says, ": {changed} of its {all} libraries in the lock {verb} changed; the loader finds its own");
    }
    if let Some(needs) = &needs {
        let _ = write!(says, ": {needs}");
    }
    let check = Check::new(What::Driver, "driver", says);
    Some(match (was, &is) {
        (Some(_), None) => check.drifted(Change::Gone),
        _ if changed > 0 && same => check.drifted(Change::Moved),
        _ if changed > 0 || needs.is_some() && !same => check.drifted(Change::OtherVersion),
        _ if same || with.is_none() => check,
        _ => check.differs(Change::OtherVersion),
    })
}

fn library(objects: &Objects, library: &PlanLibrary) -> Check {
    let host = objects.host();
    let path = &library.path;
    let version = library.version.as_ref().map(|version| format!("{version}, ")).unwrap_or_default();
    let mut check = Check::new(What::Library, &library.soname, String::new()).at(path);
    if is_moving(path) {
        check.says = format!("{version}`{}` {REFUSED}, and is never handed out", path.display());
        return check.drifted(Change::Unfit);
    }
    let link = host.link_target(path).is_ok();
    let (change, says) = match library.drift(host) {
        None => {
            check.says = format!("{version}`{}`", path.display());
            return check;
        }
        Some(Drift::Gone) if link => (Change::Gone, "is a dangling symbolic link".to_owned()),
        Some(Drift::Gone) => (Change::Gone, "is gone".to_owned()),
        Some(Drift::Unreadable(error)) => (Change::Unreadable, format!("cannot be read: {error}")),
        Some(Drift::Changed(stat)) => {
            let real = host.canonical(path).ok().filter(|real| real != path);
            check.resolves_to.clone_from(&real);
            let (change, says) = changed(objects, library, stat);
            // Only where the last component is a link: not a directory above it.
            let through = real.filter(|_| link);
            let through =
                through.map(|real| format!("; the link resolves to `{}`", real.display())).unwrap_or_default();
            (change, format!("{says}{through}"))
        }
    };
    check.says = format!("{version}`{}` {says}", path.display());
    // The same build is handed out as any file: on another mount of an image, after a copy.
    if change == Change::Moved { check.differs(change) } else { check.drifted(change) }
}

/// The change of a library's file.
fn changed(objects: &Objects, library: &PlanLibrary, stat: Stat) -> (Change, String) {
    if stat.kind != Kind::File {
        return (Change::OtherBuild, "is no longer a regular file".to_owned());
    }
    match Identity::at(objects, library, &library.path, stat) {
        Identity::Same => (Change::Moved, "is the same build, as another file".to_owned()),
        Identity::OtherSize => (
            Change::OtherSize,
            format!("has the same build ID, but {} bytes instead of {}: it has changed", stat.size, library.size),
        ),
        Identity::Other(Some(is)) => {
            (Change::OtherBuild, format!("is {is}, was {}", library.identity.as_deref().unwrap_or_default()))
        }
        Identity::Other(None) => {
            (Change::OtherBuild, format!("is another file: {} bytes instead of {}", stat.size, library.size))
        }
        Identity::Unknown(Some(error)) => (Change::Unreadable, format!("cannot be read: {error}")),
        Identity::Unknown(None) => {
            (Change::Unidentified, "is another file of the same size; its build is unknown".to_owned())
        }
    }
}
