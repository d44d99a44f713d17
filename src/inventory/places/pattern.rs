//! Directories by pattern, at known depths: `Linux_*/*/cuda/*/lib64`.
//!
//! Takes a directory and a relative pattern; gives the directories that exist, sorted. `*` as in glob(7)
//! matches anything but a leading dot. Lists one directory per component with a star,
//! and nothing below it.

use super::{Place, Provenance, subdirectories_named};
use crate::host::Host;
use crate::tables::wildcard;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The directories below `base` that match `pattern`.
pub(super) fn expand(host: &Host, base: &Path, pattern: &str) -> Vec<PathBuf> {
    let mut dirs = vec![base.to_owned()];
    let mut proven = false;
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        proven = part.contains('*');
        if proven {
            let matches = |name: &OsStr| matches(part.as_bytes(), name.as_bytes());
            dirs = dirs.iter().flat_map(|dir| subdirectories_named(host, dir, matches)).collect();
        } else {
            for dir in &mut dirs {
                dir.push(part);
            }
        }
    }
    if !proven {
        dirs.retain(|dir| host.is_dir(dir));
    }
    dirs
}

fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let hidden = name.starts_with(b".") && !pattern.starts_with(b".");
    !hidden && wildcard(pattern, name)
}

/// The places that match patterns below the root of an installation.
pub(super) fn below(host: &Host, root: &Path, patterns: &[&str], provenance: Provenance) -> Vec<Place> {
    let dirs = patterns.iter().flat_map(|pattern| expand(host, root, pattern));
    dirs.map(|dir| Place::new(dir, provenance, root)).collect()
}

/// The same for every root that matches patterns from `/`.
pub(super) fn everywhere(host: &Host, roots: &[&str], patterns: &[&str], provenance: Provenance) -> Vec<Place> {
    let roots = roots.iter().flat_map(|root| expand(host, Path::new("/"), root));
    roots.flat_map(|root| below(host, &root, patterns, provenance)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::Machine;
    use super::*;

    #[test]
    fn a_star_is_one_component_and_skips_the_hidden() {
        let machine = Machine::with(&["a/x1/lib", "a/x2/lib", "a/.x3/lib", "a/y/lib", "a/x4"])
            .file("a/x5", "a file")
            .link("a/x6", "y");
        let host = machine.host();
        let expand = |pattern| {
            let dirs = expand(&host, Path::new("/"), pattern);
            dirs.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(expand("a/x*/lib"), ["/a/x1/lib", "/a/x2/lib", "/a/x6/lib"]);
        assert_eq!(expand("/a/*/lib"), ["/a/x1/lib", "/a/x2/lib", "/a/x6/lib", "/a/y/lib"]);
        assert_eq!(expand("a/.*"), ["/a/.x3"]);
        assert_eq!(expand("a/x*"), ["/a/x1", "/a/x2", "/a/x4", "/a/x6"]);
        assert_eq!(expand("a/x1*1"), [""; 0]);
        assert_eq!(expand("a/y"), ["/a/y"]);
        assert_eq!(expand("a/z"), [""; 0]);
        assert_eq!(expand("a/x5"), [""; 0]);
        assert_eq!(expand(""), ["/"]);
    }

    #[test]
    fn stars_share_a_name() {
        for (pattern, name, fits) in [
            ("*cuda*", "llama-cuda12-v1", true),
            ("*cuda*", "cuda", true),
            ("*cuda*", "llama", false),
            ("a*b*b", "abb", true),
            ("a*b*b", "ab", false),
            ("ab*ba", "aba", false),
            ("*", ".hidden", false),
            (".*", ".hidden", true),
            ("plain", "plainer", false),
            ("plain", "plain", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn the_root_is_the_installation() {
        let machine = Machine::with(&["opt/t-1/targets/x/lib", "opt/t-1/lib"]);
        let host = machine.host();
        let places = everywhere(&host, &["opt/t-*"], &["lib", "lib64", "targets/*/lib"], Provenance::TensorRt);
        let expected = ["/opt/t-1/lib", "/opt/t-1/targets/x/lib"];
        assert_eq!(places, expected.map(|dir| Place::new(dir, Provenance::TensorRt, Path::new("/opt/t-1"))));
    }
}
