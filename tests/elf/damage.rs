//! Damaged, foreign and cut-off files: an error with the place, and never a panic.

use crate::support::*;
use cudashim::internal::elf::{Class, Elf, ElfError, Kind, Table, ident};
use proptest::prelude::*;
use tempfile::TempDir;

use super::{
    DT_GNU_HASH, DT_HASH, DT_STRSZ, DT_STRTAB, DT_SYMTAB, DT_VERDEF, DT_VERDEFNUM, PT_LOAD, PT_NOTE, headers_at,
    table_at, tag_at, versioned,
};
use crate::fuzz::elf_facts::read_everything;

#[test]
fn elf_damaged_verdef_is_an_error() {
    let dir = TempDir::new().unwrap();
    let sound = versioned(dir.path(), "damaged", &[]);
    let verdef = table_at(&sound, DT_VERDEF);
    let damaged = |at: usize, new: &[u8]| {
        let mut bytes = sound.clone();
        bytes[at..at + new.len()].copy_from_slice(new);
        let elf = Elf::parse(&bytes).unwrap();
        let error = elf.version_definitions().unwrap_err();
        assert_eq!(elf.lookup(b"foo", Some(b"V1")), Err(error), "look-ups must not guess");
        assert!(!elf.defines(b"foo", Some(b"V1")));
        error
    };
    let start = verdef as u64;
    let next = verdef + 16;
    let mismatch =
        |declared, read| ElfError { table: Table::Verdef, at: start, kind: Kind::CountMismatch { declared, read } };
    assert_eq!(damaged(next, &[0; 4]), mismatch(3, 1));
    assert_eq!(damaged(tag_at(&sound, DT_VERDEFNUM), &[2]), mismatch(2, 3));
    assert_eq!(damaged(tag_at(&sound, DT_VERDEFNUM), &[9]), mismatch(9, 3));

    let error = damaged(next, &0x0f00_0000_u32.to_le_bytes());
    assert_eq!((error.table, error.kind), (Table::Verdef, Kind::OutOfBounds));
    assert_eq!(error.at, start + 0x0f00_0000);
    assert_eq!(error.to_string(), format!("verdef entry at {:#x} points outside the file", error.at));

    let error = damaged(tag_at(&sound, DT_VERDEF), &0x0f00_0000_u64.to_le_bytes());
    assert_eq!(error, ElfError { table: Table::Verdef, at: 0x0f00_0000, kind: Kind::Unmapped });
    let error = damaged(verdef, &[7]);
    assert!(matches!(error, ElfError { table: Table::Verdef, kind: Kind::Malformed(_), at } if at == start));
    // A name outside the string table.
    let error = damaged(verdef + 20, &u32::MAX.to_le_bytes());
    assert_eq!((error.table, error.kind), (Table::Strings, Kind::OutOfBounds));
}

#[test]
fn elf_damaged_string_or_hash_table_is_an_error() {
    let dir = TempDir::new().unwrap();
    let mut bytes = versioned(dir.path(), "strings", &["-Wl,--hash-style=gnu"]);
    let hash = table_at(&bytes, DT_GNU_HASH);
    let words = bytes[hash + 8];
    bytes[hash + 8] = 3;
    let error = Elf::parse(&bytes).unwrap().lookup(b"foo", None).unwrap_err();
    assert!(matches!(error, ElfError { table: Table::GnuHash, kind: Kind::Malformed(_), .. }));
    bytes[hash + 8] = words;
    assert!(Elf::parse(&bytes).unwrap().defines(b"foo", None));

    // No end mark in the whole chain array: the walk must stop at the segment's end.
    let mut endless = bytes.clone();
    let buckets = usize::from(bytes[hash]);
    let chains = hash + 16 + 8 * usize::from(words) + 4 * buckets;
    endless[chains..chains + 0x100].fill(0xfe);
    assert!(Elf::parse(&endless).map_or(true, |elf| elf.lookup(b"foo", None).is_err()));

    let at = tag_at(&bytes, DT_STRSZ);
    bytes[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    let error = Elf::parse(&bytes).unwrap_err();
    assert_eq!((error.table, error.kind), (Table::Strings, Kind::OutOfBounds));
}

#[test]
fn elf_hash_chain_cycle_ends() {
    let dir = TempDir::new().unwrap();
    let mut bytes = versioned(dir.path(), "loop", &["-Wl,--hash-style=sysv"]);
    let hash = table_at(&bytes, DT_HASH);
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let (buckets, chains) = (word(hash), word(hash + 4));
    let start = hash + 8 + 4 * buckets;
    for symbol in 0..chains {
        bytes[start + 4 * symbol..][..4].copy_from_slice(&(symbol as u32).to_le_bytes());
    }
    let elf = Elf::parse(&bytes).unwrap();
    let answers: Vec<_> =
        [b"absent".as_slice(), b"a", b"b", b"c", b"d"].iter().map(|name| elf.lookup(name, None)).collect();
    assert!(answers.iter().any(Result::is_err), "{answers:?}");
    assert!(answers.iter().flatten().all(Option::is_none));
}

/// A file of a hundred kilobytes must not have us read gigabytes.
#[test]
fn elf_names_that_share_one_long_string_are_refused() {
    let dir = TempDir::new().unwrap();
    let long = "n".repeat(50_000);
    let many: String = (0..1000).map(|i| format!("int s{i};")).collect();
    let source = format!("int {long}; {many}");
    let args = ["-nostdlib", "-Wl,--hash-style=sysv"];
    let mut bytes = std::fs::read(library(dir.path(), "libshared.so", &source, &args)).unwrap();
    assert_eq!(Elf::parse(&bytes).unwrap().definitions().unwrap().len(), 1001);

    let (strings, symbols) = (table_at(&bytes, DT_STRTAB), table_at(&bytes, DT_SYMTAB));
    let long_at = bytes[strings..].windows(50_000).position(|w| w == long.as_bytes()).unwrap();
    for symbol in 1..=1001 {
        let name = (long_at as u32).to_le_bytes();
        bytes[symbols + 24 * symbol..][..4].copy_from_slice(&name);
    }
    let error = Elf::parse(&bytes).unwrap().definitions().unwrap_err();
    assert!(matches!(error, ElfError { table: Table::Strings, kind: Kind::Malformed(_), .. }));
}

#[test]
fn elf_foreign_files_are_named() {
    let not_elf = ElfError { table: Table::Header, at: 0, kind: Kind::BadMagic };
    assert_eq!(Elf::parse(b"/* GNU ld script */ INPUT(libm.so.6)").unwrap_err(), not_elf);
    assert_eq!(ident(b"\x7fELG").unwrap_err(), not_elf);
    assert_eq!(not_elf.to_string(), "not an ELF file");
    let short = ElfError { table: Table::Header, at: 0, kind: Kind::TooShort };
    assert_eq!(Elf::parse(b"").unwrap_err(), short);
    assert_eq!(ident(b"\x7fELF\x02\x01\x01").unwrap_err(), short);

    let dir = TempDir::new().unwrap();
    let sound = versioned(dir.path(), "foreign", &[]);
    let foreign = |changes: &[(usize, u8)]| {
        let mut bytes = sound.clone();
        changes.iter().for_each(|&(at, value)| bytes[at] = value);
        let error = Elf::parse(&bytes).unwrap_err();
        assert_eq!(error.kind, Kind::Foreign(ident(&bytes).unwrap()));
        error.to_string()
    };
    assert_eq!(foreign(&[(4, 1), (18, 3)]), "an object for another machine: 32-bit i386");
    assert_eq!(foreign(&[(18, 243)]), "an object for another machine: 64-bit riscv");
    assert_eq!(foreign(&[(18, 77)]), "an object for another machine: 64-bit machine 77");
    assert_eq!(foreign(&[(7, 9)]), format!("an object for another machine: {}, OS ABI 9", ident(&sound).unwrap()));
    let mut bytes = sound.clone();
    (bytes[4], bytes[18]) = (1, 3);
    let i386 = ident(&bytes).unwrap();
    assert_eq!((i386.class, i386.machine, i386.machine_name()), (Class::Elf32, 3, "i386"));

    let mut bytes = sound.clone();
    bytes[18] = 183;
    assert_eq!(Elf::parse(&bytes).unwrap().ident().machine_name(), "aarch64");
}

/// As patchelf leaves them: the loader sees one stretch of memory.
#[test]
fn elf_table_may_cross_segments() {
    let dir = TempDir::new().unwrap();
    let flat = ["-nostdlib", "-Wl,-z,noseparate-code", "-Wl,-z,norelro", "-Wl,--hash-style=sysv"];
    let whole = versioned(dir.path(), "split", &flat);
    let load = headers_at(&whole, PT_LOAD).next().unwrap();
    // A header that the loader has no use for makes room for a second segment.
    let spare = headers_at(&whole, PT_NOTE).next().unwrap();
    let split = table_at(&whole, DT_SYMTAB) + 30;
    let word = |at: usize| u64::from_le_bytes(whole[at..at + 8].try_into().unwrap());
    assert_eq!((word(load + 8), word(load + 16)), (0, 0));
    let mut bytes = whole.clone();
    let put = |bytes: &mut [u8], at: usize, value: u64| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    bytes.copy_within(load..load + 56, spare);
    for at in [load + 32, load + 40] {
        put(&mut bytes, at, split as u64);
    }
    for at in [spare + 8, spare + 16, spare + 24] {
        put(&mut bytes, at, split as u64);
    }
    for at in [spare + 32, spare + 40] {
        put(&mut bytes, at, word(load + 32) - split as u64);
    }
    let (whole, elf) = (Elf::parse(&whole).unwrap(), Elf::parse(&bytes).unwrap());
    assert_eq!(elf.definitions(), whole.definitions());
    assert_eq!(elf.undefined(), whole.undefined());
    // A gap in the file is not a gap in memory.
    let mut gap = bytes.clone();
    put(&mut gap, spare + 8, split as u64 + 8);
    assert!(Elf::parse(&gap).map_or(true, |elf| elf.definitions().is_err()));
}

/// As after a download that broke off, at every byte.
#[test]
fn elf_every_prefix_is_read_or_refused() {
    let dir = TempDir::new().unwrap();
    let flat = ["-nostdlib", "-Wl,-z,noseparate-code", "-Wl,-z,max-page-size=4096", "-Wl,--hash-style=both"];
    let whole = versioned(dir.path(), "prefix", &flat);
    let loaded_end = {
        let word = |at: usize| u64::from_le_bytes(whole[at..at + 8].try_into().unwrap()) as usize;
        headers_at(&whole, PT_LOAD).map(|at| word(at + 8) + word(at + 32)).max().unwrap()
    };
    for len in 0..=whole.len() {
        let bytes = &whole[..len];
        read_everything(bytes);
        let Ok(elf) = Elf::parse(bytes) else {
            assert!(len < loaded_end, "{len} bytes hold all that is loaded");
            continue;
        };
        assert_eq!(elf.truncated(), len < loaded_end, "{len}");
        if len >= loaded_end {
            assert!(elf.defines(b"foo", Some(b"V2")));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn damaged_bytes_never_break_the_reader(
        style in 0..3_usize,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<prop::sample::Index>(),
        cuts in prop::bool::weighted(0.1),
    ) {
        let mut bytes = samples()[style].clone();
        for (at, value) in flips {
            // Most of the file is padding: aim at the bytes that mean something.
            let places = &weighty()[style];
            bytes[places[at.index(places.len())]] = value;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        read_everything(&bytes);
    }

    #[test]
    fn noise_is_refused(noise in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut bytes = noise;
        read_everything(&bytes);
        for (at, value) in [0x7f, b'E', b'L', b'F', 2, 1, 1, 0].into_iter().enumerate() {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        read_everything(&bytes);
    }
}

/// One small library for each kind of hash table.
fn samples() -> &'static [Vec<u8>] {
    static SAMPLES: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
    SAMPLES.get_or_init(|| {
        let dir = TempDir::new().unwrap();
        let styles = ["gnu", "sysv", "both"];
        styles.map(|style| versioned(dir.path(), style, &[&format!("-Wl,--hash-style={style}")])).into()
    })
}

/// The places of each sample that are not padding.
fn weighty() -> &'static [Vec<usize>] {
    static PLACES: std::sync::OnceLock<Vec<Vec<usize>>> = std::sync::OnceLock::new();
    PLACES.get_or_init(|| {
        let places = |bytes: &Vec<u8>| (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        samples().iter().map(places).collect()
    })
}
