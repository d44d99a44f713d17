//! A process that has ended, with what it printed; and what this machine lets a process do.

use super::Machine;
use serde_json::Value;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::process::{Command, Stdio};

/// A command that sees nothing of this test's own environment.
pub(crate) fn clean_command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
    command
}

/// The same command, started by another one whose last words are its words: `unshare`, `setpriv`.
fn inside(mut outer: Command, inner: &Command) -> Command {
    outer.arg(inner.get_program()).args(inner.get_args());
    outer.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    inner.get_current_dir().map(|dir| outer.current_dir(dir));
    outer
}

/// In separate namespaces: `make` is a line of sh that prepares them.
pub(crate) fn in_namespaces(unshare: &[&str], make: &str, inner: &Command) -> Command {
    let mut outer = Command::new("unshare");
    outer.args(unshare).args(["sh", "-c", &format!("{make} && exec \"$@\""), "sh"]);
    inside(outer, inner)
}

/// The command subject to file permissions: as root, without the capabilities that override them.
pub(crate) fn bound_by_rights(inner: &Command) -> Command {
    let mut outer = Command::new("env");
    if rustix::process::geteuid().is_root() {
        outer = Command::new("setpriv");
        outer.arg("--bounding-set=-dac_override,-dac_read_search");
    }
    inside(outer, inner)
}

/// What a command printed and how it ended.
pub(crate) struct Process {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Process {
    /// Runs a command with nothing to read. What it prints is text.
    pub(crate) fn of(command: &mut Command) -> Self {
        Self::with(command, |bytes| String::from_utf8(bytes).unwrap())
    }

    /// The same of one that prints what it was given.
    pub(crate) fn lossy(command: &mut Command) -> Self {
        Self::with(command, |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn with(command: &mut Command, text: fn(Vec<u8>) -> String) -> Self {
        let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// What it printed, with nothing on stderr.
    #[track_caller]
    pub(crate) fn quiet(&self) -> &str {
        assert_eq!(self.err, "", "and on stdout: {}", self.out);
        &self.out
    }

    /// The same of one that succeeded.
    #[track_caller]
    pub(crate) fn ok(&self) -> &str {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.quiet()
    }

    /// stdout as one JSON value.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }

    /// All of it as one text, with the machine's directory as `[R]`.
    pub(crate) fn all(&self, machine: &Machine) -> String {
        let mut all = format!("exit {}\n", self.code.map_or("by signal".into(), |code| code.to_string()));
        for (name, text) in [("stdout", &self.out), ("stderr", &self.err)] {
            if !text.is_empty() {
                let _ = write!(all, "--- {name}\n{text}");
            }
        }
        let mut all = machine.hidden(&all);
        // The shim's lines carry the number of the process.
        while let Some(at) = all.find("cudashim[") {
            let digits = all[at..].find(']').unwrap();
            all.replace_range(at + "cudashim".len()..=at + digits, " in [PID]");
        }
        all
    }
}
