//! The ELF reader on objects made by the compiler, sound and damaged.

mod loader;
mod oracle;

use std::path::Path;

use cudashim::elf::{Class, Elf, ElfError, Kind, ObjectKind, Table, ident};
use proptest::prelude::*;
use tempfile::TempDir;

use self::elf_facts::read_everything;
use crate::support::{cc, library, version_script};

#[path = "../fuzz/body/elf_facts.rs"]
mod elf_facts;

/// Defines `foo@V1` (hidden), `foo@@V2`, `bar@@V1`, weak `soft@@V2`, TLS `tls@@V2`, and asks for
/// `puts`, `getpid` (weak) and the version-less `elsewhere`.
const VERSIONED: &str = r#"
    extern int puts(const char *), elsewhere(void), getpid(void) __attribute__((weak));
    int foo_old(void) { return puts("old"); }
    int foo_new(void) { return elsewhere(); }
    __asm__(".symver foo_old, foo@V1\n.symver foo_new, foo@@V2");
    int bar(void) { return getpid ? getpid() : 0; }
    __attribute__((weak)) int soft(void) { return 3; }
    __thread int tls = 4;
    static int local(void) { return 5; }
    int (*keep)(void) = local;
"#;
const SCRIPT: &str =
    "V1 { global: bar; foo; local: *; };\nV2 { global: foo; soft; tls; keep; } V1;\n";

fn versioned(dir: &Path, out: &str, args: &[&str]) -> Vec<u8> {
    let script = version_script(dir, "versioned.map", SCRIPT);
    let args = [&[script.as_str(), "-Wl,-soname,libv.so.7"], args].concat();
    std::fs::read(library(dir, out, VERSIONED, &args)).unwrap()
}

fn text(name: Option<&[u8]>) -> Option<&str> {
    name.map(|name| std::str::from_utf8(name).unwrap())
}

/// Each defined symbol as `readelf` writes it: `foo@V1`, `foo@@V2`, `bare`.
fn defined(elf: &Elf<'_>) -> Vec<String> {
    let mut all: Vec<_> = elf
        .definitions()
        .unwrap()
        .iter()
        .map(|symbol| {
            let name = text(Some(symbol.name)).unwrap();
            let at = if symbol.hidden { "@" } else { "@@" };
            text(symbol.node).map_or_else(|| name.to_owned(), |node| format!("{name}{at}{node}"))
        })
        .collect();
    all.sort();
    all
}

fn node_of(elf: &Elf<'_>, name: &str, node: Option<&str>) -> Option<String> {
    let found = elf
        .lookup(name.as_bytes(), node.map(str::as_bytes))
        .unwrap()?;
    Some(text(found.node).unwrap_or("-").to_owned())
}

#[test]
fn the_dynamic_table_gives_names_paths_and_marks() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    library(dir, "liba.so", "int a;", &["-Wl,-soname,liba.so.1"]);
    library(dir, "libb.so", "int b;", &[]);
    let common = ["-L.", "-Wl,--no-as-needed", "-la", "-lb", "-nostdlib"];
    let runpath = [
        "-Wl,-rpath,$ORIGIN/x:/y",
        "-Wl,--enable-new-dtags",
        "-Wl,-z,nodefaultlib",
    ];
    let path = library(
        dir,
        "libr.so",
        "",
        &[&common[..], &runpath, &["-Wl,-z,nodlopen"]].concat(),
    );
    let bytes = std::fs::read(path).unwrap();
    let elf = Elf::parse(&bytes).unwrap();
    assert_eq!(elf.needed(), [b"liba.so.1".as_slice(), b"libb.so"]);
    assert_eq!(text(elf.runpath()), Some("$ORIGIN/x:/y"));
    assert_eq!(
        (elf.rpath(), elf.soname(), elf.interpreter()),
        (None, None, None)
    );
    assert!(elf.is_dynamic() && elf.nodeflib() && elf.noopen());
    assert!(!elf.is_executable() && !elf.truncated() && !elf.static_tls());

    let rpath = [
        "-Wl,-rpath,/old",
        "-Wl,--disable-new-dtags",
        "-Wl,-z,execstack",
    ];
    let tls =
        "__attribute__((tls_model(\"initial-exec\"))) __thread int t; int *f(void) { return &t; }";
    let path = library(
        dir,
        "libo.so",
        tls,
        &[&common[..], &rpath, &["-Wl,-soname,libo"]].concat(),
    );
    let bytes = std::fs::read(path).unwrap();
    let elf = Elf::parse(&bytes).unwrap();
    assert_eq!(
        (text(elf.rpath()), elf.runpath(), text(elf.soname())),
        (Some("/old"), None, Some("libo"))
    );
    assert!(elf.static_tls() && elf.executable_stack() && !elf.nodeflib() && !elf.noopen());
}

#[test]
fn programs_are_told_from_libraries() {
    let dir = TempDir::new().unwrap();
    let program = "int main(void) { return 0; }";
    let read =
        |out: &str, args: &[&str]| std::fs::read(cc(dir.path(), out, program, args)).unwrap();

    let pie = read("pie", &["-pie", "-fPIE"]);
    let pie = Elf::parse(&pie).unwrap();
    assert!(pie.is_executable() && pie.ident().kind == ObjectKind::Shared);
    assert!(text(pie.interpreter()).unwrap().contains("ld-linux"));
    assert!(!pie.executable_stack());

    let fixed = read("fixed", &["-no-pie"]);
    let fixed = Elf::parse(&fixed).unwrap();
    assert!(fixed.is_executable() && fixed.ident().kind == ObjectKind::Executable);

    let object = read("unit.o", &["-c"]);
    let object = Elf::parse(&object).unwrap();
    assert_eq!(object.ident().kind, ObjectKind::Relocatable);
    assert!(!object.is_dynamic() && object.needed().is_empty());
    assert_eq!(object.definitions(), Ok(Vec::new()));
    assert_eq!(object.undefined(), Ok(Vec::new()));
    assert_eq!(object.lookup(b"main", None), Ok(None));
}

#[test]
fn the_build_id_is_the_link_editors() {
    let dir = TempDir::new().unwrap();
    let id = "0123456789abcdef0123456789abcdef01234567";
    let path = library(
        dir.path(),
        "libid.so",
        "",
        &[&format!("-Wl,--build-id=0x{id}")],
    );
    let bytes = std::fs::read(path).unwrap();
    let found = Elf::parse(&bytes).unwrap().build_id().unwrap();
    assert_eq!(found.to_string(), id);
    assert_eq!(found.as_bytes().len(), 20);

    // As patchelf leaves it: the segment's header no longer leads to the note, the section's does.
    let mut stale = bytes.clone();
    for segment in headers_at(&bytes, PT_NOTE) {
        stale[segment + 8..segment + 16].fill(0);
    }
    assert_eq!(Elf::parse(&stale).unwrap().build_id(), Some(found));
    let mut gone = stale.clone();
    gone[0x28..0x30].fill(0);
    assert_eq!(Elf::parse(&gone).unwrap().build_id(), None);

    let path = library(dir.path(), "libno.so", "", &["-Wl,--build-id=none"]);
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(Elf::parse(&bytes).unwrap().build_id(), None);
}

#[test]
fn versions_and_symbols_are_the_same_through_either_hash_table() {
    let dir = TempDir::new().unwrap();
    for style in ["gnu", "sysv", "both"] {
        let bytes = versioned(dir.path(), style, &[&format!("-Wl,--hash-style={style}")]);
        let elf = Elf::parse(&bytes).unwrap();
        assert_eq!(text(elf.soname()), Some("libv.so.7"));

        let definitions = elf.version_definitions().unwrap();
        let nodes: Vec<_> = definitions
            .iter()
            .map(|d| (text(Some(d.name)).unwrap(), d.index, d.base, d.weak))
            .collect();
        assert_eq!(
            nodes,
            [
                ("libv.so.7", 1, true, false),
                ("V1", 2, false, false),
                ("V2", 3, false, false)
            ]
        );
        let needs = elf.version_needs().unwrap();
        let libc = needs.iter().find(|need| need.file == b"libc.so.6").unwrap();
        assert!(
            libc.versions
                .iter()
                .any(|v| v.name.starts_with(b"GLIBC_2.") && !v.weak && v.index > 3)
        );

        let symbols = [
            "bar@@V1", "foo@@V2", "foo@V1", "keep@@V2", "soft@@V2", "tls@@V2",
        ];
        let mut found = defined(&elf);
        // GNU ld writes each node as an absolute symbol as well.
        found.retain(|name| !name.starts_with('V'));
        assert_eq!(found, symbols, "{style}");

        assert_eq!(node_of(&elf, "foo", Some("V1")).as_deref(), Some("V1"));
        assert_eq!(node_of(&elf, "foo", Some("V2")).as_deref(), Some("V2"));
        assert_eq!(
            node_of(&elf, "foo", None).as_deref(),
            Some("V1"),
            "a relocation gets the first"
        );
        assert_eq!(
            text(elf.lookup_newest(b"foo").unwrap().unwrap().node),
            Some("V2"),
            "dlsym the default"
        );
        assert!(elf.lookup(b"foo", Some(b"V1")).unwrap().unwrap().hidden);
        assert!(elf.lookup(b"soft", Some(b"V2")).unwrap().unwrap().weak);
        assert!(elf.defines(b"tls", Some(b"V2")) && elf.defines(b"bar", None));
        for (name, node) in [
            ("foo", "V3"),
            ("bar", "V2"),
            ("local", "V1"),
            ("puts", "V1"),
            ("fo", "V1"),
        ] {
            assert!(
                !elf.defines(name.as_bytes(), Some(node.as_bytes())),
                "{name}@{node}"
            );
        }
        for name in [
            "local",
            "puts",
            "getpid",
            "elsewhere",
            "fo",
            "fooo",
            "",
            "foo\0",
        ] {
            assert!(!elf.defines(name.as_bytes(), None), "{name:?}");
        }
        let wanted = [
            (b"foo".as_slice(), Some(b"V1".as_slice())),
            (b"gone", None),
            (b"bar", Some(b"V9")),
        ];
        assert_eq!(elf.missing(wanted).unwrap(), wanted[1..]);

        let undefined = elf.undefined().unwrap();
        let of = |name: &[u8]| *undefined.iter().find(|symbol| symbol.name == name).unwrap();
        assert_eq!(of(b"puts").version.unwrap().file, b"libc.so.6");
        assert!(of(b"puts").version.unwrap().node.starts_with(b"GLIBC_2.") && !of(b"puts").weak);
        assert!(of(b"getpid").weak && of(b"getpid").version.is_some());
        assert!(of(b"elsewhere").version.is_none() && !of(b"elsewhere").weak);
        assert!(
            undefined
                .iter()
                .all(|symbol| symbol.name != b"foo" && !symbol.name.is_empty())
        );
    }
}

#[test]
fn a_library_without_nodes_answers_any_node() {
    let dir = TempDir::new().unwrap();
    let source = "int foo; __attribute__((visibility(\"hidden\"))) int secret;";
    let path = library(dir.path(), "libplain.so", source, &["-nostdlib"]);
    let bytes = std::fs::read(path).unwrap();
    let elf = Elf::parse(&bytes).unwrap();
    assert_eq!(elf.version_definitions(), Ok(Vec::new()));
    assert_eq!(elf.version_needs(), Ok(Vec::new()));
    assert_eq!(defined(&elf), ["foo"]);
    assert!(elf.defines(b"foo", None) && elf.defines(b"foo", Some(b"V1")));
    assert!(!elf.defines(b"secret", None));
}

/// Its GNU hash table holds nothing, so it does not tell how many symbols there are.
#[test]
fn a_library_that_defines_nothing_still_tells_what_it_needs() {
    let dir = TempDir::new().unwrap();
    let source = "extern int a(void), b; static int f(void) { return a() + b; }
        __attribute__((constructor)) static void g(void) { f(); }";
    let args = ["-nostdlib", "-Wl,--hash-style=gnu", "-Wl,-z,nodefs"];
    let path = library(dir.path(), "libempty.so", source, &args[..2]);
    let bytes = std::fs::read(path).unwrap();
    let elf = Elf::parse(&bytes).unwrap();
    assert_eq!(elf.definitions(), Ok(Vec::new()));
    let mut names: Vec<_> = elf
        .undefined()
        .unwrap()
        .iter()
        .map(|symbol| symbol.name)
        .collect();
    names.sort_unstable();
    assert_eq!(names, [b"a", b"b"]);
}

#[test]
fn addresses_are_not_offsets() {
    let dir = TempDir::new().unwrap();
    let moved = versioned(dir.path(), "moved", &["-Wl,-Ttext-segment=0x7000000"]);
    let plain = versioned(dir.path(), "plain", &[]);
    let (moved, plain) = (Elf::parse(&moved).unwrap(), Elf::parse(&plain).unwrap());
    assert_eq!(moved.version_definitions(), plain.version_definitions());
    assert_eq!(moved.version_needs(), plain.version_needs());
    assert_eq!(moved.undefined(), plain.undefined());
    assert_eq!(defined(&moved), defined(&plain));
}

#[test]
fn section_headers_are_not_needed() {
    let dir = TempDir::new().unwrap();
    let whole = versioned(dir.path(), "whole", &[]);
    let mut bare = whole.clone();
    let sections = u64::from_le_bytes(whole[0x28..0x30].try_into().unwrap()) as usize;
    bare[sections..].fill(0);
    bare[0x28..0x30].fill(0);
    bare[0x3c..0x40].fill(0);
    let (whole, bare) = (Elf::parse(&whole).unwrap(), Elf::parse(&bare).unwrap());
    assert_eq!(whole.version_definitions(), bare.version_definitions());
    assert_eq!(whole.version_definitions().unwrap().len(), 3);
    assert_eq!(whole.version_needs(), bare.version_needs());
    assert_eq!(whole.undefined(), bare.undefined());
    assert_eq!(whole.definitions(), bare.definitions());
    assert_eq!(whole.build_id(), bare.build_id());
}

/// The file offsets of the program headers of type `kind`.
fn headers_at(bytes: &[u8], kind: u8) -> impl Iterator<Item = usize> {
    let headers = u64::from_le_bytes(bytes[0x20..0x28].try_into().unwrap()) as usize;
    let all = (0..usize::from(bytes[0x38])).map(move |i| headers + 56 * i);
    all.filter(move |at| bytes[*at..at + 4] == [kind, 0, 0, 0])
}

/// The file offset of the value of dynamic tag `tag`.
fn tag_at(bytes: &[u8], tag: u64) -> usize {
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let table = word(headers_at(bytes, PT_DYNAMIC).next().unwrap() + 8) as usize;
    (0..)
        .map(|i| table + 16 * i)
        .find(|at| word(*at) == tag)
        .unwrap()
        + 8
}

const PT_LOAD: u8 = 1;
const PT_DYNAMIC: u8 = 2;
const PT_NOTE: u8 = 4;
const DT_VERDEF: u64 = 0x6fff_fffc;
const DT_VERDEFNUM: u64 = 0x6fff_fffd;
const DT_STRSZ: u64 = 10;
const DT_GNU_HASH: u64 = 0x6fff_fef5;

#[test]
fn a_damaged_verdef_is_never_a_shorter_list() {
    let dir = TempDir::new().unwrap();
    let sound = versioned(dir.path(), "damaged", &[]);
    let verdef =
        u64::from_le_bytes(sound[tag_at(&sound, DT_VERDEF)..][..8].try_into().unwrap()) as usize;
    let damaged = |at: usize, new: &[u8]| {
        let mut bytes = sound.clone();
        bytes[at..at + new.len()].copy_from_slice(new);
        let elf = Elf::parse(&bytes).unwrap();
        let error = elf.version_definitions().unwrap_err();
        assert_eq!(
            elf.lookup(b"foo", Some(b"V1")),
            Err(error),
            "look-ups must not guess"
        );
        assert!(!elf.defines(b"foo", Some(b"V1")));
        error
    };
    let start = verdef as u64;
    let next = verdef + 16;
    let mismatch = |declared, read| ElfError {
        table: Table::Verdef,
        at: start,
        kind: Kind::CountMismatch { declared, read },
    };
    assert_eq!(damaged(next, &[0; 4]), mismatch(3, 1));
    assert_eq!(damaged(tag_at(&sound, DT_VERDEFNUM), &[2]), mismatch(2, 3));
    assert_eq!(damaged(tag_at(&sound, DT_VERDEFNUM), &[9]), mismatch(9, 3));

    let error = damaged(next, &0x0f00_0000_u32.to_le_bytes());
    assert_eq!(
        (error.table, error.kind),
        (Table::Verdef, Kind::OutOfBounds)
    );
    assert_eq!(error.at, start + 0x0f00_0000);
    assert_eq!(
        error.to_string(),
        format!("verdef entry at {:#x} points outside the file", error.at)
    );

    let error = damaged(tag_at(&sound, DT_VERDEF), &0x0f00_0000_u64.to_le_bytes());
    assert_eq!(
        error,
        ElfError {
            table: Table::Verdef,
            at: 0x0f00_0000,
            kind: Kind::Unmapped
        }
    );
    let error = damaged(verdef, &[7]);
    assert!(
        matches!(error, ElfError { table: Table::Verdef, kind: Kind::Malformed(_), at } if at == start)
    );
    // A name outside the string table.
    let error = damaged(verdef + 20, &u32::MAX.to_le_bytes());
    assert_eq!(
        (error.table, error.kind),
        (Table::Strings, Kind::OutOfBounds)
    );
}

#[test]
fn a_damaged_string_or_hash_table_is_an_error() {
    let dir = TempDir::new().unwrap();
    let mut bytes = versioned(dir.path(), "strings", &["-Wl,--hash-style=gnu"]);
    let hash = u64::from_le_bytes(
        bytes[tag_at(&bytes, DT_GNU_HASH)..][..8]
            .try_into()
            .unwrap(),
    ) as usize;
    let words = bytes[hash + 8];
    bytes[hash + 8] = 3;
    let error = Elf::parse(&bytes)
        .unwrap()
        .lookup(b"foo", None)
        .unwrap_err();
    assert!(matches!(
        error,
        ElfError {
            table: Table::GnuHash,
            kind: Kind::Malformed(_),
            ..
        }
    ));
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
    assert_eq!(
        (error.table, error.kind),
        (Table::Strings, Kind::OutOfBounds)
    );
}

#[test]
fn a_chain_of_the_old_hash_table_that_bites_its_tail_ends() {
    let dir = TempDir::new().unwrap();
    let mut bytes = versioned(dir.path(), "loop", &["-Wl,--hash-style=sysv"]);
    let hash = u64::from_le_bytes(bytes[tag_at(&bytes, 4)..][..8].try_into().unwrap()) as usize;
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let (buckets, chains) = (word(hash), word(hash + 4));
    let start = hash + 8 + 4 * buckets;
    for symbol in 0..chains {
        bytes[start + 4 * symbol..][..4].copy_from_slice(&(symbol as u32).to_le_bytes());
    }
    let elf = Elf::parse(&bytes).unwrap();
    let answers: Vec<_> = [b"absent".as_slice(), b"a", b"b", b"c", b"d"]
        .iter()
        .map(|name| elf.lookup(name, None))
        .collect();
    assert!(answers.iter().any(Result::is_err), "{answers:?}");
    assert!(answers.iter().flatten().all(Option::is_none));
}

#[test]
fn what_is_not_ours_to_read_is_named() {
    let not_elf = ElfError {
        table: Table::Header,
        at: 0,
        kind: Kind::BadMagic,
    };
    assert_eq!(
        Elf::parse(b"/* GNU ld script */ INPUT(libm.so.6)").unwrap_err(),
        not_elf
    );
    assert_eq!(ident(b"\x7fELG").unwrap_err(), not_elf);
    assert_eq!(not_elf.to_string(), "not an ELF file");
    let short = ElfError {
        table: Table::Header,
        at: 0,
        kind: Kind::TooShort,
    };
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
    assert_eq!(
        foreign(&[(4, 1), (18, 3)]),
        "an object for another machine: 32-bit i386"
    );
    assert_eq!(
        foreign(&[(18, 243)]),
        "an object for another machine: 64-bit riscv"
    );
    assert_eq!(
        foreign(&[(18, 77)]),
        "an object for another machine: 64-bit machine 77"
    );
    assert_eq!(
        foreign(&[(7, 9)]),
        format!(
            "an object for another machine: {}, OS ABI 9",
            ident(&sound).unwrap()
        )
    );
    let mut bytes = sound.clone();
    (bytes[4], bytes[18]) = (1, 3);
    let i386 = ident(&bytes).unwrap();
    assert_eq!(
        (i386.class, i386.machine, i386.machine_name()),
        (Class::Elf32, 3, "i386")
    );

    let mut bytes = sound.clone();
    bytes[18] = 183;
    assert_eq!(
        Elf::parse(&bytes).unwrap().ident().machine_name(),
        "aarch64"
    );
}

/// As after a download that broke off, at every byte.
#[test]
fn every_prefix_of_a_library_is_read_or_refused() {
    let dir = TempDir::new().unwrap();
    let flat = [
        "-nostdlib",
        "-Wl,-z,noseparate-code",
        "-Wl,-z,max-page-size=4096",
        "-Wl,--hash-style=both",
    ];
    let whole = versioned(dir.path(), "prefix", &flat);
    let loaded_end = {
        let word = |at: usize| u64::from_le_bytes(whole[at..at + 8].try_into().unwrap()) as usize;
        headers_at(&whole, PT_LOAD)
            .map(|at| word(at + 8) + word(at + 32))
            .max()
            .unwrap()
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
    // Also where it is not the file that ends, but a small map of it.
    assert!(
        Elf::parse(&whole[..whole.len() / 2]).is_ok_and(|elf| elf.truncated())
            || Elf::parse(&whole[..whole.len() / 2]).is_err()
    );
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
        styles
            .map(|style| versioned(dir.path(), style, &[&format!("-Wl,--hash-style={style}")]))
            .into()
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
