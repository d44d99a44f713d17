//! Finds the interpreter that a word names, and the directories it imports from.
//!
//! Reads a virtual environment from `pyvenv.cfg` without running anything; runs any other interpreter to query its
//! paths, or, in an image, derives them from its standard library. The rules are those of CPython's `site` module and of `Modules/getpath.py`.

use super::ask;
use super::command::find_on_path;
use super::interpreter::{Interpreter, InterpreterError};
use super::options::Options;
use super::site::{Site, python_path, user_site};
use crate::host::Host;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

impl Interpreter {
    /// Describes the interpreter at `program`, or of the environment or project in that directory, or of that name on
    /// PATH.
    #[doc(hidden)]
    pub fn find(host: &Host, program: &Path, options: &Options) -> Result<Self, InterpreterError> {
        let word = program;
        let program = program_of(host, word);
        if let Err(error) = host.stat(&program) {
            return Err(not_found(host, word, &program, &error));
        }
        let mut found = match Self::of_venv(host, &program, options) {
            Some((found, None)) => found,
            Some((found, Some(unknown))) => {
                log::debug!("cannot know what `{}` does without running it", unknown.display());
                // An image, a query within a query, an untrusted interpreter: only the files remain.
                ask::interpreter(host, &program, options).unwrap_or_else(|error| {
                    log::info!("{error}: leaving out what `{}` adds", unknown.display());
                    found
                })
            }
            None if !host.is_live() => Self::of_installation(host, &program, options)
                .ok_or_else(|| InterpreterError::Foreign(program.clone()))?,
            None => ask::interpreter(host, &program, options)?,
        };
        if options.is_unsafe(host) {
            // sys.path[0]: the directory of the script, or the working directory. It may be any directory, so it
            // counts only where it holds a package of interest.
            let first = options.script.as_deref().map_or_else(|| host.cwd().to_owned(), |script| first(host, script));
            if ["torch", "nvidia"].iter().any(|package| host.is_dir(&first.join(package))) {
                found.paths.insert(0, first);
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        found.paths.retain(|path| seen.insert(path.clone()));
        Ok(found)
    }

    /// The interpreter of an installation in an image, where it cannot be queried: by the standard library above its own
    /// file (`Modules/getpath.py`).
    fn of_installation(host: &Host, program: &Path, options: &Options) -> Option<Self> {
        let own = host.canonical(program).ok()?;
        let named = own.file_name()?.to_str()?.strip_prefix("python").and_then(minor_version);
        let above = own.parent()?.parent()?;
        let version = named.or_else(|| version_of_lib(host, above))?;
        let python = library_name(host, above, &version);
        let (prefix, libdir) = base(host, own.parent()?, program, &python)?;
        let reads = options.reads_environment();
        let mut site = Site::new(host, numbers(&version), if reads { python_path(host) } else { Vec::new() });
        let user = user_site(host, &python, reads).filter(|user| options.uses_user_site(host) && host.is_dir(user));
        if let Some(user) = user {
            site.add(&user);
        }
        site.add_prefix(&prefix, libdir, &python);
        let (paths, unknown) = site.finish(Some(&prefix.join(libdir).join(&python)));
        if let Some(unknown) = unknown {
            log::info!("leaving out what `{}` adds to `{}`", unknown.display(), program.display());
        }
        Some(Self { program: program.to_owned(), prefix, version, paths, other: None })
    }

    /// The interpreter of a virtual environment by its files, and a file whose effect only a run would show.
    fn of_venv(host: &Host, program: &Path, options: &Options) -> Option<(Self, Option<PathBuf>)> {
        let bin = program.parent()?;
        let prefix = bin.parent()?.to_owned();
        let config = [bin, &prefix].into_iter().find_map(|dir| host.read_text(&dir.join("pyvenv.cfg")).ok())?;
        let value = |key: &str| {
            let pairs = config.lines().filter_map(|line| line.split_once('='));
            // The last line counts, as in `site.venv`.
            pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case(key)).map(|(_, value)| value.trim()).next_back()
        };
        // A `pyvenv.cfg` without a version does not justify running an interpreter in anybody's directory.
        let recorded = value("version_info").or_else(|| value("version")).and_then(minor_version);
        let version = recorded.or_else(|| version_of_lib(host, &prefix))?;
        let python = library_name(host, &prefix, &version);
        let base = value("home").and_then(|home| base(host, Path::new(home), program, &python));
        let library = base.as_ref().map(|(prefix, lib)| prefix.join(lib).join(&python));
        let libdir = base.as_ref().map_or("lib", |(_, lib)| lib);

        let before = if options.reads_environment() { python_path(host) } else { Vec::new() };
        let mut site = Site::new(host, numbers(&version), before);
        site.add_prefix(&prefix, libdir, &python);
        if value("include-system-site-packages").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            if options.uses_user_site(host) {
                match user_site(host, &python, options.reads_environment()) {
                    Some(user) if host.is_dir(&user) => site.add(&user),
                    Some(_) => {}
                    None => site.mark_unknown(program),
                }
            }
            match &base {
                Some((base, _)) => site.add_prefix(base, libdir, &python),
                None => site.mark_unknown(program),
            }
        }
        let moved = ["PYTHONHOME", "PYTHONPLATLIBDIR"].iter().any(|name| host.env(name).is_some());
        // A script may start any interpreter.
        if moved && options.reads_environment() || host.read_start(program, 2).is_ok_and(|start| start == b"#!") {
            site.mark_unknown(program);
        }
        let (paths, unknown) = site.finish(library.as_deref());
        Some((Self { program: program.to_owned(), prefix, version, paths, other: None }, unknown))
    }
}

/// The interpreter that a word names: a path, a directory of an environment (its prefix, `bin` or `site-packages`) or
/// of a project that has one, a name on PATH, a version.
fn program_of(host: &Host, word: &Path) -> PathBuf {
    let path = host.absolute(word);
    if host.is_dir(&path) {
        let environment =
            |dir: &&Path| host.is_file(&dir.join("pyvenv.cfg")) || is_site(&path) && has_python(host, dir);
        let above = path.ancestors().skip(1).find(environment);
        let dirs = [path.join("bin"), path.join(".venv/bin")].into_iter().chain(above.map(|dir| dir.join("bin")));
        let named = dirs.flat_map(|dir| ["python", "python3"].map(|name| dir.join(name)));
        return named.into_iter().find(|file| host.stat(file).is_ok()).unwrap_or_else(|| path.join("bin/python"));
    }
    if word.as_os_str().as_bytes().contains(&b'/') || host.stat(&path).is_ok() {
        return path;
    }
    let version = word.to_str().filter(|word| word.split('.').all(|part| part.parse::<u32>().is_ok()));
    let version = version.map(|version| OsString::from(format!("python{version}")));
    find_on_path(host, version.as_deref().unwrap_or(word.as_os_str())).unwrap_or(path)
}

fn is_site(dir: &Path) -> bool {
    dir.file_name().is_some_and(|name| name == "site-packages" || name == "dist-packages")
}

fn has_python(host: &Host, prefix: &Path) -> bool {
    ["bin/python", "bin/python3"].iter().any(|name| host.stat(&prefix.join(name)).is_ok())
}

/// The error for a word that names no interpreter.
fn not_found(host: &Host, word: &Path, program: &Path, error: &std::io::Error) -> InterpreterError {
    let path = host.absolute(word);
    let missing = matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory);
    let says = if host.is_dir(&path) && missing {
        "the directory has no `bin/python`, no `.venv`, and is in no environment".to_owned()
    } else if missing {
        let is_name = !word.as_os_str().as_bytes().contains(&b'/');
        if is_name { "no such file, and no such command on PATH" } else { "no such file" }.to_owned()
    } else {
        error.to_string()
    };
    InterpreterError::NotFound { path: if host.is_dir(&path) { path } else { program.to_owned() }, says }
}

/// `sys.path[0]` for a script: its own directory, links followed, or the archive or directory that is run as one.
fn first(host: &Host, script: &Path) -> PathBuf {
    let script = host.absolute(script);
    if host.is_dir(&script) {
        return script;
    }
    let script = host.canonical(&script).unwrap_or(script);
    script.parent().map_or_else(|| host.cwd().to_owned(), Path::to_owned)
}

/// The prefix of the installation behind a virtual environment, and which of its directories has the standard library:
/// the nearest above `home` that has one, else (`home` is that of another virtual environment) above the interpreter
/// itself.
fn base(host: &Host, home: &Path, program: &Path, python: &str) -> Option<(PathBuf, &'static str)> {
    let own = host.canonical(program).ok();
    let dirs = home.ancestors().chain(own.iter().flat_map(|own| own.ancestors().skip(1)));
    let mut bases = dirs.flat_map(|dir| ["lib", "lib64"].map(|lib| (dir.to_owned(), lib)));
    bases.find(|(dir, lib)| host.is_file(&dir.join(lib).join(python).join("os.py")))
}

/// The name of `lib/python3.12`: free-threaded builds and `PyPy` use others.
fn library_name(host: &Host, prefix: &Path, version: &str) -> String {
    let names = ["", "t"].map(|suffix| format!("python{version}{suffix}"));
    let mut names = names.into_iter().chain([format!("pypy{version}")]);
    let usual = format!("python{version}");
    names.find(|name| host.is_dir(&prefix.join("lib").join(name))).unwrap_or(usual)
}

fn numbers(version: &str) -> (u32, u32) {
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    (major.parse().unwrap_or(3), minor.parse().unwrap_or(0))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::ffi::OsString;

    #[test]
    fn options_end_where_the_program_begins() {
        let parse = |text: &str| Options::parse(&text.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert!(parse("-sE x.py").no_user_site);
        assert!(parse("-X dev -I x.py").safe_path);
        assert!(!parse("-Wignore x.py -I").safe_path);
        assert!(!parse("-m torch -I").safe_path);
        assert!(!parse("-c -I").safe_path);
        assert_eq!(parse("-u a/b.py -E").script.as_deref(), Some(Path::new("a/b.py")));
    }

    #[test]
    fn a_venv_is_read_without_a_run() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for path in [
            "v/bin",
            "v/lib/python3.12/site-packages",
            "extra",
            "home/u/.local/lib/python3.12/site-packages",
            "usr/lib/python3/dist-packages",
            "usr/lib/python3.12",
        ] {
            std::fs::create_dir_all(at(path)).unwrap();
        }
        std::fs::write(at("v/bin/python"), "not run").unwrap();
        std::fs::write(at("usr/lib/python3.12/os.py"), "").unwrap();
        std::fs::write(
            at("v/lib/python3.12/site-packages/x.pth"),
            "import site\n# no\n/extra\n/gone\n../../../../extra\n",
        )
        .unwrap();
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
        let isolated = Options::parse(&["-I".into()]);
        assert_eq!(paths(&Options::default()), "/pp /job /job/rel /v/lib/python3.12/site-packages /extra");
        assert_eq!(paths(&isolated), "/v/lib/python3.12/site-packages /extra");
        std::fs::write(at("v/pyvenv.cfg"), "home = /usr/bin\n").unwrap();
        assert_eq!(paths(&isolated), "/v/lib/python3.12/site-packages /extra");
        std::fs::write(at("v/pyvenv.cfg"), config("true")).unwrap();
        assert_eq!(
            paths(&Options::default()),
            "/pp /job /job/rel /v/lib/python3.12/site-packages /extra /home/u/.local/lib/python3.12/site-packages /usr/lib/python3/dist-packages"
        );
    }

    /// A machine with these files; a link where the text begins with `->`.
    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            match text.strip_prefix("->") {
                Some(target) => std::os::unix::fs::symlink(target, &path).unwrap(),
                None => std::fs::write(&path, text).unwrap(),
            }
        }
        let env = BTreeMap::from([("PATH".into(), "/usr/bin".into()), ("HOME".into(), "/home/u".into())]);
        let host = Host::new(dir.path().to_owned(), env, "/job".into());
        (dir, host)
    }

    const CONFIG: &str = "home = /py/bin\nversion_info = 3.12.4\n";

    fn found(host: &Host, word: &str) -> (PathBuf, String) {
        let found = Interpreter::find(host, Path::new(word), &Options::default()).unwrap();
        let paths: Vec<String> = found.paths.iter().map(|path| path.display().to_string()).collect();
        assert_eq!(found.programs(), std::slice::from_ref(&found.program));
        (found.program, paths.join(" "))
    }

    #[test]
    fn words_that_name_a_python() {
        let (_dir, host) = machine(&[
            ("venv/bin/python3", ""),
            ("venv/pyvenv.cfg", CONFIG),
            ("project/.venv/bin/python", ""),
            ("project/.venv/pyvenv.cfg", CONFIG),
            ("job/.venv/bin/python", ""),
            ("job/.venv/pyvenv.cfg", CONFIG),
            ("venv/lib/python3.12/site-packages/torch/version.py", ""),
            ("bare/lib/python3.12/site-packages/torch/version.py", ""),
            ("bare/bin/python3", ""),
            ("none/file", ""),
            ("usr/bin/python3.12", ""),
            ("usr/pyvenv.cfg", CONFIG),
        ]);
        let means = |word: &str| found(&host, word).0;
        assert_eq!(means("/venv"), Path::new("/venv/bin/python3"));
        assert_eq!(means("/project"), Path::new("/project/.venv/bin/python"));
        assert_eq!(means("."), Path::new("/job/./.venv/bin/python"));
        assert_eq!(means(".venv"), Path::new("/job/.venv/bin/python"));
        assert_eq!(means("python3.12"), Path::new("/usr/bin/python3.12"));
        assert_eq!(means("3.12"), Path::new("/usr/bin/python3.12"));
        assert_eq!(means("/venv/bin"), Path::new("/venv/bin/python3"));
        assert_eq!(means("/venv/lib/python3.12/site-packages"), Path::new("/venv/bin/python3"));
        assert_eq!(program_of(&host, Path::new("/bare/lib/python3.12/site-packages")), Path::new("/bare/bin/python3"));
        let error =
            |word: &str| Interpreter::find(&host, Path::new(word), &Options::default()).unwrap_err().to_string();
        let name = "cannot find the Python `/job/python3.9`: no such file, and no such command on PATH";
        assert_eq!(error("python3.9"), name);
        assert_eq!(error("/nope"), "cannot find the Python `/nope`: no such file");
        let dir =
            "cannot find the Python `/none`: the directory has no `bin/python`, no `.venv`, and is in no environment";
        assert_eq!(error("/none"), dir);
    }

    #[test]
    fn the_path_of_a_program_selects_the_environment() {
        let site = "lib/python3.12/site-packages";
        let system = "home = /v/bin\nversion_info = 3.12.4\ninclude-system-site-packages = true\n";
        let (_dir, host) = machine(&[
            ("py/bin/python3.12", ""),
            ("py/lib/python3.12/os.py", ""),
            (&format!("py/{site}/x"), ""),
            ("v/bin/python", "->/py/bin/python3.12"),
            ("v/pyvenv.cfg", CONFIG),
            (&format!("v/{site}/x"), ""),
            // pyenv-virtualenv, and an environment made by the Python of another.
            ("py/envs/X/bin/python", "->/py/bin/python3.12"),
            ("py/envs/X/pyvenv.cfg", CONFIG),
            (&format!("py/envs/X/{site}/x"), ""),
            ("versions/X", "->/py/envs/X"),
            ("w/bin/python", "->/v/bin/python"),
            ("w/pyvenv.cfg", system),
            (&format!("w/{site}/x"), ""),
            // Fedora, and free-threaded.
            ("f/bin/python", "->/fedora/bin/python3.12"),
            ("fedora/bin/python3.12", ""),
            ("fedora/lib64/python3.12/os.py", ""),
            ("f/lib64", "->lib"),
            ("f/pyvenv.cfg", "home = /fedora/bin\nversion = 3.12.4\n"),
            (&format!("f/{site}/x"), ""),
            ("t/bin/python", ""),
            ("t/pyvenv.cfg", "home = /none\nversion = 3.13.4\n"),
            ("t/lib/python3.13t/site-packages/x", ""),
        ]);
        for (prefix, sites) in [
            ("/v", vec!["/v"]),
            ("/py/envs/X", vec!["/py/envs/X"]),
            ("/versions/X", vec!["/versions/X"]),
            ("/w", vec!["/w", "/py"]),
        ] {
            let paths: Vec<String> = sites.iter().map(|prefix| format!("{prefix}/{site}")).collect();
            assert_eq!(
                found(&host, &format!("{prefix}/bin/python")),
                (format!("{prefix}/bin/python").into(), paths.join(" "))
            );
        }
        assert_eq!(found(&host, "/f/bin/python").1, format!("/f/lib64/python3.12/site-packages /f/{site}"));
        assert_eq!(found(&host, "/t/bin/python").1, "/t/lib/python3.13t/site-packages");
    }

    #[test]
    fn pth_files_change_the_paths() {
        let site = "v/lib/python3.12/site-packages";
        let finder = "MAPPING: dict[str, str] = {'torch': '/src/pytorch/torch', 'torchgen': '/src/pytorch/torchgen'}\n";
        // Each directory is read once, else a line of three would have it read 3^16 times.
        let add = "site.addsitedir('/with/site-packages')";
        let circle = &format!("/deep\nimport site; {add}; {add}; {add}");
        let files = [
            ("v/bin/python", ""),
            ("v/pyvenv.cfg", CONFIG),
            (&format!("{site}/_uv.pth"), "import site; site.addsitedir('/with/site-packages')\r\n/late"),
            (&format!("{site}/x.pth"), "import __editable___torch_finder; __editable___torch_finder.install()"),
            (&format!("{site}/__editable___torch_finder.py"), finder),
            (&format!("{site}/y.pth"), "import os; os.whatever()\n/after"),
            ("with/site-packages/z.pth", circle),
            ("late/x", ""),
            ("deep/x", ""),
            ("after/x", ""),
        ];
        let (dir, host) = machine(&files);
        // An image cannot be queried: unknown paths are left out.
        let expected = format!("/{site} /with/site-packages /deep /late /after /src/pytorch");
        assert_eq!(found(&host, "/v").1, expected);
        // Since 3.15 import lines run last, and not at all where a `.start` file replaces them.
        std::fs::write(dir.path().join("v/pyvenv.cfg"), "version = 3.15.0").unwrap();
        std::fs::rename(dir.path().join("v/lib/python3.12"), dir.path().join("v/lib/python3.15")).unwrap();
        let site = site.replace("3.12", "3.15");
        assert_eq!(found(&host, "/v").1, format!("/{site} /late /after /with/site-packages /deep /src/pytorch"));
        std::fs::write(dir.path().join(&site).join("_uv.start"), "").unwrap();
        assert_eq!(found(&host, "/v").1, format!("/{site} /late /after /src/pytorch"));
    }
}
