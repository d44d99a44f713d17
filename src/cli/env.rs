//! `cudashim env`: shell lines to eval.

use super::args::{Cli, ConsumerArgs, EnvArgs};
use super::{output, resolve, run, shim};
use crate::host::Host;
use crate::launch::{Door, Target};
use crate::loader::Objects;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

pub(super) fn env(cli: &Cli, args: &EnvArgs) -> anyhow::Result<ExitCode> {
    resolve::live(cli)?;
    let host = resolve::host(cli);
    let request = resolve::request(&host, &args.consumer, &[]);
    // Where there is nothing to hand out, what the shell starts asks for its own.
    let given = run::given(&host, resolve::answer(&host, &request)?, true, args.force)?;
    let child = run::environment(&host, given.as_ref(), &shim::install(&host)?, door(&host, &args.consumer));
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

/// The door for what the shell will start: that of the programs named, where one is linked against CUDA.
fn door(host: &Host, args: &ConsumerArgs) -> Door {
    let targets = args.files.iter().map(|file| (file, Target::read(host, &host.absolute(file))));
    for (file, target) in targets.filter(|(_, target)| target.linked.is_some()) {
        let is_program = Objects::new(host).open(file).is_ok_and(|object| object.facts.interpreter.is_some());
        match target.choose() {
            _ if !is_program => {}
            (Door::Audit, _) => return Door::Audit,
            (_, why) => output::note(&format!("`{}`: {why}: start it with `cudashim run -- {0}`", file.display())),
        }
    }
    Door::Preload
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
