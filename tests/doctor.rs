//! `cudashim doctor`: each finding on a machine that has it, and none on one that has not.

mod attend;
mod changed;
mod cupy;
pub(crate) mod driver;
mod environment;
mod error;
mod frameworks;
mod libraries;
mod messages;
mod table;
mod xla;

use crate::support::world::{Lib, Venv, World};
use cudashim::internal::diagnose::{Report, examine, recognise};
use cudashim::internal::driver::{Devices, Driver};
use cudashim::internal::tables::Severity;
use cudashim::{Finding, Host, Machine, Remedy, Request};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

/// A machine to be examined: its files in a directory, its environment, what its driver says.
pub(crate) struct Patient {
    pub(crate) world: World,
    env: BTreeMap<OsString, OsString>,
    devices: Devices,
}

impl Patient {
    /// One with nothing on it.
    pub(crate) fn new() -> Self {
        Self { world: World::new(), env: BTreeMap::new(), devices: Devices::default() }
    }

    /// With a file.
    pub(crate) fn file(self, path: &str, text: &str) -> Self {
        let path = self.world.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// With a symbolic link.
    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        let path = self.world.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
        self
    }

    /// With a file of these rights.
    pub(crate) fn node(self, path: &str, mode: u32) -> Self {
        let path = self.file(path, "").world_path(path);
        fs::set_permissions(&path.1, fs::Permissions::from_mode(mode)).unwrap();
        path.0
    }

    fn world_path(self, path: &str) -> (Self, std::path::PathBuf) {
        let path = self.world.path(path);
        (self, path)
    }

    /// Without a file, or a whole directory.
    pub(crate) fn without(self, path: &str) -> Self {
        let path = self.world.path(path);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
        self
    }

    /// With a variable.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// With what its driver says.
    pub(crate) fn says(mut self, devices: Devices) -> Self {
        self.devices = devices;
        self
    }

    /// With an environment at `/venv` that has this torch.
    pub(crate) fn torch(self, version: &str, cuda: &str) -> Self {
        self.world.venv("venv").torch(version, Some(cuda), &[], &[]);
        self
    }

    /// With the C library of the tester's machine: what is loaded finds it, as on a machine that people use.
    pub(crate) fn glibc(self) -> Self {
        let arch = if cfg!(target_arch = "aarch64") { "aarch64" } else { "x86_64" };
        let interpreter = if arch == "aarch64" { "lib/ld-linux-aarch64.so.1" } else { "lib64/ld-linux-x86-64.so.2" };
        let dir = format!("usr/lib/{arch}-linux-gnu");
        let here = |name: &str| {
            let dirs = [format!("/lib/{arch}-linux-gnu"), "/lib64".into(), "/usr/lib64".into(), "/usr/lib".into()];
            dirs.iter().map(|dir| std::path::Path::new(dir).join(name)).find(|path| path.is_file())
        };
        let files =
            ["libc.so.6", "libdl.so.2"].into_iter().filter_map(|name| Some((format!("{dir}/{name}"), here(name)?)));
        for (to, from) in files.chain([(interpreter.to_owned(), format!("/{interpreter}").into())]) {
            let to = self.world.path(&to);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(from, to).unwrap();
        }
        self
    }

    /// With an environment at `/venv` that this is done to.
    pub(crate) fn venv(self, with: impl FnOnce(&Venv)) -> Self {
        with(&self.world.venv("venv"));
        self
    }

    /// With a library.
    pub(crate) fn library(self, path: &str, library: &Lib) -> Self {
        library.build(&self.world.path(path));
        self
    }

    pub(crate) fn host(&self) -> Host {
        Host::new(self.world.root().to_owned(), self.env.clone(), "/".into())
    }

    /// The machine, looked at for its environment.
    pub(crate) fn machine(&self) -> Machine {
        let python = self.world.path("venv").is_dir().then(|| "/venv".into());
        let machine = Machine::new(self.host(), Request { python, ..Request::default() });
        machine.with_devices(self.devices.clone()).answered().unwrap().as_it_is()
    }

    /// What its doctor says.
    pub(crate) fn report(&self) -> Report {
        examine(&self.machine(), None)
    }

    /// What its doctor says to an error text.
    pub(crate) fn told(&self, text: &str) -> Report {
        examine(&self.machine(), Some(recognise(text.as_bytes())))
    }

    /// The ids of what is found, worst first.
    pub(crate) fn ids(&self) -> Vec<(&'static str, Severity)> {
        self.report().findings.iter().map(|finding| (finding.id, finding.severity)).collect()
    }

    /// The finding that comes first.
    pub(crate) fn first(&self) -> Finding {
        let report = self.report();
        report.findings.first().cloned().unwrap_or_else(|| panic!("nothing is found: {:?}", report.machine))
    }
}

/// The line that hands the chosen set to what a shell starts.
pub(crate) const RUN: &str = "eval \"$(cudashim env --python /venv)\"";

/// The lines for a shell among the remedies.
pub(crate) fn commands(finding: &Finding) -> Vec<&str> {
    finding.remedies.iter().filter_map(Remedy::as_command).collect()
}

/// What is recorded of a machine reads back as it was, and is judged alike.
#[test]
fn a_recorded_machine_is_the_machine() {
    let patient = driver::healthy("535.261.03").file(".dockerenv", "").set("LD_LIBRARY_PATH", "/opt/x");
    let report = patient.report();
    let text = report.machine.to_json().unwrap();
    let again = Driver::from_json(&text).unwrap();
    assert_eq!(again, report.machine);
    let read = examine(&Patient::new().machine().with_driver(again), None);
    assert_eq!(read.driver, report.driver);
    // What is not known of is skipped, what is missing was not seen, and a later format is refused.
    assert_eq!(Driver::from_json(r#"{"schema":1,"later":[1]}"#).unwrap(), Driver::default());
    assert!(Driver::from_json(r#"{"schema":2}"#).unwrap_err().to_string().contains("format 2"));
    assert!(Driver::from_json("[").is_err());
}

/// The command on a machine: what it prints, and its exit code.
fn run(patient: &Patient, arguments: &[&str]) -> (String, Option<i32>) {
    let mut command = patient.world.rooted(["doctor"]);
    let output = command.args(arguments).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

#[test]
fn the_page_has_the_verdict_first() {
    let patient = driver::healthy("535.261.03").torch("2.15.0+cu132", "13.2");
    let (text, code) = run(&patient, &["--python", "/venv"]);
    let text = text.replace("aarch64-linux-gnu", "x86_64-linux-gnu");
    insta::assert_snapshot!(text, @"
    torch 2.15.0+cu132 needs 580 or newer: the driver is 535.261.03

    driver   535.261.03, proprietary kernel module, CUDA 12.2, /usr/lib/x86_64-linux-gnu/libcuda.so.1 by
             default directory
    torch    2.15.0+cu132 in /venv/lib/python3.11/site-packages/torch
    cuda     13.2 is torch's: the driver does not run it, 580.65.06 or newer does
    set      3 libraries; `cudashim resolve` lists them

    fatal: torch 2.15.0+cu132 needs 580 or newer: the driver is 535.261.03 [driver-too-old]
      version  driver 535.261.03, for CUDA 12.2
      version  /venv/lib/python3.11/site-packages/torch: torch 2.15.0+cu132, built with CUDA 13.2
      rule     CUDA 13 runs on drivers from 580.65.06 on
      do       install driver 580.65.06 or newer
      or       $ /venv/bin/python -m pip install --force-reinstall torch==2.14.1 --index-url https://download.pytorch.org/whl/cu126
      or       on a data-center GPU: install `cuda-compat-13-3`, and run with its directory first
      see      https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
    ");
    assert_eq!(code, Some(1));
    let (text, code) = run(&Patient::new(), &[]);
    insta::assert_snapshot!(text, @"
    the libraries: nothing is wrong

    driver   none
    torch    none
    set      none: there is no Python here, and nothing else is named
    try      activate an environment, or name it: `cudashim doctor DIR`

    fact: there is no NVIDIA driver on this machine [no-driver]
    ");
    assert_eq!(code, Some(0));
}

/// Whether torch's CUDA goes with driver and toolkit: not by equality.
#[test]
fn the_page_compares_cuda_with_driver_and_toolkit() {
    let says = |patient: &Patient| patient.report().cuda;
    let toolkit = |patient: Patient, release: &str| {
        let name = format!("libcudart.so.{}", release.split('.').next().unwrap());
        let dir = format!("usr/local/cuda-{release}/lib64");
        patient
            .library(&format!("{dir}/libcudart.so.{release}.90"), &Lib::new(&name))
            .link(&format!("{dir}/{name}"), &format!("libcudart.so.{release}.90"))
    };
    let torch = |driver: &str| driver::healthy(driver).torch("2.8.0+cu128", "12.8");
    assert_eq!(says(&torch("570.124.06")).as_deref(), Some("12.8 is torch's: the driver runs it"));
    assert_eq!(
        says(&torch("535.261.03")).as_deref(),
        Some("12.8 is torch's: the driver, for CUDA 12.2, runs it by minor-version compatibility")
    );
    assert_eq!(
        says(&torch("470.256.02")).as_deref(),
        Some("12.8 is torch's: the driver does not run it, 525.60.13 or newer does")
    );
    let beside = |release| says(&toolkit(torch("570.124.06"), release)).unwrap_or_default();
    assert!(beside("12.4").ends_with("runs it; the toolkit 12.4 fits for building extensions"), "{}", beside("12.4"));
    assert!(beside("13.0").ends_with("; the toolkit 13.0 does not fit for building extensions"), "{}", beside("13.0"));
    assert_eq!(says(&Patient::new().torch("2.8.0+cu128", "12.8")), None);
    assert_eq!(says(&driver::healthy("570.124.06")), None);
}

/// A root that is not there is no machine on which nothing is wrong.
#[test]
fn a_root_is_a_directory() {
    let mut patient = Patient::new().file("file", "");
    for root in ["none", "file"] {
        let root = patient.world.path(root);
        let output = patient.world.cudashim(["doctor", "--root"]).arg(&root).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
        assert!(String::from_utf8_lossy(&output.stderr).contains("not a directory"));
    }
    patient = patient.without("file");
    let output = patient.world.cudashim(["doctor", "--root"]).arg(patient.world.root()).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
}

/// A screen: 24 lines of 100 columns where nothing is wrong; lines for a shell are never broken.
#[test]
fn the_page_fits_a_screen() {
    let patient = driver::healthy("570.124.06").torch("2.8.0+cu128", "12.8");
    let (text, code) = run(&patient, &["--python", "/venv"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.lines().count() <= 24 && text.lines().all(|line| line.chars().count() <= 100), "{text}");
    let patient = driver::healthy("535.261.03").torch("2.15.0+cu132", "13.2");
    let (text, _) = run(&patient, &["--python", "/venv"]);
    let wide = |line: &&str| line.chars().count() > 100 && !line.contains(" $ ") && line.split_whitespace().count() > 2;
    assert_eq!(text.lines().find(wide), None, "{text}");
    assert!(text.lines().any(|line| line.contains(" $ /venv/bin/python -m pip install --force-reinstall torch==")));
}

#[test]
fn nothing_private_is_told() {
    let patient = driver::healthy("535.261.03").torch("2.15.0+cu132", "13.2").file("etc/hostname", "node17\n");
    let patient = patient.file("home/ann/x/libcudart.so.12", "");
    let mut command = patient.world.rooted(["doctor", "--python", "/venv", "--redact", "--format", "json"]);
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
fn other_formats_and_a_record() {
    let patient = driver::healthy("535.261.03").torch("2.15.0+cu132", "13.2");
    let (json, code) = run(&patient, &["--python", "/venv", "--format", "json"]);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((value["findings"][0]["id"].as_str(), code), (Some("driver-too-old"), Some(1)));
    let (markdown, _) = run(&patient, &["--python", "/venv", "--format", "markdown"]);
    assert!(markdown.contains("### fatal: torch 2.15.0+cu132 needs 580 or newer"), "{markdown}");
    // Written down here, judged there.
    let file = patient.world.path("driver.json");
    let (_, code) = run(&patient, &["--python", "/venv", "--record", file.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    let elsewhere = Patient::new().torch("2.15.0+cu132", "13.2");
    let (text, code) = run(&elsewhere, &["--python", "/venv", "--recorded", file.to_str().unwrap()]);
    assert!(text.starts_with("torch 2.15.0+cu132 needs 580 or newer"), "{text}");
    assert_eq!(code, Some(1));
    // What is no record ends with the file's name.
    fs::write(&file, r#"{"schema":9}"#).unwrap();
    let output = elsewhere.world.rooted(["doctor", "--recorded"]).arg(&file).output().unwrap();
    let says = String::from_utf8_lossy(&output.stderr);
    assert!(says.contains("cannot use the record `") && says.contains("format 9"), "{says}");
    assert_eq!(output.status.code(), Some(2));
}
