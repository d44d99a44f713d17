//! An ELF object written byte by byte, for what no linker makes: thousands of needed names.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

const PAGE: u64 = 4096;
const EHDR: u64 = 64;
const PHDR: u64 = 56;
const DYN: u64 = 16;
const SYM: u64 = 24;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_GNU_STACK: u32 = 0x6474_e551;
const RW: u32 = 6;

/// A shared object of this machine that does nothing but need these names, however many.
pub(crate) fn needing(soname: &str, names: &[PathBuf]) -> Vec<u8> {
    // The string table: an empty string, the needed paths, the soname.
    let mut strings = vec![0u8];
    let mut needed = Vec::with_capacity(names.len());
    let mut put = |text: &[u8]| -> u64 {
        let at = strings.len() as u64;
        strings.extend_from_slice(text);
        strings.push(0);
        at
    };
    for name in names {
        needed.push(put(name.as_os_str().as_bytes()));
    }
    let soname = put(soname.as_bytes());

    let dynamic = EHDR + 3 * PHDR;
    let entries = needed.len() as u64 + 7;
    let symbols = dynamic + entries * DYN;
    let hash = symbols + SYM;
    let strtab = hash + 16;
    let size = strtab + strings.len() as u64;

    let mut out = Vec::with_capacity(usize::try_from(size).unwrap());
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
    out
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
