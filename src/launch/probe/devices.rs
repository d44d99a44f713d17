//! The driver and its devices, asked of `libcuda` and of NVML in a child process each.
//!
//! Both, for each knows what the other does not: CUDA tells whether it works for this process, NVML what is there even
//! where CUDA does not. Neither answers for the other where it blocks or crashes.

use super::child::{End, Heard};
use super::{ProbeError, Prober};
use crate::launch::CudaVersion;
use std::ffi::OsStr;
use std::path::Path;

/// What a function of the driver returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// 0 is success.
    pub number: i32,
    /// What the library calls it: `CUDA_ERROR_NO_DEVICE`, `Driver Not Loaded`. Empty where it has no word for it.
    pub name: String,
}

/// One device; what its library did not tell is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Device {
    /// Its number: CUDA's and NVML's may differ (`CUDA_VISIBLE_DEVICES`, `CUDA_DEVICE_ORDER`). The UUID is the same.
    pub index: u32,
    /// `NVIDIA H100 80GB HBM3`.
    pub name: Option<String>,
    /// Compute capability.
    pub capability: Option<(u32, u32)>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// `GPU-…`, as nvidia-smi writes it.
    pub uuid: Option<String>,
}

/// What `libcuda` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cuda {
    /// How its process ended. What was said before holds all the same.
    pub end: End,
    /// The newest CUDA it serves (`cuDriverGetVersion`).
    pub version: Option<CudaVersion>,
    /// What `cuInit` returned; `None` where it never did.
    pub init: Option<Status>,
    /// How many devices there are for this process.
    pub count: Option<u32>,
    /// The devices.
    pub devices: Vec<Device>,
}

/// What NVML says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nvml {
    /// How its process ended.
    pub end: End,
    /// What `nvmlInit_v2` returned; `None` where it never did.
    pub init: Option<Status>,
    /// The version of the driver (`nvmlSystemGetDriverVersion`).
    pub driver: Option<String>,
    /// The newest CUDA it serves (`nvmlSystemGetCudaDriverVersion`).
    pub version: Option<CudaVersion>,
    /// How many devices there are.
    pub count: Option<u32>,
    /// The devices.
    pub devices: Vec<Device>,
}

/// The driver and its devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Devices {
    /// As CUDA sees them.
    pub cuda: Cuda,
    /// As NVML sees them, where it was asked.
    pub nvml: Option<Nvml>,
}

impl Prober {
    /// Asks a driver's `libcuda.so.1` and, at the same time, its `libnvidia-ml.so.1`.
    ///
    /// # Errors
    /// That a child cannot be started. What the driver does is an answer.
    pub fn devices(&self, libcuda: &Path, nvml: Option<&Path>) -> Result<Devices, ProbeError> {
        let (cuda, nvml) = std::thread::scope(|scope| {
            let nvml = nvml.map(|path| scope.spawn(move || self.ask_driver("nvml", path)));
            let cuda = self.ask_driver("cuda", libcuda);
            // A thread of ours does not panic; if it does, so do we.
            (cuda, nvml.map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))))
        });
        Ok(Devices { cuda: Cuda::new(&cuda?), nvml: nvml.transpose()?.map(|heard| Nvml::new(&heard)) })
    }

    fn ask_driver(&self, mode: &str, library: &Path) -> Result<Heard, ProbeError> {
        self.run(library, &[OsStr::new(mode), library.as_os_str()], &[])
    }
}

impl Cuda {
    fn new(heard: &Heard) -> Self {
        Self {
            end: heard.end.clone(),
            version: version(heard),
            init: init(heard),
            count: count(heard),
            devices: devices(heard),
        }
    }
}

impl Nvml {
    fn new(heard: &Heard) -> Self {
        Self {
            end: heard.end.clone(),
            init: init(heard),
            driver: fields(heard, "driver").and_then(|fields| fields.first().cloned()),
            version: version(heard),
            count: count(heard),
            devices: devices(heard),
        }
    }
}

/// What follows a word on the first line that begins with it.
fn fields<'h>(heard: &'h Heard, word: &str) -> Option<&'h [String]> {
    heard.lines.iter().find_map(|line| line.split_first().filter(|(first, _)| *first == word).map(|(_, rest)| rest))
}

fn version(heard: &Heard) -> Option<CudaVersion> {
    CudaVersion::from_number(fields(heard, "version")?.first()?.parse().ok()?)
}

fn init(heard: &Heard) -> Option<Status> {
    let [number, name, ..] = fields(heard, "init")? else { return None };
    Some(Status { number: number.parse().ok()?, name: name.clone() })
}

fn count(heard: &Heard) -> Option<u32> {
    fields(heard, "count")?.first()?.parse().ok()
}

fn devices(heard: &Heard) -> Vec<Device> {
    let mut devices: Vec<Device> = Vec::new();
    for line in &heard.lines {
        let [word, index, values @ ..] = line.as_slice() else { continue };
        let Ok(index) = index.parse() else { continue };
        if !matches!(word.as_str(), "name" | "capability" | "memory" | "uuid") {
            continue;
        }
        if devices.last().is_none_or(|last| last.index != index) {
            devices.push(Device { index, ..Device::default() });
        }
        let Some(device) = devices.last_mut() else { continue };
        match (word.as_str(), values) {
            ("name", [name]) => device.name = Some(name.clone()),
            ("capability", [major, minor]) => device.capability = major.parse().ok().zip(minor.parse().ok()),
            ("memory", [bytes]) => device.memory = bytes.parse().ok(),
            ("uuid", [uuid]) => device.uuid = Some(uuid.clone()),
            _ => {}
        }
    }
    devices
}
