//! The ELF reader on objects made by the compiler.
#![allow(clippy::unwrap_used)] // A test that cannot go on says why by failing.

mod at_start;
mod damage;
mod inside;
mod loader;
mod oracle;

use crate::support::*;
use std::path::Path;

use cudashim::internal::elf::{Elf, ObjectKind};
use tempfile::TempDir;

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
const SCRIPT: &str = "V1 { global: bar; foo; local: *; };\nV2 { global: foo; soft; tls; keep; } V1;\n";

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
    let found = elf.lookup(name.as_bytes(), node.map(str::as_bytes)).unwrap()?;
    Some(text(found.node).unwrap_or("-").to_owned())
}

#[test]
fn elf_dynamic_table_gives_names_paths_and_flags() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    library(dir, "liba.so", "int a;", &["-Wl,-soname,liba.so.1"]);
    library(dir, "libb.so", "int b;", &[]);
    let common = ["-L.", "-Wl,--no-as-needed", "-la", "-lb", "-nostdlib"];
    let runpath = ["-Wl,-rpath,$ORIGIN/x:/y", "-Wl,--enable-new-dtags", "-Wl,-z,nodefaultlib"];
    let path = library(dir, "libr.so", "", &[&common[..], &runpath, &["-Wl,-z,nodlopen"]].concat());
    let bytes = std::fs::read(path).unwrap();
    let elf = Elf::parse(&bytes).unwrap();
    assert_eq!(elf.needed(), [b"liba.so.1".as_slice(), b"libb.so"]);
    assert_eq!(text(elf.runpath()), Some("$ORIGIN/x:/y"));
    assert_eq!((elf.rpath(), elf.soname(), elf.interpreter()), (None, None, None));
    assert!(elf.is_dynamic() && elf.nodeflib() && elf.noopen());
    assert!(!elf.is_executable() && !elf.truncated() && !elf.static_tls());

    let rpath = ["-Wl,-rpath,/old", "-Wl,--disable-new-dtags", "-Wl,-z,execstack"];
    let tls = "__attribute__((tls_model(\"initial-exec\"))) __thread int t; int *f(void) { return &t; }";
    let path = library(dir, "libo.so", tls, &[&common[..], &rpath, &["-Wl,-soname,libo"]].concat());
    let bytes = std::fs::read(path).unwrap();
    let elf = Elf::parse(&bytes).unwrap();
    assert_eq!((text(elf.rpath()), elf.runpath(), text(elf.soname())), (Some("/old"), None, Some("libo")));
    assert!(elf.static_tls() && elf.executable_stack() && !elf.nodeflib() && !elf.noopen());
}

#[test]
fn elf_programs_differ_from_libraries() {
    let dir = TempDir::new().unwrap();
    let program = "int main(void) { return 0; }";
    let read = |out: &str, args: &[&str]| std::fs::read(cc(dir.path(), out, program, args)).unwrap();

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
fn elf_static_program_has_no_dynamic_table() {
    let dir = TempDir::new().unwrap();
    let source = "void _start(void) { for (;;) {} }";
    let path = cc(dir.path(), "static", source, &["-nostdlib", "-static", "-Wl,--build-id=0xab"]);
    let bytes = std::fs::read(path).unwrap();
    let elf = Elf::parse(&bytes).unwrap();
    assert!(!elf.is_dynamic() && elf.is_executable() && elf.needed().is_empty());
    assert_eq!((elf.lookup(b"_start", None), elf.undefined()), (Ok(None), Ok(Vec::new())));
    assert_eq!(elf.build_id().unwrap().to_string(), "ab");
}

#[test]
fn elf_build_id_is_read() {
    let dir = TempDir::new().unwrap();
    let id = "0123456789abcdef0123456789abcdef01234567";
    let path = library(dir.path(), "libid.so", "", &[&format!("-Wl,--build-id=0x{id}")]);
    let bytes = std::fs::read(path).unwrap();
    let found = Elf::parse(&bytes).unwrap().build_id().unwrap();
    assert_eq!(found.to_string(), id);
    assert_eq!(found.as_bytes().len(), 20);

    // As patchelf leaves it: the segment's header no longer points to the note, the section's does.
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
fn elf_symbols_are_equal_by_either_hash_table() {
    let dir = TempDir::new().unwrap();
    for style in ["gnu", "sysv", "both"] {
        let bytes = versioned(dir.path(), style, &[&format!("-Wl,--hash-style={style}")]);
        let elf = Elf::parse(&bytes).unwrap();
        assert_eq!(text(elf.soname()), Some("libv.so.7"));

        let definitions = elf.version_definitions().unwrap();
        let nodes: Vec<_> =
            definitions.iter().map(|d| (text(Some(d.name)).unwrap(), d.index, d.base, d.weak)).collect();
        assert_eq!(nodes, [("libv.so.7", 1, true, false), ("V1", 2, false, false), ("V2", 3, false, false)]);
        let needs = elf.version_needs().unwrap();
        let libc = needs.iter().find(|need| need.file == b"libc.so.6").unwrap();
        assert!(libc.versions.iter().any(|v| v.name.starts_with(b"GLIBC_2.") && !v.weak && v.index > 3));

        let symbols = ["bar@@V1", "foo@@V2", "foo@V1", "keep@@V2", "soft@@V2", "tls@@V2"];
        let mut found = defined(&elf);
        // GNU ld writes each node as an absolute symbol as well.
        found.retain(|name| !name.starts_with('V'));
        assert_eq!(found, symbols, "{style}");

        assert_eq!(node_of(&elf, "foo", Some("V1")).as_deref(), Some("V1"));
        assert_eq!(node_of(&elf, "foo", Some("V2")).as_deref(), Some("V2"));
        assert_eq!(node_of(&elf, "foo", None).as_deref(), Some("V1"), "a relocation gets the first");
        assert_eq!(text(elf.lookup_newest(b"foo").unwrap().unwrap().node), Some("V2"), "dlsym the default");
        assert!(elf.lookup(b"foo", Some(b"V1")).unwrap().unwrap().hidden);
        assert!(elf.lookup(b"soft", Some(b"V2")).unwrap().unwrap().weak);
        assert!(elf.defines(b"tls", Some(b"V2")) && elf.defines(b"bar", None));
        for (name, node) in [("foo", "V3"), ("bar", "V2"), ("local", "V1"), ("puts", "V1"), ("fo", "V1")] {
            assert!(!elf.defines(name.as_bytes(), Some(node.as_bytes())), "{name}@{node}");
        }
        for name in ["local", "puts", "getpid", "elsewhere", "fo", "fooo", "", "foo\0"] {
            assert!(!elf.defines(name.as_bytes(), None), "{name:?}");
        }
        let symbols = [(b"foo".as_slice(), Some(b"V1".as_slice())), (b"gone", None), (b"bar", Some(b"V9"))];
        assert_eq!(elf.missing(symbols).unwrap(), symbols[1..]);

        let undefined = elf.undefined().unwrap();
        let of = |name: &[u8]| *undefined.iter().find(|symbol| symbol.name == name).unwrap();
        assert_eq!(of(b"puts").version.unwrap().file, b"libc.so.6");
        assert!(of(b"puts").version.unwrap().node.starts_with(b"GLIBC_2.") && !of(b"puts").weak);
        assert!(of(b"getpid").weak && of(b"getpid").version.is_some());
        assert!(of(b"elsewhere").version.is_none() && !of(b"elsewhere").weak);
        assert!(undefined.iter().all(|symbol| symbol.name != b"foo" && !symbol.name.is_empty()));
    }
}

#[test]
fn elf_library_without_nodes_answers_any_node() {
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

/// Its GNU hash table holds nothing, so it does not show how many symbols there are.
#[test]
fn elf_library_without_definitions_has_needs() {
    let dir = TempDir::new().unwrap();
    let source = "extern int a(void), b; static int f(void) { return a() + b; }
        __attribute__((constructor)) static void g(void) { f(); }";
    let args = ["-nostdlib", "-Wl,--hash-style=gnu"];
    let path = library(dir.path(), "libempty.so", source, &args);
    let bytes = std::fs::read(path).unwrap();
    let elf = Elf::parse(&bytes).unwrap();
    assert_eq!(elf.definitions(), Ok(Vec::new()));
    let mut names: Vec<_> = elf.undefined().unwrap().iter().map(|symbol| symbol.name).collect();
    names.sort_unstable();
    assert_eq!(names, [b"a", b"b"]);
}

#[test]
fn elf_addresses_are_not_offsets() {
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
fn elf_needs_no_section_headers() {
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
    (0..).map(|i| table + 16 * i).find(|at| word(*at) == tag).unwrap() + 8
}

/// The file offset of the table at the address in `tag`; in small libraries the two are the same.
fn table_at(bytes: &[u8], tag: u64) -> usize {
    u64::from_le_bytes(bytes[tag_at(bytes, tag)..][..8].try_into().unwrap()) as usize
}

const PT_LOAD: u8 = 1;
const PT_DYNAMIC: u8 = 2;
const PT_NOTE: u8 = 4;
const DT_VERDEF: u64 = 0x6fff_fffc;
const DT_VERDEFNUM: u64 = 0x6fff_fffd;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_STRSZ: u64 = 10;
const DT_HASH: u64 = 4;
const DT_VERSYM: u64 = 0x6fff_fff0;
const DT_GNU_HASH: u64 = 0x6fff_fef5;

#[test]
fn elf_split_debug_file_is_not_dynamic() {
    let dir = TempDir::new().unwrap();
    let mut bytes = versioned(dir.path(), "debug", &[]);
    let header = headers_at(&bytes, PT_DYNAMIC).next().unwrap();
    bytes[header + 0x20..header + 0x28].fill(0);
    let elf = Elf::parse(&bytes).unwrap();
    assert!(!elf.is_dynamic());
    assert_eq!((elf.soname(), elf.definitions()), (None, Ok(Vec::new())));
}

/// One object may be asked from many threads.
#[test]
fn elf_is_shared_between_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    let dir = TempDir::new().unwrap();
    let bytes = versioned(dir.path(), "shared", &[]);
    let elf = Elf::parse(&bytes).unwrap();
    shared(&elf);
    std::thread::scope(|scope| {
        let ask = || elf.definitions().map(|all| all.len());
        let (one, two) = (scope.spawn(ask), scope.spawn(ask));
        assert_eq!(one.join().unwrap(), two.join().unwrap());
    });
}
