//! The kernel module of the driver, and the forward-compatibility package: the only driver libraries that need not be
//! of the module's version.

use super::Library;
use super::flags::ForwardCompatibility;
use crate::host::Host;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;
use std::time::Duration;

/// A module that takes longer hangs.
const TIME: Duration = Duration::from_secs(1);

/// Which of NVIDIA's two kernel modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Flavour {
    /// The module as NVIDIA has always shipped it.
    Proprietary,
    /// The open module, of Turing and later GPUs.
    Open,
}

/// The result of reading `/proc/driver/nvidia/version`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Proc {
    /// It holds a version.
    #[serde(rename = "told")]
    Reported,
    /// It does not exist.
    #[default]
    Absent,
    /// `/proc` itself is not mounted.
    NotMounted,
    /// It could not be read or parsed.
    Unreadable,
    /// The read timed out.
    Hangs,
}

/// The kernel module `nvidia`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct KernelModule {
    /// Whether it is loaded.
    pub loaded: bool,
    /// Its version.
    pub version: Option<String>,
    /// Which of the two.
    pub flavour: Option<Flavour>,
    /// Whether `nvidia_uvm`, without which CUDA does not start, is loaded.
    pub uvm: bool,
    /// The state of its file in `/proc`.
    pub proc: Proc,
}

impl KernelModule {
    /// Reads the state of the loaded module.
    #[must_use]
    pub fn look(host: &Host) -> Self {
        let sys = Path::new("/sys/module/nvidia");
        let text = proc_version(host);
        let parsed = text.as_deref().ok().and_then(parse);
        let proc = match &text {
            Ok(_) if parsed.is_some() => Proc::Reported,
            Ok(_) => Proc::Unreadable,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Proc::Hangs,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if host.stat(Path::new("/proc/self")).is_ok() || host.stat(Path::new("/proc/version")).is_ok() {
                    Proc::Absent
                } else {
                    Proc::NotMounted
                }
            }
            Err(_) => Proc::Unreadable,
        };
        // The taint of a proprietary module is `P`, that of the open one, from outside the kernel's tree, `O`.
        let taint = || match host.read_text(&sys.join("taint")).ok()?.trim() {
            taint if taint.contains('P') => Some(Flavour::Proprietary),
            taint if taint.contains('O') => Some(Flavour::Open),
            _ => None,
        };
        Self {
            loaded: host.is_dir(sys) || parsed.is_some() || proc == Proc::Hangs,
            version: sys_version(host).or_else(|| parsed.as_ref().map(|(version, _)| version.clone())),
            flavour: parsed.map(|(_, flavour)| flavour).or_else(taint),
            uvm: host.is_dir(Path::new("/sys/module/nvidia_uvm")),
            proc,
        }
    }
}

/// The version of the loaded kernel module (`/sys/module/nvidia/version`, else `/proc/driver/nvidia/version`).
pub(crate) fn kernel_version(host: &Host) -> Option<String> {
    sys_version(host).or_else(|| parse(&proc_version(host).ok()?).map(|(version, _)| version))
}

fn sys_version(host: &Host) -> Option<String> {
    let text = host.read_text(Path::new("/sys/module/nvidia/version")).ok()?;
    Some(text.trim().to_owned()).filter(|version| !version.is_empty())
}

fn proc_version(host: &Host) -> io::Result<String> {
    host.read_text_within(Path::new("/proc/driver/nvidia/version"), TIME)
}

/// The line that the module prints (`nv-procfs.c`):
///
/// ```text
/// NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024
/// NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.124.06  Release Build  (builder@host)  Wed Feb 26 …
/// ```
fn parse(text: &str) -> Option<(String, Flavour)> {
    let line = text.lines().find(|line| line.contains("Kernel Module"))?;
    let is_version = |word: &&str| word.contains('.') && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let version = line.split_whitespace().find(is_version)?;
    let flavour = if line.contains("Open Kernel Module") { Flavour::Open } else { Flavour::Proprietary };
    Some((version.to_owned(), flavour))
}

/// The note of a driver library of the forward-compatibility package; a default where only its directory identifies it.
/// Such a library is newer than the kernel module by design.
pub(crate) fn forward_compatibility(library: &Library) -> Option<ForwardCompatibility> {
    if !library.row.is_driver() {
        return None;
    }
    let note = library.object.as_ref().and_then(|object| {
        let elf = object.elf().ok()?;
        serde_json::from_slice(elf.forward_compatibility()?).ok()
    });
    let directory = || {
        let named = |part: &std::ffi::OsStr| {
            // `/usr/local/cuda-13.0/compat`, conda's `cuda-compat`, `compat-orin` of Jetson.
            part == "compat" || part == "cuda-compat" || part.as_encoded_bytes().starts_with(b"compat-")
        };
        library.place.dir.iter().any(named).then(ForwardCompatibility::default)
    };
    note.or_else(directory)
}

/// The branch of the loaded kernel module: 550 of 550.54.15.
#[must_use]
pub fn kernel_branch(host: &Host) -> Option<u32> {
    kernel_version(host)?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const PROPRIETARY: &str = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version: 12.2.0\n";
    const OPEN: &str = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.124.06  Release Build  (dvs-builder@U16-I1-N07-12-3)  Wed Feb 26 02:12:17 UTC 2025\nGCC version:  gcc version 13.3.0\n";

    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn put(self, path: &str, text: &str) -> Self {
            let path = self.0.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
            self
        }

        fn host(&self) -> Host {
            Host::new(self.0.path().to_owned(), BTreeMap::new(), "/".into())
        }
    }

    #[test]
    fn two_sources() {
        let machine = Machine::new();
        assert_eq!(kernel_version(&machine.host()), None);
        assert_eq!(KernelModule::look(&machine.host()), KernelModule { proc: Proc::NotMounted, ..Default::default() });
        let machine = machine.put("proc/driver/nvidia/version", PROPRIETARY);
        assert_eq!(kernel_version(&machine.host()).as_deref(), Some("550.54.15"));
        assert_eq!(kernel_branch(&machine.host()), Some(550));
        let module = KernelModule::look(&machine.host());
        assert!(module.loaded && !module.uvm);
        assert_eq!((module.flavour, module.proc), (Some(Flavour::Proprietary), Proc::Reported));
        let machine = machine.put("sys/module/nvidia/version", "560.35.03\n");
        assert_eq!(kernel_version(&machine.host()).as_deref(), Some("560.35.03"));
        assert_eq!(KernelModule::look(&machine.host()).version.as_deref(), Some("560.35.03"));
    }

    #[test]
    fn the_open_module_says_so() {
        assert_eq!(parse(OPEN), Some(("570.124.06".to_owned(), Flavour::Open)));
        assert_eq!(parse("NVRM version: nothing\n"), None);
        let module = KernelModule::look(&Machine::new().put("proc/driver/nvidia/version", OPEN).host());
        assert_eq!((module.version.as_deref(), module.flavour), (Some("570.124.06"), Some(Flavour::Open)));
    }

    #[test]
    fn without_proc_the_taint_tells_the_flavour() {
        let look = |taint: &str| {
            let machine = Machine::new().put("sys/module/nvidia/version", "580.95.05\n");
            KernelModule::look(&machine.put("sys/module/nvidia/taint", taint).host())
        };
        assert_eq!(look("POE\n").flavour, Some(Flavour::Proprietary));
        assert_eq!(look("OE\n").flavour, Some(Flavour::Open));
        assert_eq!((look("\n").flavour, look("\n").proc), (None, Proc::NotMounted));
        assert!(look("").loaded);
    }

    #[test]
    fn nonsense_in_proc_is_told() {
        let machine = Machine::new().put("proc/version", "Linux\n");
        assert_eq!(KernelModule::look(&machine.host()).proc, Proc::Absent);
        let module = KernelModule::look(&machine.put("proc/driver/nvidia/version", "\u{fffd}\n").host());
        assert_eq!((module.loaded, module.version, module.proc), (false, None, Proc::Unreadable));
    }
}
