//! Asks an interpreter for its paths, where no file tells them.
//!
//! It runs what the user's own starts run (`site`, `.pth` files), since these make its paths; but without what
//! changes libraries, what it says or how it ends, without leaving byte code behind, and with a time limit. One that asks
//! for us again on its way is answered nothing: that could go on for ever.

use super::interpreter::{Interpreter, InterpreterError, Meant, Options, python_path};
use crate::host::{Host, trusted_in_sandbox};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::ffi::OsStr;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Paths of this length are no answer.
const ANSWER_LIMIT: usize = 1 << 20;

/// A Python starts in a tenth of a second; one on a network disk may take seconds. Less than the shim of a process that
/// waits for us gives us (`cshim/ask.c`): it ends us, not the interpreter, which would then be that process' child where it
/// takes orphans in (`PR_SET_CHILD_SUBREAPER`).
const TIME_LIMIT: Duration = Duration::from_secs(8);

/// Set for the interpreter: what it starts knows that it is being asked.
const ASKING: &str = "CUDASHIM_ASKING";

/// What must not reach the interpreter: the loader's variables and ours, and what makes a Python that is started to answer
/// one question do something else (python(1), "Environment Variables").
fn is_scrubbed(name: &OsStr) -> bool {
    const NAMES: [&str; 12] = [
        "GLIBC_TUNABLES",
        "PYTHONBREAKPOINT",
        "PYTHONCASEOK",
        "PYTHONDEBUG",
        "PYTHONDUMPREFS",
        "PYTHONINSPECT",
        "PYTHONIOENCODING",
        "PYTHONPROFILEIMPORTTIME",
        "PYTHONSTARTUP",
        "PYTHONUNBUFFERED",
        "PYTHONVERBOSE",
        "PYTHONWARNINGS",
    ];
    let name = name.as_encoded_bytes();
    name.starts_with(b"LD_")
        || name.starts_with(b"CUDASHIM_")
        || name.starts_with(b"MALLOC_")
        || NAMES.iter().any(|scrubbed| name == scrubbed.as_bytes())
}

const QUESTION: &str = "import sys\n\
sys.stdout.buffer.write(b'\\0'.join(p.encode('utf-8','surrogateescape') for p in \
[sys.executable or '', sys.prefix, '%d.%d' % sys.version_info[:2]] + [p for p in sys.path if p]))";

pub(super) fn interpreter(host: &Host, program: &Path, options: &Options) -> Result<Interpreter, InterpreterError> {
    if !host.is_live() {
        return Err(InterpreterError::Foreign(program.to_owned()));
    }
    if host.env(ASKING).is_some() {
        let says = "it is being asked already, and asks for itself".to_owned();
        return Err(InterpreterError::NoAnswer { path: program.to_owned(), says });
    }
    if let Some(why) = untrusted(program, options.meant) {
        return Err(InterpreterError::Untrusted { path: program.to_owned(), why });
    }
    let no_answer = |says: String| InterpreterError::NoAnswer { path: program.to_owned(), says };
    let mut command = Command::new(program);
    command.env_clear().envs(host.environment()).current_dir(host.cwd());
    for variable in host.environment().keys().filter(|name| is_scrubbed(name)) {
        command.env_remove(variable);
    }
    command.env(ASKING, "1").arg("-B");
    for (flag, on) in [("-I", options.isolated), ("-E", options.ignore_environment), ("-s", options.no_user_site)] {
        if on {
            command.arg(flag);
        }
    }
    command.args(["-c", QUESTION]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| no_answer(error.to_string()))?;
    let answer = match heard(&mut child, TIME_LIMIT) {
        Ok((answer, status)) if status.success() => answer,
        Ok((_, status)) => return Err(no_answer(format!("it ended with {status}"))),
        Err(error) => {
            // One that sleeps in the kernel is not waited for.
            let _ = child.kill();
            let _ = child.try_wait();
            return Err(no_answer(match error.kind() {
                ErrorKind::TimedOut => format!("no answer within {} seconds", TIME_LIMIT.as_secs()),
                _ => error.to_string(),
            }));
        }
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

/// Why an interpreter is not to be run for its paths.
fn untrusted(program: &Path, meant: Meant) -> Option<String> {
    match meant {
        Meant::Started => None,
        Meant::Named => trusted_in_sandbox(program).err().filter(|why| !why.is_missing()).map(|why| why.to_string()),
        Meant::Found => Some("it is found by way of the working directory, and nobody named it".to_owned()),
    }
}

/// What a child writes until it ends, and how it ends. What it leaves running may hold its output for ever, and itself it
/// may go on when it has closed it: neither is waited for beyond the limit.
fn heard(child: &mut Child, limit: Duration) -> io::Result<(Vec<u8>, ExitStatus)> {
    let end = Instant::now() + limit;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    // Where the kernel has no pidfd (before 5.3), its end is asked for now and then.
    let watch = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let mut stdout = child.stdout.take();
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let status = child.try_wait()?;
        let left = match (&status, &watch) {
            (Some(_), _) => Duration::ZERO,
            (None, Some(_)) => end.saturating_duration_since(Instant::now()),
            (None, None) => end.saturating_duration_since(Instant::now()).min(Duration::from_millis(20)),
        };
        if status.is_none() && Instant::now() >= end {
            return Err(ErrorKind::TimedOut.into());
        }
        let mut fds: Vec<PollFd<'_>> = stdout.iter().map(|stdout| PollFd::new(stdout, PollFlags::IN)).collect();
        fds.extend(watch.iter().filter(|_| status.is_none()).map(|watch| PollFd::new(watch, PollFlags::IN)));
        match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let readable = stdout.is_some() && fds.first().is_some_and(|stdout| !stdout.revents().is_empty());
        if let Some(open) = stdout.as_mut().filter(|_| readable) {
            match open.read(&mut piece)? {
                0 => stdout = None,
                count => answer.extend_from_slice(piece.get(..count).unwrap_or_default()),
            }
            if answer.len() > ANSWER_LIMIT {
                return Err(io::Error::new(ErrorKind::InvalidData, "its answer has no end"));
            }
        } else if let Some(status) = status {
            return Ok((answer, status));
        }
    }
}

fn path(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stand-in that writes down how it was started, and answers as a Python does.
    fn asked(environment: &[(&str, &str)]) -> (Result<Interpreter, InterpreterError>, String) {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (python, seen) = (dir.path().join("python"), dir.path().join("seen"));
        let script = format!(
            "#!/bin/sh\n{{ echo \"$1 $2\"; env; }} >{}\nprintf '%s\\0/usr\\0003.12\\000/usr/lib' \"$0\"\n",
            seen.display()
        );
        std::fs::write(&python, script).unwrap();
        std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let host = Host::new("/".into(), environment, "/".into());
        let found = interpreter(&host, &python, &Options::default());
        (found, std::fs::read_to_string(seen).unwrap_or_default())
    }

    #[test]
    fn an_interpreter_gets_what_makes_its_paths_and_no_more() {
        let (found, seen) = asked(&[
            ("PATH", "/usr/bin:/bin"),
            ("PYTHONPATH", "/pp"),
            ("PYTHONUSERBASE", "/user"),
            ("LD_PRELOAD", "/none.so"),
            ("LD_AUDIT", "/none.so"),
            ("GLIBC_TUNABLES", "x"),
            ("PYTHONINSPECT", "1"),
            ("PYTHONSTARTUP", "/none.py"),
            ("CUDASHIM_PLAN", "/none"),
        ]);
        let found = found.unwrap();
        assert_eq!((found.prefix.as_path(), found.version.as_str()), (Path::new("/usr"), "3.12"));
        assert!(found.paths.contains(&"/usr/lib".into()), "{:?}", found.paths);
        let mut lines = seen.lines();
        assert_eq!(lines.next(), Some("-B -c"));
        // What the shell adds is not ours.
        let mut names: Vec<&str> = lines.filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
        names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
        names.sort_unstable();
        assert_eq!(names, ["CUDASHIM_ASKING", "PATH", "PYTHONPATH", "PYTHONUSERBASE"]);
    }

    #[test]
    fn an_interpreter_that_is_being_asked_is_not_asked_again() {
        let (found, seen) = asked(&[("CUDASHIM_ASKING", "1")]);
        assert!(matches!(found, Err(InterpreterError::NoAnswer { .. })));
        assert_eq!(seen, "");
    }

    #[test]
    fn what_an_interpreter_leaves_running_is_not_waited_for() {
        let limit = Duration::from_secs(600);
        let script = |script: &str| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
        };
        // It holds the output until we close its input.
        let mut child = script("exec 3<&0; cat <&3 & printf paths");
        let held = child.stdin.take();
        let (answer, status) = heard(&mut child, limit).unwrap();
        assert_eq!((answer.as_slice(), status.success()), (&b"paths"[..], true));
        drop(held);
        // One that closes its output, and goes on.
        let mut child = script("printf paths; exec >&-; read line");
        let held = child.stdin.take();
        assert_eq!(heard(&mut child, Duration::ZERO).unwrap_err().kind(), ErrorKind::TimedOut);
        drop(held);
        child.wait().unwrap();
        let mut child = script("cat /dev/zero");
        assert_eq!(heard(&mut child, limit).unwrap_err().kind(), ErrorKind::InvalidData);
        child.wait().unwrap();
    }

    #[test]
    fn an_interpreter_has_less_time_than_we_have() {
        let shim = include_str!("../../cshim/ask.c");
        let (_, limit) = shim.split_once("SECONDS = ").unwrap();
        let limit: u64 = limit.split(',').next().unwrap().parse().unwrap();
        assert!(TIME_LIMIT + Duration::from_secs(1) < Duration::from_secs(limit));
    }
}
