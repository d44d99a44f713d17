//! What the NVIDIA driver of a machine is, and what runs on it; nothing of it is run.
//!
//! Takes a machine through its [`Host`] and [`Inventory`]; gives a [`Driver`], a value that can be written down and
//! read back, so that what was seen on one machine is judged on another. The judgements ([`rules`]) take such values and
//! the tables of [`facts`] alone. What only the driver itself can tell, its devices, is passed in ([`Devices`]).
//!
//! [`Host`]: crate::host::Host
//! [`facts`]: crate::tables

mod bus;
mod choose;
mod embedded;
mod files;
mod record;
pub mod rules;
mod surroundings;

pub(crate) use choose::{Chosen, choose};

pub use crate::inventory::{Flavour, KernelModule, Proc};
pub use bus::{Gpu, Node};
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

/// The driver of a machine and what it stands on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Driver {
    /// The kernel module.
    pub kernel: KernelModule,
    /// Whether nouveau, the kernel's own driver, is loaded.
    pub nouveau: bool,
    /// The GPUs of NVIDIA's on the PCI bus; `None` where the bus cannot be seen.
    pub gpus: Option<Vec<Gpu>>,
    /// The device files of the driver; `None` where no device can be seen, as in an image.
    pub nodes: Option<Vec<Node>>,
    /// What the machine is.
    pub surroundings: Surroundings,
    /// Every library of a driver: installed, of the compatibility package, stubs.
    pub files: Vec<DriverFile>,
    /// What ld.so finds today as `libcuda.so.1`.
    pub libcuda: Option<Found>,
    /// What ld.so finds today as `libnvidia-ml.so.1`.
    pub nvml: Option<Found>,
    /// What ld.so finds today as `libnvidia-ptxjitcompiler.so.1`.
    pub jit: Option<Found>,
    /// Whether the cache of ld.so knows `libcuda.so.1`; `None` where there is no cache.
    pub cached: Option<bool>,
    /// What libcuda and NVML said, where they were asked.
    pub devices: Devices,
}

/// What came of asking libcuda and NVML, each in a process of its own; `None` where nobody asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Devices {
    /// libcuda: whether CUDA works for a process of this user.
    pub cuda: Option<Said>,
    /// NVML: what is there, even where CUDA does not work.
    pub nvml: Option<Said>,
}

/// What one of them said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Said {
    /// How the process that asked ended.
    pub end: End,
    /// What `cuInit` or `nvmlInit` returned, where it was not success: 3, 34, 100, 803, 804, 999; 9, 18.
    pub error: Option<i32>,
    /// The CUDA release that it serves: `12.2`.
    pub cuda: Option<String>,
    /// The version of the driver: `535.261.03`. Only NVML tells.
    pub driver: Option<String>,
    /// The devices, in its order.
    pub devices: Vec<Device>,
}

/// How a process that asked the driver ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum End {
    /// It said all it was asked.
    #[default]
    Done,
    /// It did not answer in time.
    Hangs,
    /// It ended otherwise, and how: a signal, an exit, a library that cannot be loaded.
    Failed(String),
}

/// A GPU as the driver names it. What it did not tell is empty.
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

/// The version of the driver, as far as that shows without a look at the libraries of the machine: of the kernel module,
/// else of the file that is found as `libcuda.so.1`, by its name.
#[must_use]
pub fn version_at_once(loader: &Loader) -> Option<Version> {
    let host = loader.host();
    let kernel = kernel_version(host).as_deref().and_then(Version::parse);
    kernel.or_else(|| {
        let (path, _) = loader.find("libcuda.so.1".as_ref())?;
        let real = host.canonical(&path).ok()?;
        // `libcuda.so.1.1` of WSL and `libcuda.so` of the stubs tell nothing.
        parse_library_name(real.file_name()?)?.version.filter(|version| version.major() >= 100)
    })
}

impl Driver {
    /// Looks at the driver of a machine. `inventory` holds the libraries of the places that count.
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
        }
    }

    /// The machine with what its driver said.
    #[must_use]
    pub fn with_devices(mut self, devices: Devices) -> Self {
        self.devices = devices;
        self
    }

    /// The driver where some of its libraries are handed out by name, whatever ld.so would find.
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

    /// The devices as CUDA sees them; as NVML does, where CUDA says nothing.
    #[must_use]
    pub fn devices(&self) -> &[Device] {
        let told = |said: &Option<Said>| said.as_ref().is_some_and(|said| !said.devices.is_empty());
        let said = Some(&self.devices.cuda).filter(|said| told(said)).unwrap_or(&self.devices.nvml);
        said.as_ref().map(|said| said.devices.as_slice()).unwrap_or_default()
    }

    /// Whether it can be seen that the kernel has the driver: its module, or the device file of a GPU where modules are
    /// hidden. `/dev/nvidiactl` alone shows nothing: libcuda and NVML, asked by root, make it where there is no driver.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.kernel.loaded || self.nodes.iter().flatten().any(Node::is_gpu)
    }

    /// The copy of libcuda that is found today.
    #[must_use]
    pub fn found_libcuda(&self) -> Option<&DriverFile> {
        let found = self.libcuda.as_ref()?;
        self.files.iter().find(|file| file.is_libcuda() && file.is_at(&found.path))
    }

    /// The copies of libcuda that a process could use: no stub, nothing damaged, nothing of another machine.
    pub fn usable_libcudas(&self) -> impl Iterator<Item = &DriverFile> {
        self.files.iter().filter(|file| file.is_libcuda() && file.is_usable())
    }

    /// The installed libcuda, not that of a compatibility package, that goes with the kernel module: the one that
    /// should be loaded unless forward compatibility is wanted. On WSL that of Windows; where no module can be seen, the
    /// one that is found, or the first there is.
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

    /// The version of the driver: of the kernel module, else, where that cannot be seen as on WSL and in some containers,
    /// what NVML said, else of the libcuda that fits.
    #[must_use]
    pub fn driver_version(&self) -> Option<Version> {
        let said = self.devices.nvml.as_ref().and_then(|said| said.driver.as_deref());
        let told = self.kernel.version.as_deref().or(said).and_then(Version::parse);
        told.or_else(|| Version::parse(self.fitting_libcuda()?.version.as_deref()?))
    }

    /// The CUDA release of the driver: what `cuDriverGetVersion` said, else that of its branch.
    #[must_use]
    pub fn driver_cuda(&self) -> Option<Version> {
        // NVML is never that of a compatibility package.
        let said = [&self.devices.nvml, &self.devices.cuda].into_iter().flatten();
        let told = said.filter(|said| said.error.is_none()).find_map(|said| Version::parse(said.cuda.as_deref()?));
        told.or_else(|| rules::cuda_of_driver(&self.driver_version()?))
    }

    /// Whether a driver or a GPU is there, so that something of CUDA's may come to be used.
    #[must_use]
    pub fn can_be_used(&self) -> bool {
        self.usable_libcudas().next().is_some() || self.is_loaded() || self.has_gpu()
    }

    /// Whether a program can be given GPUs at all, as far as that can be seen from outside the driver.
    #[must_use]
    pub fn has_gpu(&self) -> bool {
        let wanted = |gpu: &Gpu| !gpu.passed_through();
        self.gpus.as_ref().is_some_and(|gpus| gpus.iter().any(wanted)) || !self.devices().is_empty()
    }
}
