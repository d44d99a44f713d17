//! Does this torch run on this driver, and can extensions for it be built with this toolkit? Equality is not the rule:
//!
//! - the driver must not be older than the first one for torch's CUDA major; within a major every release runs;
//! - the toolkit must be of torch's major, and only to build extensions: running torch does not use it;
//! - `nvcc --version` tells the toolkit's release and nothing of the driver.
//!
//! cargo run --example 05-compatible -- [PYTHON or directory of an environment [RECORD of `cudashim doctor --record`]]
#![expect(clippy::print_stdout, reason = "the answers are its output")]

use cudashim::diagnose::{Ask, examine};
use cudashim::driver::Driver;
use cudashim::driver::rules::{self, Verdict};
use cudashim::{Host, Version};
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let python = arguments.next();
    let recorded = arguments.next().map(std::fs::read_to_string).transpose()?;
    let recorded = recorded.map(|text| Driver::from_json(&text)).transpose()?;
    let report = examine(&Host::current(), &Ask { python, recorded, ..Ask::default() })?;
    let torch = report.torch.as_ref().and_then(|torch| Version::parse(torch.cuda.as_deref()?));
    let Some(cuda) = torch else {
        println!("no torch with CUDA here: name a Python that has one");
        return Ok(());
    };
    println!("torch is built with CUDA {cuda}");
    match report.machine.driver_version() {
        None => println!("driver: none here, so nothing runs on a GPU"),
        Some(driver) => match rules::on_driver_with(&cuda, &driver, report.machine.found_libcuda()) {
            Verdict::Runs => println!("driver {driver}: compatible"),
            Verdict::RunsByMinorCompat { driver: own } => {
                println!("driver {driver}, for CUDA {own}: compatible, by minor-version compatibility");
            }
            Verdict::ViaCompat { path } => println!("driver {driver}: compatible, through {}", path.display()),
            Verdict::NeedsDriver { floor: Some(floor) } => {
                println!("driver {driver}: too old, CUDA {} needs {floor} or newer", cuda.major());
            }
            other => println!("driver {driver}: not compatible ({other:?})"),
        },
    }
    for toolkit in &report.toolkits {
        let major = toolkit.cuda.as_deref().and_then(Version::parse).map(|toolkit| toolkit.major());
        let says = match major {
            Some(major) if major == cuda.major() => "builds extensions for this torch",
            Some(_) => "does not build extensions for this torch, which runs all the same",
            None => "of an unknown release",
        };
        println!("toolkit {}: {says}", toolkit.path.to_path().display());
    }
    Ok(())
}
