//! Another reader, the `object` crate, which goes by section headers, finds the same facts in every
//! library of the machine.
//!
//! `CUDASHIM_TEST_LIBRARIES`, directories separated by colons, names others to look through.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cudashim::internal::elf::{Elf, Kind};
use object::LittleEndian as Le;
use object::elf;
use object::read::elf::{Dyn as _, ElfFile64, Sym as _};

#[test]
fn elf_reader_agrees_with_object() {
    let (roots, limit) = match std::env::var_os("CUDASHIM_TEST_LIBRARIES") {
        Some(list) => (std::env::split_paths(&list).collect(), usize::MAX),
        None => (defaults(), 150),
    };
    let mut files = BTreeSet::new();
    let is_library = |path: &Path| path.to_string_lossy().contains(".so");
    roots.iter().for_each(|root| collect(root, &is_library, &mut files));
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

/// Every ELF file below `CUDASHIM_ORACLE_ROOT`, whatever it is called:
/// `CUDASHIM_ORACLE_ROOT=/ cargo test --release -- --ignored elf_oracle --nocapture`. `CUDASHIM_ORACLE_EXCEPT` names
/// directories, separated by colons, of files that are damaged on purpose.
#[test]
#[ignore = "reads every file of a machine"]
fn elf_oracle() {
    let root = std::env::var_os("CUDASHIM_ORACLE_ROOT").expect("CUDASHIM_ORACLE_ROOT names a directory");
    let mut files = BTreeSet::new();
    let except = std::env::var_os("CUDASHIM_ORACLE_EXCEPT").unwrap_or_default();
    let except: Vec<PathBuf> = std::env::split_paths(&except).filter(|dir| dir.is_absolute()).collect();
    let accepts = |path: &Path| !except.iter().any(|dir| path.starts_with(dir)) && is_elf(path);
    collect(Path::new(&root), &accepts, &mut files);
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for path in &files {
        let Ok(file) = std::fs::File::open(path) else { continue };
        let stat = file.metadata().unwrap();
        if !seen.insert((stat.dev(), stat.ino())) {
            continue;
        }
        // Files are exchanged while we look, and the largest are larger than the memory.
        let Ok(bytes) = std::fs::read(path) else { continue };
        let outcome = std::panic::catch_unwind(|| match Elf::parse(&bytes) {
            Ok(elf) if elf.truncated() => "cut short",
            Ok(elf) => {
                agree(path, &elf, &bytes);
                if elf.is_dynamic() { "agree" } else { "without a dynamic table" }
            }
            Err(error) if error.is_foreign() => "of another machine",
            // What no reader of sections takes either, or a relocatable's kin.
            Err(_) if ElfFile64::<Le>::parse(&*bytes).is_err() => "refused by both",
            Err(error) => panic!("{}: {error}", path.display()),
        });
        match outcome {
            Ok(outcome) => *count.entry(outcome).or_default() += 1,
            Err(_) => wrong.push(path),
        }
    }
    eprintln!("{} names, {} files: {count:?}, {} wrong", files.len(), seen.len(), wrong.len());
    assert!(wrong.is_empty() && count.contains_key("agree"), "{wrong:#?}");
}

fn is_elf(path: &Path) -> bool {
    let mut start = [0; 4];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *b"\x7fELF"
}

fn defaults() -> Vec<PathBuf> {
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/lib64", "/usr/lib"]
        .map(PathBuf::from)
        .into()
}

/// The regular files below a directory that `accepts` accepts, without the file systems of the kernel.
fn collect(dir: &Path, accepts: &dyn Fn(&Path) -> bool, files: &mut BTreeSet<PathBuf>) {
    if ["/proc", "/sys", "/dev"].map(Path::new).contains(&dir) {
        return;
    }
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() {
            collect(&path, accepts, files);
        } else if kind.is_file() && accepts(&path) {
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
        let section = symbol.st_shndx(Le);
        // glibc's `do_lookup_x` passes over a symbol without a value: metadata in sections that are not loaded.
        let has_value = symbol.st_value(Le) != 0 || section == elf::SHN_ABS || symbol.st_type() == elf::STT_TLS;
        if section != elf::SHN_UNDEF && !has_value {
            continue;
        }
        if section == elf::SHN_UNDEF {
            undefined.push((name, node, weak, false));
        } else {
            defined.push((name, node, weak, version.is_hidden()));
        }
    }
    let found = ours.undefined().unwrap();
    let found = found.iter().map(|u| (u.name.to_vec(), u.version.map(|version| version.node.to_vec()), u.weak, false));
    assert!(found.collect::<Names>() == undefined, "{path}: undefined symbols");
    let found = ours.definitions().unwrap();
    let counts = ours.symbol_counts().unwrap();
    let weak = undefined.iter().filter(|(_, _, weak, _)| *weak).count();
    assert_eq!((counts.defined, counts.undefined, counts.weak), (found.len(), undefined.len() - weak, weak), "{path}");
    for symbol in &found {
        assert!(ours.defines(symbol.name, symbol.node), "{path}: {symbol:?}");
    }
    let found = found.iter().map(|d| (d.name.to_vec(), d.node.map(<[u8]>::to_vec), d.weak, d.hidden));
    assert!(found.collect::<Names>() == defined, "{path}: defined symbols");
}
