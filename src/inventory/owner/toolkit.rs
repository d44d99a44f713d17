//! The release of a CUDA toolkit: `version.json` since 11.1, `version.txt` before, else its directory's name.

use crate::host::Host;
use crate::tables::Version;
use std::ffi::OsStr;
use std::path::Path;

/// Whether a directory is the root of a toolkit.
pub(super) fn is_root(host: &Host, dir: &Path) -> bool {
    named(host, dir).is_some()
}

/// Whether a directory has the name that the toolkit's installer gives, `cuda-12.4`.
pub(super) fn is_named(dir: &Path) -> bool {
    let release = dir.file_name().and_then(OsStr::to_str).and_then(|name| name.strip_prefix("cuda-"));
    release.and_then(Version::parse).is_some_and(|release| release.minor().is_some())
}

pub(super) fn release(host: &Host, root: &Path) -> Option<String> {
    let from_name = || root.file_name()?.to_str()?.strip_prefix("cuda-").map(str::to_owned);
    named(host, root).or_else(from_name)
}

fn named(host: &Host, root: &Path) -> Option<String> {
    if let Ok(bytes) = host.read(&root.join("version.json")) {
        let json: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
        return json.get("cuda")?.get("version")?.as_str().map(str::to_owned);
    }
    let text = host.read_text(&root.join("version.txt")).ok()?;
    text.trim().strip_prefix("CUDA Version ").map(|version| version.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn three_sources() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for root in ["cuda-12.4", "cuda-10.2", "cuda-13.0", "other"] {
            std::fs::create_dir(at(root)).unwrap();
        }
        let json = r#"{"cuda": {"name": "CUDA SDK", "version": "12.4.1"}, "cuda_cudart": {"version": "12.4.127"}}"#;
        std::fs::write(at("cuda-12.4/version.json"), json).unwrap();
        std::fs::write(at("cuda-10.2/version.txt"), "CUDA Version 10.2.89\n").unwrap();
        std::fs::write(at("other/version.json"), r#"{"version": "1"}"#).unwrap();
        let host = Host::new(dir.path().to_owned(), BTreeMap::new(), "/".into());
        let cases = [
            ("/cuda-12.4", Some("12.4.1"), true),
            ("/cuda-10.2", Some("10.2.89"), true),
            ("/cuda-13.0", Some("13.0"), false),
        ];
        for (root, expected, is) in cases {
            assert_eq!(release(&host, Path::new(root)).as_deref(), expected);
            assert_eq!(is_root(&host, Path::new(root)), is);
        }
        assert!(!is_root(&host, Path::new("/other")));
        assert!(is_named(Path::new("/opt/cuda-13.0")));
        for other in ["/opt/cuda", "/opt/cuda-old", "/opt/cuda-13", "/"] {
            assert!(!is_named(Path::new(other)), "{other}");
        }
    }
}
