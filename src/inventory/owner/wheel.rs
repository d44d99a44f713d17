//! Wheels: the `RECORD`s of one site directory.

use super::{Owner, Package};
use crate::host::Host;
use crate::python::{Distribution, distributions, normalized};
use crate::tables::{families, parse_library_name};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// An entry of a wheel's record.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    name: String,
    version: String,
    pub(super) size: Option<u64>,
    pub(super) sha256: Option<[u8; 32]>,
    /// Whether it is a wheel of an NVIDIA library, not of a project that bundles one.
    own: bool,
}

impl Claim {
    pub(super) fn package(&self) -> Package {
        Package { name: self.name.clone(), version: self.version.clone() }
    }
}

/// The records of a site directory, by path relative to it.
#[derive(Debug, Default)]
pub(super) struct Site {
    claims: BTreeMap<PathBuf, Vec<Claim>>,
    /// The distributions with unread records, read only for files that no other record lists.
    others: Vec<Distribution>,
}

impl Site {
    /// Reads the records of the wheels that hold NVIDIA libraries; those of some others list thousands of headers.
    pub(super) fn read(host: &Host, site: &Path) -> Self {
        let mut read = Self::default();
        for distribution in distributions(host, site) {
            if families().iter().any(|row| row.is_wheel(&distribution.name)) {
                read.add(host, &distribution, true);
            } else {
                read.others.push(distribution);
            }
        }
        read
    }

    pub(super) fn owner(&mut self, host: &Host, root: &Path, path: &Path, size: u64) -> Option<Owner> {
        decide(self.claims(host, root, path), size)
    }

    /// The wheels that list a path below the site directory `root`.
    pub(super) fn claims(&mut self, host: &Host, root: &Path, path: &Path) -> &[Claim] {
        let Ok(relative) = path.strip_prefix(root) else { return &[] };
        if !self.claims.contains_key(relative) {
            self.read_others(host, relative);
        }
        self.claims.get(relative).map_or(&[], Vec::as_slice)
    }

    /// Reads the records of the distributions named like the directory: `torch` for `torch/lib`,
    /// `ctranslate2` for `ctranslate2.libs`, `cupy-cuda12x` for `cupy/.data`.
    fn read_others(&mut self, host: &Host, relative: &Path) {
        let Some(top) = relative.iter().next().and_then(OsStr::to_str) else { return };
        let top = normalized(top.strip_suffix(".libs").unwrap_or(top));
        let first = top.split('-').next().unwrap_or_default();
        let called = |name: &str| name == first || name.strip_prefix(first).is_some_and(|rest| rest.starts_with('-'));
        let (candidates, others): (Vec<_>, Vec<_>) = self.others.drain(..).partition(|other| called(&other.name));
        self.others = others;
        for distribution in candidates {
            self.add(host, &distribution, false);
        }
    }

    fn add(&mut self, host: &Host, distribution: &Distribution, own: bool) {
        for recorded in distribution.record(host) {
            if recorded.path.file_name().is_some_and(|name| parse_library_name(name).is_some()) {
                let claim = Claim {
                    name: distribution.name.clone(),
                    version: distribution.version.clone(),
                    size: recorded.size,
                    sha256: recorded.sha256.as_deref().and_then(from_base64),
                    own,
                };
                self.claims.entry(recorded.path).or_default().push(claim);
            }
        }
    }
}

/// The last writer of a path that two wheels list: the one with the file's size in its record.
fn decide(claims: &[Claim], size: u64) -> Option<Owner> {
    let owner = claims.iter().find(|claim| claim.size == Some(size)).or_else(|| claims.first())?;
    if !owner.own {
        return Some(Owner::Bundle(owner.package()));
    }
    // Equal digests: nothing was overwritten.
    let differs = |claim: &&Claim| {
        (&claim.name, &claim.version) != (&owner.name, &owner.version)
            && (claim.sha256.is_none() || claim.sha256 != owner.sha256)
    };
    let rivals = || claims.iter().filter(differs);
    let twin = rivals().find(|claim| claim.size == Some(size) && owner.size == claim.size);
    let rival = twin.or_else(|| rivals().next()).map(Claim::package);
    let Package { name, version } = owner.package();
    Some(Owner::Wheel { name, version, rival, alike: twin.is_some(), size: owner.size })
}

/// A digest in URL-safe base64 without padding (RFC 4648, §5), as in `RECORD`.
fn from_base64(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let read = Base64UrlUnpadded::decode(text, &mut bytes).ok()?.len();
    (read == bytes.len()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    fn claim(name: &str, size: u64, sha256: Option<u8>) -> Claim {
        let sha256 = sha256.map(|byte| [byte; 32]);
        Claim { name: name.into(), version: "1".into(), size: Some(size), sha256, own: true }
    }

    fn rival(claims: &[Claim], size: u64) -> (String, Option<String>) {
        let Some(Owner::Wheel { name, rival, alike, .. }) = decide(claims, size) else { panic!("no wheel") };
        let twins = claims.iter().filter(|claim| claim.size == Some(size)).count() > 1;
        assert_eq!(alike, twins && rival.is_some());
        (name, rival.map(|rival| rival.name))
    }

    #[test]
    fn size_tells_the_last_writer() {
        let both = [claim("a", 1, Some(1)), claim("b", 2, Some(2))];
        assert_eq!(rival(&both, 1), ("a".into(), Some("b".into())));
        assert_eq!(rival(&both, 2), ("b".into(), Some("a".into())));
        assert_eq!(rival(&both, 3), ("a".into(), Some("b".into())));
    }

    #[test]
    fn of_twins_the_size_tells_nothing() {
        let three = [claim("a", 1, Some(1)), claim("b", 2, Some(2)), claim("c", 1, Some(3))];
        assert_eq!(rival(&three, 1), ("a".into(), Some("c".into())));
        assert_eq!(rival(&three, 2), ("b".into(), Some("a".into())));
    }

    #[test]
    fn the_same_bytes_overwrite_nothing() {
        assert_eq!(rival(&[claim("a", 1, Some(1)), claim("b", 1, Some(1))], 1), ("a".into(), None));
        // No digest, no proof.
        assert_eq!(rival(&[claim("a", 1, None), claim("b", 1, None)], 1), ("a".into(), Some("b".into())));
    }

    #[test]
    fn digests_as_pip_writes_them() {
        let digest: [u8; 32] = Sha256::digest(b"hello").into();
        assert_eq!(from_base64("LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ"), Some(digest));
        for wrong in ["", "LPJNul", "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ"] {
            assert_eq!(from_base64(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text: String) {
            let _ = from_base64(&text);
        }
    }
}
