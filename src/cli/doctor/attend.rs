//! A command run as it is, its output passed on and its end remembered.
//!
//! Each of stdout and stderr goes through a channel of its own, a pseudo-terminal where ours is a terminal and a pipe
//! where it is not: `isatty` tells the command what it would tell it without us, and each stream keeps its order. What
//! the command reads is ours, untouched. Signals sent to us are sent on; those of the keyboard reach it by themselves.
//! A command that stops itself stops us, where a shell watches. What it leaves running in the background may hold its
//! channels for ever: nobody waits for that.

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
    /// Its exit code, as a shell gives it.
    pub(super) code: u8,
    /// Whether somebody ended it.
    pub(super) stopped: bool,
    /// Whether that was by a signal that nobody can catch: the kernel may have sent it, for want of memory.
    pub(super) killed: bool,
    /// How it ended, where that is not well.
    pub(super) end: Option<String>,
    /// What it wrote: the beginning and the end of stderr, then of stdout.
    pub(super) text: Vec<u8>,
}

/// Signals that are sent on.
const PASSED: [i32; 6] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];

/// Signals by which somebody ends a command.
const BY_HAND: [i32; 6] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGKILL, SIGPIPE];

/// Once the command has ended, a channel that is silent this long has no more to say of it.
const SILENCE: Duration = Duration::from_millis(250);

/// Once the command has ended, no channel is listened to for longer than this.
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
    // With the command go our copies of its ends: the channels close when the last who writes is gone.
    drop(command);
    let ended = Arc::new(AtomicBool::new(false));
    pass_signals(child.id(), &ended);
    // Nothing is ever written: its end is the command's.
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
    // A shell says this of a command that a signal ended.
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

/// The end to read from and the end for the command, like the stream that they stand in for.
fn channel(like: &(impl AsFd + IsTerminal)) -> std::io::Result<(File, OwnedFd)> {
    if !like.is_terminal() {
        let (reader, writer) = std::io::pipe()?;
        return Ok((OwnedFd::from(reader).into(), writer.into()));
    }
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags)?;
    unlockpt(&ours)?;
    let theirs = ioctl_tiocgptpeer(&ours, flags)?;
    // What is written comes out as it is: the terminal behind us does what a terminal does.
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

/// Waits for the end of the command. Where it is stopped and a shell may watch, we stop with it: the shell is to tell that,
/// and to go on with both.
fn wait(child: &mut Child) -> std::io::Result<ExitStatus> {
    let watched = std::io::stdin().is_terminal() || std::io::stdout().is_terminal() || std::io::stderr().is_terminal();
    let pid = pid(child.id());
    while let Some(pid) = pid.filter(|_| watched) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(pid), options) {
            Ok(Some(status)) if status.stopped() => {
                // Taken, so that it is told once.
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

/// What went through a channel.
#[derive(Default)]
struct Passed {
    window: Window,
    /// Whether somebody held it still when the command had ended.
    held: bool,
}

/// Passes on what is read until all who write are gone, or until the command is and no more comes, and remembers it. Where
/// nobody takes it any more, the channel is closed: the command is told as it would be without us.
fn pass(mut from: File, to: &mut (impl Write + AsFd + IsTerminal), end: &PipeReader) -> Passed {
    let mut passed = Passed::default();
    let mut piece = vec![0; 1 << 16];
    let mut ended: Option<Instant> = None;
    loop {
        if !readable(&from, end, &mut ended) {
            passed.held = true;
            return passed;
        }
        // A pseudo-terminal that nobody holds any more fails with EIO.
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

/// Waits for something to read, or the end of it; `false` where the command has ended and nothing comes.
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

/// Sends on what is sent to us, for as long as the command lives.
fn pass_signals(child: u32, ended: &Arc<AtomicBool>) {
    let (Some(child), Ok(mut signals)) = (pid(child), SignalsInfo::<WithOrigin>::new(PASSED)) else { return };
    let ended = Arc::clone(ended);
    std::thread::spawn(move || {
        for Origin { signal, cause, .. } in &mut signals {
            // What the kernel sends of itself, as for a key, the whole foreground group has.
            if !matches!(cause, Cause::Kernel) && !ended.load(Ordering::Relaxed) {
                let _ = Signal::from_named_raw(signal).map(|signal| kill_process(child, signal));
            }
        }
    });
}
