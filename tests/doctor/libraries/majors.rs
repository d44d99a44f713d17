//! Libraries built for another CUDA major under the sonames that all majors share.

use super::{PARTS, SITE, Torch, cudnn_wheel, seen, sound};
use crate::doctor::{Patient, RUN, commands};
use crate::support::world::Lib;
use cudashim::internal::tables::Severity::Fatal;
use std::fs;

/// NCCL with the text that tells what it is built for.
fn nccl(built: &str) -> Lib {
    let text =
        format!("const char version[] = \"NCCL version {built}\";\nconst char *text(void) {{ return version; }}\n");
    Lib::new("libnccl.so.2").unversioned().defines(&["ncclMemFree"]).source(&text)
}

/// Without a package and its files.
fn without(patient: Patient, name: &str, version: &str, dir: &str) -> Patient {
    let site = SITE.trim_start_matches('/');
    let info = format!("{site}/{}-{version}.dist-info", name.replace('-', "_"));
    patient.without(&info).without(&format!("{site}/nvidia/{dir}"))
}

#[test]
fn wheels_that_wrote_to_one_path() {
    let older = Lib::new("libnccl.so.2").unversioned().defines(&["ncclCommInitAll"]);
    let sick = sound();
    sick.world.venv("venv").wheel("nvidia-nccl-cu13", "2.18.1", &[("nvidia/nccl/lib/libnccl.so.2", older)]);
    let found = seen("pip-cu12-cu13-overwrite", &sick, &sound());
    assert_eq!(found.severity, Fatal);
    let both = ["nvidia-nccl-cu12 2.27.3", "nvidia-nccl-cu13 2.18.1"];
    assert!(both.iter().all(|name| found.cause.contains(name)), "{}", found.cause);
    // The one that is not meant goes, and takes the file along.
    let line = "/venv/bin/python -m pip uninstall -y nvidia-nccl-cu13 && \
                /venv/bin/python -m pip install --force-reinstall --no-deps nvidia-nccl-cu12==2.27.3";
    assert_eq!(commands(&found), [line]);
}

#[test]
fn wheels_of_which_the_size_tells_nothing() {
    // Nobody requires either: torch's major has the say.
    let sick = sound();
    cudnn_wheel(&sick, "venv", "nvidia-cudnn-cu13", "9.12.0.46", &PARTS);
    let found = seen("pip-cu12-cu13-overwrite", &sick, &sound());
    let line = "/venv/bin/python -m pip uninstall -y nvidia-cudnn-cu13 && \
                /venv/bin/python -m pip install --force-reinstall --no-deps nvidia-cudnn-cu12==9.10.2.21";
    assert_eq!(commands(&found), [line]);
}

#[test]
fn the_wheel_of_another_major_alone() {
    let sick = without(sound(), "nvidia-nccl-cu12", "2.27.3", "nccl");
    sick.world.venv("venv").wheel("nvidia-nccl-cu13", "2.27.7", &[("nvidia/nccl/lib/libnccl.so.2", nccl("2.27.7"))]);
    let found = seen("two-cuda-majors", &sick, &sound());
    assert_eq!(found.severity, Fatal);
    assert_eq!(found.cause, "`libnccl.so.2` 2.27.7 is for CUDA 13, `libcusparse.so.12` 12.5.8.93 for CUDA 12");
    let line = "/venv/bin/python -m pip uninstall -y nvidia-nccl-cu13 && \
                /venv/bin/python -m pip install --no-deps nvidia-nccl-cu12==2.27.3";
    assert_eq!(commands(&found), [line]);
}

#[test]
fn the_file_tells_what_it_is_built_for() {
    // No package speaks of it: what is found first is taken, whatever it is built for.
    let machine = |built: &str| {
        let patient = without(sound(), "nvidia-nccl-cu12", "2.27.3", "nccl");
        patient.library("opt/nccl/lib/libnccl.so.2", &nccl(built)).set("LD_LIBRARY_PATH", "/opt/nccl/lib")
    };
    let (sick, healthy) = (machine("2.27.7+cuda13.0"), machine("2.27.7+cuda12.9"));
    let found = seen("two-cuda-majors", &sick, &healthy);
    assert_eq!(found.severity, Fatal);
    assert!(found.cause.starts_with("`libnccl.so.2` 2.27.7 (LD_LIBRARY_PATH) is for CUDA 13"), "{}", found.cause);
    // Of the wheel's own the set is taken: the other does not fit.
    let both = sound().library("opt/nccl/lib/libnccl.so.2", &nccl("2.27.7+cuda13.0"));
    let preload = both.set("LD_PRELOAD", "/opt/nccl/lib/libnccl.so.2");
    assert_eq!(commands(&seen("two-cuda-majors", &preload, &sound())), ["unset LD_PRELOAD", RUN]);
}

#[test]
fn a_file_that_its_package_did_not_write() {
    let sick = Torch::new().on(Patient::new());
    nccl("2.27.7+cuda13.0").build(&sick.world.path(&format!(".{SITE}/nvidia/nccl/lib/libnccl.so.2")));
    let report = sick.report();
    let line = "/venv/bin/python -m pip install --force-reinstall --no-deps nvidia-nccl-cu12==2.27.3";
    let first = report.findings.first().unwrap();
    assert!(commands(first).contains(&line), "{:#?}", report.findings);
    assert!(fs::exists(sick.world.path(&format!(".{SITE}/nvidia/nccl/lib"))).unwrap());
}
