//! Which GPUs are there, and does a tensor really run on one? The driver is asked in a process of its own, which may
//! hang or crash as drivers do; then the Python that is named multiplies two matrices.
//!
//! cargo run --example 07-devices -- [PYTHON]
#![expect(clippy::print_stdout, reason = "the devices are its output")]

use cudashim::launch::probe::Prober;
use cudashim::{Host, Loader, Objects};
use std::ffi::OsStr;
use std::process::Command;

/// 64 ones in each row: their sum over a row of the product is 64 in each of 64 places.
const TENSOR: &str = "import torch\n\
                      x = torch.ones(64, 64, device='cuda')\n\
                      print(torch.cuda.get_device_name(), float((x @ x).sum()) == 64.0 ** 3)";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let host = Host::current();
    let objects = Objects::new(&host);
    let loader = Loader::new(&objects);
    let Some((libcuda, rule)) = loader.find(OsStr::new("libcuda.so.1")) else {
        println!("skipped: ld.so finds no libcuda.so.1, so there is no driver to ask");
        return Ok(());
    };
    println!("{} by {rule}", libcuda.display());
    let nvml = loader.find(OsStr::new("libnvidia-ml.so.1")).map(|(path, _)| path);
    // The probe is a program of its own, written to a directory that is gone with us.
    let cache = tempfile::tempdir()?;
    let told = Prober::new(cache.path())?.devices(&libcuda, nvml.as_deref())?;
    for device in &told.cuda.devices {
        let (major, minor) = device.capability.unwrap_or_default();
        let name = device.name.as_deref().unwrap_or("a GPU without a name");
        println!("{}: {name}, {major}.{minor}, {} MiB", device.index, device.memory.unwrap_or_default() >> 20);
    }
    if told.cuda.devices.is_empty() {
        let init =
            told.cuda.init.map_or_else(|| told.cuda.end.to_string(), |init| format!("{} {}", init.number, init.name));
        println!("skipped: CUDA shows no device (cuInit: {})", init.trim_end());
        return Ok(());
    }
    let Some(python) = std::env::args_os().nth(1) else {
        println!("skipped: name a Python with torch to run a tensor");
        return Ok(());
    };
    let output = Command::new(&python).args(["-c", TENSOR]).output()?;
    if output.status.success() {
        println!("a tensor runs: {}", String::from_utf8_lossy(&output.stdout).trim_end());
    } else {
        let says = String::from_utf8_lossy(&output.stderr);
        println!("no tensor runs: {}", says.lines().last().unwrap_or_default());
    }
    Ok(())
}
