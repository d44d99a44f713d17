//! A bundle: an ELF object that does nothing but need a list of files by absolute path.
//!
//! Opening it maps all of them in one go, in that order, each without a search, and with one scope: the
//! symbol look-up order is that of the list, as if the loader had found them itself. Opening them one
//! by one would leave a library that uses what it does not need (torch's own do) without it.
//!
//! Takes names and paths; gives the bytes of an object for this machine. Never opens a file.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const PAGE: u64 = 4096;
const EHDR: u64 = 64;
const PHDR: u64 = 56;
const DYN: u64 = 16;
const SYM: u64 = 24;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_GNU_STACK: u32 = 0x6474_e551;
const RW: u32 = 6;

/// The object, or `None` where a path cannot be written as a needed entry: the loader would expand a `$`
/// in it, and a relative one or one with NUL means something else.
#[must_use]
pub fn bundle(soname: &str, paths: &[PathBuf]) -> Option<Vec<u8>> {
    if paths.iter().any(|path| !writable(path)) {
        return None;
    }
    // The string table: an empty string, the needed paths, the soname.
    let mut strings = vec![0u8];
    let mut needed = Vec::with_capacity(paths.len());
    let mut put = |text: &[u8]| -> u64 {
        let at = strings.len() as u64;
        strings.extend_from_slice(text);
        strings.push(0);
        at
    };
    for path in paths {
        needed.push(put(path.as_os_str().as_bytes()));
    }
    let soname = put(soname.as_bytes());

    let dynamic = EHDR + 3 * PHDR;
    let entries = needed.len() as u64 + 7;
    let symbols = dynamic + entries * DYN;
    let hash = symbols + SYM;
    let strtab = hash + 16;
    let size = strtab + strings.len() as u64;

    let mut out = Vec::with_capacity(usize::try_from(size).ok()?);
    header(&mut out);
    // Writable: glibc before 2.35 relocates the dynamic table in place.
    segment(&mut out, PT_LOAD, RW, 0, size, PAGE);
    segment(&mut out, PT_DYNAMIC, RW, dynamic, entries * DYN, 8);
    segment(&mut out, PT_GNU_STACK, RW, 0, 0, 16);
    let tags = needed.iter().map(|at| (1, *at)); // DT_NEEDED
    let rest = [
        (14, soname),               // DT_SONAME
        (4, hash),                  // DT_HASH
        (5, strtab),                // DT_STRTAB
        (6, symbols),               // DT_SYMTAB
        (10, strings.len() as u64), // DT_STRSZ
        (11, SYM),                  // DT_SYMENT
        (0, 0),                     // DT_NULL
    ];
    for (tag, value) in tags.chain(rest) {
        out.extend(u64::to_le_bytes(tag));
        out.extend(value.to_le_bytes());
    }
    // The one symbol that every table begins with, and a hash table of one empty bucket.
    out.extend([0; 24]);
    for word in [1u32, 1, 0, 0] {
        out.extend(word.to_le_bytes());
    }
    out.extend(strings);
    Some(out)
}

fn writable(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    path.is_absolute() && !bytes.contains(&b'$') && !bytes.contains(&0)
}

fn header(out: &mut Vec<u8>) {
    let machine: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
    out.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    out.extend(3u16.to_le_bytes()); // ET_DYN
    out.extend(machine.to_le_bytes());
    out.extend(1u32.to_le_bytes());
    for word in [0, EHDR, 0] {
        out.extend(u64::to_le_bytes(word)); // entry, program headers, section headers
    }
    out.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 3, 64, 0, 0] {
        out.extend(half.to_le_bytes());
    }
}

fn segment(out: &mut Vec<u8>, kind: u32, flags: u32, offset: u64, size: u64, align: u64) {
    out.extend(kind.to_le_bytes());
    out.extend(flags.to_le_bytes());
    for word in [offset, offset, offset, size, size, align] {
        out.extend(word.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::Elf;

    #[test]
    fn our_own_reader_reads_it() {
        let paths: Vec<PathBuf> = ["/a/libx.so.1", "/b c/liby.so"].map(PathBuf::from).into();
        let bytes = bundle("libcudashim-bundle.so", &paths).unwrap();
        let elf = Elf::parse(&bytes).unwrap();
        assert_eq!(elf.soname(), Some(&b"libcudashim-bundle.so"[..]));
        assert_eq!(elf.needed(), [&b"/a/libx.so.1"[..], b"/b c/liby.so"]);
        assert!(!elf.truncated() && !elf.executable_stack());
        assert!(elf.undefined().unwrap().is_empty() && elf.definitions().unwrap().is_empty());
    }

    #[test]
    fn paths_that_the_loader_would_read_otherwise() {
        assert_eq!(bundle("x", &["/a/$ORIGIN/b".into()]), None);
        assert_eq!(bundle("x", &["b.so".into()]), None);
    }
}
