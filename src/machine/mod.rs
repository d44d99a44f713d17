//! A machine and the target of a request: the starting point of every command.
//!
//! Takes a [`Host`] and a [`Request`]; gives the environment, the loader, the inventory, the driver and the chosen
//! set, each computed once at first use. [`Machine::with`] is the same machine after a [`Change`]: it writes nothing.
//! Judges nothing.

mod answer;
mod assumed;
mod cache;
mod change;
mod lock;
mod relocate;
mod request;
mod stand_in;
mod target;
mod wheel;

pub use cache::{Cached, Handed, HandedError, InProcessError, Judge, JudgeResult, PlanCache};
pub use change::Change;
pub use lock::{Locked, lock};
pub use relocate::{NotRelocated, RelocateError, relocate};
pub use request::{Answer, Checked, Request, RequestError};
pub use wheel::Wheel;

use crate::driver::{Devices, Driver};
use crate::elf::fatbin::FatBinaries;
use crate::host::Host;
use crate::inventory::places;
use crate::inventory::{Depth, Inventory, gpu_code};
use crate::launch::enable::is_enabled;
use crate::loader::Loader;
use crate::loader::Objects;
use crate::plan::Plan;
use crate::python::TorchBuild;
use crate::python::{Distribution, Interpreter, distributions};
use assumed::Assumption;
use once_cell::sync::OnceCell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// The environment of a Python: its import paths and packages.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Environment {
    /// The interpreter; `None` if the target has none, or it cannot be described.
    pub interpreter: Option<Interpreter>,
    /// Its torch.
    pub torch: Option<TorchBuild>,
    /// The packages installed on its import paths.
    #[doc(hidden)]
    pub installed: Vec<Distribution>,
}

/// What was read of each file.
type GpuCode = Arc<Mutex<BTreeMap<PathBuf, Option<FatBinaries>>>>;

/// A machine, examined for one target.
///
/// ```
/// use cudashim::{Change, Host, Machine, Request};
/// let machine = Machine::new(Host::current(), Request::default());
/// let bare = machine.with(&Change::Variable("LD_LIBRARY_PATH".into(), None));
/// assert!(bare.loader().library_path().is_empty());
/// ```
#[derive(Debug)]
pub struct Machine {
    host: Host,
    request: Request,
    objects: Objects,
    /// The plan that the shim hands out.
    in_force: Option<Arc<Plan>>,
    /// Why the shim cannot hand out the plan of the environment, or parts of it.
    fault: Option<String>,
    devices: Devices,
    /// Whether the driver was replaced by a recorded or assumed one.
    is_recorded: bool,
    /// The driver that it is assumed to have.
    assumption: Option<Assumption>,
    /// The code in the fat binaries of files that were read.
    gpu_code: GpuCode,
    loader: OnceCell<Loader>,
    interpreter: OnceCell<Option<Interpreter>>,
    environment: OnceCell<Environment>,
    inventory: OnceCell<Arc<Inventory>>,
    driver: OnceCell<Arc<Driver>>,
    answer: OnceCell<Arc<Result<Answer, RequestError>>>,
}

impl Machine {
    /// This machine, for the default Python: the active environment's, else the one on PATH.
    #[must_use]
    pub fn current() -> Self {
        Self::new(Host::current(), Request::default())
    }

    /// A machine as it is, for the target of a request. No plan is in force.
    #[must_use]
    pub fn new(host: Host, request: Request) -> Self {
        Self {
            objects: Objects::new(&host),
            host,
            request,
            in_force: None,
            fault: None,
            devices: Devices::default(),
            is_recorded: false,
            assumption: None,
            gpu_code: GpuCode::default(),
            loader: OnceCell::new(),
            interpreter: OnceCell::new(),
            environment: OnceCell::new(),
            inventory: OnceCell::new(),
            driver: OnceCell::new(),
            answer: OnceCell::new(),
        }
    }

    /// The machine with the answers of libcuda and NVML.
    #[must_use]
    #[doc(hidden)]
    pub fn with_devices(mut self, devices: Devices) -> Self {
        self.devices = devices;
        self
    }

    /// The machine with a recorded or assumed driver instead of its own.
    #[must_use]
    #[doc(hidden)]
    pub fn with_driver(self, driver: Driver) -> Self {
        Self { driver: OnceCell::with_value(Arc::new(driver)), is_recorded: true, ..self }
    }

    /// The machine with a plan in force: the shim hands out the planned files, except drifted ones.
    #[must_use]
    #[doc(hidden)]
    pub fn with_plan(mut self, mut plan: Plan) -> Self {
        let drifted = plan.relevant_drift(&self.host);
        self.fault = drifted.first().map(|(library, how)| format!("`{}` {how}", library.path.display()));
        let drifted: Vec<String> = drifted.iter().map(|(library, _)| library.soname.clone()).collect();
        plan.libraries.retain(|library| !drifted.contains(&library.soname));
        Self { in_force: Some(Arc::new(plan)), ..self }
    }

    /// The machine with the plan that its environment has in force: in an enabled environment the set; with the shim
    /// preloaded, the plan of
    /// `CUDASHIM_PLAN` if that covers the program, else the set that the shim would request. The shim leaves out
    /// drifted files of a plan.
    #[must_use]
    pub fn as_it_is(mut self) -> Self {
        let preloaded = ["LD_PRELOAD", "LD_AUDIT"].into_iter().filter_map(|name| self.host.env(name)).any(|list| {
            let entries = list.as_bytes().split(|byte| matches!(byte, b':' | b' '));
            entries.filter_map(|entry| Path::new(OsStr::from_bytes(entry)).file_name()).any(is_shim)
        });
        if self.host.env("CUDASHIM_OFF").is_some_and(|value| value == "1") {
            return self;
        }
        if !preloaded {
            if self.is_enabled() {
                self.in_force = self.chosen().cloned().map(Arc::new);
            }
            return self;
        }
        match self.host.env("CUDASHIM_PLAN").map(Path::new) {
            Some(path) => match Plan::read(&path.with_extension("plan")) {
                Ok(plan) if self.covers_interpreter(&plan) => return self.with_plan(plan),
                Ok(_) => self.in_force = self.chosen().cloned().map(Arc::new),
                Err(error) => self.fault = Some(format!("`{}` cannot be read: {error}", path.display())),
            },
            None => self.in_force = self.chosen().cloned().map(Arc::new),
        }
        self
    }

    /// Whether the target is an environment that is enabled: its Python opens the set by itself.
    #[must_use]
    #[doc(hidden)]
    pub fn is_enabled(&self) -> bool {
        self.interpreter().is_some_and(|interpreter| is_enabled(&self.host, &interpreter.paths))
    }

    fn covers_interpreter(&self, plan: &Plan) -> bool {
        self.interpreter().is_some_and(|interpreter| plan.is_for(&self.host, &interpreter.program))
    }

    /// The same machine without a plan in force.
    #[must_use]
    #[doc(hidden)]
    pub fn bare(&self) -> Self {
        Self { in_force: None, fault: None, ..self.on(self.host.clone()) }
    }

    /// Why the shim cannot hand out the plan of the environment, or parts of it.
    #[must_use]
    #[doc(hidden)]
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Its files and variables.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The code for GPUs in an object; `None` if it cannot be read. Reads each file once; one that seems to have code for one
    /// architecture only, the default of the compiler, to its end: cuFFT keeps its code among constants.
    pub(crate) fn gpu_code(&self, path: &Path) -> Option<FatBinaries> {
        let mut known = self.gpu_code.lock().ok()?;
        let read = || {
            let object = self.objects.open(path).ok()?;
            let found = gpu_code(&object, Depth::Quick).ok()?;
            let is_stub = found.ptx.is_empty() && found.cubins.len() == 1;
            if is_stub { gpu_code(&object, Depth::Full).ok() } else { Some(found) }
        };
        known.entry(path.to_owned()).or_insert_with(read).clone()
    }

    /// The request.
    #[must_use]
    #[doc(hidden)]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Its ELF files.
    #[must_use]
    #[doc(hidden)]
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// The plan in force.
    #[must_use]
    pub fn in_force(&self) -> Option<&Plan> {
        self.in_force.as_deref()
    }

    /// Its ld.so, in this environment.
    #[must_use]
    #[doc(hidden)]
    pub fn loader(&self) -> &Loader {
        self.loader.get_or_init(|| Loader::new(&self.objects))
    }

    /// The interpreter of the target: the one named, else the one that the command starts, else the default.
    #[must_use]
    #[doc(hidden)]
    pub fn interpreter(&self) -> Option<&Interpreter> {
        let find = || {
            let started = self.request.environment(&self.host).ok().flatten();
            started.or_else(|| self.request.interpreter(&self.host).ok().flatten())
        };
        self.interpreter.get_or_init(find).as_ref()
    }

    /// The environment of the target.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        self.environment.get_or_init(|| {
            let interpreter = self.interpreter().cloned();
            let paths = interpreter.as_ref().map(|interpreter| interpreter.paths.as_slice()).unwrap_or_default();
            Environment {
                torch: TorchBuild::find(&self.host, paths).ok(),
                installed: paths.iter().flat_map(|path| distributions(&self.host, path)).collect(),
                interpreter,
            }
        })
    }

    /// The libraries of that environment, then those of the machine.
    #[must_use]
    pub fn inventory(&self) -> &Inventory {
        self.inventory.get_or_init(|| {
            let paths = self.interpreter().map(|interpreter| interpreter.paths.clone()).unwrap_or_default();
            let mut dirs = places::sites(&self.host, &paths);
            dirs.extend(places::survey(&self.host, self.loader()));
            Arc::new(Inventory::scan(&self.objects, dirs))
        })
    }

    /// Its driver.
    #[must_use]
    #[doc(hidden)]
    pub fn driver(&self) -> &Driver {
        self.driver.get_or_init(|| {
            let driver = Driver::look(self.loader(), self.inventory()).with_devices(self.devices.clone());
            let driver = match &self.assumption {
                Some(assumption) => driver.assuming(&assumption.driver, &assumption.dir),
                None => driver,
            };
            Arc::new(match self.in_force() {
                Some(plan) => driver.handed_out(|name| Some(plan.lookup(name)?.path.clone())),
                None => driver,
            })
        })
    }

    /// The same, once the request is known to have an answer.
    ///
    /// # Errors
    ///
    /// As [`Request::answer`], except that a request without a fitting set has an answer.
    #[doc(hidden)]
    pub fn answered(self) -> Result<Self, RequestError> {
        match self.request.answer_by(self.loader()) {
            Err(error) if !matches!(error, RequestError::NoSolution { .. }) => Err(error),
            answer => Ok(Self { answer: OnceCell::with_value(Arc::new(answer)), ..self }),
        }
    }

    /// The answer of `resolve`.
    ///
    /// # Errors
    ///
    /// As [`Request::answer`].
    pub fn answer(&self) -> Result<&Answer, &RequestError> {
        (**self.answer.get_or_init(|| Arc::new(self.request.answer_by(self.loader())))).as_ref()
    }

    /// The plan of the set that `resolve` chooses.
    #[must_use]
    #[doc(hidden)]
    pub fn chosen(&self) -> Option<&Plan> {
        self.answer().ok()?.resolution.as_ref().map(|resolution| &resolution.plan)
    }

    /// The same machine after a change. Keeps every result that the change does not affect.
    #[must_use]
    pub fn with(&self, change: &Change) -> Self {
        let host = match change {
            Change::Set => {
                return Self {
                    objects: self.objects.clone(),
                    in_force: self.chosen().cloned().map(Arc::new),
                    fault: None,
                    inventory: self.inventory.clone(),
                    answer: self.answer.clone(),
                    ..self.on(self.host.clone())
                };
            }
            Change::Then(changes) => {
                let [first, rest @ ..] = changes.as_slice() else { return self.on(self.host.clone()) };
                return rest.iter().fold(self.with(first), |machine, change| machine.with(change));
            }
            Change::Variable(name, value) => {
                let changed = self.on(self.host.with_variable(name, value.as_deref()));
                // The import paths of Python may have changed.
                let same = !name.starts_with("PYTHON");
                return if same { changed } else { Self { interpreter: OnceCell::new(), ..changed } };
            }
            Change::Files(files) => self.host.with(files.iter().cloned()),
            Change::Wheels { remove, install } => self.host.with(wheel::changes(self, remove, install)),
        };
        self.on(host)
    }

    /// The same request on another host, with the interpreter that was found here.
    fn on(&self, host: Host) -> Self {
        Self {
            in_force: self.in_force.clone(),
            fault: self.fault.clone(),
            devices: self.devices.clone(),
            is_recorded: self.is_recorded,
            assumption: self.assumption.clone(),
            driver: if self.is_recorded { self.driver.clone() } else { OnceCell::new() },
            interpreter: OnceCell::with_value(self.interpreter().cloned()),
            ..Self::new(host, self.request.clone())
        }
    }
}

/// Whether a file name is that of the shim (`launch::shim`).
fn is_shim(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"libcudashim") && !name.as_bytes().starts_with(b"libcudashim-trace")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_shared<T: Send + Sync>() {}

    #[test]
    fn threads_share_a_machine() {
        is_shared::<Machine>();
        is_shared::<crate::check::Judgement>();
    }
}
