//! Another reader, the `object` crate, which goes by section headers, finds the same facts in every
//! library of the machine.
//!
//! `CUDASHIM_TEST_LIBRARIES`, directories separated by colons, names others to look through.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cudashim::elf::{Elf, Kind};
use object::LittleEndian as Le;
use object::elf;
use object::read::elf::{Dyn as _, ElfFile64, Sym as _};

#[test]
fn another_reader_agrees_on_every_library_here() {
    let (roots, limit) = match std::env::var_os("CUDASHIM_TEST_LIBRARIES") {
        Some(list) => (std::env::split_paths(&list).collect(), usize::MAX),
        None => (defaults(), 150),
    };
    let mut files = BTreeSet::new();
    roots.iter().for_each(|root| collect(root, &mut files));
    // The largest part are small ones; a few hundred show each compiler and linker that is here.
    let step = files.len().div_ceil(limit).max(1);
    let mut read = 0;
    for path in files.iter().step_by(step) {
        let bytes = std::fs::read(path).unwrap();
        match Elf::parse(&bytes) {
            Ok(elf) => {
                agree(path, &elf, &bytes);
                read += 1;
            }
            // Linker scripts, libraries for emulators and other files that only look like ours.
            Err(error) => assert!(
                matches!(error.kind, Kind::BadMagic | Kind::Foreign(_) | Kind::TooShort),
                "{}: {error}",
                path.display()
            ),
        }
    }
    assert!(read > 0, "no library found in {roots:?}");
}

fn defaults() -> Vec<PathBuf> {
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/lib64", "/usr/lib"]
        .map(PathBuf::from)
        .into()
}

fn collect(dir: &Path, files: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() {
            collect(&path, files);
        } else if kind.is_file() && path.to_string_lossy().contains(".so") {
            files.insert(path);
        }
    }
}

type Names = Vec<(Vec<u8>, Option<Vec<u8>>, bool, bool)>;

fn agree(path: &Path, ours: &Elf<'_>, bytes: &[u8]) {
    let path = path.display();
    let theirs = ElfFile64::<Le>::parse(bytes).unwrap_or_else(|error| panic!("{path}: {error}"));
    let sections = theirs.elf_section_table();
    let dynamic = sections.dynamic_table(Le, bytes).unwrap();
    if dynamic.is_empty() {
        // Debug information split off, with the sections kept but empty.
        return;
    }
    let strings = |tag| -> Vec<&[u8]> {
        let entries = dynamic.dynamics().iter().filter(|entry| entry.tag(Le) == tag);
        entries.map(|entry| entry.string(Le, *dynamic.strings()).unwrap()).collect()
    };
    assert_eq!(ours.needed(), strings(elf::DT_NEEDED), "{path}");
    assert_eq!(ours.soname(), strings(elf::DT_SONAME).last().copied(), "{path}");
    assert_eq!(ours.rpath(), strings(elf::DT_RPATH).last().copied(), "{path}");
    assert_eq!(ours.runpath(), strings(elf::DT_RUNPATH).last().copied(), "{path}");

    let build_id = object::Object::build_id(&theirs).unwrap();
    assert_eq!(ours.build_id().map(|id| id.as_bytes()), build_id, "{path}");

    let versions = sections.versions(Le, bytes).unwrap().unwrap_or_default();
    let mut nodes = BTreeSet::new();
    let mut needs = BTreeSet::new();
    if let Some((mut verdefs, link)) = sections.gnu_verdef(Le, bytes).unwrap() {
        let strings = sections.strings(Le, bytes, link).unwrap();
        while let Some((verdef, mut names)) = verdefs.next().unwrap() {
            let name = names.next().unwrap().unwrap().name(Le, strings).unwrap();
            nodes.insert((name, verdef.vd_ndx.get(Le).0));
        }
    }
    if let Some((mut verneeds, link)) = sections.gnu_verneed(Le, bytes).unwrap() {
        let strings = sections.strings(Le, bytes, link).unwrap();
        while let Some((verneed, mut names)) = verneeds.next().unwrap() {
            while let Some(name) = names.next().unwrap() {
                let file = verneed.file(Le, strings).unwrap();
                needs.insert((file, name.name(Le, strings).unwrap(), name.vna_other(Le).index().0));
            }
        }
    }
    let found: Vec<_> = ours.version_definitions().unwrap();
    assert_eq!(found.iter().map(|d| (d.name, d.index)).collect::<BTreeSet<_>>(), nodes, "{path}");
    let found = ours.version_needs().unwrap();
    let found = found.iter().flat_map(|n| n.versions.iter().map(move |v| (n.file, v.name, v.index)));
    assert_eq!(found.collect::<BTreeSet<_>>(), needs, "{path}");

    let symbols = sections.symbols(Le, bytes, elf::SHT_DYNSYM).unwrap();
    let (mut defined, mut undefined) = (Names::new(), Names::new());
    for (index, symbol) in symbols.enumerate() {
        let global = symbol.st_bind() != elf::STB_LOCAL;
        let visible = !matches!(symbol.st_visibility(), elf::STV_HIDDEN | elf::STV_INTERNAL);
        if index.0 == 0 || !global || !visible {
            continue;
        }
        let version = if versions.is_empty() { Default::default() } else { versions.version_index(Le, index) };
        let node = versions.version(version.index()).unwrap().map(|version| version.name().to_vec());
        let name = symbol.name(Le, symbols.strings()).unwrap().to_vec();
        let weak = symbol.st_bind() == elf::STB_WEAK;
        if symbol.st_shndx(Le) == elf::SHN_UNDEF {
            undefined.push((name, node, weak, false));
        } else {
            defined.push((name, node, weak, version.is_hidden()));
        }
    }
    let found = ours.undefined().unwrap();
    let found = found.iter().map(|u| (u.name.to_vec(), u.version.map(|version| version.node.to_vec()), u.weak, false));
    assert_eq!(found.collect::<Names>(), undefined, "{path}");
    let found = ours.definitions().unwrap();
    for symbol in &found {
        assert!(ours.defines(symbol.name, symbol.node), "{path}: {symbol:?}");
    }
    let found = found.iter().map(|d| (d.name.to_vec(), d.node.map(<[u8]>::to_vec), d.weak, d.hidden));
    assert_eq!(found.collect::<Names>(), defined, "{path}");
}
