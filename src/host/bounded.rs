//! Reads files whose content the kernel produces during the read, which may never end.
//!
//! A child process reads: a thread in uninterruptible sleep would block the end of this process. A blocked child is
//! left behind, and the kernel removes it once its read returns.

use rustix::io::Errno;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Longer than any such file.
const LIMIT: u64 = 1 << 16;

/// The output of cat(1) for a file within the time.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] where it does not end; its error where it fails.
pub(super) fn read(path: &Path, time: Duration) -> io::Result<Vec<u8>> {
    let program = ["/bin/cat", "/usr/bin/cat"].into_iter().find(|program| Path::new(program).exists());
    let program = program.ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "`cat` not found"))?;
    let mut command = Command::new(program);
    command.args([OsStr::new("--"), path.as_os_str()]).stdin(Stdio::null());
    output(command, time)
}

/// The output of a command that ends within the time.
fn output(mut command: Command, time: Duration) -> io::Result<Vec<u8>> {
    let mut child = command.env_clear().stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let stdout = child.stdout.take();
    let (sender, receiver) = mpsc::channel();
    // The read of a pipe can always be interrupted.
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.map_or(Ok(0), |stdout| stdout.take(LIMIT).read_to_end(&mut bytes));
        let _ = sender.send(read.map(|_| bytes));
    });
    let Ok(read) = receiver.recv_timeout(time) else {
        let _ = child.kill();
        return Err(io::ErrorKind::TimedOut.into());
    };
    let bytes = read?;
    let is_read = match child.wait() {
        Ok(status) => status.success(),
        // A process that ignores `SIGCHLD` gets no status of a child.
        Err(error) if error.raw_os_error() == Some(Errno::CHILD.raw_os_error()) => !bytes.is_empty(),
        Err(error) => return Err(error),
    };
    if is_read { Ok(bytes) } else { Err(io::Error::other("it cannot be read")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_ends_is_read() {
        assert!(!read(Path::new("/proc/self/status"), Duration::from_secs(60)).unwrap().is_empty());
        assert_eq!(read(Path::new("/proc/none"), Duration::from_secs(60)).unwrap_err().kind(), io::ErrorKind::Other);
    }

    #[test]
    fn a_command_that_does_not_end_is_left() {
        // The input ends only when this test drops its side.
        let (input, _held) = io::pipe().unwrap();
        let mut command = Command::new("/bin/cat");
        command.stdin(input);
        assert_eq!(output(command, Duration::ZERO).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
