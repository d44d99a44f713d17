//! An interpreter and the directories it imports from.
//!
//! For a virtual environment `pyvenv.cfg` tells all of it, and nothing is run; another interpreter is
//! asked. The rules are those of CPython's `site` module and of `Modules/getpath.py`.

use super::ask;
use crate::host::{Host, Kind};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How an interpreter is started, as far as that changes what it imports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `-I`: no environment variables, no user site, no script directory.
    pub isolated: bool,
    /// `-E`: no `PYTHON*` variables.
    pub ignore_environment: bool,
    /// `-s`: no user site.
    pub no_user_site: bool,
    /// The script, where one is run.
    pub script: Option<PathBuf>,
    /// How it came to be meant: whether it may be run to be asked.
    pub meant: Meant,
}

/// How an interpreter came to be meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Meant {
    /// The user names it, or has its environment active: it is asked where nobody else could have written it.
    #[default]
    Named,
    /// The user starts it himself: it is asked.
    Started,
    /// It is found by way of the working directory, which may be anybody's: it is not run.
    Found,
}

impl Options {
    /// Reads the arguments after the interpreter's own name.
    #[must_use]
    pub fn parse(arguments: &[OsString]) -> Self {
        let mut options = Self { meant: Meant::Started, ..Self::default() };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let Some(letters) = argument.as_bytes().strip_prefix(b"-") else {
                options.script = Some(PathBuf::from(argument));
                break;
            };
            if letters.is_empty() || letters.starts_with(b"-") {
                if matches!(letters, b"-check-hash-based-pycs") {
                    rest.next();
                    continue;
                }
                break;
            }
            for (at, letter) in letters.iter().enumerate() {
                match letter {
                    b'I' => options.isolated = true,
                    b'E' => options.ignore_environment = true,
                    b's' => options.no_user_site = true,
                    // The code or module follows, and then its own arguments.
                    b'c' | b'm' => return options,
                    b'W' | b'X' => {
                        if at + 1 == letters.len() {
                            rest.next();
                        }
                        break;
                    }
                    _ => {}
                }
            }
        }
        options
    }
}

/// Why no interpreter could be described.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterpreterError {
    /// There is no such file.
    #[error("`{}` is no Python: there is no such file", .0.display())]
    NotFound(PathBuf),
    /// The interpreter had to be asked, and the machine is an image.
    #[error("`{}` cannot be asked for its paths: it belongs to another root", .0.display())]
    Foreign(PathBuf),
    /// The interpreter had to be asked, and is not to be run.
    #[error("`{}` cannot be asked for its paths: {why}", path.display())]
    Untrusted {
        /// The interpreter.
        path: PathBuf,
        /// Who else could have written it, or how it was found.
        why: String,
    },
    /// The interpreter was asked and did not answer as a Python does.
    #[error("`{}` did not tell its paths: {says}", path.display())]
    NoAnswer {
        /// The interpreter.
        path: PathBuf,
        /// What happened instead.
        says: String,
    },
}

/// A Python interpreter in one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// The file, as it would be started (symbolic links kept: they choose the virtual environment).
    pub program: PathBuf,
    /// `sys.prefix`.
    pub prefix: PathBuf,
    /// `3.12`.
    pub version: String,
    /// The directories it imports installed packages from, in order: `PYTHONPATH`, site-packages, user site, those of
    /// `.pth` files.
    pub paths: Vec<PathBuf>,
}

impl Interpreter {
    /// Describes the interpreter at `program`, or of the environment in that directory.
    pub fn find(host: &Host, program: &Path, options: &Options) -> Result<Self, InterpreterError> {
        let program = host.absolute(program);
        let program = if host.is_dir(&program) { program.join("bin/python") } else { program };
        if host.stat(&program).is_err() {
            return Err(InterpreterError::NotFound(program));
        }
        let mut found = match Self::of_venv(host, &program, options) {
            Some(found) => found,
            None => ask::interpreter(host, &program, options)?,
        };
        let script = options.script.as_deref().map(|script| host.absolute(script));
        if !options.isolated {
            // sys.path[0]: where the script is, or the working directory. It is some directory of the user's, so it
            // counts only where it holds packages we ask for.
            let first = script.as_deref().and_then(Path::parent).unwrap_or(host.cwd());
            if ["torch", "nvidia"].iter().any(|package| host.is_dir(&first.join(package))) {
                found.paths.insert(0, first.to_owned());
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        found.paths.retain(|path| seen.insert(path.clone()));
        Ok(found)
    }

    /// The paths that it is started by.
    #[must_use]
    pub fn programs(&self) -> Vec<PathBuf> {
        vec![self.program.clone()]
    }

    /// The extension modules that open libraries by name for Python code: `_ctypes` of the interpreter itself, cffi's
    /// backend where that is installed. An interpreter that was built with `_ctypes` in it has no such file.
    #[must_use]
    pub fn openers(&self, host: &Host) -> Vec<PathBuf> {
        let base = host.canonical(&self.program).unwrap_or_default();
        let dynload = base
            .parent()
            .and_then(Path::parent)
            .map(|prefix| prefix.join("lib").join(format!("python{}", self.version)).join("lib-dynload"));
        let named = |dir: &PathBuf, stem: &str| {
            let entries = host.list(dir).unwrap_or_default();
            let module = |name: &[u8]| name.starts_with(stem.as_bytes()) && name.ends_with(b".so");
            let found = entries.into_iter().filter(|entry| module(entry.name.as_bytes()));
            found.map(|entry| dir.join(entry.name)).collect::<Vec<_>>()
        };
        let ctypes = dynload.iter().flat_map(|dir| named(dir, "_ctypes."));
        ctypes.chain(self.paths.iter().flat_map(|site| named(site, "_cffi_backend."))).collect()
    }

    fn of_venv(host: &Host, program: &Path, options: &Options) -> Option<Self> {
        let bin = program.parent()?;
        let (prefix, config) = [bin.parent(), Some(bin)]
            .into_iter()
            .flatten()
            .find_map(|dir| host.read_text(&dir.join("pyvenv.cfg")).ok().map(|text| (dir.to_owned(), text)))?;
        let value = |key: &str| {
            config
                .lines()
                .filter_map(|line| line.split_once('='))
                .find(|(name, _)| name.trim().eq_ignore_ascii_case(key))
                .map(|(_, value)| value.trim())
        };
        // A file that does not tell the version is still no reason to run what stands in somebody's directory.
        let told = value("version_info").or_else(|| value("version")).and_then(minor_version);
        let version = told.or_else(|| version_of_lib(host, &prefix))?;
        let system = value("include-system-site-packages").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let mut paths = python_path(host, options);
        add_site(host, &prefix.join(format!("lib/python{version}/site-packages")), &mut paths);
        add_site(host, &prefix.join(format!("lib64/python{version}/site-packages")), &mut paths);
        if system {
            if let Some(user) = user_site(host, &version, options) {
                add_site(host, &user, &mut paths);
            }
            // The base interpreter's own packages, in either of the two layouts in use.
            if let Some(base) = value("home").map(Path::new).and_then(Path::parent) {
                for dir in [
                    format!("lib/python{version}/site-packages"),
                    format!("lib64/python{version}/site-packages"),
                    format!("local/lib/python{version}/dist-packages"),
                    "lib/python3/dist-packages".to_owned(),
                ] {
                    add_site(host, &base.join(dir), &mut paths);
                }
            }
        }
        Some(Self { program: program.to_owned(), prefix, version, paths })
    }
}

/// `3.12.4.final.0` and `3.12.4` are both `3.12`.
fn minor_version(text: &str) -> Option<String> {
    let mut parts = text.split('.');
    let (major, minor) = (parts.next()?.parse::<u32>().ok()?, parts.next()?);
    let minor: String = minor.chars().take_while(char::is_ascii_digit).collect();
    (!minor.is_empty()).then(|| format!("{major}.{minor}"))
}

/// The version in the name of the first `lib/python3.12` of an environment.
fn version_of_lib(host: &Host, prefix: &Path) -> Option<String> {
    let entries = host.list(&prefix.join("lib")).ok()?;
    entries.iter().find_map(|entry| minor_version(entry.name.to_str()?.strip_prefix("python")?))
}

/// The entries of `PYTHONPATH`, where it counts.
pub(super) fn python_path(host: &Host, options: &Options) -> Vec<PathBuf> {
    if options.isolated || options.ignore_environment {
        return Vec::new();
    }
    let list = host.env("PYTHONPATH").unwrap_or_default().as_bytes();
    list.split(|byte| *byte == b':')
        .filter(|entry| !entry.is_empty())
        .map(|entry| host.absolute(Path::new(OsStr::from_bytes(entry))))
        .collect()
}

/// `site.getusersitepackages`, where it is enabled.
fn user_site(host: &Host, version: &str, options: &Options) -> Option<PathBuf> {
    let from_environment = !(options.isolated || options.ignore_environment);
    if options.isolated || options.no_user_site || (from_environment && host.env("PYTHONNOUSERSITE").is_some()) {
        return None;
    }
    let base = host.env("PYTHONUSERBASE").filter(|_| from_environment).map(PathBuf::from);
    let base = base.or_else(|| host.env("HOME").map(|home| Path::new(home).join(".local")))?;
    Some(base.join(format!("lib/python{version}/site-packages")))
}

/// `site.addsitedir`: the directory, and the directories its `.pth` files name.
pub(super) fn add_site(host: &Host, dir: &Path, paths: &mut Vec<PathBuf>) {
    let Ok(entries) = host.list(dir) else { return };
    paths.push(dir.to_owned());
    for entry in entries {
        let name = entry.name.as_bytes();
        if entry.kind == Kind::Directory || !name.ends_with(b".pth") || name.starts_with(b".") {
            continue;
        }
        let Ok(bytes) = host.read(&dir.join(&entry.name)) else { continue };
        for line in bytes.split(|byte| *byte == b'\n') {
            let line = line.trim_ascii_end();
            if line.is_empty()
                || line.starts_with(b"#")
                || line.starts_with(b"import ")
                || line.starts_with(b"import\t")
            {
                continue;
            }
            let path = dir.join(OsStr::from_bytes(line));
            if host.is_dir(&path) && !paths.contains(&path) {
                paths.push(path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn options_end_where_the_program_begins() {
        let parse = |text: &str| Options::parse(&text.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert!(parse("-sE x.py").no_user_site);
        assert!(parse("-X dev -I x.py").isolated);
        assert!(!parse("-Wignore x.py -I").isolated);
        assert!(!parse("-m torch -I").isolated);
        assert!(!parse("-c -I").isolated);
        assert_eq!(parse("-u a/b.py -E").script.as_deref(), Some(Path::new("a/b.py")));
    }

    #[test]
    fn a_venv_is_read_not_run() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for path in [
            "v/bin",
            "v/lib/python3.12/site-packages",
            "extra",
            "home/u/.local/lib/python3.12/site-packages",
            "usr/lib/python3/dist-packages",
        ] {
            std::fs::create_dir_all(at(path)).unwrap();
        }
        std::fs::write(at("v/bin/python"), "not run").unwrap();
        std::fs::write(at("v/lib/python3.12/site-packages/x.pth"), "import site\n# no\n/extra\n/gone\n").unwrap();
        let config = |system: &str| {
            format!("home = /usr/bin\nversion_info = 3.12.4.final.0\ninclude-system-site-packages = {system}\n")
        };
        std::fs::write(at("v/pyvenv.cfg"), config("false")).unwrap();
        let env = BTreeMap::from([("PYTHONPATH".into(), "/pp::rel".into()), ("HOME".into(), "/home/u".into())]);
        let host = Host::new(dir.path().to_owned(), env, "/job".into());
        let paths = |options: &Options| {
            let found = Interpreter::find(&host, Path::new("/v"), options).unwrap();
            found.paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
        };
        let isolated = Options { isolated: true, ..Options::default() };
        assert_eq!(paths(&Options::default()), "/pp /job/rel /v/lib/python3.12/site-packages /extra");
        assert_eq!(paths(&isolated), "/v/lib/python3.12/site-packages /extra");
        std::fs::write(at("v/pyvenv.cfg"), "home = /usr/bin\n").unwrap();
        assert_eq!(paths(&isolated), "/v/lib/python3.12/site-packages /extra");
        std::fs::write(at("v/pyvenv.cfg"), config("true")).unwrap();
        assert_eq!(
            paths(&Options::default()),
            "/pp /job/rel /v/lib/python3.12/site-packages /extra /home/u/.local/lib/python3.12/site-packages /usr/lib/python3/dist-packages"
        );
    }
}
