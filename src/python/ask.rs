//! Asks an interpreter for its paths, where no file tells them.
//!
//! The interpreter runs in isolation of `LD_*` variables, so that a broken library path cannot break
//! the question, and with a time limit.

use super::interpreter::{Interpreter, InterpreterError, Options, python_path};
use crate::host::Host;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// A Python starts in a tenth of a second; one on a network disk may take seconds. Less than the shim of a process that
/// waits for us gives us (`cshim/ask.c`): it ends us, not the interpreter, which would then be that process' child where it
/// takes orphans in (`PR_SET_CHILD_SUBREAPER`).
const TIME_LIMIT: Duration = Duration::from_secs(8);

const QUESTION: &str = "import sys\n\
sys.stdout.buffer.write(b'\\0'.join(p.encode('utf-8','surrogateescape') for p in \
[sys.executable or '', sys.prefix, '%d.%d' % sys.version_info[:2]] + [p for p in sys.path if p]))";

pub(super) fn interpreter(host: &Host, program: &Path, options: &Options) -> Result<Interpreter, InterpreterError> {
    if !host.is_live() {
        return Err(InterpreterError::Foreign(program.to_owned()));
    }
    let no_answer = |says: String| InterpreterError::NoAnswer { path: program.to_owned(), says };
    let mut command = Command::new(program);
    command.env_clear().envs(host.environment()).current_dir(host.cwd());
    for variable in ["LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT"] {
        command.env_remove(variable);
    }
    for (flag, on) in [("-I", options.isolated), ("-E", options.ignore_environment), ("-s", options.no_user_site)] {
        if on {
            command.arg(flag);
        }
    }
    command.args(["-c", QUESTION]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| no_answer(error.to_string()))?;
    let Some(mut stdout) = child.stdout.take() else { return Err(no_answer("no output".to_owned())) };
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut answer = Vec::new();
        let read = stdout.by_ref().take(1 << 20).read_to_end(&mut answer);
        let _ = sender.send(read.map(|_| answer));
    });
    let answer = receiver.recv_timeout(TIME_LIMIT);
    if answer.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| no_answer(error.to_string()))?;
    let answer = match answer {
        Ok(Ok(answer)) if status.success() => answer,
        Ok(Ok(_)) => return Err(no_answer(format!("it ended with {status}"))),
        Ok(Err(error)) => return Err(no_answer(error.to_string())),
        Err(_) => return Err(no_answer(format!("no answer within {} seconds", TIME_LIMIT.as_secs()))),
    };
    let mut fields = answer.split(|byte| *byte == 0).map(path);
    let (executable, prefix, version) = (fields.next(), fields.next(), fields.next());
    let (Some(executable), Some(prefix), Some(version)) = (executable, prefix, version) else {
        return Err(no_answer("its answer cannot be read".to_owned()));
    };
    let executable = if executable.as_os_str().is_empty() { program.to_owned() } else { executable };
    // What the answer depends on, for whoever keeps it: the interpreter, and what a version manager reads.
    let mut depends = vec![executable.clone(), program.to_owned(), host.cwd().join(".python-version")];
    depends.extend(program.parent().and_then(Path::parent).map(|dir| dir.join("version")));
    for path in depends {
        let _ = host.stat(&path);
    }
    let installed = fields.filter(|path| host.stat(path).is_ok());
    let mut paths = python_path(host, options);
    paths.extend(installed);
    Ok(Interpreter { program: executable, prefix, version: version.display().to_string(), paths })
}

fn path(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_has_less_time_than_we_have() {
        let shim = include_str!("../../cshim/ask.c");
        let (_, limit) = shim.split_once("SECONDS = ").unwrap();
        let limit: u64 = limit.split(',').next().unwrap().parse().unwrap();
        assert!(TIME_LIMIT + Duration::from_secs(1) < Duration::from_secs(limit));
    }
}
