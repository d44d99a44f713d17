//! A machine of a few files, for parsers that are reached through the files they read.

use cudashim::Host;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tempfile::TempDir;

/// A root directory; in memory where there is such a file system.
pub(crate) struct Machine(TempDir);

impl Machine {
    /// These files, in this order; parts of `bytes` that NULs separate, for instance.
    pub(crate) fn with(files: &[(&str, &[u8])]) -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
        let machine = Self(dir.expect("a directory of our own"));
        for (path, bytes) in files {
            let path = machine.0.path().join(path);
            std::fs::create_dir_all(path.parent().expect("below the root")).expect("a directory of our own");
            std::fs::write(&path, bytes).expect("a file of our own");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a file of our own");
        }
        machine
    }

    /// Looked at for the first time, with `/bin` on PATH.
    pub(crate) fn host(&self) -> Host {
        Host::new(self.0.path().to_owned(), BTreeMap::from([("PATH".into(), "/bin".into())]), "/".into())
    }
}

/// The first `N` parts of `bytes` that NULs separate; the last has the rest.
pub(crate) fn parts<const N: usize>(bytes: &[u8]) -> [&[u8]; N] {
    let mut rest = bytes.splitn(N, |byte| *byte == 0);
    [(); N].map(|()| rest.next().unwrap_or_default())
}
