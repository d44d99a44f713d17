//! A machine as if a driver that is not installed here were, and GPUs.
//!
//! Takes a machine, a driver and devices; gives the machine with the libraries of that driver, by their usual names in
//! the first default directory of ld.so, and without those of its own. Writes nothing.

use super::Machine;
use super::stand_in::StandIn;
use super::wheel::needed_symbols;
use crate::driver::rules::cuda_of_driver;
use crate::driver::{Assumed, Device};
use crate::host;
use crate::inventory::forward_compatibility;
use crate::tables::{driver_symbol, parse_library_name};
use once_cell::sync::OnceCell;
use std::path::PathBuf;
use std::sync::Arc;

/// The libraries of a driver that CUDA programs need or open: each soname, and its other names.
const PARTS: [(&str, &[&str]); 10] = [
    ("libcuda.so.1", &["libcuda.so"]),
    ("libcudadebugger.so.1", &[]),
    ("libnvcuvid.so.1", &["libnvcuvid.so"]),
    ("libnvidia-encode.so.1", &["libnvidia-encode.so"]),
    ("libnvidia-ml.so.1", &["libnvidia-ml.so"]),
    ("libnvidia-nvvm.so.4", &[]),
    ("libnvidia-opencl.so.1", &[]),
    ("libnvidia-opticalflow.so.1", &[]),
    ("libnvidia-ptxjitcompiler.so.1", &[]),
    ("libnvoptix.so.1", &[]),
];

/// The file that names the release of the loaded kernel module.
const MODULE: &str = "/sys/module/nvidia/version";

/// The driver that a machine is assumed to have.
#[derive(Debug, Clone)]
pub(super) struct Assumption {
    /// The driver.
    pub(super) driver: Assumed,
    /// The directory of its libraries.
    pub(super) dir: PathBuf,
}

impl Machine {
    /// The machine as if it had this driver and these GPUs, and no other driver. What the environment brings of a driver
    /// (compatibility packages, stubs) stays.
    #[must_use]
    pub fn assuming(&self, driver: &Assumed, devices: Vec<Device>) -> Self {
        let own = |library: &&crate::inventory::Library| {
            library.row.is_driver() && !library.is_stub() && forward_compatibility(library).is_none()
        };
        let libraries = self.inventory().libraries.iter().filter(own);
        let gone = libraries.flat_map(|library| {
            let dir = library.path.parent().unwrap_or(&library.path).to_owned();
            library.names.iter().map(move |name| dir.join(name)).chain([library.path.clone()])
        });
        let gone = gone.map(|path| (path, host::Change::Gone));
        let dir = self.usual_dir();
        let needed = needed_symbols(self, &PARTS.into_iter().map(|(soname, _)| soname).collect());
        // All that the environment needs of it, but what came with a later driver.
        let cuda = cuda_of_driver(&driver.release);
        let has = |(symbol, _): &&(Vec<u8>, Option<Vec<u8>>)| {
            let first = std::str::from_utf8(symbol).ok().and_then(driver_symbol);
            first.zip(cuda.as_ref()).is_none_or(|(first, cuda)| first <= cuda)
        };
        let part = |(soname, names): (&str, &[&str])| {
            let bytes: Arc<[u8]> = StandIn {
                machine: self.loader().architecture(),
                soname: soname.into(),
                symbols: needed.get(soname).into_iter().flatten().filter(has).cloned().collect(),
                ..StandIn::default()
            }
            .bytes()
            .into();
            let file = |name: &&str| (dir.join(name), host::Change::File { bytes: bytes.clone() });
            [soname].iter().chain(names).map(file).collect::<Vec<_>>()
        };
        let parts = PARTS.into_iter().flat_map(part);
        let release = format!("{}\n", driver.release).into_bytes().into();
        let module = [(MODULE.into(), host::Change::File { bytes: release })];
        let host = self.host.with(gone.chain(parts).chain(module));
        let mut in_force = self.in_force.clone();
        if let Some(plan) = &mut in_force {
            let of_driver = |soname: &str| parse_library_name(soname).is_some_and(|name| name.row.is_driver());
            Arc::make_mut(plan).libraries.retain(|library| !of_driver(&library.soname));
        }
        Self {
            in_force,
            devices: driver.answers(devices),
            assumption: Some(Assumption { driver: driver.clone(), dir }),
            is_recorded: false,
            driver: OnceCell::new(),
            gpu_code: self.gpu_code.clone(),
            ..self.on(host)
        }
    }

    /// The same with other devices.
    #[must_use]
    pub fn with_gpus(&self, devices: Vec<Device>) -> Self {
        let Some(assumption) = &self.assumption else { return self.on(self.host.clone()) };
        Self {
            devices: assumption.driver.answers(devices),
            objects: self.objects.clone(),
            loader: OnceCell::new(),
            environment: self.environment.clone(),
            inventory: self.inventory.clone(),
            answer: self.answer.clone(),
            driver: OnceCell::new(),
            gpu_code: self.gpu_code.clone(),
            ..self.on(self.host.clone())
        }
    }

    /// The first default directory of ld.so that exists.
    fn usual_dir(&self) -> PathBuf {
        let dirs = self.loader().default_dirs();
        let found = dirs.iter().find(|dir| self.host.is_dir(dir)).or_else(|| dirs.first());
        found.cloned().unwrap_or_else(|| PathBuf::from("/usr/lib"))
    }
}
