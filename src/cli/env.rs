//! `cudashim env`: shell lines to eval.

use super::args::{Cli, ConsumerArgs};
use super::{output, resolve, run, shim};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

pub(super) fn env(cli: &Cli, args: &ConsumerArgs) -> anyhow::Result<ExitCode> {
    resolve::live(cli)?;
    let host = resolve::host(cli);
    let request = resolve::request(&host, args, &[]);
    let Some((plan, path)) = run::plan_of(&host, &request)? else { return Ok(ExitCode::SUCCESS) };
    let child = crate::handout::ChildEnvironment::new(&host, Some((&plan, &path)), &shim::install(&host)?);
    for taken in &child.taken_out {
        output::note(&run::taken_out(taken));
    }
    let mut lines = Vec::new();
    for (name, value) in child.variables().into_iter().filter_map(|(name, value)| Some((name, value?))) {
        lines.extend_from_slice(format!("export {name}=").as_bytes());
        lines.extend(quoted(value));
        lines.push(b'\n');
    }
    resolve::print(lines)?;
    Ok(ExitCode::SUCCESS)
}

/// A word that every POSIX shell reads back as it is, whatever its bytes.
fn quoted(word: &OsStr) -> Vec<u8> {
    let mut quoted = vec![b'\''];
    for &byte in word.as_bytes() {
        match byte {
            b'\'' => quoted.extend_from_slice(b"'\\''"),
            byte => quoted.push(byte),
        }
    }
    quoted.push(b'\'');
    quoted
}
