//! The devices of this machine, asked of its driver in child processes: what `doctor` is told of them.

use crate::driver::{Compute, Device, Devices, End, KernelModule, Said};
use crate::handout::probe::{self, Prober};
use crate::handout::{CudaVersion, shim};
use crate::host::Host;
use crate::loader::Loader;
use crate::objects::Objects;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A driver answers in some tenths of a second; one that wakes its devices first in a few seconds.
const LIMIT: Duration = Duration::from_secs(6);

/// Files by which a driver can be reached: of the kernel module, of WSL, of a Jetson.
const NODES: [&str; 4] = ["/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/nvhost-ctrl"];

/// Asks libcuda and NVML as the loader finds them; nobody where there is no driver, or where others could have written
/// what would run.
pub(super) fn ask(host: &Host) -> Devices {
    let reached = KernelModule::look(host).loaded || NODES.iter().any(|node| host.stat(Path::new(node)).is_ok());
    if !reached {
        return Devices::default();
    }
    let objects = Objects::new(host);
    let loader = Loader::new(&objects);
    let find = |name: &str| {
        let (path, _) = loader.find(OsStr::new(name))?;
        let path = host.canonical(&path).ok()?;
        match untrusted(host, &path) {
            Some(why) => {
                log::warn!("`{}` is not asked for its devices: {why}", path.display());
                None
            }
            None => Some(path),
        }
    };
    let Some(libcuda) = find("libcuda.so.1") else { return Devices::default() };
    let nvml = find("libnvidia-ml.so.1");
    match heard(host, &libcuda, nvml.as_deref()) {
        Ok(heard) => Devices { cuda: Some(said_by_cuda(&heard.cuda)), nvml: heard.nvml.as_ref().map(said_by_nvml) },
        Err(error) => {
            log::warn!("the driver is not asked for its devices: {error:#}");
            Devices::default()
        }
    }
}

fn heard(host: &Host, libcuda: &Path, nvml: Option<&Path>) -> anyhow::Result<probe::Devices> {
    let cache = shim::own_cache_dir(|name| host.env(name).map(OsString::from))?;
    Ok(Prober::new(&cache)?.limit(LIMIT).devices(libcuda, nvml)?)
}

/// Why a file is not to be run: somebody else could have written it, or what stands beside it.
fn untrusted(host: &Host, file: &Path) -> Option<String> {
    let own = rustix::process::geteuid().as_raw();
    let beside: Vec<PathBuf> = file.parent().map(Path::to_owned).into_iter().collect();
    [file.to_owned()].iter().chain(&beside).find_map(|path| match host.stat(path) {
        Err(error) => Some(error.to_string()),
        Ok(stat) if stat.uid != 0 && stat.uid != own => Some(format!("it belongs to user {}", stat.uid)),
        Ok(stat) if stat.mode & 0o002 != 0 => Some("everybody can write to it".to_owned()),
        Ok(_) => None,
    })
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
