//! A driver and GPUs that are not here, as a user names them.
//!
//! Takes `535`, `570.124.06,open`; `H100`, `RTX 5090`, `sm_90`. Gives an [`Assumed`] driver and the [`Device`]s, to judge a
//! machine with. Never looks at the machine.

use super::{Compute, Device, Devices, Driver, DriverResponse, Flavour, KernelModule, Proc, Role, rules};
use crate::host::Hints;
use crate::tables::{GpuNameError, Version, compute_capabilities, gpu_named};
use std::path::Path;
use std::str::FromStr;

/// A driver that is not installed here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assumed {
    /// Its release: a branch, `535`, stands for every release of it.
    pub release: Version,
    /// The flavour of its kernel modules, if given.
    pub flavour: Option<Flavour>,
}

/// Why a driver or a GPU cannot be assumed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AssumedError {
    /// It is no release of a driver.
    #[error("invalid driver `{0}`: expected `535`, `570.124.06`, or one of them with `,open` or `,proprietary`")]
    Driver(String),
    /// No GPU has this capability.
    #[error("cannot find a GPU of compute capability `{0}` in the table")]
    Compute(String),
    /// It is not the name of one GPU.
    #[error(transparent)]
    Gpu(#[from] GpuNameError),
}

impl Hints for AssumedError {
    fn hints(&self) -> Vec<String> {
        let list = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let hint = match self {
            Self::Driver(_) => return Vec::new(),
            Self::Compute(_) => {
                let known: Vec<String> = compute_capabilities().iter().map(|row| format!("`{}`", row.sm)).collect();
                format!("name one of {}", known.join(", "))
            }
            Self::Gpu(GpuNameError::Unknown { near, .. }) if near.is_empty() => {
                "name its compute capability: `sm_90`".to_owned()
            }
            Self::Gpu(GpuNameError::Unknown { near, .. }) => format!("name one of {}", list(near)),
            Self::Gpu(GpuNameError::Ambiguous { rows, .. }) => format!("name one of {}", list(rows)),
        };
        vec![hint]
    }
}

impl FromStr for Assumed {
    type Err = AssumedError;

    fn from_str(text: &str) -> Result<Self, AssumedError> {
        let malformed = || AssumedError::Driver(text.to_owned());
        let (release, flavour) = match text.split_once(',') {
            Some((release, "open")) => (release, Some(Flavour::Open)),
            Some((release, "proprietary")) => (release, Some(Flavour::Proprietary)),
            Some(_) => return Err(malformed()),
            None => (text, None),
        };
        let plain = release.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let release = Version::parse(release).filter(|it| plain && (300..1000).contains(&it.major()));
        let release = release.filter(|it| it.numbers().len() <= 3).ok_or_else(malformed)?;
        Ok(Self { release, flavour })
    }
}

impl std::fmt::Display for Assumed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.release.fmt(f)?;
        match self.flavour {
            Some(Flavour::Open) => f.write_str(",open"),
            Some(Flavour::Proprietary) => f.write_str(",proprietary"),
            None => Ok(()),
        }
    }
}

impl Assumed {
    /// The driver of a branch, `535`.
    #[must_use]
    pub fn branch(branch: u64) -> Option<Self> {
        Some(Self { release: Version::parse(&branch.to_string())?, flavour: None })
    }

    /// What libcuda and NVML would answer with these devices.
    #[must_use]
    pub fn answers(&self, devices: Vec<Device>) -> Devices {
        let answer = DriverResponse {
            cuda: rules::cuda_of_driver(&self.release).map(|cuda| cuda.to_string()),
            driver: Some(self.release.to_string()),
            devices,
            ..DriverResponse::default()
        };
        Devices { cuda: Some(answer.clone()), nvml: Some(answer) }
    }
}

impl Driver {
    /// The driver of a machine that is assumed to have this one, with its libraries in a directory: what was seen of its
    /// own kernel, bus and devices does not count.
    #[must_use]
    pub(crate) fn assuming(self, driver: &Assumed, dir: &Path) -> Self {
        let mut files = self.files;
        for file in files.iter_mut().filter(|file| file.dir() == dir && file.role == Role::Driver) {
            file.version = Some(driver.release.to_string());
        }
        Self {
            kernel: KernelModule {
                loaded: true,
                version: Some(driver.release.to_string()),
                flavour: driver.flavour,
                uvm: true,
                proc: Proc::Reported,
            },
            files,
            libcuda: self.libcuda,
            nvml: self.nvml,
            jit: self.jit,
            devices: self.devices,
            assumed: true,
            ..Self::default()
        }
    }
}

/// The GPU of a name: `H100`, `RTX 5090`, `T4`, `sm_90`, `10de:2330`.
///
/// # Errors
/// It is not the name of one GPU, or not a known capability.
pub fn gpu_of(text: &str) -> Result<Device, AssumedError> {
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    let number = lower.strip_prefix("sm_").or_else(|| lower.strip_prefix("compute_"));
    let number = number.map(|number| number.trim_end_matches(['a', 'f']));
    let compute = match number.map(str::parse::<u32>) {
        Some(Ok(number)) => Some(Compute { major: number / 10, minor: number % 10 }),
        Some(Err(_)) => return Err(AssumedError::Compute(text.to_owned())),
        None => Compute::parse(text),
    };
    if let Some(compute) = compute {
        let known = compute_capabilities().iter().any(|row| Compute::of(&row.sm) == Some(compute));
        let device = Device::new(&format!("sm_{}{}", compute.major, compute.minor), compute);
        return known.then_some(device).ok_or_else(|| AssumedError::Compute(text.to_owned()));
    }
    let (row, name) = gpu_named(text)?;
    let compute = Compute::of(&row.compute).ok_or_else(|| AssumedError::Compute(text.to_owned()))?;
    Ok(Device::new(&format!("NVIDIA {name}"), compute))
}
