//! ld.so itself answers: a program that needs a symbol starts with a library where
//! [`Elf::lookup`] finds the symbol, gets the same definition, and fails where it does not.

use crate::support::*;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cudashim::internal::elf::Elf;
use tempfile::TempDir;

use super::{DT_STRTAB, DT_SYMTAB, DT_VERSYM, table_at};

/// A library that has `foo` in some versions, each giving its own number.
struct Provider<'v> {
    name: &'v str,
    /// The versions of `foo`: `V1` hidden, `@V2` default, an empty string for the base version.
    versions: &'v [&'v str],
    tables: Tables,
}

/// Which version tables a library has.
#[derive(Clone, Copy, PartialEq)]
enum Tables {
    None,
    /// `DT_VERNEED` alone, as most libraries without nodes.
    Needs,
    /// The nodes V1 to V3, used or not, so that ld.so's check of the nodes, which precedes the
    /// symbols, always passes.
    Definitions,
}

const PROVIDERS: [Provider<'static>; 10] = [
    Provider { name: "bare", versions: &[""], tables: Tables::None },
    Provider { name: "needs", versions: &[""], tables: Tables::Needs },
    Provider { name: "base", versions: &[""], tables: Tables::Definitions },
    Provider { name: "first", versions: &["@V1"], tables: Tables::Definitions },
    Provider { name: "first-hidden", versions: &["V1"], tables: Tables::Definitions },
    Provider { name: "two", versions: &["V1", "@V2"], tables: Tables::Definitions },
    Provider { name: "second", versions: &["@V2"], tables: Tables::Definitions },
    Provider { name: "second-hidden", versions: &["V2"], tables: Tables::Definitions },
    Provider { name: "three-no-first", versions: &["V2", "@V3"], tables: Tables::Definitions },
    Provider { name: "none", versions: &[], tables: Tables::Definitions },
];

const NODES: &str = "V1 { global: other; foo; };\nV2 { global: foo; } V1;\nV3 { global: foo; } V2;\n";

impl Provider<'_> {
    fn build(&self, dir: &Path, style: &str) -> Vec<u8> {
        let mut source = String::from("int other(void) { return 9; }\n");
        if self.tables == Tables::Needs {
            source += "extern int puts(const char *); int say(void) { return puts(\"\"); }\n";
        }
        for version in self.versions {
            let number = version.trim_start_matches(['@', 'V']).parse().unwrap_or(0);
            if version.is_empty() {
                source += "int foo(void) { return 0; }\n";
            } else {
                source += &format!(
                    "int foo_{number}(void) {{ return {number}; }}\n__asm__(\".symver foo_{number}, foo@{version}\");\n"
                );
            }
        }
        // A script that names no `foo` leaves it the base version.
        let script = if self.versions == [""] {
            NODES.replace("global: foo;", "").replace("foo;", "")
        } else {
            NODES.to_owned()
        };
        let script = version_script(dir, "nodes.map", &script);
        let style = format!("-Wl,--hash-style={style}");
        let mut args = vec!["-Wl,-soname,libp.so", &style];
        if self.tables == Tables::Definitions {
            args.push(&script);
        }
        std::fs::read(library(dir, "libp.so", &source, &args)).unwrap()
    }
}

/// A program that needs `foo` of version `node` and ends with the number that it gives.
fn consumer(dir: &Path, node: Option<&str>) -> PathBuf {
    let link = dir.join(format!("link-{}", node.unwrap_or("bare")));
    std::fs::create_dir(&link).unwrap();
    let versions: &[&str] = if node.is_some() { &["V1", "V2", "@V3"] } else { &[""] };
    let tables = if node.is_some() { Tables::Definitions } else { Tables::None };
    Provider { name: "linked against", versions, tables }.build(&link, "gnu");
    let name = node.map_or_else(String::new, |node| format!("__asm__(\".symver foo, foo@{node}\");"));
    let source = format!("extern int foo(void); {name} int main(void) {{ return foo(); }}");
    cc(&link, "program", &source, &["-L.", "-l:libp.so"])
}

/// The number with which `program` ends under the library in `dir`; `None` if ld.so refused.
fn run(program: &Path, dir: &Path) -> Option<i32> {
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", dir).env("LD_BIND_NOW", "1").stderr(Stdio::null());
    command.status().unwrap().code().filter(|code| *code < 100)
}

fn number(found: Option<cudashim::internal::elf::Definition<'_>>) -> Option<i32> {
    let node = found?.node.unwrap_or(b"V0");
    Some(i32::from(node[1] - b'0'))
}

#[test]
fn elf_lookup_agrees_with_the_loader() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    let nodes = [None, Some("V1"), Some("V2"), Some("V3")];
    let programs = nodes.map(|node| consumer(dir, node));
    let source = "#include <dlfcn.h>
        int main(void) {
            void *library = dlopen(\"libp.so\", RTLD_NOW);
            int (*foo)(void) = library ? (int (*)(void)) dlsym(library, \"foo\") : 0;
            return foo ? foo() : 100;
        }";
    let dlsym = cc(dir, "dlsym", source, &["-ldl"]);

    for provider in PROVIDERS {
        for style in ["gnu", "sysv"] {
            let place = dir.join(format!("{}-{style}", provider.name));
            std::fs::create_dir(&place).unwrap();
            let bytes = provider.build(&place, style);
            let elf = Elf::parse(&bytes).unwrap();
            for (program, node) in programs.iter().zip(nodes) {
                let ours = number(elf.lookup(b"foo", node.map(str::as_bytes)).unwrap());
                let theirs = run(program, &place);
                // A file that must define a version and has no version table fails an assertion in ld.so.
                let aborts = node.is_some() && !elf.is_versioned().unwrap();
                assert_eq!(aborts, node.is_some() && provider.tables == Tables::None);
                let ours = ours.filter(|_| !aborts);
                assert_eq!(ours, theirs, "{node:?} of {} ({style})", provider.name);
            }
            let ours = number(elf.lookup_newest(b"foo").unwrap());
            assert_eq!(ours, run(&dlsym, &place), "dlsym of {} ({style})", provider.name);
        }
    }
}

/// Damages one symbol of a library.
type Change = fn(&mut [u8], usize);

/// What no link editor writes, but ld.so has a rule for: two default versions of one name, and
/// definitions that are hidden or local.
#[test]
fn elf_odd_symbols_agree_with_the_loader() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    let unversioned = consumer(dir, None);
    let changes: [(&str, Change); 3] = [
        ("two defaults", |bytes, symbol| {
            let versyms = table_at(bytes, DT_VERSYM);
            bytes[versyms + 2 * symbol + 1] &= 0x7f;
        }),
        ("hidden", |bytes, symbol| {
            let symbols = table_at(bytes, DT_SYMTAB);
            bytes[symbols + 24 * symbol + 5] = 2;
        }),
        ("local", |bytes, symbol| {
            let symbols = table_at(bytes, DT_SYMTAB);
            bytes[symbols + 24 * symbol + 4] &= 0x0f;
        }),
    ];
    let provider = PROVIDERS.iter().find(|provider| provider.name == "three-no-first").unwrap();
    for (name, change) in changes {
        let place = dir.join(name);
        std::fs::create_dir(&place).unwrap();
        let mut bytes = provider.build(&place, "gnu");
        assert_eq!(run(&unversioned, &place), Some(3));
        assert_eq!(number(Elf::parse(&bytes).unwrap().lookup(b"foo", None).unwrap()), Some(3));

        let strings = table_at(&bytes, DT_STRTAB);
        let symbols = table_at(&bytes, DT_SYMTAB);
        for symbol in 1..(strings - symbols) / 24 {
            let name = u32::from_le_bytes(bytes[symbols + 24 * symbol..][..4].try_into().unwrap());
            if bytes[strings + name as usize..].starts_with(b"foo\0") {
                change(&mut bytes, symbol);
            }
        }
        std::fs::write(place.join("libp.so"), &bytes).unwrap();
        assert_eq!(run(&unversioned, &place), None, "{name}");
        let elf = Elf::parse(&bytes).unwrap();
        assert_eq!(elf.lookup(b"foo", None), Ok(None), "{name}");
    }
}
