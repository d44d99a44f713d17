//! Reads `ld.so.conf` with two files that it may include: the directories stand in them, and written as a file of
//! their own they are read as the same.
//!
//! The body of the fuzz target, and of the test that goes through `seeds` and `findings`.

use super::machine::{Machine, parts};
use cudashim::internal::loader::conf_directories;
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;

/// Takes three files, separated by NULs.
pub(crate) fn run(bytes: &[u8]) {
    let [conf, a, b] = parts::<3>(bytes);
    let files = [("etc/ld.so.conf", conf), ("etc/ld.so.conf.d/a.conf", a), ("etc/ld.so.conf.d/b.conf", b)];
    let dirs = conf_directories(&Machine::with(&files).host());
    let mut again = Vec::new();
    for dir in &dirs {
        let dir = dir.as_os_str().as_bytes();
        assert!(dir.starts_with(b"/") && !dir.iter().any(|byte| b"\n#=".contains(byte)));
        let stands = |file: &[u8]| file.windows(dir.len()).any(|window| window == dir);
        assert!(stands(conf) || stands(a) || stands(b));
        again.extend(dir);
        again.push(b'\n');
    }
    assert_eq!(dirs.iter().collect::<BTreeSet<_>>().len(), dirs.len(), "each once");
    assert_eq!(conf_directories(&Machine::with(&[("etc/ld.so.conf", &again)]).host()), dirs);
}
