//! Runs an interpreter to query its `sys.path`, where files alone do not determine it.
//!
//! The query runs `site` and `.pth` files, as any start does, since these make the paths. It omits the variables that
//! change libraries, output or exit, writes no byte code, and has a time limit. An interpreter that starts cudashim
//! during the query gets no answer: the recursion would not end.

use super::interpreter::{Interpreter, InterpreterError};
use super::options::{Options, Origin};
use super::site::{stamp_files, user_site};
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

/// Longer output is an error.
const ANSWER_LIMIT: usize = 1 << 20;

/// A Python starts in a tenth of a second; one on a network disk may take seconds.
const TIME_LIMIT: Duration = Duration::from_secs(8);

/// Set for the interpreter, so that a cudashim below it detects the query.
const QUERY_VARIABLE: &str = "CUDASHIM_ASKING";

/// Variables that must not reach the interpreter: those of the loader, of cudashim, and those that change what `python
/// -c` does (python(1), "Environment Variables").
fn is_scrubbed(name: &OsStr) -> bool {
    const NAMES: [&str; 14] = [
        "COVERAGE_PROCESS_CONFIG",
        "COVERAGE_PROCESS_START",
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
        || name.starts_with(b"COV_CORE_")
        || name.starts_with(b"MALLOC_")
        || NAMES.iter().any(|scrubbed| name == scrubbed.as_bytes())
}

/// Prints fields that end in NUL: `sys.executable`, `/proc/self/exe`, the prefix, the version, the origin of torch
/// (which only a finder may know); the paths; an empty field; the files of modules outside the standard library;
/// `end`.
const QUERY: &str = r"
import sys
sys.path[:] = [p for p in sys.path if p]
def own_file():
    import os
    try: return os.readlink('/proc/self/exe')
    except OSError: return ''
def torch():
    try:
        from importlib.util import find_spec
        return find_spec('torch').origin or ''
    except Exception: return ''
library = getattr(sys.modules.get('os'), '__file__', '/').rpartition('/')[0] + '/'
files = [getattr(m, '__file__', None) for m in list(sys.modules.values())]
files = [f for f in files if isinstance(f, str) and (not f.startswith(library) or '-packages/' in f)]
fields = [sys.executable or '', own_file(), sys.prefix, '%d.%d' % sys.version_info[:2], torch()]
fields += [p for p in sys.path if isinstance(p, str)] + [''] + files + ['end']
sys.stdout.buffer.write(b''.join(f.encode('utf-8', 'surrogateescape') + b'\0' for f in fields))
";

pub(super) fn interpreter(host: &Host, program: &Path, options: &Options) -> Result<Interpreter, InterpreterError> {
    if !host.is_live() {
        return Err(InterpreterError::Foreign(program.to_owned()));
    }
    if host.env(QUERY_VARIABLE).is_some() {
        let says = "it runs cudashim while cudashim waits for it".to_owned();
        return Err(InterpreterError::NoAnswer { path: program.to_owned(), says });
    }
    if let Some(why) = untrusted(program, options.origin) {
        return Err(InterpreterError::Untrusted { path: program.to_owned(), why });
    }
    let no_answer = |says: String| InterpreterError::NoAnswer { path: program.to_owned(), says };
    let mut command = Command::new(program);
    command.env_clear().envs(host.environment()).current_dir(host.cwd());
    for variable in host.environment().keys().filter(|name| is_scrubbed(name)) {
        command.env_remove(variable);
    }
    command.env(QUERY_VARIABLE, "1").arg("-B");
    for (flag, on) in [("-E", options.ignore_environment), ("-s", options.no_user_site)] {
        if on {
            command.arg(flag);
        }
    }
    command.args(["-c", QUERY]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let limit = host.time_for(TIME_LIMIT);
    let mut child = command.spawn().map_err(|error| no_answer(error.to_string()))?;
    let answer = match read_output(&mut child, limit) {
        Ok((_, Some(status))) if !status.success() => return Err(no_answer(format!("it ended with {status}"))),
        Ok((answer, _)) => answer,
        Err(error) => {
            // A child in uninterruptible sleep is left behind.
            let _ = child.kill();
            let _ = child.try_wait();
            return Err(no_answer(match error.kind() {
                ErrorKind::TimedOut => format!("no answer within {:.1} seconds", limit.as_secs_f32()),
                _ => error.to_string(),
            }));
        }
    };
    let answer = QueryResult::parse(&answer).ok_or_else(|| no_answer("its answer cannot be read".to_owned()))?;
    // The stamps of the answer: the interpreter, what a version manager reads, every file that `site` reads, and the
    // modules that those import.
    let mut depends = vec![answer.executable.clone(), program.to_owned(), host.cwd().join(".python-version")];
    depends.extend(program.parent().and_then(Path::parent).map(|dir| dir.join("version")));
    depends.extend(answer.files.iter().cloned());
    for path in depends {
        let _ = host.stat(&path);
    }
    let user = user_site(host, &format!("python{}", answer.version), true);
    stamp_files(host, &answer.paths.iter().cloned().chain(user).collect::<Vec<_>>());
    Ok(answer.interpreter(host, program))
}

/// Why an interpreter must not be run.
fn untrusted(program: &Path, origin: Origin) -> Option<String> {
    match origin {
        Origin::Started => None,
        Origin::Named => trusted_in_sandbox(program).err().filter(|why| !why.is_missing()).map(|why| why.to_string()),
        Origin::Found => Some("it is below the working directory and not named explicitly".to_owned()),
    }
}

/// The parsed output of [`QUERY`].
struct QueryResult {
    executable: PathBuf,
    own_file: PathBuf,
    prefix: PathBuf,
    version: String,
    torch: PathBuf,
    paths: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

impl QueryResult {
    fn parse(output: &[u8]) -> Option<Self> {
        let fields: Vec<&[u8]> = output.strip_suffix(b"\0end\0")?.split(|byte| *byte == 0).collect();
        let [executable, own_file, prefix, version, torch, rest @ ..] = &*fields else { return None };
        let mut rest = rest.splitn(2, |field| field.is_empty()).map(|fields| fields.iter().map(|field| path(field)));
        Some(Self {
            executable: path(executable),
            own_file: path(own_file),
            prefix: path(prefix),
            version: path(version).display().to_string(),
            torch: path(torch),
            paths: rest.next()?.collect(),
            files: rest.next()?.collect(),
        })
    }

    /// The interpreter. Where `queried` is a script that starts one, its program is `sys.executable`, if that is the
    /// file that runs, else `/proc/self/exe`.
    fn interpreter(self, host: &Host, queried: &Path) -> Interpreter {
        // Empty without proc(5).
        let own = Some(&self.own_file).filter(|path| path.is_absolute()).and_then(|path| host.stat(path).ok());
        let own = own.map(|stat| stat.id);
        let is_own = |path: &&PathBuf| own.is_none() || host.stat(path).is_ok_and(|stat| Some(stat.id) == own);
        let queried = queried.to_owned();
        let mut programs = [&queried, &self.executable].into_iter().filter(|path| path.is_absolute()).filter(is_own);
        let program = programs.next().unwrap_or(if own.is_some() { &self.own_file } else { &queried }).clone();
        let other = programs.next().filter(|other| **other != program).cloned();
        let mut paths: Vec<PathBuf> = self.paths.into_iter().filter(|path| host.stat(path).is_ok()).collect();
        // An editable install may be known only to a finder.
        if let Some(site) = self.torch.parent().and_then(Path::parent)
            && !paths.iter().any(|path| path == site)
        {
            paths.insert(0, site.to_owned());
        }
        Interpreter { program, prefix: self.prefix, version: self.version, paths, other }
    }
}

/// The output of a child and its exit status; no status where this process ignores `SIGCHLD`. Neither a descendant
/// that keeps the output open nor a child that goes on after it closes it delays the return beyond `limit`.
fn read_output(child: &mut Child, limit: Duration) -> io::Result<(Vec<u8>, Option<ExitStatus>)> {
    let end = Instant::now() + limit;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    // Before Linux 5.3 there is no pidfd: poll.
    let watch = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let mut stdout = child.stdout.take();
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let (ended, status) = ended(child)?;
        let left = match (ended, &watch) {
            (true, _) => Duration::ZERO,
            (false, Some(_)) => end.saturating_duration_since(Instant::now()),
            (false, None) => end.saturating_duration_since(Instant::now()).min(Duration::from_millis(20)),
        };
        if !ended && Instant::now() >= end {
            return Err(ErrorKind::TimedOut.into());
        }
        let mut fds: Vec<PollFd<'_>> = stdout.iter().map(|stdout| PollFd::new(stdout, PollFlags::IN)).collect();
        fds.extend(watch.iter().filter(|_| !ended).map(|watch| PollFd::new(watch, PollFlags::IN)));
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
                return Err(io::Error::new(ErrorKind::InvalidData, "its answer is cut off"));
            }
        } else if ended {
            return Ok((answer, status));
        }
    }
}

/// Whether a child has ended, and its status unless this process ignores `SIGCHLD`.
fn ended(child: &mut Child) -> io::Result<(bool, Option<ExitStatus>)> {
    match child.try_wait() {
        Err(error) if error.raw_os_error() == Some(Errno::CHILD.raw_os_error()) => Ok((true, None)),
        status => status.map(|status| (status.is_some(), status)),
    }
}

fn path(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Queries a fake interpreter; returns the result, and the arguments and environment it was started with.
    fn query(environment: &[(&str, &str)]) -> (Result<Interpreter, InterpreterError>, String) {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (python, seen) = (dir.path().join("python"), dir.path().join("seen"));
        let script = format!(
            "#!/bin/sh\n{{ echo \"$1 $2\"; env; }} >{} || exit\nprintf '%s\\0\\0/usr\\0003.12\\0\\000/usr/lib\\0\\0end\\0' \"$0\"\n",
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
        let (found, seen) = query(&[
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
        // The shell sets these.
        let mut names: Vec<&str> = lines.filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
        names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
        names.sort_unstable();
        assert_eq!(names, ["CUDASHIM_ASKING", "PATH", "PYTHONPATH", "PYTHONUSERBASE"]);
    }

    #[test]
    fn an_interpreter_that_is_being_asked_is_not_asked_again() {
        let (found, seen) = query(&[("CUDASHIM_ASKING", "1")]);
        assert!(matches!(found, Err(InterpreterError::NoAnswer { .. })));
        assert_eq!(seen, "");
    }

    /// An edit of a file that `site` reads changes the paths without changing any directory.
    /// directory.
    #[test]
    fn the_stamps_hold_every_file_that_site_reads() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        let site = at("site-packages");
        std::fs::create_dir_all(site.join("usercustomize")).unwrap();
        let read = ["x.pth", "x.start", "sitecustomize.py", "usercustomize/__init__.py"].map(|name| site.join(name));
        let imported = at("imported.py");
        for file in read.iter().chain([&imported]) {
            std::fs::write(file, "before").unwrap();
        }
        let answer = format!("{}\\0\\0{}\\0end\\0", site.display(), imported.display());
        let script = format!("#!/bin/sh\nprintf '%s\\0\\0/usr\\0003.12\\0\\000{answer}' \"$0\"\n");
        std::fs::write(at("python"), script).unwrap();
        std::fs::set_permissions(at("python"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let machine = || Host::new("/".into(), [("PATH".into(), "/usr/bin:/bin".into())].into(), "/".into());
        for file in read.iter().chain([&imported]) {
            let host = machine();
            let found = host.keeping(|| interpreter(&host, &at("python"), &Options::default())).unwrap();
            assert_eq!(found.paths, std::slice::from_ref(&site));
            assert!(host.stamps().hold(&machine()));
            std::fs::write(file, "later!").unwrap();
            assert!(!host.stamps().hold(&machine()), "{}", file.display());
        }
    }

    /// An ignored `SIGCHLD` is inherited; waitpid(2) then reports no status.
    #[test]
    fn output_is_read_where_sigchld_is_ignored() {
        let mut command = Command::new("/usr/bin/env");
        command.arg("--ignore-signal=CHLD").arg(std::env::current_exe().unwrap());
        command.args(["--exact", "python::ask::tests::read_where_sigchld_is_ignored", "--ignored", "--nocapture"]);
        let output = command.output().unwrap();
        let out = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && out.contains("1 passed"), "{out}");
    }

    #[test]
    #[ignore = "run by output_is_read_where_sigchld_is_ignored"]
    fn read_where_sigchld_is_ignored() {
        assert_eq!(query(&[("PATH", "/usr/bin:/bin")]).0.unwrap().version, "3.12");
        assert!(query(&[("PATH", "/none")]).0.is_err());
        assert!(crate::host::Host::current().read_text_within(Path::new("/proc/version"), TIME_LIMIT).is_ok());
    }

    #[test]
    fn descendants_of_an_interpreter_do_not_delay_the_query() {
        let limit = Duration::from_secs(600);
        let script = |script: &str| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
        };
        // A descendant keeps the output open until its input is closed.
        let mut child = script("exec 3<&0; cat <&3 & printf paths");
        let held = child.stdin.take();
        let (answer, status) = read_output(&mut child, limit).unwrap();
        assert_eq!((answer.as_slice(), status.map(|status| status.success())), (&b"paths"[..], Some(true)));
        drop(held);
        // The child closes its output and goes on.
        let mut child = script("printf paths; exec >&-; read line");
        let held = child.stdin.take();
        assert_eq!(read_output(&mut child, Duration::ZERO).unwrap_err().kind(), ErrorKind::TimedOut);
        drop(held);
        child.wait().unwrap();
        let mut child = script("cat /dev/zero");
        assert_eq!(read_output(&mut child, limit).unwrap_err().kind(), ErrorKind::InvalidData);
        child.wait().unwrap();
    }
}
