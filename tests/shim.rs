//! The preload object, in processes: small programs under `LD_PRELOAD` with plans written by hand.
//!
//! Each rule of `cshim/README.md` names its test here.
#![allow(clippy::unwrap_used)]

mod asking;
mod attack;

mod bundles;
mod callers;
mod crowd;
mod decisions;
mod hostile;
mod install;
mod machines;
mod object;
mod own;
mod rules;
mod secure;
mod units;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::support::lab::{Lab, PlanText, Ran, clean_command};

/// The shim with nobody to ask, and the program that does what its arguments say.
struct Common {
    _lab: Lab,
    shim: PathBuf,
    host: PathBuf,
}

static COMMON: LazyLock<Common> = LazyLock::new(|| {
    let lab = Lab::new();
    let shim = lab.write("libcudashim.so", cudashim::handout::shim::IMAGE);
    let host = lab.program("host", include_str!("shim/host.c"), &["-rdynamic", "-ldl", "-pthread"]);
    Common { _lab: lab, shim, host }
});

/// Writes the plan where only its owner may write.
fn put_plan(lab: &Lab, plan: &PlanText) -> PathBuf {
    put_text(lab, plan.text().as_bytes())
}

fn put_text(lab: &Lab, text: &[u8]) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = lab.write("plan", text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// The host with the shim preloaded, and no plan yet.
fn host(script: &[&str]) -> Command {
    let mut command = clean_command(&COMMON.host);
    command.env("LD_PRELOAD", &COMMON.shim).args(script);
    command
}

fn run(lab: &Lab, command: &mut Command) -> Ran {
    Ran::of(lab, &command.output().unwrap())
}

/// Runs the host under the shim with a plan; says nothing of what went right.
fn with_plan(lab: &Lab, plan: &PlanText, script: &[&str]) -> Ran {
    let path = put_plan(lab, plan);
    run(lab, host(script).env("CUDASHIM_PLAN", path))
}

fn utf8(path: &Path) -> &str {
    path.to_str().unwrap()
}
