//! The driver and its devices, queried through `libcuda` and through NVML, each in a child process.
//!
//! Both are queried: CUDA shows whether it works for this process, NVML which devices exist even where CUDA fails.
//! Where one blocks or crashes, the other still answers.

use super::child::{End, Output};
use super::{ProbeError, Prober};
use crate::launch::CudaVersion;
use std::ffi::OsStr;
use std::path::Path;

/// What a function of the driver returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// 0 is success.
    pub number: i32,
    /// What the library calls it: `CUDA_ERROR_NO_DEVICE`, `Driver Not Loaded`. Empty where it has no name for it.
    pub name: String,
}

/// One device; a field is empty where the library did not report it.
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

/// The result of the query through `libcuda`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cuda {
    /// How its process ended. The other fields are valid even after a crash.
    pub end: End,
    /// The newest CUDA it supports (`cuDriverGetVersion`).
    pub version: Option<CudaVersion>,
    /// What `cuInit` returned; `None` where it did not return.
    pub init: Option<Status>,
    /// How many devices this process can use.
    pub count: Option<u32>,
    /// The devices.
    pub devices: Vec<Device>,
}

/// The result of the query through NVML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nvml {
    /// How its process ended.
    pub end: End,
    /// What `nvmlInit_v2` returned; `None` where it did not return.
    pub init: Option<Status>,
    /// The version of the driver (`nvmlSystemGetDriverVersion`).
    pub driver: Option<String>,
    /// The newest CUDA it supports (`nvmlSystemGetCudaDriverVersion`).
    pub version: Option<CudaVersion>,
    /// How many devices there are.
    pub count: Option<u32>,
    /// The devices.
    pub devices: Vec<Device>,
}

/// The driver and its devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Devices {
    /// As CUDA reports them.
    pub cuda: Cuda,
    /// As NVML reports them, if it was queried.
    pub nvml: Option<Nvml>,
}

impl Prober {
    /// Queries a driver's `libcuda.so.1` and, at the same time, its `libnvidia-ml.so.1`.
    ///
    /// # Errors
    /// A child cannot be started. A failure of the driver is a result, not an error.
    pub fn devices(&self, libcuda: &Path, nvml: Option<&Path>) -> Result<Devices, ProbeError> {
        let (cuda, nvml) = std::thread::scope(|scope| {
            let nvml = nvml.map(|path| scope.spawn(move || self.query_driver("nvml", path)));
            let cuda = self.query_driver("cuda", libcuda);
            (cuda, nvml.map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))))
        });
        Ok(Devices { cuda: Cuda::new(&cuda?), nvml: nvml.transpose()?.map(|output| Nvml::new(&output)) })
    }

    fn query_driver(&self, mode: &str, library: &Path) -> Result<Output, ProbeError> {
        self.run(library, &[OsStr::new(mode), library.as_os_str()], &[])
    }
}

impl Cuda {
    fn new(output: &Output) -> Self {
        Self {
            end: output.end.clone(),
            version: version(output),
            init: init(output),
            count: count(output),
            devices: devices(output),
        }
    }
}

impl Nvml {
    fn new(output: &Output) -> Self {
        Self {
            end: output.end.clone(),
            init: init(output),
            driver: fields(output, "driver").and_then(|fields| fields.first().cloned()),
            version: version(output),
            count: count(output),
            devices: devices(output),
        }
    }
}

/// The fields after `word` on the first line that begins with it.
fn fields<'o>(output: &'o Output, word: &str) -> Option<&'o [String]> {
    output.lines.iter().find_map(|line| line.split_first().filter(|(first, _)| *first == word).map(|(_, rest)| rest))
}

fn version(output: &Output) -> Option<CudaVersion> {
    CudaVersion::from_number(fields(output, "version")?.first()?.parse().ok()?)
}

fn init(output: &Output) -> Option<Status> {
    let [number, name, ..] = fields(output, "init")? else { return None };
    Some(Status { number: number.parse().ok()?, name: name.clone() })
}

fn count(output: &Output) -> Option<u32> {
    fields(output, "count")?.first()?.parse().ok()
}

fn devices(output: &Output) -> Vec<Device> {
    let mut devices: Vec<Device> = Vec::new();
    for line in &output.lines {
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
