//! `enable`, `disable` and `status`, with a real Python around small libraries.
#![cfg(has_python3)]

use crate::support::*;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

mod files;
mod hook;
mod parts;
mod restart;

/// What the tester's Python is: its file, its version, the directory it stands in.
fn python() -> &'static (PathBuf, String, PathBuf) {
    static FOUND: OnceLock<(PathBuf, String, PathBuf)> = OnceLock::new();
    FOUND.get_or_init(|| {
        let code = "import os, sys; print(os.path.realpath(sys.executable)); print('%d.%d' % sys.version_info[:2])";
        let said = Command::new("python3").args(["-I", "-S", "-c", code]).output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        let (file, version) = said.trim().split_once('\n').unwrap();
        let file = PathBuf::from(file);
        let home = file.parent().unwrap().to_owned();
        (file, version.to_owned(), home)
    })
}

/// A virtual environment of the tester's Python, with nothing in it.
fn environment(world: &Machine, name: &str) -> Venv {
    let (file, version, home) = python();
    let dir = world.path(name);
    let site = dir.join(format!("lib/python{version}/site-packages"));
    fs::create_dir_all(&site).unwrap();
    fs::create_dir_all(dir.join("bin")).unwrap();
    fs::write(dir.join("pyvenv.cfg"), format!("home = {}\nversion = {version}.0\n", home.display())).unwrap();
    symlink(file, dir.join("bin/python")).unwrap();
    Venv { dir, site }
}

/// What `import torch` does: it opens its library by path.
const IMPORT: &str = "import ctypes, os\n\
    ctypes.CDLL(os.path.join(os.path.dirname(__file__), 'lib', 'libtorch_global_deps.so'))\n";

/// An environment with torch and all it needs.
fn with_torch(world: &Machine, name: &str) -> Venv {
    let venv = environment(world, name);
    torch(&venv);
    fs::write(venv.site.join("torch/__init__.py"), IMPORT).unwrap();
    venv.wheel("nvidia-cublas-cu12", "12.4.5.8", &cublas());
    venv.wheel("nvidia-cudnn-cu12", "9.1.0.70", &whole_cudnn());
    venv
}

/// A copy of libcublasLt that lacks what cuBLAS takes from it, in a directory for `LD_LIBRARY_PATH`.
fn hijack(world: &Machine) -> PathBuf {
    let dir = world.path("opt/old");
    Lib::new("libcublasLt.so.12").defines(&["cublasLtOther"]).build(&dir.join("libcublasLt.so.12"));
    dir
}

/// The environment's Python on this machine, under a search path that breaks torch.
fn start(world: &Machine, venv: &Venv) -> Command {
    let mut command = Command::new(venv.python());
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", world.path("home"))
        .env("CUDASHIM_CACHE", world.path("cache"))
        .env("LD_LIBRARY_PATH", hijack(world))
        .current_dir(world.root());
    command
}

fn enabled(world: &Machine, venv: &Venv) {
    let seen = Process::of(&mut world.cudashim(["-q".as_ref(), "enable".as_ref(), venv.dir.as_os_str()]));
    assert_eq!((seen.code, seen.out.as_str(), seen.err.as_str()), (Some(0), "", ""));
}

/// Copies a program, by a child: what this process has open for writing while another test starts a program could not be
/// executed (ETXTBSY).
fn copied(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("--remove-destination").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

/// Every file below a directory with its bytes, every link with its target, and every directory.
fn tree(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut queue = vec![dir.to_owned()];
    while let Some(next) = queue.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let bytes = if meta.is_dir() {
                queue.push(path.clone());
                Vec::new()
            } else if meta.is_symlink() {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else {
                fs::read(&path).unwrap()
            };
            all.insert(path, bytes);
        }
    }
    all
}
