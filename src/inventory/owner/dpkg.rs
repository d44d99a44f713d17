//! dpkg: the package that lists a file, and its installed version.
//!
//! `info/NAME[:ARCH].list` holds the paths of a package, `info/NAME[:ARCH].md5sums` their digests, `status` the
//! versions (`dpkg(1)`, `deb-md5sums(5)`). Never reads diversions.

use super::{Owner, from_hex, may_hold_ours};
use crate::host::Host;
use crate::tables::parse_library_name;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const INFO: &str = "/var/lib/dpkg/info";
const STATUS: &str = "/var/lib/dpkg/status";

/// The packages that can hold NVIDIA libraries, and the libraries they hold.
#[derive(Debug, Default)]
pub(super) struct Database {
    /// By path as listed: the `NAME[:ARCH]` of the package.
    files: BTreeMap<PathBuf, String>,
    versions: BTreeMap<String, String>,
}

/// A file as its package lists it.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    package: String,
}

impl Database {
    pub(super) fn read(host: &Host) -> Self {
        let mut database = Self::default();
        for entry in host.list(Path::new(INFO)).unwrap_or_default() {
            let Some(package) = entry.name.to_str().and_then(|name| name.strip_suffix(".list")) else { continue };
            if !may_hold_ours(package) {
                continue;
            }
            let list = host.read(&Path::new(INFO).join(&entry.name)).unwrap_or_default();
            for line in list.split(|byte| *byte == b'\n') {
                let path = Path::new(OsStr::from_bytes(line));
                if path.file_name().is_some_and(|name| parse_library_name(name).is_some()) {
                    database.files.insert(path.to_owned(), package.to_owned());
                }
            }
        }
        if !database.files.is_empty() {
            // Too large for the host to read whole, or missing: the names remain.
            let status = host.read_text(Path::new(STATUS)).unwrap_or_default();
            database.versions = versions(&status);
        }
        database
    }

    /// The entry for a file without links in its path. Where `/lib` is a link to `/usr/lib`, packages may list either.
    pub(super) fn file(&self, real: &Path) -> Option<File> {
        let other = match real.strip_prefix("/usr") {
            Ok(relative) => Path::new("/").join(relative),
            Err(_) => Path::new("/usr").join(real.strip_prefix("/").ok()?),
        };
        let (path, package) = self.files.get_key_value(real).or_else(|| self.files.get_key_value(&other))?;
        Some(File { path: path.clone(), package: package.clone() })
    }

    pub(super) fn owner(&self, file: &File) -> Option<Owner> {
        let name = file.package.split(':').next()?.to_owned();
        let version = self.versions.get(&file.package).or_else(|| self.versions.get(&name)).cloned();
        Some(Owner::Dpkg { name, version })
    }
}

impl File {
    /// The digest that its package recorded.
    pub(super) fn md5(&self, host: &Host) -> Option<[u8; 16]> {
        let sums = host.read_text(&Path::new(INFO).join(format!("{}.md5sums", self.package))).ok()?;
        let relative = self.path.strip_prefix("/").ok()?.to_str()?;
        sums.lines().find_map(|line| {
            let (digest, path) = line.split_once("  ")?;
            (path == relative).then(|| from_hex(digest))?
        })
    }
}

/// The states with the files of that version on disk (dpkg(1), "Package states").
const WITH_FILES: [&str; 5] = ["installed", "unpacked", "half-configured", "triggers-awaited", "triggers-pending"];

/// The versions in a status file, by `NAME` and by `NAME:ARCH`.
fn versions(status: &str) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    for stanza in status.split("\n\n") {
        let field =
            |key: &str| stanza.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim);
        let Some(name) = field("Package").filter(|name| may_hold_ours(name)) else { continue };
        let state = field("Status").and_then(|status| status.rsplit(' ').next()).unwrap_or_default();
        let Some(version) = field("Version").filter(|_| WITH_FILES.contains(&state)) else { continue };
        if let Some(architecture) = field("Architecture") {
            versions.insert(format!("{name}:{architecture}"), version.to_owned());
        }
        versions.insert(name.to_owned(), version.to_owned());
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Package: libcudart12\nStatus: install ok installed\nArchitecture: amd64\nVersion: 12.2.140~12.2.2-1\n\
        Description: x\n Version: no\n\nPackage: libnvidia-compute-535\nStatus: deinstall ok config-files\nVersion: 1\n\n\
        Package: libcuda1\nStatus: install ok installed\nArchitecture: i386\nVersion: 525\n\n\
        Package: libnvidia-ml1\nStatus: install ok unpacked\nVersion: 535.261.03-1\n\n\
        Package: libcublas12\nStatus: install reinstreq half-installed\nVersion: 12.2\n\nPackage: bash\nVersion: 5\n";

    #[test]
    fn versions_whose_files_are_there() {
        let versions = versions(TEXT);
        let expected = [
            ("libcuda1", "525"),
            ("libcuda1:i386", "525"),
            ("libcudart12", "12.2.140~12.2.2-1"),
            ("libcudart12:amd64", "12.2.140~12.2.2-1"),
            ("libnvidia-ml1", "535.261.03-1"),
        ];
        assert_eq!(versions, expected.map(|(name, version)| (name.to_owned(), version.to_owned())).into());
    }

    #[test]
    fn either_side_of_the_merged_usr() {
        let files = [("/lib/x/libcuda.so.1.1", "libcuda1:amd64"), ("/usr/lib/x/libcudart.so.12.2.140", "libcudart12")];
        let files = files.map(|(path, package)| (PathBuf::from(path), package.to_owned())).into();
        let database = Database { files, versions: versions(TEXT) };
        let owner = |path: &str| database.file(Path::new(path)).and_then(|file| database.owner(&file));
        for path in ["/usr/lib/x/libcuda.so.1.1", "/lib/x/libcuda.so.1.1"] {
            assert_eq!(owner(path), Some(Owner::Dpkg { name: "libcuda1".into(), version: Some("525".into()) }));
        }
        let cudart = owner("/lib/x/libcudart.so.12.2.140").unwrap();
        assert_eq!((cudart.name(), cudart.version()), (Some("libcudart12"), Some("12.2.140~12.2.2-1")));
        assert_eq!(owner("/usr/local/lib/libcuda.so.1.1"), None);
    }
}
