//! The devices of this machine for `doctor`, queried from its driver in child processes.

use super::super::context::Context;
use super::super::failure::Result;
use crate::driver::{Compute, Device, Devices, DriverResponse, End, KernelModule};
use crate::launch::CudaVersion;
use crate::launch::probe;
use crate::loader::Loader;
use crate::loader::Objects;
use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

/// A driver answers in some tenths of a second; one that wakes its devices first in a few seconds.
const LIMIT: Duration = Duration::from_secs(6);

/// Device files of a driver: of the kernel module, of WSL, of a Jetson.
const NODES: [&str; 4] = ["/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/nvhost-ctrl"];

/// Queries libcuda and NVML as the loader finds them; empty if there is no driver, or if other users may write to what
/// would be loaded.
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
    match query(context, &libcuda, nvml.as_deref()) {
        Ok(result) => Devices {
            cuda: trusted(&libcuda, &result.cuda.end).then(|| cuda_response(&result.cuda)),
            nvml: result
                .nvml
                .as_ref()
                .zip(nvml.as_deref())
                .filter(|(response, path)| trusted(path, &response.end))
                .map(|(response, _)| nvml_response(response)),
        },
        Err(failure) => {
            log::warn!("cannot ask the driver for its devices: {failure}");
            Devices::default()
        }
    }
}

fn query(context: &Context, libcuda: &Path, nvml: Option<&Path>) -> Result<probe::Devices> {
    Ok(context.prober()?.limit(LIMIT).devices(libcuda, nvml)?)
}

/// Whether a library was loaded; if not, a warning gives the reason.
fn trusted(library: &Path, end: &probe::End) -> bool {
    let probe::End::Untrusted(why) = end else { return true };
    log::warn!("cannot ask `{}` for its devices: {why}", library.display());
    false
}

fn cuda_response(cuda: &probe::Cuda) -> DriverResponse {
    DriverResponse {
        end: end(&cuda.end),
        error: error(cuda.init.as_ref()),
        cuda: release(cuda.version),
        driver: None,
        devices: devices(&cuda.devices),
    }
}

fn nvml_response(nvml: &probe::Nvml) -> DriverResponse {
    DriverResponse {
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
