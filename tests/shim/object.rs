//! The object itself: what it imports, exports and may do, as the loader will see it.

use cudashim::handout::shim::{IMAGE, image_for};
use goblin::elf::program_header::{PF_W, PF_X, PT_GNU_RELRO, PT_GNU_STACK, PT_INTERP, PT_LOAD};
use goblin::elf::sym::{STB_WEAK, STV_DEFAULT};
use goblin::elf::{Elf, dynamic};

fn names<'a>(elf: &'a Elf<'_>, undefined: bool) -> Vec<&'a str> {
    let symbols = elf.dynsyms.iter().filter(|sym| sym.st_name != 0 && (sym.st_shndx == 0) == undefined);
    let mut names: Vec<&str> = symbols.map(|sym| elf.dynstrtab.get_at(sym.st_name).unwrap()).collect();
    names.sort_unstable();
    names
}

#[test]
fn it_needs_nothing_that_a_process_may_lack() {
    let elf = Elf::parse(IMAGE).unwrap();
    assert_eq!(elf.libraries, [""; 0]);
    assert!(elf.verneed.is_none() && elf.verdef.is_none());
    assert_eq!(names(&elf, true), ["dl_iterate_phdr", "dlsym", "environ"]);
    let undefined = elf.dynsyms.iter().filter(|sym| sym.st_name != 0 && sym.st_shndx == 0);
    assert!(undefined.map(|sym| sym.st_bind()).all(|bind| bind == STB_WEAK));
    assert!(!elf.program_headers.iter().any(|segment| segment.p_type == PT_INTERP));
}

#[test]
fn it_exports_nine_names() {
    let elf = Elf::parse(IMAGE).unwrap();
    // Of the auditor's, none that makes the loader tell of each binding or each call of a symbol.
    let audit = ["la_activity", "la_objclose", "la_objopen", "la_objsearch", "la_version"];
    let all = [&["cudashim_abi", "cudashim_path", "cudashim_plan", "dlopen"][..], &audit].concat();
    assert_eq!(names(&elf, false), all);
    let defined = elf.dynsyms.iter().filter(|sym| sym.st_shndx != 0 && sym.st_name != 0);
    assert!(defined.map(|sym| sym.st_visibility()).all(|visibility| visibility == STV_DEFAULT));
    assert_eq!(elf.soname, Some("libcudashim.so"));
}

#[test]
fn its_segments_are_small_and_never_writable_code() {
    let elf = Elf::parse(IMAGE).unwrap();
    let text = elf.section_headers.iter().find(|s| elf.shdr_strtab.get_at(s.sh_name) == Some(".text"));
    assert!((1..=20 * 1024).contains(&text.unwrap().sh_size));
    assert_eq!(elf.program_headers.iter().filter(|s| s.p_type == PT_LOAD).count(), 2);
    let stack = elf.program_headers.iter().find(|s| s.p_type == PT_GNU_STACK).unwrap();
    assert_eq!(stack.p_flags & PF_X, 0);
    assert!(elf.program_headers.iter().all(|s| s.p_flags & (PF_W | PF_X) != PF_W | PF_X));
    assert!(elf.program_headers.iter().any(|s| s.p_type == PT_GNU_RELRO));
}

#[test]
fn its_dynamic_section_asks_for_what_old_loaders_know() {
    let elf = Elf::parse(IMAGE).unwrap();
    let dynamic = elf.dynamic.as_ref().unwrap();
    let has = |tag| dynamic.dyns.iter().any(|dyn_| dyn_.d_tag == tag);
    const DT_RELR: u64 = 36;
    assert!(!has(DT_RELR) && !has(dynamic::DT_TEXTREL) && !has(dynamic::DT_RPATH) && !has(dynamic::DT_RUNPATH));
    assert_ne!(dynamic.info.flags_1 & dynamic::DF_1_NODELETE, 0);
    assert_ne!(dynamic.info.flags_1 & dynamic::DF_1_NOW, 0);
    assert_eq!(dynamic.info.flags & dynamic::DF_TEXTREL, 0);
    assert!(has(dynamic::DT_GNU_HASH) || has(dynamic::DT_HASH));
}

#[test]
fn only_the_binarys_path_differs_in_a_patched_image() {
    let path = "/opt/cudashim/bin/cudashim";
    let patched = image_for(Some(path.as_ref())).unwrap();
    assert_eq!(image_for(None).unwrap(), IMAGE);
    let differs: Vec<usize> = (0..IMAGE.len()).filter(|&i| IMAGE[i] != patched[i]).collect();
    assert_eq!(differs.len(), path.len());
    assert_eq!(&patched[differs[0]..=differs[path.len() - 1]], path.as_bytes());
}
