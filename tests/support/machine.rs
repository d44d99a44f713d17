//! A made-up machine: a directory as its root, with files, environments, libraries and a driver.
//!
//! Takes what a test describes; gives paths below the directory, a [`Host`] that looks at it, and commands that see
//! nothing else: no variable of the tester's environment, no home, no cache. Never writes outside its directory and the
//! build's own directory for temporary files.

use super::{Lib, Process, Venv, cc, compile};
use cudashim::internal::diagnose::{Report, examine, recognise};
use cudashim::internal::driver::Devices;
use cudashim::internal::tables::Severity;
use cudashim::{Finding, Host, Request};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use tempfile::TempDir;

/// Stands in for an interpreter: loads what follows `--load`, and reports for each file whether that succeeded; becomes
/// the program that follows `--exec`.
const PYTHON: &str = r#"
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int loading = 0;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "-c"))
            i++;
        else if (!strcmp(argv[i], "--load"))
            loading = 1;
        else if (!strcmp(argv[i], "--exec"))
            return execv(argv[i + 1], argv + i + 1);
        else if (loading)
            printf("%s\n", dlopen(argv[i], RTLD_NOW) ? "ok" : dlerror());
    }
    return 0;
}
"#;

/// The stand-in for Python, compiled once in a run of the tests.
fn python() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let fresh = cc(dir, &format!("python-{}", std::process::id()), PYTHON, &["-ldl"]);
        fs::remove_file(fresh.with_extension("c")).unwrap();
        let program = dir.join("python");
        fs::rename(&fresh, &program).unwrap();
        program
    })
}

/// The machine.
pub(crate) struct Machine {
    _dir: TempDir,
    root: PathBuf,
    env: BTreeMap<OsString, OsString>,
    devices: Devices,
}

/// Files, libraries and programs.
impl Machine {
    /// One with nothing on it but a home, an empty `bin`, and a cache that is the user's own.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for name in ["home", "bin"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        Self { _dir: dir, root, env: BTreeMap::new(), devices: Devices::default() }
    }

    /// One with a virtual environment at `/venv`.
    pub(crate) fn with_venv() -> (Self, Venv) {
        let machine = Self::new();
        let venv = machine.venv("venv");
        (machine, venv)
    }

    /// Its directory, without symbolic links.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A path below its directory, absolute on the machine or not.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A text with its directory as `[R]`.
    pub(crate) fn hidden(&self, text: &str) -> String {
        text.replace(self.root.to_str().unwrap(), "[R]")
    }

    /// A path whose directory is there.
    fn place(&self, path: &str) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.place(path);
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn read(&self, path: &str) -> String {
        let path = self.path(path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub(crate) fn mkdir(&self, path: &str) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Gives a file or directory these rights.
    pub(crate) fn mode(&self, path: &str, mode: u32) -> PathBuf {
        let path = self.path(path);
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    /// `/etc/ld.so.cache` with these entries, as ldconfig lays it out (`sysdeps/generic/dl-cache.h`).
    pub(crate) fn ld_so_cache(&self, entries: &[(&str, &str)]) {
        let flags: u32 = if cfg!(target_arch = "aarch64") { 0x0a03 } else { 0x0303 };
        let mut bytes = b"glibc-ld.so.cache1.1".to_vec();
        bytes.extend(u32::try_from(entries.len()).unwrap().to_ne_bytes());
        bytes.resize(48, 0);
        let (base, mut strings) = (48 + 24 * entries.len(), Vec::new());
        for (name, path) in entries {
            let mut at = |text: &str| {
                let at = u32::try_from(base + strings.len()).unwrap();
                strings.extend(text.bytes().chain([0]));
                at
            };
            for word in [flags, at(name), at(path), 0, 0, 0] {
                bytes.extend(word.to_ne_bytes());
            }
        }
        self.write("etc/ld.so.cache", [bytes, strings].concat());
    }

    /// A shell script that can be executed. A child writes it: what this process has open for writing while another
    /// test starts a program could not be executed (ETXTBSY).
    pub(crate) fn script(&self, path: &str, text: &str) -> PathBuf {
        let path = self.place(path);
        let mut write = Command::new("/bin/sh");
        write.args(["-c", "printf %s \"$1\" >\"$0\" && chmod 755 \"$0\""]).arg(&path).arg(text);
        assert!(write.status().unwrap().success());
        path
    }

    /// A shared object whose soname is its file's name.
    pub(crate) fn library(&self, path: &str, source: &str, args: &[&str]) -> PathBuf {
        self.library_named(path, path.rsplit('/').next().unwrap(), source, args)
    }

    /// One with another soname.
    pub(crate) fn library_named(&self, path: &str, soname: &str, source: &str, args: &[&str]) -> PathBuf {
        let soname = format!("-Wl,-soname,{soname}");
        self.program(path, source, &[&["-shared", "-fPIC", soname.as_str()], args].concat())
    }

    /// A library whose function `which` identifies the copy.
    pub(crate) fn copy(&self, path: &str, which: u32) -> PathBuf {
        self.library(path, &format!("int which(void) {{ return {which}; }}"), &[])
    }

    /// Without --as-needed: the test names all needed entries.
    pub(crate) fn program(&self, name: &str, source: &str, args: &[&str]) -> PathBuf {
        cc(&self.root, name, source, &[&["-O0", "-Wl,--no-as-needed"], args].concat())
    }

    /// [`Self::program`] for another machine, by its compiler.
    pub(crate) fn foreign(&self, compiler: &str, name: &str, source: &str, args: &[&str]) -> PathBuf {
        compile(Command::new(compiler), &self.root, name, source, &[&["-O0", "-Wl,--no-as-needed"], args].concat())
    }

    /// Makes a virtual environment of Python 3.11.
    pub(crate) fn venv(&self, name: &str) -> Venv {
        let dir = self.path(name);
        let site = dir.join("lib/python3.11/site-packages");
        fs::create_dir_all(&site).unwrap();
        fs::create_dir_all(dir.join("bin")).unwrap();
        fs::write(dir.join("pyvenv.cfg"), "home = /usr/bin\nversion = 3.11.2\n").unwrap();
        // A child writes the copy, as in `script`.
        let copied = Command::new("cp").arg(python()).arg(dir.join("bin/python")).status().unwrap();
        assert!(copied.success());
        Venv { dir, site }
    }

    /// Puts programs of the tester's machine on this one's `PATH`.
    pub(crate) fn tools(&self, names: &[&str]) -> &Self {
        for name in names {
            let found =
                ["/bin", "/usr/bin"].map(|dir| Path::new(dir).join(name)).into_iter().find(|path| path.exists());
            symlink(found.unwrap(), self.path("bin").join(name)).unwrap();
        }
        self
    }
}

/// Commands on it.
impl Machine {
    /// cudashim on this machine's directories, but with the tester's system around them.
    pub(crate) fn cudashim<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cudashim"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", self.path("bin"))
            .env("HOME", self.path("home"))
            .env("CUDASHIM_CACHE", self.path("cache"))
            .current_dir(&self.root);
        command
    }

    /// cudashim that takes the machine's directory for the root: the tester's system has no effect, and
    /// paths read the same everywhere.
    pub(crate) fn rooted<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.cudashim(["--root"]);
        command.arg(&self.root).args(arguments);
        command
    }

    /// Runs [`Self::cudashim`].
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Process {
        Process::of(&mut self.cudashim(arguments))
    }

    /// Runs [`Self::rooted`].
    pub(crate) fn run_rooted<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Process {
        Process::of(&mut self.rooted(arguments))
    }

    /// `run` with these options: the environment's interpreter loads what its torch loads first.
    pub(crate) fn load(&self, options: &[&str], venv: &Venv) -> Command {
        let mut command = self.cudashim(["run"]);
        command.args(options).arg("--").arg(venv.python()).arg("--load").arg(venv.torch_deps());
        command
    }

    /// Runs a command, and gives what it printed with the machine's directory as `[R]`.
    pub(crate) fn ran(&self, command: &mut Command) -> Process {
        let Process { code, out, err } = Process::lossy(command);
        Process { code, out: self.hidden(&out), err: self.hidden(&err) }
    }
}

/// As a sentence: a machine with this and that, and what cudashim finds on it.
impl Machine {
    /// With a file.
    pub(crate) fn file(self, path: &str, text: &str) -> Self {
        self.write(path, text);
        self
    }

    /// With a symbolic link.
    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        symlink(target, self.place(path)).unwrap();
        self
    }

    /// With an empty file of these rights.
    pub(crate) fn node(self, path: &str, mode: u32) -> Self {
        self.write(path, "");
        self.mode(path, mode);
        self
    }

    /// Without a file, or a whole directory.
    pub(crate) fn without(self, path: &str) -> Self {
        let path = self.path(path);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
        self
    }

    /// With a library.
    pub(crate) fn with(self, path: &str, library: &Lib) -> Self {
        library.build(&self.path(path));
        self
    }

    /// With a variable.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// With a driver that gives this answer.
    pub(crate) fn answers(mut self, devices: Devices) -> Self {
        self.devices = devices;
        self
    }

    /// With an environment at `/venv` that has this torch.
    pub(crate) fn torch(self, version: &str, cuda: &str) -> Self {
        self.venv("venv").torch(version, Some(cuda), &[], &[]);
        self
    }

    /// With an environment at `/venv` that this is done to.
    pub(crate) fn environment(self, with: impl FnOnce(&Venv)) -> Self {
        with(&self.venv("venv"));
        self
    }

    /// With the C library of the tester's machine: what is loaded finds it, as on a machine that people use.
    pub(crate) fn glibc(self) -> Self {
        let arch = if cfg!(target_arch = "aarch64") { "aarch64" } else { "x86_64" };
        let interpreter = if arch == "aarch64" { "lib/ld-linux-aarch64.so.1" } else { "lib64/ld-linux-x86-64.so.2" };
        let dir = format!("usr/lib/{arch}-linux-gnu");
        let here = |name: &str| {
            let dirs = [format!("/lib/{arch}-linux-gnu"), "/lib64".into(), "/usr/lib64".into(), "/usr/lib".into()];
            dirs.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.is_file())
        };
        let files =
            ["libc.so.6", "libdl.so.2"].into_iter().filter_map(|name| Some((format!("{dir}/{name}"), here(name)?)));
        for (to, from) in files.chain([(interpreter.to_owned(), format!("/{interpreter}").into())]) {
            fs::copy(from, self.place(&to)).unwrap();
        }
        self
    }

    /// It, as the library sees it.
    pub(crate) fn host(&self) -> Host {
        Host::new(self.root.clone(), self.env.clone(), "/".into())
    }

    /// The same with these variables, in this working directory.
    pub(crate) fn host_with(&self, env: &[(&str, &str)], cwd: &str) -> Host {
        let env = env.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Host::new(self.root.clone(), env.collect(), cwd.into())
    }

    /// It, looked at for its environment.
    pub(crate) fn judged(&self) -> cudashim::Machine {
        let python = self.path("venv").is_dir().then(|| "/venv".into());
        let machine = cudashim::Machine::new(self.host(), Request { python, ..Request::default() });
        machine.with_devices(self.devices.clone()).answered().unwrap().as_it_is()
    }

    fn examined(&self, text: Option<&str>) -> Report {
        examine(&self.judged(), text.map(|text| recognise(text.as_bytes())))
    }

    /// What doctor finds.
    pub(crate) fn report(&self) -> Report {
        self.examined(None)
    }

    /// What doctor makes of an error text.
    pub(crate) fn explain(&self, text: &str) -> Report {
        self.examined(Some(text))
    }

    /// The ids of what doctor finds, worst first.
    pub(crate) fn ids(&self) -> Vec<(&'static str, Severity)> {
        self.report().findings.iter().map(|finding| (finding.id, finding.severity)).collect()
    }

    /// The finding that comes first.
    pub(crate) fn first(&self) -> Finding {
        let report = self.report();
        report.findings.first().cloned().unwrap_or_else(|| panic!("nothing is found: {:?}", report.machine))
    }

    /// Nothing is found that is wrong.
    pub(crate) fn is_healthy(&self) {
        let wrong: Vec<_> = self.ids().into_iter().filter(|(_, severity)| *severity != Severity::Fact).collect();
        assert_eq!(wrong, [], "{:#?}", self.report().findings);
    }
}
