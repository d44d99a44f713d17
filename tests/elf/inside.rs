//! Releases, GPU code and requirements, written into objects by the compiler and read back.

use crate::support::*;
use cudashim::Host;
use cudashim::internal::elf::{Elf, Glibc};
use cudashim::internal::inventory::places::{Place, Provenance};
use cudashim::internal::inventory::{Confidence, Depth, EvidenceKind, Inventory, evidence, flags, gpu_code, observe};
use cudashim::internal::loader::Objects;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::TempDir;

use crate::fuzz::evidence::look_for_everything;

/// An NCCL with two texts about its release; `NUMBER` and `TEXT` are put in.
const NCCL: &str = r#"
    int ncclGetVersion(int *version) { *version = NUMBER; return 0; }
    const char banner[] = "NCCL version TEXT";
    int ncclMemAlloc(void) { return 0; }
"#;

fn nccl(dir: &Path, number: &str, text: &str) {
    let source = NCCL.replace("NUMBER", number).replace("TEXT", text);
    library(dir, "libnccl.so.2", &source, &["-O1", "-nostdlib", "-Wl,-soname,libnccl.so.2"]);
}

fn look(dir: &Path) -> Inventory {
    let host = Host::new("/".into(), BTreeMap::new(), "/".into());
    let objects = Objects::new(&host);
    let place = Place { dir: dir.to_owned(), root: dir.to_owned(), provenance: Provenance::Given };
    let mut inventory = Inventory::scan(&objects, vec![place]);
    inventory.look_inside(Depth::Full);
    inventory
}

#[test]
fn inside_release_without_a_package() {
    let dir = TempDir::new().unwrap();
    nccl(dir.path(), "22105", "2.21.5+cuda12.4");
    let inventory = look(dir.path());
    let [nccl] = &inventory.libraries[..] else { panic!("{inventory:?}") };
    assert_eq!(nccl.version.as_ref().unwrap().to_string(), "2.21.5");
    assert_eq!((nccl.cuda, nccl.confidence), (Some((12, Some(4))), Confidence::Certain));
    assert_eq!(nccl.found().disagreement(), None);
    let quick = evidence(nccl, Depth::Quick);
    assert_eq!((quick.0, quick.1), (nccl.found(), 0));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn inside_disagreement_lowers_confidence() {
    let dir = TempDir::new().unwrap();
    nccl(dir.path(), "21801", "2.21.5+cuda12.4");
    let inventory = look(dir.path());
    let nccl = &inventory.libraries[0];
    assert_eq!(nccl.version.as_ref().unwrap().to_string(), "2.18.1", "what it would return comes first");
    assert_eq!(nccl.confidence, Confidence::Unsure);
    let found = nccl.found();
    let (one, other) = found.disagreement().unwrap();
    assert_eq!((one.kind, other.kind), (EvidenceKind::Function, EvidenceKind::Text));
    assert_eq!(other.says, "NCCL version 2.21.5+cuda12.4");
}

#[test]
fn inside_silent_library_takes_its_neighbours_release() {
    let dir = TempDir::new().unwrap();
    let text = "const char banner[] = \"Cuda compilation tools, release 12.4, V12.4.127\";
        int nvrtcVersion(int *major, int *minor) { *major = 12; *minor = 4; return 0; }";
    for (name, source) in [("libnvrtc.so.12", text), ("libnvblas.so.12", ""), ("libcurand.so.10", "")] {
        library(dir.path(), name, source, &["-O1", "-nostdlib", &format!("-Wl,-soname,{name}")]);
    }
    let inventory = look(dir.path());
    let of = |name: &str| inventory.serving(name).next().unwrap();
    assert_eq!(of("libnvrtc.so.12").confidence, Confidence::Certain);
    assert_eq!(of("libnvrtc.so.12").version.as_ref().unwrap().to_string(), "12.4.127");
    for name in ["libnvblas.so.12", "libcurand.so.10"] {
        assert_eq!((of(name).cuda, of(name).confidence), (Some((12, Some(4))), Confidence::Unsure), "{name}");
        assert_eq!(of(name).version, None, "{name}");
    }
}

#[test]
fn inside_demands_and_a_static_runtime() {
    let dir = TempDir::new().unwrap();
    let source = r#"
        __thread char block[4096];
        extern int puts(const char *);
        int (*use)(const char *) = puts;
        __attribute__((section(".nvFatBinSegment"))) long segment[3] = {0x466243b1};
        __asm__(".pushsection .note.cuda.fwd_compatibility, \"a\", @note\n"
                ".balign 4\n.long 19, 2f - 1f, 1\n.asciz \"NVIDIA Corporation\"\n.balign 4\n"
                "1: .asciz \"{\\\"Format\\\":1,\\\"CUDA Version\\\":\\\"13.1\\\",\\\"Driver\\\":[535,550]}\"\n2:\n.balign 4\n.popsection");
    "#;
    let path = library(dir.path(), "libcuda.so.1", source, &["-Wl,-z,noexecstack"]);
    let bytes = std::fs::read(path).unwrap();
    let elf = Elf::parse(&bytes).unwrap();
    let found = flags(&elf, false).unwrap();
    assert_eq!(found.tls.unwrap().size, 4096);
    assert!(!found.executable_stack && !found.text_relocations && !found.relr);
    assert!(found.glibc_floor >= Glibc::of_node(b"GLIBC_2.2.5"));
    assert!(found.symbols.defined >= 3 && found.symbols.undefined >= 1, "{:?}", found.symbols);
    assert!(found.needs.iter().any(|(file, nodes)| file == "libc.so.6" && !nodes.is_empty()));
    assert!(found.static_runtime.unwrap().contains("__cudaRegisterFatBinary"));
    let compat = found.forward_compatibility.unwrap();
    assert_eq!((compat.cuda.as_str(), compat.runs_on(550), compat.runs_on(565)), ("13.1", Some(true), Some(false)));

    let asks =
        format!("{source} extern void __cudaRegisterFatBinary(void); void f(void) {{ __cudaRegisterFatBinary(); }}");
    let bytes = std::fs::read(library(dir.path(), "libasks.so", &asks, &[])).unwrap();
    assert_eq!(flags(&Elf::parse(&bytes).unwrap(), false).unwrap().static_runtime, None);
    let texts = "const char name[] = \"/cudart.shm.%x.%x.%llx\";";
    let bytes = std::fs::read(library(dir.path(), "libtexts.so", texts, &[])).unwrap();
    let elf = Elf::parse(&bytes).unwrap();
    assert!(flags(&elf, false).unwrap().static_runtime.is_some());
    assert_eq!(flags(&elf, true).unwrap().static_runtime, None);
}

/// One region with one cubin for sm_90a.
const FAT: &str = r#"
    .balign 8
    .long 0xba55ed50
    .short 1, 16
    .quad 72
    .short 2, 0x101
    .long 64
    .quad 8
    .long 8, 0, 0x10007, 90
    .quad 0, 0x102011, 0, 0, 0
"#;

#[test]
fn inside_gpu_code_by_section_and_by_search() {
    let dir = TempDir::new().unwrap();
    let in_section = |section: &str| {
        let lines = FAT.trim().lines().map(|line| format!("\"{}\\n\"", line.trim())).collect::<String>();
        format!("__asm__(\".pushsection {section}\\n\" {lines} \".popsection\");")
    };
    let host = Host::new("/".into(), BTreeMap::new(), "/".into());
    let objects = Objects::new(&host);
    let found = |out: &str, section: &str, args: &[&str], depth| {
        let object = objects.open(Path::new(&library(dir.path(), out, &in_section(section), args))).unwrap();
        let code = gpu_code(&object, depth).unwrap();
        code.cubins.iter().map(|(arch, count)| format!("sm_{arch} x{count}")).collect::<Vec<_>>().join(" ")
    };
    let own = ".nv_fatbin, \\\"a\\\"";
    let other = ".ldata, \\\"aw\\\"";
    assert_eq!(found("libown.so", own, &[], Depth::Quick), "sm_90a x1");
    assert_eq!(found("libown2.so", own, &[], Depth::Full), "sm_90a x1");
    assert_eq!(found("libother.so", other, &[], Depth::Quick), "");
    assert_eq!(found("libother2.so", other, &[], Depth::Full), "sm_90a x1");
}

fn sample() -> &'static [u8] {
    static SAMPLE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    SAMPLE.get_or_init(|| {
        let dir = TempDir::new().unwrap();
        let source = NCCL.replace("NUMBER", "22105").replace("TEXT", "2.21.5+cuda12.4");
        std::fs::read(library(dir.path(), "libs.so", &source, &["-nostdlib", "-Wl,-z,noseparate-code"])).unwrap()
    })
}

#[test]
fn inside_sample_has_evidence() {
    let (found, searched) = observe(&Elf::parse(sample()).unwrap(), "libnccl.so.2");
    assert!(found.len() >= 2 && searched > 0, "{found:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn damaged_bytes_never_break_the_look_inside(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        cut in any::<prop::sample::Index>(),
        cuts in prop::bool::weighted(0.1),
    ) {
        let mut bytes = sample().to_vec();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        look_for_everything(&bytes);
    }

    #[test]
    fn noise_has_no_evidence(noise in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert_eq!(look_for_everything(&noise), 1);
    }
}
