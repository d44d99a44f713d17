//! The child process: started, listened to, and ended, whatever the library does in it.
//!
//! Takes arguments, an environment and a time limit; gives the lines that were said and how it ended. It is in a group of its
//! own, which is killed with all that it started. Never waits longer than the limit, and a moment for the kernel.

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

/// More than any library has to say: a thousand devices.
const ANSWER_LIMIT: usize = 1 << 20;

/// A process that was killed is gone within this time, or sleeps in the kernel where nothing wakes it.
const GRACE: Duration = Duration::from_secs(1);

/// Another thread's child may hold the file open for writing for a moment after it was written (ETXTBSY).
const BUSY_TRIES: u32 = 8;

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// It said all it was asked.
    Done,
    /// The library cannot be loaded; what ld.so says of it.
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
    /// What it wrote is no answer.
    Garbled,
    /// It was not started, or its words do not count: others could have written what it would load; which file, and who.
    Untrusted(String),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("ended well"),
            Self::NotLoaded(says) => write!(f, "could not be loaded: {says}"),
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

/// The signals by which a crash is known (signal(7)); their numbers are the same on x86-64 and aarch64.
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

/// What a child said, in fields, and how it ended.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) lines: Vec<Vec<String>>,
    pub(super) end: End,
}

impl Heard {
    /// The files that the child had mapped in the end.
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
) -> Result<Heard, ProbeError> {
    let failed = |source| ProbeError::Start { path: program.to_owned(), source };
    let mut command = std::process::Command::new(program);
    command.args(arguments).env_clear().current_dir(cwd).process_group(0);
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = spawn(&mut command).map_err(failed)?;
    let listened = listen(&mut child, limit);
    // The group is the child's own and the child is not yet waited for, so the number is still theirs.
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let status = wait(&mut child).map_err(failed)?;
    let (bytes, stopped) = listened.map_err(failed)?;
    Ok(heard(&bytes, stopped, status))
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

/// Why nobody listens any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopped {
    /// The answer is whole, or there is nobody left to speak.
    Silent,
    TimedOut,
    TooMuch,
}

/// Reads until the last line, the end, the limit of time, or that of size.
fn listen(child: &mut Child, limit: Duration) -> io::Result<(Vec<u8>, Stopped)> {
    let mut heard = Vec::new();
    let Some(mut stdout) = child.stdout.take() else { return Ok((heard, Stopped::Silent)) };
    let end = Instant::now() + limit;
    let mut chunk = [0; 8192];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok((heard, Stopped::TimedOut));
        }
        if !readable(&stdout, left)? {
            continue;
        }
        let count = match stdout.read(&mut chunk) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        heard.extend_from_slice(chunk.get(..count).unwrap_or_default());
        // What the library started may hold the pipe open long after.
        if count == 0 || heard.ends_with(b"\nend\n") {
            return Ok((heard, Stopped::Silent));
        }
        if heard.len() > ANSWER_LIMIT {
            return Ok((heard, Stopped::TooMuch));
        }
    }
}

/// Waits for something to read, or for the end of the time.
fn readable(file: &impl AsFd, limit: Duration) -> io::Result<bool> {
    let limit = Timespec::try_from(limit).ok();
    match poll(&mut [PollFd::new(file, PollFlags::IN)], limit.as_ref()) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The status of a child that was killed; `None` where the kernel does not let go of it.
fn wait(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    let end = Instant::now() + GRACE;
    // Where the kernel has no pidfd (before 5.3), or a sandbox forbids it, its end is asked for now and then.
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

fn heard(bytes: &[u8], stopped: Stopped, status: Option<ExitStatus>) -> Heard {
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
            // Killed, by us or for want of memory.
            (_, _, Stopped::TimedOut) => End::TimedOut,
            (_, Some(signal), _) => End::Crashed { signal },
            _ => End::Garbled,
        },
        (_, None) => End::TimedOut,
    };
    lines.pop_if(|line| is(line, "end"));
    Heard { lines, end }
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
        heard(text.as_bytes(), stopped, status.into()).end
    }

    #[test]
    fn how_it_ended_follows_from_what_was_said_and_seen() {
        use Stopped::{Silent, TimedOut, TooMuch};
        // Killed once it had said all, before it could end by itself.
        assert_eq!(end("loaded\nend\n", Silent, killed(9)), End::Done);
        assert_eq!(end("loaded\nend\n", Silent, None), End::Done);
        assert_eq!(end("loaded\n", Silent, exited(0)), End::Ended { code: 0 });
        assert_eq!(end("loaded\n", Silent, killed(11)), End::Crashed { signal: 11 });
        assert_eq!(end("loaded\n", TimedOut, killed(9)), End::TimedOut);
        // It sleeps in the kernel, where no signal reaches it.
        assert_eq!(end("", TimedOut, None), End::TimedOut);
        // It was dead already when the time was up: what it started held the pipe.
        assert_eq!(end("loaded\n", TimedOut, killed(6)), End::Crashed { signal: 6 });
        // Somebody else killed it.
        assert_eq!(end("loaded\n", Silent, killed(9)), End::Crashed { signal: 9 });
        assert_eq!(end("x\n", TooMuch, killed(9)), End::Garbled);
        assert_eq!(end("not-loaded\ta\\tb\nend\n", Silent, exited(0)), End::NotLoaded("a\tb".into()));
        // A last line that was cut off is none.
        assert_eq!(end("loaded\nend", Silent, exited(1)), End::Ended { code: 1 });
    }

    #[test]
    fn lines_are_fields() {
        let heard = heard(b"said\t0\t0\t12\nname\t0\ta\\x1bb\\\\\nend\n", Stopped::Silent, Some(exited(0)));
        assert_eq!(heard.lines, [vec!["said", "0", "0", "12"], vec!["name", "0", "a\u{1b}b\\"]]);
    }

    #[test]
    fn ends_are_told_in_words() {
        let said = [End::Crashed { signal: 11 }, End::Crashed { signal: 40 }, End::Ended { code: 3 }, End::TimedOut];
        let said: Vec<String> = said.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
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
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = heard(&bytes, Stopped::Silent, Some(exited(0)));
        }
    }
}
