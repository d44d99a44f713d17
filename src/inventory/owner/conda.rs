//! conda: the packages in `conda-meta` of one environment.
//!
//! One JSON file per package; `files` lists its paths, `paths_data` their digests, `sha256_in_prefix` where conda wrote
//! the prefix into the file.

use super::{Package, from_hex, may_hold_ours};
use crate::host::Host;
use crate::tables::parse_library_name;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A file that a package lists.
#[derive(Debug)]
pub(super) struct File {
    pub(super) package: Package,
    pub(super) size: Option<u64>,
    pub(super) sha256: Option<[u8; 32]>,
}

/// The libraries of an environment's packages, by path relative to its prefix.
#[derive(Debug, Default)]
pub(super) struct Environment {
    files: BTreeMap<PathBuf, File>,
}

#[derive(serde::Deserialize)]
struct Meta {
    name: String,
    version: String,
    #[serde(default)]
    files: Vec<String>,
    #[serde(default)]
    paths_data: PathsData,
}

#[derive(Default, serde::Deserialize)]
struct PathsData {
    #[serde(default)]
    paths: Vec<PathData>,
}

#[derive(serde::Deserialize)]
struct PathData {
    #[serde(rename = "_path")]
    path: String,
    sha256: Option<String>,
    sha256_in_prefix: Option<String>,
    path_type: Option<String>,
    size_in_bytes: Option<u64>,
}

impl Environment {
    pub(super) fn read(host: &Host, prefix: &Path) -> Self {
        let mut environment = Self::default();
        let dir = prefix.join("conda-meta");
        for entry in host.list(&dir).unwrap_or_default() {
            let name = entry.name.to_str().and_then(|name| name.strip_suffix(".json"));
            if !name.is_some_and(may_hold_ours) {
                continue;
            }
            let Ok(bytes) = host.read(&dir.join(&entry.name)) else { continue };
            match serde_json::from_slice(&bytes) {
                Ok(meta) => environment.add(meta),
                Err(error) => log::debug!("{}: {error}", dir.join(&entry.name).display()),
            }
        }
        environment
    }

    fn add(&mut self, meta: Meta) {
        let package = Package { name: meta.name, version: meta.version };
        let listed = meta.files.into_iter().map(|path| (path, None, None));
        let with_digest = meta.paths_data.paths.into_iter().map(|data| {
            // The recorded size does not count where conda wrote the prefix into the file, or for a link.
            let own = data.sha256_in_prefix.is_none() || data.sha256_in_prefix == data.sha256;
            let size = data.size_in_bytes.filter(|_| own && data.path_type.as_deref() != Some("softlink"));
            let digest = data.sha256_in_prefix.or(data.sha256);
            (data.path, size, digest.and_then(|digest| from_hex(&digest)))
        });
        for (path, size, sha256) in listed.chain(with_digest) {
            let path = PathBuf::from(path);
            if path.file_name().is_some_and(|name| parse_library_name(name).is_some()) {
                self.files.insert(path, File { package: package.clone(), size, sha256 });
            }
        }
    }

    /// The file at `path`, or the target of a link to another file of the environment: that one has the digest.
    pub(super) fn package(&self, host: &Host, prefix: &Path, path: &Path) -> Option<&File> {
        let real = host.canonical(path).ok();
        let real_prefix = host.canonical(prefix).ok();
        let behind =
            real.as_deref().zip(real_prefix.as_deref()).and_then(|(real, prefix)| real.strip_prefix(prefix).ok());
        let named = path.strip_prefix(prefix).ok();
        behind.and_then(|path| self.files.get(path)).or_else(|| self.files.get(named?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_digests() {
        let mut environment = Environment::default();
        let meta = r#"{"name": "cuda-cudart", "version": "12.4.127", "build": "0",
            "files": ["lib/libcudart.so.12", "lib/libcudart.so.12.4.127", "include/cuda.h"],
            "paths_data": {"paths_version": 1, "paths": [{"_path": "lib/libcudart.so.12.4.127", "path_type": "hardlink",
            "sha256": "00", "sha256_in_prefix": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}]}}"#;
        environment.add(serde_json::from_str(meta).unwrap());
        assert_eq!(environment.files.len(), 2);
        let file = environment.files.get(Path::new("lib/libcudart.so.12.4.127")).unwrap();
        assert_eq!(file.package.to_string(), "cuda-cudart 12.4.127");
        assert_eq!(file.sha256.unwrap()[..2], [0x2c, 0xf2]);
    }

    #[test]
    fn names_of_packages() {
        for name in
            ["cuda-cudart-12.4.127-0", "libcublas-12.4.5.8-0", "cudatoolkit-11.8.0-h", "nccl-2.21-h", "libnpp-1"]
        {
            assert!(may_hold_ours(name), "{name}");
        }
        assert!(!may_hold_ours("numpy-1.26-py311"));
    }
}
