//! The version check done right. Four numbers are called "the CUDA version", and only some pairs must agree:
//!
//! - torch's: what it was built with; and the runtime's: the libcudart that torch will load;
//! - the toolkit's: what `nvcc --version` prints. It says nothing of the driver, and torch does not use it to run;
//! - the driver's: the newest CUDA it serves. That is the one `nvidia-smi` prints; no toolkit need be installed for it.
//!
//! cargo run --example 05-version-check -- [PYTHON or directory of an environment]
#![expect(clippy::print_stdout, reason = "the numbers are its output")]

use cudashim::facts::{driver_cuda, driver_floor, forward_compat};
use cudashim::python::find_on_path;
use cudashim::{Host, Request, Version};
use std::path::{Path, PathBuf};

/// The release of the toolkit whose nvcc is first on PATH: from its version.json, else from its directory's name.
fn toolkit(host: &Host) -> Option<Version> {
    let nvcc = host.canonical(&find_on_path(host, "nvcc".as_ref())?).ok()?;
    let root = nvcc.ancestors().nth(2)?;
    let json = host.read(&root.join("version.json")).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let written = json.and_then(|json: serde_json::Value| Version::parse(json.pointer("/cuda/version")?.as_str()?));
    written.or_else(|| Version::parse(root.file_name()?.to_str()?.strip_prefix("cuda-")?))
}

/// The version of the loaded kernel module, which is the driver's.
fn driver(host: &Host) -> Option<Version> {
    let files = ["/sys/module/nvidia/version", "/proc/driver/nvidia/version"];
    let text = files.iter().find_map(|path| host.read_text(Path::new(path)).ok())?;
    text.split_whitespace().find_map(|word| Version::parse(word).filter(|version| version.minor().is_some()))
}

fn release(major: u32, minor: u32) -> Option<Version> {
    Version::parse(&format!("{major}.{minor}"))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let host = Host::current();
    let python = std::env::args_os().nth(1).map(PathBuf::from);
    let answer = Request { python, ..Request::default() }.answer(&host)?;
    let torch = answer.requirement.and_then(|torch| torch.cuda).and_then(|(major, minor)| release(major, minor?));
    // The runtime is asked itself: torch may carry a copy of its own that no package speaks for.
    let mut runtime = None;
    if let Some(plan) = answer.resolution.map(|found| found.plan) {
        let mut names = plan.libraries.iter().map(|library| library.soname.as_str());
        let set = plan.load_only(names.find(|name| name.starts_with("libcudart.so")).as_slice())?;
        let asked = set.runtime_version().inspect_err(|error| println!("{error}"));
        runtime = asked.ok().flatten().and_then(|cuda| release(cuda.major, cuda.minor));
    }
    let (toolkit, driver) = (toolkit(&host), driver(&host));
    let serves = driver.as_ref().and_then(|driver| driver_cuda(driver.major()));
    let rows = [("torch", torch.as_ref()), ("toolkit", toolkit.as_ref()), ("runtime", runtime.as_ref())];
    for (what, version) in rows.into_iter().chain([("driver", driver.as_ref()), ("serves", serves)]) {
        println!("{what:8} {}", version.map_or("none found", Version::as_str));
    }
    if let (Some(torch), Some(toolkit)) = (&torch, &toolkit) {
        println!("toolkit and torch: one major, and only to build extensions; running torch does not use it");
        if torch.major() == toolkit.major() {
            println!("  kept: both are CUDA {}", torch.major());
        } else {
            println!("  broken: to build extensions, put the nvcc of a CUDA {} first on PATH", torch.major());
        }
    }
    let (Some(runtime), Some(driver)) = (runtime, driver) else { return Ok(()) };
    println!("runtime and driver: the driver is not older than the first one for the runtime's major");
    match driver_floor(runtime.major()) {
        Some(floor) if driver < *floor => {
            println!("  broken: install driver {floor} or newer, or a torch for an older CUDA");
            for row in forward_compat().iter().filter(|row| row.base_branches.contains(&driver.major())) {
                if row.cuda.major() == runtime.major() {
                    println!("  or, on a data-center GPU, `{}`", row.package);
                }
            }
        }
        Some(floor) if serves.is_some_and(|serves| runtime > *serves) => {
            println!("  kept: from {floor} on every CUDA {} runs, but no PTX of newer compilers", runtime.major());
        }
        Some(floor) => println!("  kept: {driver} is {floor} or newer"),
        None => println!("  unknown: no driver is on record for CUDA {}", runtime.major()),
    }
    Ok(())
}
