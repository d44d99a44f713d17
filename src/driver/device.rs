//! Which driver supports which GPU, whatever runs on it.
//!
//! Takes a device, a release and the flavour of the kernel modules; gives a judgement by the tables of `data/`. Pure.

use super::{Compute, Device, Flavour};
use crate::tables::{ComputeRow, GpuClass, GpuRow, Modules, Version, compute_capabilities, gpu_named};

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

/// Whether a driver of a release, with kernel modules of a flavour, supports a device.
#[must_use]
pub fn support(device: &Device, driver: &Version, flavour: Option<Flavour>) -> Support {
    let row = row(device);
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
    let last = row(device).and_then(GpuRow::capability).or_else(|| capability(device.compute?))?.last_driver;
    last.or_else(|| crate::tables::drivers().last().map(|row| row.branch))
}

/// Whether no compatibility package supports a device; `None` where that is not known.
///
/// Data-center GPUs, some of the RTX line and Jetson are supported; `GeForce` and `TITAN` are not. A device of no row is
/// judged by its name.
#[must_use]
pub fn compat_serves(device: &Device) -> Option<bool> {
    match row(device).map(|row| row.class) {
        Some(GpuClass::GeForce | GpuClass::Titan) => Some(false),
        Some(GpuClass::DataCenter | GpuClass::Jetson) => Some(true),
        Some(_) => None,
        None if ["GeForce", "TITAN"].iter().any(|line| device.name.contains(line)) => Some(false),
        None => device.name.split([' ', '-']).any(|word| word == "Tesla").then_some(true),
    }
}

fn row(device: &Device) -> Option<&'static GpuRow> {
    // The capability of a device without a name, `sm_90`, is known.
    let (row, _) = gpu_named(&device.name).ok()?;
    Some(row).filter(|row| device.compute.is_none_or(|own| Compute::of(&row.compute) == Some(own)))
}

fn capability(compute: Compute) -> Option<&'static ComputeRow> {
    compute_capabilities().iter().find(|row| Compute::of(&row.sm) == Some(compute))
}
