//! The NVIDIA driver of a machine: the GPU on its bus, the kernel module, device files, libraries, what libcuda answers.

use super::{Lib, Machine};
use cudashim::internal::driver::{Compute, Device, Devices, DriverResponse};

#[cfg(target_arch = "x86_64")]
pub(crate) const SYSTEM: &str = "usr/lib/x86_64-linux-gnu";
#[cfg(target_arch = "aarch64")]
pub(crate) const SYSTEM: &str = "usr/lib/aarch64-linux-gnu";

impl Machine {
    /// With a GPU on the bus that a kernel module has.
    pub(crate) fn gpu(self, slot: &str, driver: Option<&str>) -> Self {
        let dir = format!("sys/bus/pci/devices/{slot}");
        let machine = self
            .file(&format!("{dir}/vendor"), "0x10de\n")
            .file(&format!("{dir}/device"), "0x2330\n")
            .file(&format!("{dir}/class"), "0x030200\n");
        match driver {
            Some(driver) => machine.link(&format!("{dir}/driver"), &format!("../../../../bus/pci/drivers/{driver}")),
            None => machine,
        }
    }

    /// With the kernel module.
    pub(crate) fn module(self, version: &str) -> Self {
        let text = format!("NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  Tue Mar  5 22:23:56 UTC 2024\n");
        self.file("sys/module/nvidia/version", &format!("{version}\n"))
            .file("sys/module/nvidia_uvm/initstate", "live\n")
            .file("proc/driver/nvidia/version", &text)
    }

    /// With its device files.
    pub(crate) fn device_files(self) -> Self {
        ["null", "nvidia0", "nvidiactl", "nvidia-uvm"]
            .into_iter()
            .fold(self, |machine, name| machine.node(&format!("dev/{name}"), 0o666))
    }

    /// With one library of a driver.
    pub(crate) fn part(self, dir: &str, stem: &str, version: &str) -> Self {
        let soname = format!("lib{stem}.so.1");
        Lib::new(&soname).unversioned().build(&self.path(&format!("{dir}/lib{stem}.so.{version}")));
        self.link(&format!("{dir}/{soname}"), &format!("lib{stem}.so.{version}"))
    }

    /// With the libraries of a driver.
    pub(crate) fn driver(self, dir: &str, version: &str) -> Self {
        ["cuda", "nvidia-ml", "nvidia-ptxjitcompiler"]
            .into_iter()
            .fold(self, |machine, stem| machine.part(dir, stem, version))
    }
}

/// A machine on which the driver is as it should be.
pub(crate) fn with_driver(version: &str) -> Machine {
    Machine::new().gpu("0000:01:00.0", Some("nvidia")).module(version).device_files().driver(SYSTEM, version)
}

pub(crate) fn device(name: &str, major: u32, minor: u32) -> Device {
    Device::new(name, Compute { major, minor })
}

/// libcuda answers with these devices.
pub(crate) fn answering(devices: Vec<Device>) -> Devices {
    let mut answer = DriverResponse::default();
    answer.devices = devices;
    let mut all = Devices::default();
    all.cuda = Some(answer);
    all
}
