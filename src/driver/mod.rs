//! The NVIDIA driver of a machine, and the software that it supports.
//!
//! Takes a machine through its [`Host`] and [`Inventory`]; gives a [`Driver`], which can be saved and judged on another
//! machine. The judgements ([`rules`]) use such values and the tables of [`facts`] alone. The devices, which only the
//! driver can report, are passed in ([`Devices`]). Never runs driver code.
//!
//! [`Host`]: crate::host::Host
//! [`facts`]: crate::tables

mod assumed;
mod bus;
mod choose;
mod device;
mod embedded;
mod files;
mod record;
pub mod rules;
mod surroundings;

pub(crate) use choose::{Chosen, choose};

pub use crate::inventory::{Flavour, KernelModule, Proc};
pub use assumed::{Assumed, AssumedError, gpu_of};
pub use bus::{Gpu, Node};
pub use device::{Support, capability, compat_serves, gpu_class, is_of_jetson, newest_branch, support};
pub use files::{DriverFile, Found, Role};
pub use record::RecordError;
pub use surroundings::{Container, Surroundings};

use crate::inventory::{Inventory, kernel_version};
use crate::loader::Loader;
use crate::tables::{Version, parse_library_name};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The version of the format of a recorded machine.
pub const RECORD: u32 = 1;

/// The driver of a machine and its surroundings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Driver {
    /// The kernel module.
    pub kernel: KernelModule,
    /// Whether nouveau, the kernel's own driver, is loaded.
    pub nouveau: bool,
    /// The NVIDIA GPUs on the PCI bus; `None` where the bus cannot be seen.
    pub gpus: Option<Vec<Gpu>>,
    /// The device files of the driver; `None` where no device can be seen, as in an image.
    pub nodes: Option<Vec<Node>>,
    /// The kind of machine.
    pub surroundings: Surroundings,
    /// Every library of a driver: installed, of the compatibility package, stubs.
    pub files: Vec<DriverFile>,
    /// The file that `libcuda.so.1` resolves to today.
    pub libcuda: Option<Found>,
    /// The file that `libnvidia-ml.so.1` resolves to today.
    pub nvml: Option<Found>,
    /// The file that `libnvidia-ptxjitcompiler.so.1` resolves to today.
    pub jit: Option<Found>,
    /// Whether the cache of ld.so has `libcuda.so.1`; `None` where there is no cache.
    pub cached: Option<bool>,
    /// The responses of libcuda and NVML, where queried.
    pub devices: Devices,
    /// Whether it is assumed: no machine has it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub assumed: bool,
}

/// The responses of libcuda and NVML, each queried in its own process; `None` where not queried.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Devices {
    /// libcuda: whether CUDA works for a process of this user.
    pub cuda: Option<DriverResponse>,
    /// NVML: the GPUs of the machine, even where CUDA does not work.
    pub nvml: Option<DriverResponse>,
}

/// The response of a driver library.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DriverResponse {
    /// How the querying process ended.
    pub end: End,
    /// The error that `cuInit` or `nvmlInit` returned: 3, 34, 100, 803, 804, 999; 9, 18.
    pub error: Option<i32>,
    /// The CUDA release that it serves: `12.2`.
    pub cuda: Option<String>,
    /// The version of the driver: `535.261.03`. From NVML only.
    pub driver: Option<String>,
    /// The devices, in its order.
    pub devices: Vec<Device>,
}

/// How a process that queried the driver ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum End {
    /// With a whole response.
    #[default]
    Done,
    /// It did not end in time.
    Hangs,
    /// With a failure: a signal, an exit status, a library that cannot be loaded.
    Failed(String),
}

/// A GPU as the driver reports it. Unreported fields are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Device {
    /// `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Its compute capability.
    pub compute: Option<Compute>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// `GPU-…`.
    pub uuid: Option<String>,
}

impl Device {
    /// A device of this name and capability.
    #[must_use]
    pub fn new(name: &str, compute: Compute) -> Self {
        Self { name: name.to_owned(), compute: Some(compute), ..Self::default() }
    }
}

/// A compute capability: 9.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Compute {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
}

impl Compute {
    /// `9.0`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }

    /// That of a row of the tables.
    #[must_use]
    pub fn of(sm: &Version) -> Option<Self> {
        Self::parse(sm.as_str())
    }
}

impl TryFrom<String> for Compute {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("a compute capability is two numbers: 9.0")
    }
}

impl From<Compute> for String {
    fn from(compute: Compute) -> Self {
        compute.to_string()
    }
}

impl std::fmt::Display for Compute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The version of the driver without an inventory: that of the kernel module, else that in the name of the file that
/// `libcuda.so.1` resolves to.
#[must_use]
pub fn version_at_once(loader: &Loader) -> Option<Version> {
    let host = loader.host();
    let kernel = kernel_version(host).as_deref().and_then(Version::parse);
    kernel.or_else(|| {
        let (path, _) = loader.find("libcuda.so.1".as_ref())?;
        let real = host.canonical(&path).ok()?;
        // `libcuda.so.1.1` of WSL and `libcuda.so` of the stubs have no version.
        parse_library_name(real.file_name()?)?.version.filter(|version| version.major() >= 100)
    })
}

impl Driver {
    /// Reads the driver of a machine. `inventory` holds the libraries of the places that count.
    #[must_use]
    pub fn look(loader: &Loader, inventory: &Inventory) -> Self {
        let host = loader.host();
        Self {
            kernel: KernelModule::look(host),
            nouveau: host.is_dir("/sys/module/nouveau".as_ref()),
            gpus: bus::gpus(host),
            nodes: bus::nodes(host),
            surroundings: Surroundings::look(host),
            files: files::files(inventory),
            libcuda: files::found(loader, "libcuda.so.1"),
            nvml: files::found(loader, "libnvidia-ml.so.1"),
            jit: files::found(loader, "libnvidia-ptxjitcompiler.so.1"),
            cached: loader.cache().iter().next().map(|_| loader.cache().lookup("libcuda.so.1".as_ref()).is_some()),
            devices: Devices::default(),
            assumed: false,
        }
    }

    /// The driver with its responses.
    #[must_use]
    pub fn with_devices(mut self, devices: Devices) -> Self {
        self.devices = devices;
        self
    }

    /// The driver where a plan hands out some of its libraries by name, in place of ld.so's.
    #[must_use]
    pub fn handed_out(mut self, by_name: impl Fn(&str) -> Option<PathBuf>) -> Self {
        let parts = [
            ("libcuda.so.1", &mut self.libcuda),
            ("libnvidia-ml.so.1", &mut self.nvml),
            ("libnvidia-ptxjitcompiler.so.1", &mut self.jit),
        ];
        for (name, found) in parts {
            if let Some(path) = by_name(name) {
                *found = Some(Found { path, rule: "plan".to_owned() });
            }
        }
        self
    }

    /// `installed` or `assumed`, for a sentence that gives its release.
    #[must_use]
    pub fn state(&self) -> &'static str {
        if self.assumed { "assumed" } else { "installed" }
    }

    /// The devices that CUDA reports, else those of NVML.
    #[must_use]
    pub fn devices(&self) -> &[Device] {
        let cuda = self.devices.cuda.as_ref().filter(|cuda| !cuda.devices.is_empty());
        cuda.or(self.devices.nvml.as_ref()).map(|response| response.devices.as_slice()).unwrap_or_default()
    }

    /// Whether the kernel visibly has the driver: its module, or the device file of a GPU where modules are hidden. Not
    /// `/dev/nvidiactl` alone: as root, libcuda and NVML create it even without a driver.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.kernel.loaded || self.nodes.iter().flatten().any(Node::is_gpu)
    }

    /// The copy of libcuda that ld.so finds today.
    #[must_use]
    pub fn found_libcuda(&self) -> Option<&DriverFile> {
        let found = self.libcuda.as_ref()?;
        self.files.iter().find(|file| file.is_libcuda() && file.is_at(&found.path))
    }

    /// The copies of libcuda that a process could use: no stubs, damaged files or files for another machine.
    pub fn usable_libcudas(&self) -> impl Iterator<Item = &DriverFile> {
        self.files.iter().filter(|file| file.is_libcuda() && file.is_usable())
    }

    /// The installed libcuda for the kernel module, not that of a compatibility package: the one to load without
    /// forward compatibility. On WSL that of Windows; where no module is visible, the one that ld.so finds, else the
    /// first.
    #[must_use]
    pub fn fitting_libcuda(&self) -> Option<&DriverFile> {
        let installed = || self.usable_libcudas().filter(|file| file.role == Role::Driver);
        if let Some(kernel) = &self.kernel.version {
            return installed().find(|file| file.version.as_ref() == Some(kernel));
        }
        let of_windows = || installed().find(|file| self.surroundings.wsl && file.path.starts_with(choose::WSL));
        let found = || self.found_libcuda().filter(|file| file.role == Role::Driver);
        of_windows().or_else(found).or_else(|| installed().next())
    }

    /// The version of the driver: that of the kernel module; where that is hidden, as on WSL and in some containers,
    /// the one that NVML reports, else that of the fitting libcuda.
    #[must_use]
    pub fn driver_version(&self) -> Option<Version> {
        let nvml = self.devices.nvml.as_ref().and_then(|response| response.driver.as_deref());
        let reported = self.kernel.version.as_deref().or(nvml).and_then(Version::parse);
        reported.or_else(|| Version::parse(self.fitting_libcuda()?.version.as_deref()?))
    }

    /// The CUDA release of the driver: that of `cuDriverGetVersion`, else that of its branch.
    #[must_use]
    pub fn driver_cuda(&self) -> Option<Version> {
        // First NVML, which is never of a compatibility package.
        let responses = [&self.devices.nvml, &self.devices.cuda].into_iter().flatten();
        let reported = responses.filter(|one| one.error.is_none()).find_map(|one| Version::parse(one.cuda.as_deref()?));
        reported.or_else(|| rules::cuda_of_driver(&self.driver_version()?))
    }

    /// Whether the machine has a driver or a GPU, so that CUDA may be used.
    #[must_use]
    pub fn can_be_used(&self) -> bool {
        self.usable_libcudas().next().is_some() || self.is_loaded() || self.has_gpu()
    }

    /// Whether programs can have a GPU, as far as visible from outside the driver.
    #[must_use]
    pub fn has_gpu(&self) -> bool {
        let available = |gpu: &Gpu| !gpu.passed_through();
        self.gpus.as_ref().is_some_and(|gpus| gpus.iter().any(available)) || !self.devices().is_empty()
    }
}
