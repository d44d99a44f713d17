//! The devices of this machine, asked of its driver in child processes: what `doctor` is told of them.

use super::super::context::Context;
use super::super::failure::Result;
use crate::driver::{Compute, Device, Devices, End, KernelModule, Said};
use crate::launch::CudaVersion;
use crate::launch::probe;
use crate::loader::Loader;
use crate::loader::Objects;
use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

/// A driver answers in some tenths of a second; one that wakes its devices first in a few seconds.
const LIMIT: Duration = Duration::from_secs(6);

/// Files by which a driver can be reached: of the kernel module, of WSL, of a Jetson.
const NODES: [&str; 4] = ["/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/nvhost-ctrl"];

/// Asks libcuda and NVML as the loader finds them; nobody where there is no driver, or where others could have written
/// what would run.
pub(super) fn ask(context: &Context) -> Devices {
    let host = context.host();
    let reached = KernelModule::look(host).loaded || NODES.iter().any(|node| host.stat(Path::new(node)).is_ok());
    if !reached {
        return Devices::default();
    }
    let objects = Objects::new(host);
    let loader = Loader::new(&objects);
    let find = |name: &str| {
        let (path, _) = loader.find(OsStr::new(name))?;
        host.canonical(&path).ok()
    };
    let Some(libcuda) = find("libcuda.so.1") else { return Devices::default() };
    let nvml = find("libnvidia-ml.so.1");
    match heard(context, &libcuda, nvml.as_deref()) {
        Ok(heard) => Devices {
            cuda: trusted(&libcuda, &heard.cuda.end).then(|| said_by_cuda(&heard.cuda)),
            nvml: heard
                .nvml
                .as_ref()
                .zip(nvml.as_deref())
                .filter(|(said, path)| trusted(path, &said.end))
                .map(|(said, _)| said_by_nvml(said)),
        },
        Err(failure) => {
            log::warn!("cannot ask the driver for its devices: {failure}");
            Devices::default()
        }
    }
}

fn heard(context: &Context, libcuda: &Path, nvml: Option<&Path>) -> Result<probe::Devices> {
    Ok(context.prober()?.limit(LIMIT).devices(libcuda, nvml)?)
}

/// Whether a library was asked; where not, why is said.
fn trusted(library: &Path, end: &probe::End) -> bool {
    let probe::End::Untrusted(why) = end else { return true };
    log::warn!("`{}` is not asked for its devices: {why}", library.display());
    false
}

fn said_by_cuda(cuda: &probe::Cuda) -> Said {
    Said {
        end: end(&cuda.end),
        error: error(cuda.init.as_ref()),
        cuda: release(cuda.version),
        driver: None,
        devices: devices(&cuda.devices),
    }
}

fn said_by_nvml(nvml: &probe::Nvml) -> Said {
    Said {
        end: end(&nvml.end),
        error: error(nvml.init.as_ref()),
        cuda: release(nvml.version),
        driver: nvml.driver.clone(),
        devices: devices(&nvml.devices),
    }
}

fn end(end: &probe::End) -> End {
    match end {
        probe::End::Done => End::Done,
        probe::End::TimedOut => End::Hangs,
        other => End::Failed(other.to_string()),
    }
}

fn error(init: Option<&probe::Status>) -> Option<i32> {
    init.map(|status| status.number).filter(|number| *number != 0)
}

fn release(version: Option<CudaVersion>) -> Option<String> {
    version.map(|version| format!("{}.{}", version.major, version.minor))
}

fn devices(devices: &[probe::Device]) -> Vec<Device> {
    let one = |device: &probe::Device| {
        let compute = device.capability.map(|(major, minor)| Compute { major, minor });
        Device {
            name: device.name.clone().unwrap_or_default(),
            compute,
            memory: device.memory,
            uuid: device.uuid.clone(),
        }
    };
    devices.iter().map(one).collect()
}
