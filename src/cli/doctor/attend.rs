//! A command run unchanged; its output is passed on, and its end is recorded.
//!
//! stdout and stderr each go through a channel: a pseudo-terminal if ours is a terminal, else a pipe. So `isatty`
//! returns the same as without cudashim, and each stream keeps its order. stdin is inherited. Signals sent to cudashim
//! are forwarded; those of the keyboard reach the command directly. A command that stops itself stops cudashim, if a
//! shell may watch. Background processes may keep the channels open for ever: cudashim does not wait for them.

use super::super::failure::{Context, Result};
use super::super::output;
use crate::diagnose::Window;
use crate::host::Host;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process, waitid};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{self, OptionalActions, OutputModes};
use signal_hook::consts::{SIGBUS, SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGQUIT, SIGSEGV, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::origin::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};
use signal_hook::low_level::signal_name;
use std::ffi::OsString;
use std::fs::File;
use std::io::{IsTerminal, PipeReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A command that has ended.
pub(super) struct Attended {
    /// Its exit code, as of a shell.
    pub(super) code: u8,
    /// Whether a user's signal ended it.
    pub(super) stopped: bool,
    /// Whether SIGKILL ended it: the OOM killer may have sent it.
    pub(super) killed: bool,
    /// How it ended, unless it succeeded.
    pub(super) end: Option<String>,
    /// Its output: the beginning and the end of stderr, then of stdout.
    pub(super) text: Vec<u8>,
}

/// Signals that are forwarded.
const FORWARDED: [i32; 6] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];

/// Signals by which a user ends a command.
const BY_HAND: [i32; 6] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGKILL, SIGPIPE];

/// After the end of the command, reading a channel stops when it is silent this long.
const SILENCE: Duration = Duration::from_millis(250);

/// After the end of the command, no channel is read for longer than this.
const REST: Duration = Duration::from_secs(2);

/// Runs a command to its end; the exit code where it cannot be started.
pub(super) fn run(host: &Host, words: &[OsString]) -> Result<std::result::Result<Attended, ExitCode>> {
    let (_, mut command) = match super::super::run::plain(host, words)? {
        Ok(found) => found,
        Err(code) => return Ok(Err(code)),
    };
    let (out, for_out) = channel(&std::io::stdout()).context("cannot open a channel for the output of the command")?;
    let (err, for_err) = channel(&std::io::stderr()).context("cannot open a channel for the output of the command")?;
    command.stdout(Stdio::from(for_out)).stderr(Stdio::from(for_err));
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Ok(Err(super::super::run::not_started(&command, &error))),
    };
    // Closes our copies of the channels' write ends, so that the channels close with their last writer.
    drop(command);
    let ended = Arc::new(AtomicBool::new(false));
    pass_signals(child.id(), &ended);
    // Nothing is written to this pipe: it closes at the command's end.
    let (end, alive) = std::io::pipe().context("cannot wait for the command")?;
    let (status, errors, output) = std::thread::scope(|scope| {
        let out = scope.spawn(|| pass(out, &mut std::io::stdout(), &end));
        let errors = scope.spawn(|| pass(err, &mut std::io::stderr(), &end));
        let status = wait(&mut child);
        ended.store(true, Ordering::Relaxed);
        drop(alive);
        (status, errors.join(), out.join())
    });
    let status = status.context("cannot wait for the command")?;
    let (errors, output) = (errors.unwrap_or_default(), output.unwrap_or_default());
    if errors.held || output.held {
        output::note("background processes are still running; their output is no longer shown");
    }
    let mut text = errors.window.text();
    text.push(b'\n');
    text.append(&mut output.window.text());
    let signal = status.signal();
    // The message of a shell for a command that a signal ended.
    match signal {
        Some(SIGBUS) => text.extend_from_slice(b"\nBus error\n"),
        Some(SIGSEGV) => text.extend_from_slice(b"\nSegmentation fault\n"),
        _ => {}
    }
    let stopped = signal.is_some_and(|signal| BY_HAND.contains(&signal));
    let killed = signal == Some(SIGKILL);
    let name = |signal| signal_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned);
    let end = match (signal, status.code()) {
        (Some(signal), _) => Some(format!("was killed by {}", name(signal))),
        (None, Some(code)) if code != 0 => Some(format!("ended with exit status {code}")),
        _ => None,
    };
    Ok(Ok(Attended { code: super::super::trace::code_of(status), stopped, killed, end, text }))
}

/// The read end and the write end of a channel of the same kind as the stream it replaces.
fn channel(like: &(impl AsFd + IsTerminal)) -> std::io::Result<(File, OwnedFd)> {
    if !like.is_terminal() {
        let (reader, writer) = std::io::pipe()?;
        return Ok((OwnedFd::from(reader).into(), writer.into()));
    }
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags)?;
    unlockpt(&ours)?;
    let theirs = ioctl_tiocgptpeer(&ours, flags)?;
    // No output processing here: the real terminal does it.
    let mut modes = termios::tcgetattr(&theirs)?;
    modes.output_modes.remove(OutputModes::OPOST);
    termios::tcsetattr(&theirs, OptionalActions::Now, &modes)?;
    resize(like, &ours);
    Ok((ours.into(), theirs))
}

fn resize(like: &impl AsFd, ours: &impl AsFd) {
    if let Ok(size) = termios::tcgetwinsize(like) {
        let _ = termios::tcsetwinsize(ours, size);
    }
}

/// Waits for the end of the command. If the command stops and a shell may watch, cudashim stops too, so that the shell
/// reports it and can continue both.
fn wait(child: &mut Child) -> std::io::Result<ExitStatus> {
    let watched = std::io::stdin().is_terminal() || std::io::stdout().is_terminal() || std::io::stderr().is_terminal();
    let pid = pid(child.id());
    while let Some(pid) = pid.filter(|_| watched) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(pid), options) {
            Ok(Some(status)) if status.stopped() => {
                // Consumed, so that it is reported once.
                let _ = waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED | WaitIdOptions::NOHANG);
                let _ = kill_process(getpid(), Signal::STOP);
                let _ = kill_process(pid, Signal::CONT);
            }
            Err(rustix::io::Errno::INTR) => {}
            _ => break,
        }
    }
    child.wait()
}

/// The output of a channel.
#[derive(Default)]
struct Passed {
    window: Window,
    /// Whether it was still open after the end of the command.
    held: bool,
}

/// Passes on and records what is read, until the last writer closes the channel, or until the command has ended and no
/// more comes. If the output cannot be written, the channel is closed: the command gets the same error as without
/// cudashim.
fn pass(mut from: File, to: &mut (impl Write + AsFd + IsTerminal), end: &PipeReader) -> Passed {
    let mut passed = Passed::default();
    let mut piece = vec![0; 1 << 16];
    let mut ended: Option<Instant> = None;
    loop {
        if !readable(&from, end, &mut ended) {
            passed.held = true;
            return passed;
        }
        // A pseudo-terminal without an open write end fails with EIO.
        let count = match from.read(&mut piece) {
            Ok(0) => return passed,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => return passed,
        };
        let piece = piece.get(..count).unwrap_or_default();
        passed.window.push(piece);
        if to.write_all(piece).and_then(|()| to.flush()).is_err() {
            return passed;
        }
        if to.is_terminal() {
            resize(to, &from);
        }
    }
}

/// Waits until the channel is readable or closed; `false` if the command has ended and nothing comes.
fn readable(from: &File, end: &PipeReader, ended: &mut Option<Instant>) -> bool {
    loop {
        let Some(since) = *ended else {
            let mut both = [PollFd::new(from, PollFlags::IN), PollFd::new(end, PollFlags::IN)];
            if poll(&mut both, None).is_ok() {
                let [from, end] = both;
                if !end.revents().is_empty() {
                    *ended = Some(Instant::now());
                } else if !from.revents().is_empty() {
                    return true;
                }
            }
            continue;
        };
        let left = REST.saturating_sub(since.elapsed()).min(SILENCE);
        let Ok(left) = Timespec::try_from(left) else { return false };
        match poll(&mut [PollFd::new(from, PollFlags::IN)], Some(&left)) {
            Ok(count) => return count > 0 && since.elapsed() < REST,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

fn pid(child: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child).ok()?)
}

/// Forwards signals to the command until it ends.
fn pass_signals(child: u32, ended: &Arc<AtomicBool>) {
    let (Some(child), Ok(mut signals)) = (pid(child), SignalsInfo::<WithOrigin>::new(FORWARDED)) else { return };
    let ended = Arc::clone(ended);
    std::thread::spawn(move || {
        for Origin { signal, cause, .. } in &mut signals {
            // Signals of the kernel, as for a key, already reach the whole foreground group.
            if !matches!(cause, Cause::Kernel) && !ended.load(Ordering::Relaxed) {
                let _ = Signal::from_named_raw(signal).map(|signal| kill_process(child, signal));
            }
        }
    });
}
