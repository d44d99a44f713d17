//! The directory tree that a file was installed with.
//!
//! Takes a program or a library; decides whether a copy belongs to it though no run path finds it, as in an
//! application whose start script sets `LD_LIBRARY_PATH`. Shared trees belong to no file: `/usr`, a home directory, an
//! environment.

use crate::host::Host;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The subdirectories of an application.
const PARTS: [&str; 6] = ["bin", "lib", "lib64", "libexec", "plugins", "sbin"];

/// Directories that hold unrelated trees.
const SHARED: [&str; 8] = ["/", "/home", "/opt", "/root", "/tmp", "/usr", "/usr/local", "/var/tmp"];

/// The tree of `file`: its directory, or the parent of such a subdirectory. `None` in a shared directory.
fn tree(host: &Host, file: &Path) -> Option<PathBuf> {
    let real = host.canonical(file).ok()?;
    let mut dir = real.parent()?;
    let is =
        |dir: &Path, names: &[&str]| dir.file_name().and_then(OsStr::to_str).is_some_and(|dir| names.contains(&dir));
    while is(dir, &PARTS) {
        dir = dir.parent()?;
    }
    let home = host.env("HOME").and_then(|home| host.canonical(Path::new(home)).ok());
    let shared = SHARED.iter().any(|shared| dir == Path::new(shared)) || home.as_deref() == Some(dir);
    let environment = host.is_file(&dir.join("pyvenv.cfg")) || host.is_dir(&dir.join("conda-meta"));
    let packages = is(dir, &["site-packages", "dist-packages"]);
    (!shared && !environment && !packages).then(|| dir.to_owned())
}

/// Whether the copy at `path` is in the tree of one of the files.
pub(crate) fn is_own(host: &Host, files: &[&Path], path: &Path) -> bool {
    let Ok(real) = host.canonical(path) else { return false };
    files.iter().filter_map(|file| tree(host, file)).any(|tree| real.starts_with(tree))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn an_application_has_a_tree_and_shared_directories_have_none() {
        let dir = tempfile::tempdir().unwrap();
        for file in [
            "opt/app/bin/app",
            "opt/app/lib/plugins/p.so",
            "opt/app/cuda/libcudart.so.12",
            "usr/bin/app",
            "usr/lib/libcudart.so.12",
            "home/me/a.out",
            "home/me/cuda/libcudart.so.12",
            "venv/bin/tool",
            "venv/pyvenv.cfg",
            "site-packages/_c.so",
            "tmp/app/_internal/x.so",
        ] {
            std::fs::create_dir_all(dir.path().join(file).parent().unwrap()).unwrap();
            std::fs::write(dir.path().join(file), "").unwrap();
        }
        let env = BTreeMap::from([("HOME".into(), "/home/me".into())]);
        let host = Host::new(dir.path().to_owned(), env, "/".into());
        let of = |file: &str| tree(&host, Path::new(file));
        assert_eq!(of("/opt/app/bin/app"), Some("/opt/app".into()));
        assert_eq!(of("/opt/app/lib/plugins/p.so"), Some("/opt/app".into()));
        assert_eq!(of("/tmp/app/_internal/x.so"), Some("/tmp/app/_internal".into()));
        for shared in ["/usr/bin/app", "/home/me/a.out", "/venv/bin/tool", "/site-packages/_c.so", "/missing"] {
            assert_eq!(of(shared), None, "{shared}");
        }
        let own = |file: &str, copy: &str| is_own(&host, &[Path::new(file)], Path::new(copy));
        assert!(own("/opt/app/bin/app", "/opt/app/cuda/libcudart.so.12"));
        assert!(
            !own("/usr/bin/app", "/usr/lib/libcudart.so.12") && !own("/home/me/a.out", "/home/me/cuda/libcudart.so.12")
        );
    }
}
