//! The program that a command line starts: the file, and the interpreter of a script.
//!
//! Takes an argument vector; returns the program that execve(2) would run, and whether it is a
//! Python. Rules: PATH search of execvp(3), `#!` lines of execve(2) (one argument, at most 256 bytes).

use super::options::Options;
use crate::host::{Host, Kind};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The kernel follows at most four scripts in a row.
const SCRIPT_LIMIT: usize = 4;

/// What the kernel reads of a script (`BINPRM_BUF_SIZE`).
const SCRIPT_START: usize = 256;

/// The program that a command starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The file of the first word, found on PATH where it has no slash.
    pub file: PathBuf,
    /// The program that runs: the same file, or the one its `#!` line names.
    pub program: PathBuf,
    /// Where the program is a Python, by name: how it is started.
    pub python: Option<Options>,
}

impl Command {
    /// Reads a command line. `None` where its first word resolves to no file.
    #[must_use]
    pub fn read(host: &Host, words: &[OsString]) -> Option<Self> {
        let first = words.first()?;
        let file = find_on_path(host, first)?;
        let mut program = file.clone();
        let mut arguments: Vec<OsString> = words.iter().skip(1).cloned().collect();
        for _ in 0..SCRIPT_LIMIT {
            let Some((interpreter, argument)) = script_interpreter(host, &program) else { break };
            if is_python(&program) {
                // A Python that is a script is a version manager's shim: only a run shows the interpreter.
                break;
            }
            let mut next: Vec<OsString> = argument.into_iter().collect();
            let mut interpreter = interpreter;
            if interpreter.file_name() == Some(OsStr::new("env")) {
                let words = next.iter().flat_map(|word| split_words(word)).collect::<Vec<_>>();
                let (word, rest) = started_by_env(&words);
                let Some(found) = word.and_then(|word| find_on_path(host, word)) else { break };
                interpreter = found;
                next = rest.to_vec();
            }
            next.push(program.clone().into_os_string());
            next.append(&mut arguments);
            arguments = next;
            program = interpreter;
        }
        let python = is_python(&program).then(|| Options::parse(&arguments));
        Some(Self { file, program, python })
    }
}

/// The file that the first word of a command resolves to by the search of execvp(3), executable or not.
#[must_use]
pub fn find_on_path(host: &Host, word: &OsStr) -> Option<PathBuf> {
    search_path(host, word).ok()
}

/// [`find_on_path`] with the reason where nothing is found.
///
/// # Errors
/// Not found, or the error of a candidate that could not be read: execvp(3) goes on after `EACCES`, and
/// reports it where nothing else is found.
pub fn search_path(host: &Host, word: &OsStr) -> io::Result<PathBuf> {
    if word.as_bytes().contains(&b'/') {
        let path = host.absolute(Path::new(word));
        return host.stat(&path).map(|_| path);
    }
    let path = host.env("PATH").unwrap_or(OsStr::new("/bin:/usr/bin"));
    let candidates = path
        .as_bytes()
        .split(|byte| *byte == b':')
        .map(|dir| host.absolute(Path::new(OsStr::from_bytes(dir))).join(word));
    let (mut fallback, mut refused) = (None, None);
    for candidate in candidates {
        match host.stat(&candidate) {
            Ok(stat) if stat.kind == Kind::File && stat.mode & 0o111 != 0 => return Ok(candidate),
            Ok(stat) if stat.kind == Kind::File => fallback = fallback.or(Some(candidate)),
            Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                refused = refused.or_else(|| {
                    Some(io::Error::new(error.kind(), format!("`{}` cannot be read: {error}", candidate.display())))
                });
            }
            _ => {}
        }
    }
    fallback.ok_or_else(|| refused.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

/// Whether a file has the name of a Python: `python`, `python3`, `python3.12`, `python3.13t`, `pypy3`.
fn is_python(path: &Path) -> bool {
    let Some(name) = path.file_name().map(OsStr::as_bytes) else { return false };
    let Some(rest) = name.strip_prefix(b"python").or_else(|| name.strip_prefix(b"pypy")) else { return false };
    // Free-threaded, with checks, both.
    let rest = ["td", "t", "d"].iter().find_map(|build| rest.strip_suffix(build.as_bytes())).unwrap_or(rest);
    rest.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
}

/// The interpreter and the one argument of a `#!` line, as the kernel parses them (`fs/binfmt_script.c`): words end
/// at a blank, a tab, or the NULs that pad a short file.
fn script_interpreter(host: &Host, path: &Path) -> Option<(PathBuf, Option<OsString>)> {
    let mut start = host.read_start(path, SCRIPT_START).ok()?;
    start.resize(SCRIPT_START, 0);
    let rest = start.strip_prefix(b"#!")?;
    let line = rest.split(|byte| *byte == b'\n').next()?;
    let is_whole = line.len() < rest.len();
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let line = line.get(line.iter().position(|byte| !blank(byte))?..)?;
    let end = line.iter().position(|byte| blank(byte) || *byte == 0);
    // A name that fills the buffer may be cut off.
    let end = end.or(is_whole.then_some(line.len()))?;
    let (interpreter, argument) = line.split_at(end);
    let argument = if argument.first() == Some(&0) { &[] } else { argument };
    let argument = argument.split(|byte| *byte == 0).next().unwrap_or_default().trim_ascii();
    let interpreter = PathBuf::from(OsStr::from_bytes(interpreter));
    interpreter
        .is_absolute()
        .then(|| (interpreter, (!argument.is_empty()).then(|| OsStr::from_bytes(argument).to_owned())))
}

/// The program that env(1) starts, and its arguments: what follows the options and the assignments.
fn started_by_env(words: &[OsString]) -> (Option<&OsString>, &[OsString]) {
    let mut rest = words;
    while let [word, after @ ..] = rest {
        rest = match word.as_bytes() {
            // These take the next word as their value.
            b"-u" | b"--unset" | b"-C" | b"--chdir" => after.get(1..).unwrap_or_default(),
            option if option.starts_with(b"-") => after,
            assignment if assignment.contains(&b'=') => after,
            _ => return (Some(word), after),
        };
    }
    (None, &[])
}

fn split_words(text: &OsStr) -> Vec<OsString> {
    text.as_bytes()
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .map(|word| OsStr::from_bytes(word).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt;

    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let env = BTreeMap::from([("PATH".into(), "/v/bin:/usr/bin".into())]);
        let host = Host::new(dir.path().to_owned(), env, "/job".into());
        (dir, host)
    }

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_python_on_path() {
        let (_dir, host) = machine(&[("v/bin/python", "\x7fELF")]);
        let command = Command::read(&host, &words("python -I train.py")).unwrap();
        assert_eq!(command.program, Path::new("/v/bin/python"));
        assert!(command.python.unwrap().ignore_environment);
    }

    #[test]
    fn a_script_by_its_first_line() {
        let (_dir, host) =
            machine(&[("usr/bin/torchrun", "#!/v/bin/python3 -s\nimport torch"), ("v/bin/python3", "\x7fELF")]);
        let command = Command::read(&host, &words("torchrun --nproc 2")).unwrap();
        assert_eq!(command.program, Path::new("/v/bin/python3"));
        let options = command.python.unwrap();
        assert!(options.no_user_site);
        assert_eq!(options.script.as_deref(), Some(Path::new("/usr/bin/torchrun")));
    }

    #[test]
    fn a_script_through_env() {
        let (_dir, host) = machine(&[
            ("job/run.py", "#!/usr/bin/env -S -u B A=1 python3.12 -X importtime=1 -E\n"),
            ("usr/bin/env", "\x7fELF"),
            ("usr/bin/python3.12", "\x7fELF"),
        ]);
        let command = Command::read(&host, &words("./run.py")).unwrap();
        assert_eq!(command.program, Path::new("/usr/bin/python3.12"));
        assert!(command.python.unwrap().ignore_environment);
    }

    #[test]
    fn other_programs_are_not_python() {
        let (_dir, host) = machine(&[("usr/bin/pythonista", "\x7fELF"), ("usr/bin/sh", "\x7fELF")]);
        assert_eq!(Command::read(&host, &words("pythonista")).unwrap().python, None);
        assert_eq!(Command::read(&host, &words("sh -c x")).unwrap().python, None);
        assert_eq!(Command::read(&host, &words("nothing")), None);
    }

    #[test]
    fn a_loop_of_scripts_ends() {
        let (_dir, host) = machine(&[("a", "#!/b\n"), ("b", "#!/a\n")]);
        assert!(Command::read(&host, &words("/a")).is_some());
    }
}
