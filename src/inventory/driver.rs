//! The kernel module of the driver, which the driver's libraries must be of one version with.

use crate::host::Host;
use std::path::Path;

/// The version of the loaded kernel module (`/sys/module/nvidia/version`, else `/proc/driver/nvidia/version`).
pub(crate) fn kernel_version(host: &Host) -> Option<String> {
    if let Ok(text) = host.read_text(Path::new("/sys/module/nvidia/version")) {
        return Some(text.trim().to_owned()).filter(|version| !version.is_empty());
    }
    let text = host.read_text(Path::new("/proc/driver/nvidia/version")).ok()?;
    let line = text.lines().find(|line| line.contains("Kernel Module"))?;
    let is_version = |word: &&str| word.contains('.') && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    line.split_whitespace().find(is_version).map(str::to_owned)
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

    #[test]
    fn two_sources() {
        let dir = tempfile::tempdir().unwrap();
        let host = || Host::new(dir.path().to_owned(), BTreeMap::new(), "/".into());
        assert_eq!(kernel_version(&host()), None);
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put(
            "proc/driver/nvidia/version",
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version: 12.2.0\n",
        );
        assert_eq!(kernel_version(&host()).as_deref(), Some("550.54.15"));
        assert_eq!(kernel_branch(&host()), Some(550));
        put("sys/module/nvidia/version", "560.35.03\n");
        assert_eq!(kernel_version(&host()).as_deref(), Some("560.35.03"));
    }
}
