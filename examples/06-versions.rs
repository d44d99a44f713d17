//! The numbers that are called "the CUDA version", side by side. They do not have to match, and where two of them
//! differ this says what follows, which is mostly nothing.
//!
//! cargo run --example 06-versions -- [PYTHON or directory of an environment [RECORD of `cudashim doctor --record`]]
#![expect(clippy::print_stdout, reason = "the table is its output")]

use cudashim::diagnose::{Ask, examine};
use cudashim::driver::Driver;
use cudashim::{Host, Version};
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let python = arguments.next();
    let recorded = arguments.next().map(std::fs::read_to_string).transpose()?;
    let recorded = recorded.map(|text| Driver::from_json(&text)).transpose()?;
    let report = examine(&Host::current(), &Ask { python, recorded, ..Ask::default() })?;
    // `torch.version.cuda`, `nvidia-smi`, `nvcc --version`, and the file that torch will load.
    let torch = report.torch.as_ref().and_then(|torch| torch.cuda.clone());
    let toolkit = report.toolkits.first().and_then(|toolkit| toolkit.cuda.clone());
    let set = report.set.as_ref().and_then(|report| report.set.as_deref()).unwrap_or_default();
    let runtime = set.iter().find(|library| library.soname.starts_with("libcudart.so"));
    let runtime = runtime.and_then(|library| library.version.clone());
    let rows = [("torch", &torch), ("runtime", &runtime), ("driver", &report.driver.cuda), ("toolkit", &toolkit)];
    for (what, version) in rows {
        println!("{what:8} {}", version.as_deref().unwrap_or("none found"));
    }
    let parsed = |version: &Option<String>| version.as_deref().and_then(Version::parse);
    let Some(torch) = parsed(&torch) else { return Ok(()) };
    let same = |a: &Version, b: &Version| (a.major(), a.minor()) == (b.major(), b.minor());
    for (what, version) in rows.into_iter().skip(1) {
        let Some(version) = parsed(version) else { continue };
        let says = match what {
            _ if same(&version, &torch) => "the same as torch's",
            "runtime" => "not the release torch was built with: one major is enough",
            "driver" if version.major() >= torch.major() => "of another release, and serves torch's",
            "driver" => "of an older major: torch needs a newer driver",
            _ if version.major() == torch.major() => {
                "of torch's major, as building extensions asks; running does not ask"
            }
            _ => "of another major, which matters to those who build extensions",
        };
        println!("{what}: {says}");
    }
    Ok(())
}
