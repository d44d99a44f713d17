//! `cudashim read-ahead`: what reads ahead beside a process, and how it is started so that the process does not notice it.
//!
//! Takes the process and the image of its plan. A child of ours starts the reader and ends, so that the reader is nobody's
//! child that the command could wait for; the reader holds a pidfd of the process, has none of its descriptors, and stops when
//! that ends. Never waits for what is read, never says anything.

use crate::host::Host;
use crate::launch::read_ahead;
use crate::plan::Plan;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, child_subreaper, getpid, getppid, pidfd_open};
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// The word that starts it.
pub(super) const NAME: &str = "read-ahead";

/// Set to `1`, each process that is handed a plan has its files read ahead.
pub(super) const VARIABLE: &str = "CUDASHIM_PREWARM";

/// Whether the environment asks for it.
pub(super) fn is_wanted(host: &Host) -> bool {
    host.env(VARIABLE).is_some_and(|value| value == "1")
}

/// Starts the reader for this process, which becomes the command; the reason where it does not.
pub(super) fn start(image: &Path) -> Result<(), String> {
    // What nobody waits for becomes a child of such a process.
    if getpid().is_init() || child_subreaper().is_ok_and(|is| is.is_some()) {
        return Err("this process takes in what others leave behind, and would notice the reader".to_owned());
    }
    let child = plain(&[OsStr::new(NAME), pid_text(getpid()).as_ref(), image.as_os_str()])
        .map(|mut it| it.stdin(Stdio::null()).spawn());
    match child {
        Some(Ok(mut child)) => {
            // It ends at once. Where SIGCHLD is ignored there is nothing to wait for.
            let _ = child.wait();
            Ok(())
        }
        Some(Err(error)) => Err(error.to_string()),
        None => Err("the path of this program is not known".to_owned()),
    }
}

/// Starts the reader for another process, from a process that ends soon.
pub(super) fn start_beside(process: Option<Pid>, image: &Path) {
    // A descriptor of a process that has ended is of no use; before Linux 5.3 there are none.
    let Some(watched) = process.filter(|it| !it.is_init()).and_then(|it| pidfd_open(it, PidfdFlags::empty()).ok())
    else {
        return;
    };
    close_fds::set_fds_cloexec(3, &[]);
    let reader = plain(&[OsStr::new(NAME), image.as_os_str()]);
    if let Some(mut reader) = reader {
        // Where it runs on nobody's terminal is told neither to stop nor to end.
        let _ = reader.stdin(Stdio::from(watched)).process_group(0).current_dir("/").spawn();
    }
}

/// The whole program, as [`start`] and [`start_beside`] start it.
pub(super) fn main(words: &[OsString]) -> ExitCode {
    match words {
        [process, image] => {
            let process = process.to_str().and_then(|text| text.parse().ok()).and_then(Pid::from_raw);
            // Of another number it is not ours to watch.
            start_beside(process.filter(|it| getppid() == Some(*it)), Path::new(image));
        }
        [image] => {
            if let Ok(plan) = Plan::read(&Path::new(image).with_extension("plan")) {
                let watched = std::io::stdin();
                let goes_on = || {
                    let mut fds = [PollFd::new(&watched, PollFlags::IN)];
                    matches!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
                };
                let _ = read_ahead(&Host::current(), &plan, &goes_on);
            }
        }
        _ => return ExitCode::from(2),
    }
    ExitCode::SUCCESS
}

/// This program with these words, which says nothing.
fn plain(words: &[&OsStr]) -> Option<Command> {
    let mut command = Command::new(std::env::current_exe().ok()?);
    command.args(words).stdout(Stdio::null()).stderr(Stdio::null());
    // It is not to be preloaded into.
    for name in ["LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH"] {
        command.env_remove(name);
    }
    Some(command)
}

fn pid_text(pid: Pid) -> String {
    pid.as_raw_nonzero().to_string()
}
