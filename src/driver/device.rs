//! Which driver supports which GPU, whatever runs on it.
//!
//! Takes a device, a release and the flavour of the kernel modules; gives a judgement by the tables of `data/`. Pure.

use super::{Compute, Device, Flavour};
use crate::tables::{ComputeRow, GpuClass, GpuRow, Modules, Version, compute_capabilities, gpu_named, gpus};

/// Whether a driver supports a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Support {
    /// It does, as far as is known.
    Supported,
    /// It is older than the GPU.
    From {
        /// The first branch for it.
        branch: u64,
    },
    /// It has dropped the GPU.
    UpTo {
        /// The last branch for it.
        branch: u64,
    },
    /// It does with the other kernel modules than those that are loaded; with those of this flavour, if none is known.
    With {
        /// The flavour that drives it.
        flavour: Flavour,
        /// Whether the other one is loaded.
        is_other: bool,
    },
}

impl Support {
    /// The sentence; `None` where it is supported.
    #[must_use]
    pub fn says(&self, device: &Device, driver: &Version) -> Option<String> {
        let name = &device.name;
        Some(match self {
            Self::Supported => return None,
            Self::From { branch } => {
                format!("driver {driver} does not support {name}: the first branch that does is {branch}")
            }
            Self::UpTo { branch } => {
                format!("driver {driver} no longer supports {name}: the last branch that does is {branch}")
            }
            Self::With { flavour, is_other: false } => {
                format!("{name} requires the {} kernel modules", word(*flavour))
            }
            Self::With { flavour, is_other: true } => {
                format!("{name} requires the {} kernel modules; those of driver {driver} are not", word(*flavour))
            }
        })
    }

    /// What to do about it; `None` where it is supported.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        Some(match self {
            Self::Supported => return None,
            Self::From { branch } => format!("install driver {branch} or newer"),
            Self::UpTo { branch } => format!("install driver {branch}"),
            Self::With { flavour, .. } => format!("install the {} kernel modules of the driver", word(*flavour)),
        })
    }

    /// Whether the GPU cannot be used, as far as is known.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        !matches!(self, Self::Supported | Self::With { is_other: false, .. })
    }
}

fn word(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::Open => "open",
        _ => "proprietary",
    }
}

/// Whether a driver of a release, with kernel modules of a flavour, supports a device.
#[must_use]
pub fn support(device: &Device, driver: &Version, flavour: Option<Flavour>) -> Support {
    let row = gpu_row(device);
    let Some(capability) = row.and_then(GpuRow::capability).or_else(|| capability(device.compute?)) else {
        return Support::Supported;
    };
    let branch = driver.major();
    if let Some(first) = row.and_then(|row| row.first_driver).or(capability.first_driver).filter(|it| branch < *it) {
        return Support::From { branch: first };
    }
    if let Some(last) = capability.last_driver.filter(|last| branch > *last) {
        return Support::UpTo { branch: last };
    }
    let only = match row.and_then(|row| row.modules).unwrap_or(capability.modules) {
        Modules::Open => Flavour::Open,
        Modules::Proprietary => Flavour::Proprietary,
        _ => return Support::Supported,
    };
    match flavour {
        Some(flavour) if flavour == only => Support::Supported,
        // NVIDIA's installers choose the proprietary modules for what the open ones do not drive.
        None if only == Flavour::Proprietary => Support::Supported,
        flavour => Support::With { flavour: only, is_other: flavour.is_some() },
    }
}

/// The newest driver branch that supports a device.
#[must_use]
pub fn newest_branch(device: &Device) -> Option<u64> {
    let last = gpu_row(device).and_then(GpuRow::capability).or_else(|| capability(device.compute?))?.last_driver;
    last.or_else(|| crate::tables::drivers().last().map(|row| row.branch))
}

/// Whether no compatibility package supports a device; `None` where that is not known.
///
/// Data-center GPUs, some of the RTX line and Jetson are supported; `GeForce` and `TITAN` are not. A device of no row is
/// judged by its name.
#[must_use]
pub fn compat_serves(device: &Device) -> Option<bool> {
    match gpu_class(device) {
        Some(GpuClass::GeForce | GpuClass::Titan) => Some(false),
        Some(GpuClass::DataCenter | GpuClass::Jetson) => Some(true),
        Some(_) => None,
        None if ["GeForce", "TITAN"].iter().any(|line| device.name.contains(line)) => Some(false),
        None => device.name.split([' ', '-']).any(|word| word == "Tesla").then_some(true),
    }
}

/// The product line of a device, by its name.
#[must_use]
pub fn gpu_class(device: &Device) -> Option<GpuClass> {
    gpu_row(device).map(|row| row.class)
}

/// Whether every GPU of a capability is of a Jetson: none is in a machine of x86-64.
#[must_use]
pub fn is_of_jetson(compute: Compute) -> bool {
    let mut of = gpus().iter().filter(|row| Compute::of(&row.compute) == Some(compute)).peekable();
    of.peek().is_some() && of.all(|row| row.class == GpuClass::Jetson)
}

/// The row of a device, by its name.
#[must_use]
pub(super) fn gpu_row(device: &Device) -> Option<&'static GpuRow> {
    // The capability of a device without a name, `sm_90`, is known.
    let (row, _) = gpu_named(&device.name).ok()?;
    Some(row).filter(|row| device.compute.is_none_or(|own| Compute::of(&row.compute) == Some(own)))
}

/// The row of a capability.
#[must_use]
pub fn capability(compute: Compute) -> Option<&'static ComputeRow> {
    compute_capabilities().iter().find(|row| Compute::of(&row.sm) == Some(compute))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str) -> Device {
        super::super::gpu_of(name).unwrap()
    }

    #[test]
    fn jetsons_have_capabilities_of_their_own() {
        let of = |text: &str| is_of_jetson(Compute::parse(text).unwrap());
        assert!(["5.3", "6.2", "7.2", "8.7", "11.0"].into_iter().all(of));
        assert!(!["5.2", "7.0", "8.6", "9.0", "12.1"].into_iter().any(of));
    }

    #[test]
    fn drivers_support_gpus() {
        let on = |gpu: &str, driver: &str, flavour| support(&device(gpu), &Version::parse(driver).unwrap(), flavour);
        let with = |flavour, is_other| Support::With { flavour, is_other };
        let (open, proprietary) = (Some(Flavour::Open), Some(Flavour::Proprietary));
        assert_eq!(on("RTX 5090", "565.57.01", None), Support::From { branch: 570 });
        assert_eq!(on("V100", "590", None), Support::UpTo { branch: 580 });
        assert_eq!(on("Tesla K80", "535", None), Support::UpTo { branch: 470 });
        assert_eq!(on("V100", "580", None), Support::Supported);
        assert_eq!(on("V100", "580", open), with(Flavour::Proprietary, true));
        assert_eq!(on("RTX 5090", "570", None), with(Flavour::Open, false));
        assert_eq!(on("RTX 5090", "570", proprietary), with(Flavour::Open, true));
        // GH200 is of the capability of H100, which both drive.
        assert_eq!(on("GH200", "550", proprietary), with(Flavour::Open, true));
        assert_eq!(on("H100", "550", proprietary), Support::Supported);
        assert_eq!(on("sm_61", "595", None), Support::UpTo { branch: 580 });
        assert_eq!((newest_branch(&device("V100")), newest_branch(&device("H100"))), (Some(580), Some(615)));
    }

    #[test]
    fn compatibility_packages_serve_devices() {
        for (name, serves) in [
            ("NVIDIA GeForce RTX 4090", Some(false)),
            ("NVIDIA GeForce RTX 9090", Some(false)),
            ("NVIDIA TITAN V", Some(false)),
            ("NVIDIA H100 80GB HBM3", Some(true)),
            ("NVIDIA A100-SXM4-40GB", Some(true)),
            ("Tesla T4", Some(true)),
            ("Jetson AGX Orin", Some(true)),
            ("NVIDIA RTX 6000 Ada Generation", None),
            ("sm_90", None),
        ] {
            let device = Device { name: name.to_owned(), ..Device::default() };
            assert_eq!(compat_serves(&device), serves, "{name}");
        }
    }
}
