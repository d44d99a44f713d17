//! The GPUs on the PCI bus, and the device files of the driver.
//!
//! Reads only the state that sysfs keeps without access to the device: wakes no GPU.

use crate::host::{Host, Kind};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// NVIDIA's PCI vendor id.
const NVIDIA: &str = "0x10de";

/// The base class of display controllers: VGA (`0x0300`), 3D (`0x0302`). The GPU's sound and USB
/// functions and the bridges of `NVSwitch` are of other classes.
const DISPLAY: &str = "0x03";

/// A GPU on the PCI bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// Its address: `0000:01:00.0`.
    pub slot: String,
    /// Its device id: `0x2330`.
    pub device: String,
    /// The kernel module bound to it: `nvidia`, `nouveau`, `vfio-pci`.
    pub driver: Option<String>,
}

impl Gpu {
    /// Whether it is bound for a virtual machine.
    #[must_use]
    pub fn passed_through(&self) -> bool {
        matches!(self.driver.as_deref(), Some("vfio-pci" | "pci-stub" | "xen-pciback"))
    }
}

/// A device file of the driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// `nvidia0`, `nvidiactl`, `nvidia-uvm`, `dxg`.
    pub name: String,
    /// Its permission bits.
    pub mode: u32,
    /// Whether the current user may use it.
    pub usable: bool,
}

impl Node {
    /// Whether it is a GPU's: `nvidia0`.
    #[must_use]
    pub fn is_gpu(&self) -> bool {
        let number = self.name.strip_prefix("nvidia").unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    }
}

/// The NVIDIA GPUs; `None` where sysfs does not show the bus.
pub(super) fn gpus(host: &Host) -> Option<Vec<Gpu>> {
    let bus = Path::new("/sys/bus/pci/devices");
    let read = |path: &Path| host.read_text(path).ok().map(|text| text.trim().to_ascii_lowercase());
    let found = host.list(bus).ok()?.into_iter().filter_map(|entry| {
        let dir = bus.join(&entry.name);
        if read(&dir.join("vendor"))? != NVIDIA || !read(&dir.join("class"))?.starts_with(DISPLAY) {
            return None;
        }
        let driver = host.link_target(&dir.join("driver")).ok();
        Some(Gpu {
            slot: entry.name.to_string_lossy().into_owned(),
            device: read(&dir.join("device")).unwrap_or_default(),
            driver: driver.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned())),
        })
    });
    Some(found.collect())
}

/// The device files below `/dev`, by name; `None` where that is no directory of devices.
pub(super) fn nodes(host: &Host) -> Option<Vec<Node>> {
    let dev = Path::new("/dev");
    host.stat(&dev.join("null")).ok()?;
    let entries = host.list(dev).unwrap_or_default();
    let found = entries.into_iter().filter_map(|entry| {
        let path = dev.join(&entry.name);
        let stat = host.stat(&path).ok().filter(|stat| stat.kind != Kind::Directory)?;
        let node = Node { name: entry.name.into_string().ok()?, mode: stat.mode, usable: host.may_use(&path) };
        let known = matches!(node.name.as_str(), "nvidiactl" | "nvidia-uvm" | "nvidia-uvm-tools" | "dxg");
        (known || node.is_gpu()).then_some(node)
    });
    Some(found.collect())
}
