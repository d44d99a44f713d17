//! `cudashim doctor`: each finding on a machine with it, and not on a machine without it.

mod assumed;
mod attend;
mod changed;
mod cupy;
pub(crate) mod driver;
mod environment;
mod error;
mod frameworks;
mod libraries;
mod matrix;
mod messages;
mod proof;
mod sets;
mod xla;

use crate::support::*;
use cudashim::internal::diagnose::examine;
use cudashim::internal::driver::Driver;
use cudashim::{Finding, Remedy};
use std::fs;

/// The line that hands the chosen set to what a shell starts.
pub(crate) const RUN: &str = "eval \"$(cudashim env --python /venv)\"";

/// The lines for a shell among the remedies.
pub(crate) fn commands(finding: &Finding) -> Vec<&str> {
    finding.remedies.iter().filter_map(Remedy::as_command).collect()
}

/// What is recorded of a machine reads back as it was, and is judged alike.
#[test]
fn doctor_record_reads_back() {
    let machine = with_driver("535.261.03").file(".dockerenv", "").set("LD_LIBRARY_PATH", "/opt/x");
    let report = machine.report();
    let text = report.machine.to_json().unwrap();
    let again = Driver::from_json(&text).unwrap();
    assert_eq!(again, report.machine);
    let read = examine(&Machine::new().judged().with_driver(again), None);
    assert_eq!(read.driver, report.driver);
    // What is not known of is skipped, what is missing was not seen, and a later format is refused.
    assert_eq!(Driver::from_json(r#"{"schema":1,"later":[1]}"#).unwrap(), Driver::default());
    assert!(Driver::from_json(r#"{"schema":2}"#).unwrap_err().to_string().contains("format 2"));
    assert!(Driver::from_json("[").is_err());
}

/// The command on a machine: what it prints, and its exit code.
fn run(machine: &Machine, arguments: &[&str]) -> (String, Option<i32>) {
    let mut command = machine.rooted(["doctor"]);
    let output = command.args(arguments).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

#[test]
fn doctor_page_starts_with_the_verdict() {
    let machine = with_driver("535.261.03").torch("2.15.0+cu132", "13.2");
    let (text, code) = run(&machine, &["--python", "/venv"]);
    let text = text.replace("aarch64-linux-gnu", "x86_64-linux-gnu");
    insta::assert_snapshot!(text, @"
    torch 2.15.0+cu132 requires driver 580 or newer; installed: 535.261.03

    driver   535.261.03, proprietary kernel module, CUDA 12.2, /usr/lib/x86_64-linux-gnu/libcuda.so.1 by
             default directory
    torch    2.15.0+cu132 in /venv/lib/python3.11/site-packages/torch
    cuda     CUDA 13.2 (torch): not supported by this driver (requires 580.65.06 or newer)
    set      3 libraries; run `cudashim resolve` for the list

    fatal: torch 2.15.0+cu132 requires driver 580 or newer; installed: 535.261.03 [driver-too-old]
      version  driver 535.261.03, for CUDA 12.2
      version  /venv/lib/python3.11/site-packages/torch: torch 2.15.0+cu132, built with CUDA 13.2
      rule     CUDA 13 runs on drivers from 580.65.06 on
      do       install driver 580.65.06 or newer
      or       $ /venv/bin/python -m pip install --force-reinstall torch==2.14.1 --index-url https://download.pytorch.org/whl/cu126
      or       on a data-center GPU: install `cuda-compat-13-3`, and put its directory first in
               LD_LIBRARY_PATH
      see      https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
    ");
    assert_eq!(code, Some(1));
    let (text, code) = run(&Machine::new(), &[]);
    insta::assert_snapshot!(text, @"
    the libraries: no problems found

    driver   none
    torch    none
    set      none: no Python found, and no other target given
    try      activate an environment, or name it: `cudashim doctor DIR`

    fact: no NVIDIA driver on this machine [no-driver]
    ");
    assert_eq!(code, Some(0));
}

/// Whether torch's CUDA goes with driver and toolkit: not by equality.
#[test]
fn doctor_page_compares_cuda_with_driver_and_toolkit() {
    let says = |machine: &Machine| machine.report().cuda;
    let toolkit = |machine: Machine, release: &str| {
        let name = format!("libcudart.so.{}", release.split('.').next().unwrap());
        let dir = format!("usr/local/cuda-{release}/lib64");
        machine
            .with(&format!("{dir}/libcudart.so.{release}.90"), &Lib::new(&name))
            .link(&format!("{dir}/{name}"), &format!("libcudart.so.{release}.90"))
    };
    let torch = |driver: &str| with_driver(driver).torch("2.8.0+cu128", "12.8");
    assert_eq!(says(&torch("570.124.06")).as_deref(), Some("CUDA 12.8 (torch): supported by the driver"));
    assert_eq!(
        says(&torch("535.261.03")).as_deref(),
        Some("CUDA 12.8 (torch): supported by the driver (CUDA 12.2) through minor-version compatibility")
    );
    assert_eq!(
        says(&torch("470.256.02")).as_deref(),
        Some("CUDA 12.8 (torch): not supported by this driver (requires 525.60.13 or newer)")
    );
    let beside = |release| says(&toolkit(torch("570.124.06"), release)).unwrap_or_default();
    assert!(
        beside("12.4").ends_with("by the driver; the toolkit 12.4 fits for building extensions"),
        "{}",
        beside("12.4")
    );
    assert!(beside("13.0").ends_with("; the toolkit 13.0 does not fit for building extensions"), "{}", beside("13.0"));
    assert_eq!(says(&Machine::new().torch("2.8.0+cu128", "12.8")), None);
    assert_eq!(says(&with_driver("570.124.06")), None);
}

/// A root that is not there is no machine on which nothing is wrong.
#[test]
fn doctor_root_must_be_a_directory() {
    let mut machine = Machine::new().file("file", "");
    for root in ["none", "file"] {
        let root = machine.path(root);
        let output = machine.cudashim(["doctor", "--root"]).arg(&root).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
        assert!(String::from_utf8_lossy(&output.stderr).contains("not a directory"));
    }
    machine = machine.without("file");
    let output = machine.cudashim(["doctor", "--root"]).arg(machine.root()).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
}

/// A screen: 24 lines of 100 columns where nothing is wrong; lines for a shell are never broken.
#[test]
fn doctor_page_fits_a_screen() {
    let machine = with_driver("570.124.06").torch("2.8.0+cu128", "12.8");
    let (text, code) = run(&machine, &["--python", "/venv"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.lines().count() <= 24 && text.lines().all(|line| line.chars().count() <= 100), "{text}");
    let machine = with_driver("535.261.03").torch("2.15.0+cu132", "13.2");
    let (text, _) = run(&machine, &["--python", "/venv"]);
    let wide = |line: &&str| line.chars().count() > 100 && !line.contains(" $ ") && line.split_whitespace().count() > 2;
    assert_eq!(text.lines().find(wide), None, "{text}");
    assert!(text.lines().any(|line| line.contains(" $ /venv/bin/python -m pip install --force-reinstall torch==")));
}

#[test]
fn doctor_redact_hides_user_and_host() {
    let machine = with_driver("535.261.03").torch("2.15.0+cu132", "13.2").file("etc/hostname", "node17\n");
    let machine = machine.file("home/ann/x/libcudart.so.12", "");
    let mut command = machine.rooted(["doctor", "--python", "/venv", "--redact", "--format", "json"]);
    let output = command
        .env("HOME", "/home/ann")
        .env("HOSTNAME", "node17")
        .env("LD_LIBRARY_PATH", "/home/ann/x:~/y/node17")
        .output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    assert!(!text.contains("ann/") && !text.contains("node17"), "{text}");
    // What matters stays.
    for kept in ["2.15.0+cu132", "535.261.03", "driver-too-old", "env-wrong-place", "~/x", "HOST"] {
        assert!(text.contains(kept), "{kept}: {text}");
    }
}

#[test]
fn doctor_formats_and_record() {
    let machine = with_driver("535.261.03").torch("2.15.0+cu132", "13.2");
    let (json, code) = run(&machine, &["--python", "/venv", "--format", "json"]);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((value["findings"][0]["id"].as_str(), code), (Some("driver-too-old"), Some(1)));
    let (markdown, _) = run(&machine, &["--python", "/venv", "--format", "markdown"]);
    assert!(markdown.contains("### fatal: torch 2.15.0+cu132 requires driver 580 or newer"), "{markdown}");
    // Written down here, judged there.
    let file = machine.path("driver.json");
    let (_, code) = run(&machine, &["--python", "/venv", "--record", file.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    let elsewhere = Machine::new().torch("2.15.0+cu132", "13.2");
    let (text, code) = run(&elsewhere, &["--python", "/venv", "--recorded", file.to_str().unwrap()]);
    assert!(text.starts_with("torch 2.15.0+cu132 requires driver 580 or newer"), "{text}");
    assert_eq!(code, Some(1));
    // What is no record ends with the file's name.
    fs::write(&file, r#"{"schema":9}"#).unwrap();
    let output = elsewhere.rooted(["doctor", "--recorded"]).arg(&file).output().unwrap();
    let says = String::from_utf8_lossy(&output.stderr);
    assert!(says.contains("cannot use the record `") && says.contains("format 9"), "{says}");
    assert_eq!(output.status.code(), Some(2));
}
