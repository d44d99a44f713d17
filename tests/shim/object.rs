//! The object itself: what it imports, exports and may do, as the loader will see it.
//!
//! Read by the crate's reader; segments and their protection by goblin.

use super::made;
use cudashim::internal::elf::Elf;
use cudashim::internal::launch::shim::{IMAGE, TRACER, image_for};
use goblin::elf::dynamic::{DF_1_NODELETE, DF_1_NOW};
use goblin::elf::program_header::{PF_W, PF_X, PT_GNU_PROPERTY, PT_GNU_RELRO, PT_GNU_STACK, PT_LOAD};

/// Instructions of aarch64 are all of one length: the same code is a fifth larger.
const TEXT: [(&str, usize); 2] = [("x86-64", 16 * 1024), ("aarch64", 18 * 1024)];

/// The marker, the dlopen door and the audit door.
const EXPORTS: [&str; 5] = ["cudashim_abi", "dlopen", "la_objopen", "la_objsearch", "la_version"];

fn sorted<'a>(names: impl Iterator<Item = &'a [u8]>) -> Vec<&'a str> {
    let mut names: Vec<&str> = names.map(|name| std::str::from_utf8(name).unwrap()).collect();
    names.sort_unstable();
    names
}

/// All that is promised of the object for one machine.
pub(super) fn is_as_promised(image: &[u8]) {
    it_needs_nothing_that_a_process_may_lack(image);
    its_exports_are_exact(image);
    it_asks_for_what_old_loaders_know(image);
    its_segments_are_small_and_never_writable_code(image);
}

fn it_needs_nothing_that_a_process_may_lack(image: &[u8]) {
    let elf = Elf::parse(image).unwrap();
    assert_eq!(elf.needed(), [b""; 0]);
    assert_eq!(elf.interpreter(), None);
    assert_eq!(elf.version_needs().unwrap(), []);
    let undefined = elf.undefined().unwrap();
    let names = sorted(undefined.iter().map(|symbol| symbol.name));
    assert_eq!(names, ["__libc_dlopen_mode", "__libc_dlsym", "dl_iterate_phdr", "dlsym", "environ", "getauxval"]);
    assert!(undefined.iter().all(|symbol| symbol.weak && symbol.version.is_none()));
}

fn its_exports_are_exact(image: &[u8]) {
    let elf = Elf::parse(image).unwrap();
    let defined = elf.definitions().unwrap();
    assert_eq!(sorted(defined.iter().map(|symbol| symbol.name)), EXPORTS);
    // Without a node, `dlopen` answers to whatever version is asked for.
    assert!(defined.iter().all(|symbol| symbol.node.is_none() && !symbol.hidden));
    assert_eq!(elf.version_definitions().unwrap(), []);
    assert_eq!(elf.soname(), Some(&b"libcudashim.so"[..]));
}

fn it_asks_for_what_old_loaders_know(image: &[u8]) {
    let elf = Elf::parse(image).unwrap();
    assert!(!elf.relr() && !elf.text_relocations());
    assert_eq!((elf.rpath(), elf.runpath()), (None, None));
    assert_ne!(elf.flags_1() & DF_1_NODELETE, 0);
    assert_ne!(elf.flags_1() & DF_1_NOW, 0);
    // The surplus of static TLS is everybody's.
    assert!(elf.tls().is_none(), "{:?}", elf.tls());
    assert_eq!(elf.glibc_floor().unwrap(), None);
    assert!(elf.build_id().is_some());
}

fn its_segments_are_small_and_never_writable_code(image: &[u8]) {
    let elf = Elf::parse(image).unwrap();
    let text = elf.sections().into_iter().find(|section| section.name == b".text").unwrap();
    let machine = elf.ident().machine_name();
    let (_, room) = TEXT.into_iter().find(|(name, _)| *name == machine).unwrap();
    assert!((1..=room).contains(&text.bytes.len()), "{machine}: {}", text.bytes.len());
    assert!(!elf.executable_stack());
    let elf = goblin::elf::Elf::parse(image).unwrap();
    let count = |kind| elf.program_headers.iter().filter(|segment| segment.p_type == kind).count();
    // Without PT_GNU_STACK the loader makes the stack of every thread executable.
    assert_eq!((count(PT_LOAD), count(PT_GNU_STACK), count(PT_GNU_RELRO), count(PT_GNU_PROPERTY)), (2, 1, 1, 1));
    assert!(elf.program_headers.iter().all(|s| s.p_flags & (PF_W | PF_X) != PF_W | PF_X));
}

#[test]
fn object_keeps_its_rules() {
    is_as_promised(IMAGE);
}

/// Nothing of the tracer is in the object of production processes, and nothing of the dlopen door in the tracer.
#[test]
fn object_of_the_tracer_keeps_its_rules() {
    let has = |image: &[u8], text: &str| image.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    assert!(has(TRACER, "CUDASHIM_TRACE") && !has(IMAGE, "CUDASHIM_TRACE"));
    let tracer = Elf::parse(TRACER).unwrap();
    let exports = ["la_activity", "la_objclose", "la_objopen", "la_objsearch", "la_preinit", "la_version"];
    assert_eq!(sorted(tracer.definitions().unwrap().iter().map(|symbol| symbol.name)), exports);
    assert_eq!(tracer.needed(), [b""; 0]);
}

/// The frames from the entry to the loader, as the compiler counts them; one level of loading is all of them.
#[test]
fn object_takes_a_kilobyte_of_stack() {
    let lab = crate::support::Machine::new();
    let cshim = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("cshim");
    let machine = made::of_machine(std::env::consts::ARCH).unwrap();
    let mut frames = std::collections::BTreeMap::new();
    for object in [made::SHIM, made::TRACE] {
        let file = lab.path(object.soname);
        for arguments in made::runs(&object, machine, env!("OUT_DIR").as_ref(), &cshim, &file).unwrap() {
            let compiled =
                std::process::Command::new("cc").args(["-std=gnu11", "-fstack-usage"]).args(arguments).output();
            assert!(compiled.unwrap().status.success());
        }
    }
    for entry in std::fs::read_dir(lab.root()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "su") {
            for line in std::fs::read_to_string(path).unwrap().lines() {
                let mut fields = line.split('\t');
                let name = fields.next().unwrap().rsplit(':').next().unwrap().to_owned();
                let name = name.split('.').next().unwrap().to_owned();
                frames.insert(name, fields.next().unwrap().parse::<usize>().unwrap());
            }
        }
    }
    // An inlined function is part of its caller's frame.
    let way = ["cudashim_pick", "decide", "by_name", "by_path", "give", "load_needed", "load_member", "load_quietly"];
    let deep: usize = way.iter().filter_map(|name| frames.get(*name)).sum();
    let largest = frames.values().max().unwrap();
    assert!(
        frames.len() > 50 && frames.contains_key("cudashim_pick") && frames.contains_key("load_quietly"),
        "{frames:?}"
    );
    // The stub's frame, and that of the deepest leaf function.
    assert!(24 + deep + largest <= 1024, "{deep} and {largest}: {frames:?}");
}

/// The checks see what they look for: the host program has all that the object must not have.
#[test]
fn object_checks_reject_an_ordinary_object() {
    let lab = crate::support::Machine::new();
    let source = "#include <stdio.h>\nint dlopen; int more; void f(void) { puts(\"\"); }";
    let ordinary = lab.library("libcudashim.so", source, &["-Wl,-z,execstack"]);
    let image = std::fs::read(ordinary).unwrap();
    for check in [
        it_needs_nothing_that_a_process_may_lack,
        its_exports_are_exact,
        it_asks_for_what_old_loaders_know,
        its_segments_are_small_and_never_writable_code,
    ] {
        assert!(std::panic::catch_unwind(|| check(&image)).is_err());
    }
}

#[test]
fn object_patch_changes_the_path_only() {
    let path = "/opt/cudashim/bin/cudashim";
    let patched = image_for(Some(path.as_ref())).unwrap();
    assert_eq!(image_for(None).unwrap(), IMAGE);
    let differs: Vec<usize> = (0..IMAGE.len()).filter(|&i| IMAGE[i] != patched[i]).collect();
    assert_eq!(differs.len(), path.len());
    assert_eq!(&patched[differs[0]..=differs[path.len() - 1]], path.as_bytes());
}
