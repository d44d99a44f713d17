//! The preload object, in processes: small programs under `LD_PRELOAD` with plans written by hand.
//!
//! Each rule of `docs/SHIM_RULES.md` names its tests here.
#![allow(clippy::unwrap_used)]

mod asking;
mod attack;
mod audit;
mod callers;
mod crowd;
mod decisions;
mod differential;
mod hostile;
mod install;
mod machines;
#[path = "../build/object.rs"]
mod made;
mod mutants;
mod object;
mod programs;
mod rules;
mod secure;
mod strangers;

use crate::support::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// The shim without a binary, and the program that follows its arguments.
struct Common {
    _lab: Machine,
    shim: PathBuf,
    host: PathBuf,
}

static COMMON: LazyLock<Common> = LazyLock::new(|| {
    let lab = Machine::new();
    let shim = lab.write("libcudashim.so", cudashim::internal::launch::shim::IMAGE);
    let host = lab.program("host", include_str!("shim/host.c"), &["-rdynamic", "-ldl", "-pthread"]);
    Common { _lab: lab, shim, host }
});

/// A wrong copy that the loader would find (it is on `LD_LIBRARY_PATH`), and a right one that the plan chose.
struct Two {
    lab: Machine,
    right: PathBuf,
}

impl Two {
    fn new() -> Self {
        let lab = Machine::new();
        lab.copy("wrong/libone.so.1", 1);
        let right = lab.copy("right/libone.so.1", 2);
        Self { lab, right }
    }

    fn plan(&self, how: &str) -> PlanText {
        PlanText::new().lib("libone.so.1", &self.right, how)
    }

    /// A consumer that finds the wrong copy beside itself, by its DT_RPATH.
    fn consumer(&self) -> PathBuf {
        let source = "int which(void); int sum(void) { return 10 * which(); }";
        let wrong = self.lab.path("wrong/libone.so.1");
        let rpath = "-Wl,--disable-new-dtags,-rpath,$ORIGIN";
        self.lab.library("wrong/libconsumer.so", source, &[utf8(&wrong), rpath])
    }

    /// The host under the shim with this plan's file, and the wrong copy on the search path.
    fn host(&self, plan: &Path, script: &[&str]) -> Command {
        let mut command = host(script);
        command.env("CUDASHIM_PLAN", plan).env("LD_LIBRARY_PATH", self.lab.path("wrong"));
        command
    }

    /// Asks that host for the library.
    fn open(&self, plan: &Path) -> Process {
        self.lab.ran(&mut self.host(plan, &OPEN))
    }
}

/// The variables by which the shim comes into a process.
const DOORS: [&str; 2] = ["LD_PRELOAD", "LD_AUDIT"];
const OPEN: [&str; 5] = ["open", "libone.so.1", "l", "call", "which"];
/// The plan's copy was given, and the loader's.
const GIVEN: &str = "open libone.so.1: ok\nwhich: 2\n";
const LEFT: &str = "open libone.so.1: ok\nwhich: 1\n";

/// Compiles the plan, and writes it where only its owner may write. One that names no program is for the host; one that
/// names no object was proven for all that lies in the lab.
fn put_plan(lab: &Machine, plan: &PlanText) -> PathBuf {
    let mut plan = plan.clone();
    if !plan.text().contains("\nprogram\t") {
        plan = plan.program(&COMMON.host);
    }
    if !plan.text().contains("\nobject\t") {
        plan = objects(lab.root()).iter().fold(plan, |plan, path| plan.record(&["object", utf8(path)]));
    }
    put_bytes(lab, &plan.image().1)
}

/// The regular files below a directory whose names need no escape in a plan.
fn objects(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(objects(&entry.path()));
        } else if entry.file_name().to_str().is_some_and(|name| !name.contains(char::is_control)) {
            found.push(entry.path());
        }
    }
    found
}

/// Where only its owner may write.
fn put_bytes(lab: &Machine, bytes: &[u8]) -> PathBuf {
    lab.write("plan", bytes);
    lab.mode("plan", 0o600)
}

/// The host with the shim preloaded, and no plan yet.
fn host(script: &[&str]) -> Command {
    let mut command = clean_command(&COMMON.host);
    command.env("LD_PRELOAD", &COMMON.shim).args(script);
    command
}

/// Runs the host under the shim with a plan; prints only failures.
fn with_plan(lab: &Machine, plan: &PlanText, script: &[&str]) -> Process {
    let path = put_plan(lab, plan);
    lab.ran(host(script).env("CUDASHIM_PLAN", path))
}
