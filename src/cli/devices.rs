//! The devices of this machine, queried from its driver in child processes.
//!
//! Takes a time limit; gives the answers of libcuda and NVML, and why one of them was not queried. Never loads a library
//! that other users may write to.

use super::context::Context;
use super::failure::Result;
use crate::driver::{Compute, Device, Devices, DriverResponse, End, KernelModule};
use crate::launch::CudaVersion;
use crate::launch::probe;
use crate::loader::Loader;
use crate::loader::Objects;
use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

/// Device files of a driver: of the kernel module, of WSL, of a Jetson.
const NODES: [&str; 4] = ["/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/nvhost-ctrl"];

/// The answers of a driver.
#[derive(Default)]
pub(super) struct Asked {
    /// Empty where there is no driver to query.
    pub(super) devices: Devices,
    /// Why a library was not queried although it is here.
    pub(super) unasked: Vec<String>,
}

/// Queries libcuda and NVML as the loader finds them, each for at most this time.
pub(super) fn ask(context: &Context, limit: Duration) -> Asked {
    let host = context.host();
    let reached = KernelModule::look(host).loaded || NODES.iter().any(|node| host.stat(Path::new(node)).is_ok());
    if !reached {
        return Asked::default();
    }
    let objects = Objects::new(host);
    let loader = Loader::new(&objects);
    let find = |name: &str| {
        let (path, _) = loader.find(OsStr::new(name))?;
        host.canonical(&path).ok()
    };
    let Some(libcuda) = find("libcuda.so.1") else { return Asked::default() };
    let nvml = find("libnvidia-ml.so.1");
    let result = match query(context, &libcuda, nvml.as_deref(), limit) {
        Ok(result) => result,
        Err(failure) => {
            let unasked = vec![format!("cannot ask the driver for its devices: {failure}")];
            return Asked { unasked, ..Asked::default() };
        }
    };
    let mut asked = Asked::default();
    match untrusted(&libcuda, &result.cuda.end) {
        None => asked.devices.cuda = Some(cuda_response(&result.cuda)),
        why => asked.unasked.extend(why),
    }
    if let (Some(response), Some(path)) = (&result.nvml, &nvml) {
        match untrusted(path, &response.end) {
            None => asked.devices.nvml = Some(nvml_response(response)),
            why => asked.unasked.extend(why),
        }
    }
    asked
}

fn query(context: &Context, libcuda: &Path, nvml: Option<&Path>, limit: Duration) -> Result<probe::Devices> {
    Ok(context.prober()?.limit(limit).devices(libcuda, nvml)?)
}

/// Why a library was not loaded, if others may write to it.
fn untrusted(library: &Path, end: &probe::End) -> Option<String> {
    let probe::End::Untrusted(why) = end else { return None };
    Some(format!("cannot ask `{}` for its devices: {why}", library.display()))
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
