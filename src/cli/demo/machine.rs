//! The machine of the demo: a virtual environment with torch 2.5.1+cu124, and an older CUDA toolkit beside it.
//!
//! Takes the objects that the build made from `demo/`; gives a temporary directory laid out as pip and NVIDIA's
//! installer lay out theirs, and the [`Host`] of a shell in which both are active. Changes no file of the user; the
//! directory is removed with the value.

use super::DemoError;
use crate::host::Host;
use rustix::fs::StatVfsMountFlags;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The toolkit's library directory, relative to the demo's.
const TOOLKIT: &str = "cuda-12.1/lib64";
/// The directory that pip installed into, relative to the demo's.
const SITE: &str = "venv/lib/python3.12/site-packages";

macro_rules! built {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/demo/", $name))
    };
}

/// The stand-in for the interpreter; empty where the build has no demo for its target.
const PYTHON: &[u8] = built!("python");

/// The objects below site-packages. That of torch's extension module follows: its name holds the architecture.
const INSTALLED: [(&str, &[u8]); 4] = [
    ("torch/lib/libtorch_global_deps.so", built!("libtorch_global_deps.so")),
    ("torch/lib/libtorch_python.so", built!("libtorch_python.so")),
    ("nvidia/cusparse/lib/libcusparse.so.12", built!("libcusparse.so.12")),
    ("nvidia/nvjitlink/lib/libnvJitLink.so.12", built!("libnvJitLink.so.12.4")),
];
const EXTENSION: &[u8] = built!("torch_extension.so");
const OLD_NVJITLINK: &[u8] = built!("libnvJitLink.so.12.1");

/// The wheels of NVIDIA's that torch 2.5.1 pins and the demo holds: package, release, library.
const WHEELS: [(&str, &str, &str); 2] = [
    ("nvidia-cusparse-cu12", "12.3.1.170", "nvidia/cusparse/lib/libcusparse.so.12"),
    ("nvidia-nvjitlink-cu12", "12.4.127", "nvidia/nvjitlink/lib/libnvJitLink.so.12"),
];

const VERSION_PY: &str = "__version__ = '2.5.1+cu124'\ndebug = False\ncuda = '12.4'\nhip = None\n";
const PYVENV_CFG: &str = "home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.12.7\n";

/// The machine on disk.
pub(super) struct Machine {
    /// The directory, without symbolic links, as ld.so prints it.
    dir: PathBuf,
    /// Removes the directory when dropped.
    kept: TempDir,
}

impl Machine {
    /// Writes the machine into a new directory below `$TMPDIR`.
    pub(super) fn new() -> Result<Self, DemoError> {
        if PYTHON.is_empty() {
            return Err(DemoError::Unsupported);
        }
        let below = std::env::temp_dir();
        let failed = |source| DemoError::Write { path: below.clone(), source };
        let kept = tempfile::Builder::new()
            .prefix("cudashim-demo-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .map_err(failed)?;
        let dir = fs::canonicalize(kept.path()).map_err(failed)?;
        let mount = rustix::fs::statvfs(&dir).map_err(|error| failed(error.into()))?;
        if mount.f_flag.contains(StatVfsMountFlags::NOEXEC) {
            return Err(DemoError::NoExec { path: below });
        }
        // ld.so splits LD_LIBRARY_PATH at colons and semicolons, LD_PRELOAD at colons and spaces, and expands `$` in
        // both (ld.so(8)).
        if let Some(byte) = dir.as_os_str().as_bytes().iter().find(|byte| b" :;$".contains(byte)) {
            return Err(DemoError::Unspeakable { path: below, character: char::from(*byte) });
        }
        let machine = Self { dir, kept };
        machine.write()?;
        Ok(machine)
    }

    /// Its directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory that pip installed into.
    pub(super) fn site(&self) -> PathBuf {
        self.dir.join(SITE)
    }

    /// A shell with the environment active and `LD_LIBRARY_PATH` set to the toolkit. Of the user's variables, only
    /// those are kept that do not affect library search: the demo is the same in every shell.
    pub(super) fn host(&self) -> Host {
        let mut env: BTreeMap<OsString, OsString> = BTreeMap::new();
        if let Some(home) = std::env::var_os("HOME") {
            env.insert("HOME".into(), home);
        }
        let mut path = self.dir.join("venv/bin").into_os_string();
        if let Some(outer) = std::env::var_os("PATH") {
            path.push(":");
            path.push(outer);
        }
        env.insert("PATH".into(), path);
        env.insert("VIRTUAL_ENV".into(), self.dir.join("venv").into());
        env.insert("LD_LIBRARY_PATH".into(), self.dir.join(TOOLKIT).into());
        env.insert("CUDASHIM_CACHE".into(), self.dir.join("cache").into());
        Host::new("/".into(), env, self.dir.clone())
    }

    /// Removes the directory.
    pub(super) fn remove(self) -> Result<(), DemoError> {
        let Self { dir, kept } = self;
        kept.close().map_err(|source| DemoError::Remove { path: dir, source })
    }

    fn write(&self) -> Result<(), DemoError> {
        let site = Path::new(SITE);
        self.put("venv/pyvenv.cfg", PYVENV_CFG.as_bytes(), 0o644)?;
        self.put("venv/bin/python", PYTHON, 0o755)?;
        let python3 = self.dir.join("venv/bin/python3");
        symlink("python", &python3).map_err(|source| DemoError::Write { path: python3, source })?;
        for (path, object) in INSTALLED {
            self.put(site.join(path), object, 0o755)?;
        }
        let extension = format!("torch/_C.cpython-312-{}-linux-gnu.so", std::env::consts::ARCH);
        self.put(site.join(extension), EXTENSION, 0o755)?;
        self.put(site.join("torch/__init__.py"), b"from torch._C import *\n", 0o644)?;
        self.put(site.join("torch/version.py"), VERSION_PY.as_bytes(), 0o644)?;
        let mut metadata = "Metadata-Version: 2.1\nName: torch\nVersion: 2.5.1\n".to_owned();
        for (package, release, library) in WHEELS {
            metadata.extend(["Requires-Dist: ", package, "==", release, "\n"]);
            let bytes = INSTALLED.iter().find(|(path, _)| *path == library).map_or(0, |(_, object)| object.len());
            let info = format!("{}-{release}.dist-info", package.replace('-', "_"));
            let own = format!("Metadata-Version: 2.1\nName: {package}\nVersion: {release}\n");
            self.put(site.join(&info).join("METADATA"), own.as_bytes(), 0o644)?;
            let record = format!("{library},,{bytes}\n{info}/METADATA,,{}\n{info}/RECORD,,\n", own.len());
            self.put(site.join(&info).join("RECORD"), record.as_bytes(), 0o644)?;
        }
        self.put(site.join("torch-2.5.1.dist-info/METADATA"), metadata.as_bytes(), 0o644)?;
        self.put(Path::new(TOOLKIT).join("libnvJitLink.so.12"), OLD_NVJITLINK, 0o755)
    }

    fn put(&self, path: impl AsRef<Path>, bytes: &[u8], mode: u32) -> Result<(), DemoError> {
        let path = self.dir.join(path);
        let write = || {
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            fs::write(&path, bytes)?;
            fs::set_permissions(&path, Permissions::from_mode(mode))
        };
        write().map_err(|source| DemoError::Write { path: path.clone(), source })
    }
}
