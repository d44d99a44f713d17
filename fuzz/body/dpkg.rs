//! Reads dpkg's records: a package owns what its list names, in the version that the status file gives.
//!
//! The body of the fuzz target, and of the test that goes through `seeds` and `findings`.

use super::machine::{Machine, parts};
use cudashim::Inventory;
use cudashim::internal::inventory::places::{Place, Provenance};
use cudashim::internal::inventory::{Owner, Owners, Verified};
use cudashim::internal::loader::Objects;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Takes a status file, the list of a package, and its `md5sums`; NULs separate them.
pub(crate) fn run(bytes: &[u8]) {
    let [status, list, sums] = parts::<3>(bytes);
    let machine = Machine::with(&[
        ("var/lib/dpkg/status", status),
        ("var/lib/dpkg/info/libcudart12:amd64.list", list),
        ("var/lib/dpkg/info/libcudart12:amd64.md5sums", sums),
        ("usr/lib/x/libcudart.so.12", b"hello"),
    ]);
    let host = machine.host();
    let objects = Objects::new(&host);
    let place = Place { dir: "/usr/lib/x".into(), provenance: Provenance::Default, root: "/usr/lib/x".into() };
    let inventory = Inventory::scan(&objects, vec![place]);
    let [library] = inventory.libraries.as_slice() else { panic!("one library") };
    // `//` is one slash.
    let paths = ["/usr/lib/x/libcudart.so.12", "/lib/x/libcudart.so.12"].map(Path::new);
    let named = list.split(|byte| *byte == b'\n').any(|line| paths.contains(&Path::new(OsStr::from_bytes(line))));
    let verified = Owners::default().verify(&host, library);
    let Owner::Dpkg { name, version } = &library.owner else {
        assert!(!named && verified == Verified::Unknown, "{:?}", library.owner);
        return;
    };
    assert!(named && name == "libcudart12");
    if let Some(version) = version {
        let text = String::from_utf8_lossy(status);
        let says = |line: &str| line.strip_prefix("Version:").is_some_and(|said| said.trim() == version);
        assert!(text.lines().any(says) && text.contains(" installed"));
    }
    let digest = b"5d41402abc4b2a76b9719d911017c592";
    assert!(verified != Verified::Intact || sums.windows(32).any(|said| said.eq_ignore_ascii_case(digest)));
}
