//! `cudashim env`: lines for a shell, which hand the set to everything started later, or undo that.

use super::answer::answer;
use super::args::{EnvArgs, Shell};
use super::context::Context;
use super::failure::Result;
use super::{given, output, run};
use crate::host::Host;
use crate::launch::{ChildEnvironment, Door, Target};
use crate::loader::Objects;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

pub(super) fn env(context: &Context, args: &EnvArgs) -> Result<ExitCode> {
    let host = context.host();
    let child = if args.unset {
        ChildEnvironment::without(host)
    } else {
        let request = context.request(&args.choice, args.target.as_deref(), &[])?;
        // Without a plan, each process that the shell starts requests its own.
        let given = given::given(context, answer(context, &request)?, true, args.force)?;
        run::environment(host, given.as_ref(), &context.shim()?, door(host, &request.files))
    };
    let mut lines = Vec::new();
    for (name, value) in child.variables() {
        match (value, args.shell) {
            (Some(value), shell) => {
                let set = if shell == Shell::Fish { format!("set -gx {name} ") } else { format!("export {name}=") };
                lines.extend_from_slice(set.as_bytes());
                lines.extend(quoted(value, shell));
            }
            (None, _) if host.env(name).is_none() => continue,
            (None, Shell::Sh) => lines.extend_from_slice(format!("unset {name}").as_bytes()),
            (None, Shell::Fish) => lines.extend_from_slice(format!("set -e {name}").as_bytes()),
        }
        lines.push(b'\n');
    }
    output::print(lines)?;
    Ok(ExitCode::SUCCESS)
}

/// The door for the programs that the shell will start: the door of the named programs, if one is linked against CUDA.
fn door(host: &Host, files: &[PathBuf]) -> Door {
    let targets = files.iter().map(|file| (file, Target::read(host, &host.absolute(file))));
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

/// A word quoted for the shell, whatever its bytes.
fn quoted(word: &OsStr, shell: Shell) -> Vec<u8> {
    let mut quoted = vec![b'\''];
    for &byte in word.as_bytes() {
        match (byte, shell) {
            (b'\'', Shell::Sh) => quoted.extend_from_slice(b"'\\''"),
            // fish has these two escapes in single quotes.
            (b'\'' | b'\\', Shell::Fish) => quoted.extend_from_slice(&[b'\\', byte]),
            (byte, _) => quoted.push(byte),
        }
    }
    quoted.push(b'\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shell_has_its_quotes() {
        let quoted = |word: &str, shell| String::from_utf8(quoted(word.as_ref(), shell)).unwrap();
        assert_eq!(quoted(r"a'b\c", Shell::Sh), r"'a'\''b\c'");
        assert_eq!(quoted(r"a'b\c", Shell::Fish), r"'a\'b\\c'");
    }
}
