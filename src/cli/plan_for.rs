//! `cudashim plan-for PID`: what the shim of a running process asks when it was given no plan.
//!
//! Answers one line: the path of a plan, or an empty one. Never writes anything else to stdout.

use super::{output, resolve};
use crate::host::Host;
use crate::request::Request;
use anyhow::Context;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::process::ExitCode;

/// The word that the shim says (`cshim/ask.c`).
pub(super) const NAME: &str = "plan-for";

/// The whole program, as the shim starts it.
pub(super) fn main(pid: &OsStr) -> ExitCode {
    crate::host::outlive_truncation();
    output::logger(0, false);
    let pid = pid.to_str().and_then(|pid| pid.parse().ok());
    let answer = pid.context("a process is meant by its number").and_then(plan_for);
    answer.unwrap_or_else(|error| {
        output::error(&error);
        ExitCode::from(2)
    })
}

fn plan_for(pid: u32) -> anyhow::Result<ExitCode> {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let unknown = || format!("process {pid} cannot be looked at");
    let cmdline = std::fs::read(proc.join("cmdline")).with_context(unknown)?;
    let mut command: Vec<OsString> =
        cmdline.split(|byte| *byte == 0).map(|word| OsStr::from_bytes(word).to_owned()).collect();
    command.pop();
    let cwd = std::fs::read_link(proc.join("cwd")).with_context(unknown)?;
    // The shim passes on what the host process had under names that cannot hurt us on the way.
    let mut env: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
    for name in ["LD_LIBRARY_PATH", "LD_PRELOAD"] {
        env.remove(OsStr::new(name));
        if let Some(value) = env.remove(OsStr::new(&format!("CUDASHIM_HOST_{name}"))) {
            env.insert(name.into(), value);
        }
    }
    let host = Host::new("/".into(), env, cwd);
    if command.first().is_none_or(|word| crate::python::find_on_path(&host, word).is_none()) {
        // argv[0] is what the program was told, not always what it is.
        let program = std::fs::read_link(proc.join("exe")).with_context(unknown)?;
        command.truncate(1);
        command.insert(0, program.into_os_string());
    }
    let answered = resolve::answer(&host, &Request { command, ..Request::default() })?;
    let mut line = answered.plan.map(|(_, path)| path).unwrap_or_default().into_os_string().into_vec();
    line.push(b'\n');
    resolve::print(line)?;
    Ok(ExitCode::SUCCESS)
}
