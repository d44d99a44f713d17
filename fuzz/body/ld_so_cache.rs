//! Reads ld.so's cache: what it names stands in it, and a small one does not become a large answer.
//!
//! The body of the fuzz target, and of the test that goes through `seeds` and `findings`.

use cudashim::internal::loader::Cache;
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;

/// `FLAG_ELF_LIBC6 | FLAG_X8664_LIB64`.
const ID: u32 = 0x0303;

/// Reads `bytes` with and without subdirectories for newer processors.
pub(crate) fn run(bytes: &[u8]) {
    let strings: BTreeSet<&[u8]> = tails(bytes);
    for hwcaps in [[].as_slice(), &["x86-64-v3", "x86-64-v2"]] {
        let cache = Cache::parse(bytes.to_vec(), ID, hwcaps);
        let (mut size, mut count) = (0, 0);
        for (name, path) in cache.iter() {
            let (name, path) = (name.as_bytes(), path.as_os_str().as_bytes());
            assert!(stands(&strings, name) && stands(&strings, path));
            // As in ld.so, a search in a table that is out of order may miss what is there.
            let found = cache.lookup(std::ffi::OsStr::from_bytes(name));
            assert!(found.is_none_or(|path| stands(&strings, path.as_os_str().as_bytes())));
            size += name.len() + path.len();
            count += 1;
        }
        assert!(count <= bytes.len() / 24);
        assert!(size <= 64 * bytes.len() + (1 << 20), "{size} bytes from {}", bytes.len());
    }
}

/// The strings of the file that NULs end; a name may be the tail of one.
fn tails(bytes: &[u8]) -> BTreeSet<&[u8]> {
    bytes.split_inclusive(|byte| *byte == 0).filter_map(|string| string.strip_suffix(b"\0")).collect()
}

fn stands(strings: &BTreeSet<&[u8]>, name: &[u8]) -> bool {
    strings.contains(name) || strings.iter().any(|string| string.ends_with(name))
}
