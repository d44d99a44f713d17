//! The directories of installed packages, and the shared objects below them.

use crate::host::{Host, Kind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Extension modules sit at most this far below a site directory.
const DEPTH: usize = 6;

/// The directory of installed packages that a path lies in.
pub(crate) fn site_of(path: &Path) -> Option<&Path> {
    let named = |dir: &&Path| dir.file_name().is_some_and(|name| name == "site-packages" || name == "dist-packages");
    path.ancestors().find(named)
}

/// The shared objects below the site directories, by name. Leaves out NVIDIA's own wheels, and packages that an
/// earlier directory overrides: those are never imported.
#[must_use]
pub fn library_files(host: &Host, sites: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (at, site) in sites.iter().enumerate() {
        let earlier = sites.get(..at).unwrap_or_default();
        let hidden = |package: &Path| {
            let init = package.strip_prefix(site).unwrap_or(package).join("__init__.py");
            earlier.iter().any(|site| host.is_file(&site.join(&init)))
        };
        // Other directories, such as the working directory, may be arbitrarily large.
        if !site.file_name().is_some_and(|name| name == "site-packages" || name == "dist-packages") {
            continue;
        }
        let mut queue = vec![(site.clone(), 0)];
        while let Some((dir, depth)) = queue.pop() {
            for entry in host.list(&dir).unwrap_or_default() {
                let name = entry.name.as_bytes();
                let path = dir.join(&entry.name);
                match entry.kind {
                    Kind::Directory if depth == 0 && hidden(&path) => {}
                    Kind::Directory if depth < DEPTH && name != b"__pycache__" && path != site.join("nvidia") => {
                        queue.push((path, depth + 1));
                    }
                    Kind::File | Kind::Link if name.ends_with(b".so") || contains(name, b".so.") => {
                        found.push(path);
                    }
                    _ => {}
                }
            }
        }
    }
    found.sort();
    found
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
