//! The child process of the probe: started, read from, and killed, whatever the library does in it.
//!
//! Takes arguments, an environment and a time limit; gives the lines that the child printed and how it ended. The child
//! leads a process group, which is killed with all that it started. Never waits longer than the limit and [`GRACE`].

use super::ProbeError;
use crate::host::escape;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Enough for a thousand devices.
const OUTPUT_LIMIT: usize = 1 << 20;

/// A killed process ends within this time, or is in uninterruptible sleep.
const GRACE: Duration = Duration::from_secs(1);

/// Another thread's child may hold the file open for writing for a moment after it was written (ETXTBSY).
const BUSY_TRIES: u32 = 8;

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// It printed its last line.
    Done,
    /// The library cannot be loaded; ld.so's message.
    NotLoaded(String),
    /// A signal ended it.
    Crashed {
        /// Its number, as in signal(7).
        signal: i32,
    },
    /// It did not answer in time.
    TimedOut,
    /// The library ended the process.
    Ended {
        /// With this exit code.
        code: i32,
    },
    /// Its output is malformed.
    Garbled,
    /// It was not started, or its output is discarded: another user may write to a file that it loads. The text names
    /// the file and the user.
    Untrusted(String),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("ended well"),
            Self::NotLoaded(message) => write!(f, "could not be loaded: {message}"),
            Self::Crashed { signal } => match signal_name(*signal) {
                Some(name) => write!(f, "crashed with {name}"),
                None => write!(f, "was ended by signal {signal}"),
            },
            Self::TimedOut => f.write_str("did not answer in time"),
            Self::Ended { code } => write!(f, "ended the process with exit code {code}"),
            Self::Garbled => f.write_str("gave an unreadable answer"),
            Self::Untrusted(why) => write!(f, "was not loaded: {why}"),
        }
    }
}

/// The signals of a crash (signal(7)); their numbers are the same on x86-64 and aarch64.
fn signal_name(signal: i32) -> Option<&'static str> {
    let names = [
        (4, "SIGILL"),
        (5, "SIGTRAP"),
        (6, "SIGABRT"),
        (7, "SIGBUS"),
        (8, "SIGFPE"),
        (9, "SIGKILL"),
        (11, "SIGSEGV"),
        (31, "SIGSYS"),
    ];
    names.iter().find(|(number, _)| *number == signal).map(|(_, name)| *name)
}

/// The lines that a child printed, split into fields, and how it ended.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) lines: Vec<Vec<String>>,
    pub(super) end: End,
}

impl Output {
    /// The files that were mapped in the child when it ended.
    pub(super) fn mapped(&self) -> impl Iterator<Item = &OsStr> {
        let mapped = self.lines.iter().filter(|line| line.first().is_some_and(|word| word == "mapped"));
        mapped.filter_map(|line| line.get(1)).map(OsStr::new)
    }
}

/// Runs the program with these arguments, and nothing in its environment but these variables.
pub(super) fn run(
    program: &Path,
    arguments: &[&OsStr],
    variables: &[(OsString, OsString)],
    cwd: &Path,
    limit: Duration,
) -> Result<Output, ProbeError> {
    let failed = |source| ProbeError::Start { path: program.to_owned(), source };
    let mut command = std::process::Command::new(program);
    command.args(arguments).env_clear().current_dir(cwd).process_group(0);
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = spawn(&mut command).map_err(failed)?;
    let received = receive(&mut child, limit);
    // The group is the child's own and the child is not yet waited for, so its number is not reused yet.
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let status = wait(&mut child).map_err(failed)?;
    let (bytes, stopped) = received.map_err(failed)?;
    Ok(parse(&bytes, stopped, status))
}

fn spawn(command: &mut std::process::Command) -> io::Result<Child> {
    for tries in 0..BUSY_TRIES {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(1 << tries));
            }
            spawned => return spawned,
        }
    }
    command.spawn()
}

/// Why reading stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopped {
    /// The output is complete, or the pipe is closed.
    Complete,
    TimedOut,
    TooMuch,
}

/// Reads until the last line, the end of the pipe, or a limit of time or size.
fn receive(child: &mut Child, limit: Duration) -> io::Result<(Vec<u8>, Stopped)> {
    let mut output = Vec::new();
    let Some(mut stdout) = child.stdout.take() else { return Ok((output, Stopped::Complete)) };
    let end = Instant::now() + limit;
    let mut chunk = [0; 8192];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok((output, Stopped::TimedOut));
        }
        if !readable(&stdout, left)? {
            continue;
        }
        let count = match stdout.read(&mut chunk) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        output.extend_from_slice(chunk.get(..count).unwrap_or_default());
        // A process that the library started may keep the pipe open.
        if count == 0 || output.ends_with(b"\nend\n") {
            return Ok((output, Stopped::Complete));
        }
        if output.len() > OUTPUT_LIMIT {
            return Ok((output, Stopped::TooMuch));
        }
    }
}

/// Waits until the file is readable, or the time limit ends.
fn readable(file: &impl AsFd, limit: Duration) -> io::Result<bool> {
    let limit = Timespec::try_from(limit).ok();
    match poll(&mut [PollFd::new(file, PollFlags::IN)], limit.as_ref()) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The status of a killed child; `None` if it does not end within [`GRACE`].
fn wait(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    let end = Instant::now() + GRACE;
    // Without a pidfd (Linux before 5.3, or a sandbox forbids it), the status is polled.
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let watch = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        match &watch {
            Some(watch) => drop(readable(watch, left)?),
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn parse(bytes: &[u8], stopped: Stopped, status: Option<ExitStatus>) -> Output {
    let text = String::from_utf8_lossy(bytes);
    // The last line may be cut off.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let field = |field: &str| {
        escape::parse(field).map_or_else(|| field.to_owned(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    let mut lines: Vec<Vec<String>> = whole.lines().map(|line| line.split('\t').map(field).collect()).collect();
    let is = |line: &Vec<String>, word: &str| line.first().is_some_and(|first| first == word);
    let done = lines.last().is_some_and(|line| is(line, "end"));
    let refused = lines.iter().find(|line| is(line, "not-loaded"));
    let end = match (stopped, status) {
        _ if refused.is_some() => End::NotLoaded(refused.and_then(|line| line.get(1)).cloned().unwrap_or_default()),
        _ if done => End::Done,
        (Stopped::TooMuch, _) => End::Garbled,
        (_, Some(status)) => match (status.code(), status.signal(), stopped) {
            (Some(code), ..) => End::Ended { code },
            (None, Some(signal), _) if signal != Signal::KILL.as_raw() => End::Crashed { signal },
            // Killed: by us, or by the OOM killer.
            (_, _, Stopped::TimedOut) => End::TimedOut,
            (_, Some(signal), _) => End::Crashed { signal },
            _ => End::Garbled,
        },
        (_, None) => End::TimedOut,
    };
    lines.pop_if(|line| is(line, "end"));
    Output { lines, end }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// wait(2)'s statuses.
    fn exited(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    fn killed(signal: i32) -> ExitStatus {
        ExitStatus::from_raw(signal)
    }

    fn end(text: &str, stopped: Stopped, status: impl Into<Option<ExitStatus>>) -> End {
        parse(text.as_bytes(), stopped, status.into()).end
    }

    #[test]
    fn the_end_follows_from_output_and_status() {
        use Stopped::{Complete, TimedOut, TooMuch};
        // Killed after its last line, before it exited.
        assert_eq!(end("loaded\nend\n", Complete, killed(9)), End::Done);
        assert_eq!(end("loaded\nend\n", Complete, None), End::Done);
        assert_eq!(end("loaded\n", Complete, exited(0)), End::Ended { code: 0 });
        assert_eq!(end("loaded\n", Complete, killed(11)), End::Crashed { signal: 11 });
        assert_eq!(end("loaded\n", TimedOut, killed(9)), End::TimedOut);
        // It is in uninterruptible sleep.
        assert_eq!(end("", TimedOut, None), End::TimedOut);
        // It had crashed before the timeout: a process that it started kept the pipe open.
        assert_eq!(end("loaded\n", TimedOut, killed(6)), End::Crashed { signal: 6 });
        // Another process killed it.
        assert_eq!(end("loaded\n", Complete, killed(9)), End::Crashed { signal: 9 });
        assert_eq!(end("x\n", TooMuch, killed(9)), End::Garbled);
        assert_eq!(end("not-loaded\ta\\tb\nend\n", Complete, exited(0)), End::NotLoaded("a\tb".into()));
        // A truncated last line is ignored.
        assert_eq!(end("loaded\nend", Complete, exited(1)), End::Ended { code: 1 });
    }

    #[test]
    fn lines_are_fields() {
        let output = parse(b"said\t0\t0\t12\nname\t0\ta\\x1bb\\\\\nend\n", Stopped::Complete, Some(exited(0)));
        assert_eq!(output.lines, [vec!["said", "0", "0", "12"], vec!["name", "0", "a\u{1b}b\\"]]);
    }

    #[test]
    fn ends_are_displayed() {
        let ends = [End::Crashed { signal: 11 }, End::Crashed { signal: 40 }, End::Ended { code: 3 }, End::TimedOut];
        let texts: Vec<String> = ends.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "crashed with SIGSEGV",
                "was ended by signal 40",
                "ended the process with exit code 3",
                "did not answer in time"
            ]
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed(bytes: Vec<u8>) {
            let _ = parse(&bytes, Stopped::Complete, Some(exited(0)));
        }
    }
}
