//! `cudashim env`: shell lines to eval.

use super::args::{Cli, ConsumerArgs};
use super::{output, resolve, run, shim};
use crate::handout::{ChildEnvironment, Door};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

pub(super) fn env(cli: &Cli, args: &ConsumerArgs) -> anyhow::Result<ExitCode> {
    resolve::live(cli)?;
    let host = resolve::host(cli);
    let request = resolve::request(&host, args, &[]);
    let child = match run::plan_of(&host, &request)? {
        Some((plan, path)) => ChildEnvironment::new(&host, Some((&plan, &path)), &shim::install(&host)?, Door::Preload),
        // What an earlier `env` set is for another consumer.
        None => ChildEnvironment::without_shim(&host),
    };
    for taken in &child.taken_out {
        output::note(&run::taken_out(taken));
    }
    let mut lines = Vec::new();
    for (name, value) in child.variables() {
        match value {
            Some(value) => {
                lines.extend_from_slice(format!("export {name}=").as_bytes());
                lines.extend(quoted(value));
            }
            None if host.env(name).is_some() => lines.extend_from_slice(format!("unset {name}").as_bytes()),
            None => continue,
        }
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
