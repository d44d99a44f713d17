//! Libraries built for another CUDA major under the sonames that all majors share.

use super::{Torch, cudnn_wheel, seen, sound};
use crate::doctor::{RUN, commands};
use crate::support::*;
use cudashim::internal::tables::Severity::Fatal;
use std::fs;

/// NCCL with the text of the release it is built for.
fn nccl(built: &str) -> Lib {
    let text =
        format!("const char version[] = \"NCCL version {built}\";\nconst char *text(void) {{ return version; }}\n");
    Lib::new("libnccl.so.2").unversioned().defines(&["ncclMemFree"]).source(&text)
}

/// Without a package and its files.
fn without(machine: Machine, name: &str, version: &str, dir: &str) -> Machine {
    let site = SITE.trim_start_matches('/');
    let info = format!("{site}/{}-{version}.dist-info", name.replace('-', "_"));
    machine.without(&info).without(&format!("{site}/nvidia/{dir}"))
}

#[test]
fn wheels_overwrite_one_path() {
    let older = Lib::new("libnccl.so.2").unversioned().defines(&["ncclCommInitAll"]);
    let sick = sound();
    sick.venv("venv").wheel("nvidia-nccl-cu13", "2.18.1", &[("nvidia/nccl/lib/libnccl.so.2", older)]);
    let found = seen("pip-cu12-cu13-overwrite", &sick, &sound());
    assert_eq!(found.severity, Fatal);
    let both = ["nvidia-nccl-cu12 2.27.3", "nvidia-nccl-cu13 2.18.1"];
    assert!(both.iter().all(|name| found.cause.contains(name)), "{}", found.cause);
    // The wrong one is uninstalled, and its file with it.
    let line = "/venv/bin/python -m pip uninstall -y nvidia-nccl-cu13 && \
                /venv/bin/python -m pip install --force-reinstall --no-deps nvidia-nccl-cu12==2.27.3";
    assert_eq!(commands(&found), [line]);
}

#[test]
fn wheels_overwrite_one_path_with_equal_sizes() {
    // No package requires either: torch's major decides.
    let sick = sound();
    cudnn_wheel(&sick, "venv", "nvidia-cudnn-cu13", "9.12.0.46");
    let found = seen("pip-cu12-cu13-overwrite", &sick, &sound());
    let line = "/venv/bin/python -m pip uninstall -y nvidia-cudnn-cu13 && \
                /venv/bin/python -m pip install --force-reinstall --no-deps nvidia-cudnn-cu12==9.10.2.21";
    assert_eq!(commands(&found), [line]);
}

#[test]
fn wheel_of_another_major_alone() {
    let sick = without(sound(), "nvidia-nccl-cu12", "2.27.3", "nccl");
    sick.venv("venv").wheel("nvidia-nccl-cu13", "2.27.7", &[("nvidia/nccl/lib/libnccl.so.2", nccl("2.27.7"))]);
    let found = seen("two-cuda-majors", &sick, &sound());
    assert_eq!(found.severity, Fatal);
    assert_eq!(found.cause, "`libnccl.so.2` 2.27.7 is for CUDA 13, `libcusparse.so.12` 12.5.8.93 for CUDA 12");
    let line = "/venv/bin/python -m pip uninstall -y nvidia-nccl-cu13 && \
                /venv/bin/python -m pip install --no-deps nvidia-nccl-cu12==2.27.3";
    assert_eq!(commands(&found), [line]);
}

#[test]
fn library_contents_tell_the_cuda_major() {
    // No package speaks of it: what is found first is taken, whatever it is built for.
    let machine = |built: &str| {
        let machine = without(sound(), "nvidia-nccl-cu12", "2.27.3", "nccl");
        machine.with("opt/nccl/lib/libnccl.so.2", &nccl(built)).set("LD_LIBRARY_PATH", "/opt/nccl/lib")
    };
    let (sick, healthy) = (machine("2.27.7+cuda13.0"), machine("2.27.7+cuda12.9"));
    let found = seen("two-cuda-majors", &sick, &healthy);
    assert_eq!(found.severity, Fatal);
    assert!(found.cause.starts_with("`libnccl.so.2` 2.27.7 (LD_LIBRARY_PATH) is for CUDA 13"), "{}", found.cause);
    // Of the wheel's own the set is taken: the other does not fit.
    let both = sound().with("opt/nccl/lib/libnccl.so.2", &nccl("2.27.7+cuda13.0"));
    let preload = both.set("LD_PRELOAD", "/opt/nccl/lib/libnccl.so.2");
    assert_eq!(commands(&seen("two-cuda-majors", &preload, &sound())), ["unset LD_PRELOAD", RUN]);
}

#[test]
fn library_not_written_by_its_package() {
    let sick = Torch::new().on(Machine::new());
    nccl("2.27.7+cuda13.0").build(&sick.path(&format!(".{SITE}/nvidia/nccl/lib/libnccl.so.2")));
    let report = sick.report();
    let line = "/venv/bin/python -m pip install --force-reinstall --no-deps nvidia-nccl-cu12==2.27.3";
    let first = report.findings.first().unwrap();
    assert!(commands(first).contains(&line), "{:#?}", report.findings);
    assert!(fs::exists(sick.path(&format!(".{SITE}/nvidia/nccl/lib"))).unwrap());
}
