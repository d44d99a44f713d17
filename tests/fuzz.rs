//! The bodies of the fuzz targets (`fuzz/`), on the inputs that are kept: cut-down real files, and what once failed.

use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

#[path = "../fuzz/body/command.rs"]
mod command;
#[path = "../fuzz/body/conda_meta.rs"]
mod conda_meta;
#[path = "../fuzz/body/dpkg.rs"]
mod dpkg;
#[path = "../fuzz/body/elf_facts.rs"]
pub(crate) mod elf_facts;
#[path = "../fuzz/body/evidence.rs"]
pub(crate) mod evidence;
#[path = "../fuzz/body/fatbin.rs"]
mod fatbin;
#[path = "../fuzz/body/image.rs"]
mod image;
#[path = "../fuzz/body/ld_so_cache.rs"]
mod ld_so_cache;
#[path = "../fuzz/body/ld_so_conf.rs"]
mod ld_so_conf;
#[path = "../fuzz/body/lines.rs"]
mod lines;
#[path = "../fuzz/body/machine.rs"]
mod machine;
#[path = "../fuzz/body/message.rs"]
mod message;
#[path = "../fuzz/body/metadata.rs"]
mod metadata;
#[path = "../fuzz/body/notes.rs"]
mod notes;
#[path = "../fuzz/body/peek.rs"]
mod peek;
#[path = "../fuzz/body/plan.rs"]
mod plan;
#[path = "../fuzz/body/record.rs"]
mod record;
#[path = "../fuzz/body/spec.rs"]
mod spec;
#[path = "../fuzz/body/version.rs"]
mod version;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The inputs kept for a target, by name.
fn inputs(target: &str) -> Vec<PathBuf> {
    let dirs = ["seeds", "findings"].map(|kind| fuzz().join(kind).join(target));
    let entries = dirs.iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "nothing is kept for {target}");
    files
}

/// Runs `body` on what is kept, and on halves of it.
fn run(target: &str, body: impl Fn(&[u8])) {
    for path in inputs(target) {
        let bytes = std::fs::read(&path).unwrap();
        // A panicking body does not report its input.
        eprintln!("{}", path.display());
        body(&bytes);
        body(&bytes[..bytes.len() / 2]);
        body(&bytes[bytes.len() / 2..]);
    }
}

/// One test for each body that takes bytes and nothing else.
macro_rules! kept {
    ($($target:ident)*) => {
        mod kept {
            $(#[test]
            fn $target() {
                super::run(stringify!($target), super::$target::run);
            })*
        }
    };
}

kept! {
    command conda_meta dpkg fatbin ld_so_cache ld_so_conf lines message metadata notes plan record spec version
}

#[test]
fn objects() {
    run("elf", |bytes| _ = elf_facts::read_everything(bytes));
    run("elf", |bytes| _ = evidence::look_for_everything(bytes));
}

/// The readers of `cshim/` as a program: `shim image|peek FILE`.
struct Shim {
    dir: TempDir,
}

impl Shim {
    fn build() -> Self {
        let dir = TempDir::new().unwrap();
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let mut command = Command::new(compiler);
        command.current_dir(fuzz().join("shim")).args([
            "-g",
            "-O1",
            "-std=gnu11",
            "-Wall",
            "-Wextra",
            "-Wno-unused-parameter",
            "-Wno-unused-function",
            "-Werror",
        ]);
        // A trap needs no library of the sanitizer's.
        command.args(["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error", "-include", "memory.h", "-I."]);
        for name in ["memcpy", "memmove", "memset", "memcmp"] {
            command.arg(format!("-D{name}=shim_{name}"));
        }
        command.args(["main.c", "harness.c"]);
        let output = command.arg("-o").arg(dir.path().join("shim")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { dir }
    }

    /// What the reader of images makes of each of many.
    fn reads_images(&self, images: &[Vec<u8>]) -> Vec<Option<Vec<u8>>> {
        let file = self.dir.path().join("images");
        let size = |image: &Vec<u8>| u32::try_from(image.len()).unwrap().to_ne_bytes();
        std::fs::write(&file, images.iter().flat_map(|image| [&size(image)[..], image].concat()).collect::<Vec<u8>>())
            .unwrap();
        let output = Command::new(self.dir.path().join("shim")).arg("images").arg(file).output().unwrap();
        assert!(output.status.success(), "{:?}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        let mut left = output.stdout.as_slice();
        let mut answers = Vec::new();
        while let Some((size, rest)) = left.split_first_chunk() {
            let size = usize::try_from(i32::from_ne_bytes(*size)).ok();
            let (answer, rest) = rest.split_at(size.unwrap_or(0));
            answers.push(size.map(|_| answer.to_vec()));
            left = rest;
        }
        answers
    }

    /// What a reader makes of bytes; `None` where it refuses them.
    fn reads(&self, reader: &str, bytes: &[u8]) -> Option<Vec<u8>> {
        let file = self.dir.path().join("input");
        std::fs::write(&file, bytes).unwrap();
        let output = Command::new(self.dir.path().join("shim")).arg(reader).arg(file).output().unwrap();
        match output.status.code() {
            Some(0) => Some(output.stdout),
            Some(1) => None,
            _ => panic!("{:?}: {}", output.status, String::from_utf8_lossy(&output.stderr)),
        }
    }
}

#[test]
fn fuzz_images_are_read_alike() {
    let shim = Shim::build();
    run("image", |bytes| image::run(bytes, |bytes| shim.reads("image", bytes)));
    // That both refuse everything would pass for agreement.
    let whole = std::fs::read(fuzz().join("seeds/image/one")).unwrap();
    assert!(cudashim::internal::plan::ImageView::parse(&whole).is_ok_and(|view| view.libraries.len() == 3));
}

/// Some thousands of images with a few changed words or bytes; `CUDASHIM_MUTANTS` sets how many.
#[test]
fn fuzz_mutated_images_are_read_alike() {
    let shim = Shim::build();
    let whole = std::fs::read(fuzz().join("seeds/image/one")).unwrap();
    let mut random = 1u64;
    let mut below = |count: usize| {
        // xorshift64
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % count as u64).unwrap()
    };
    let mut mutant = || {
        let mut bytes = whole.clone();
        for _ in 0..=below(3) {
            let (at, other) = (below(bytes.len()), below(bytes.len()));
            match below(6) {
                0 => bytes[at] ^= 1 << below(8),
                1 => bytes[at] = bytes[other],
                // A number of the header or of a record.
                2 => bytes[at & !3] = u8::try_from(below(256)).unwrap(),
                3 => bytes[at & !3] = bytes[at & !3].wrapping_add(1),
                4 if at & !3 != other & !3 => {
                    let word: Vec<u8> = bytes[other & !3..].iter().take(4).copied().collect();
                    bytes.splice(at & !3..(at & !3) + word.len().min(bytes.len() - (at & !3)), word);
                }
                _ => bytes.truncate(bytes.len() - below(3)),
            }
        }
        let size = u32::try_from(bytes.len()).unwrap();
        if below(4) > 0 && bytes.len() > 16 {
            bytes[12..16].copy_from_slice(&size.to_le_bytes());
        }
        bytes
    };
    let count = std::env::var("CUDASHIM_MUTANTS").ok().and_then(|count| count.parse().ok()).unwrap_or(4000);
    let mut taken = 0;
    for _ in 0..usize::div_ceil(count, 4000) {
        let mutants: Vec<Vec<u8>> = (0..4000).map(|_| mutant()).collect();
        let answers = shim.reads_images(&mutants);
        assert_eq!(answers.len(), mutants.len());
        for (bytes, answer) in mutants.iter().zip(answers) {
            taken += usize::from(answer.is_some());
            image::agree(bytes, |_| answer.clone());
        }
    }
    assert!(taken * 20 > count && taken * 2 < count * 2, "{taken} of {count}");
}

/// That everything is refused would pass for agreement.
#[test]
fn fuzz_seed_plan_is_read() {
    let whole = std::fs::read(fuzz().join("seeds/plan/torch")).unwrap();
    assert!(cudashim::Plan::parse(&whole).is_ok_and(|plan| plan.libraries.len() == 3));
}

#[test]
fn fuzz_needed_names_are_read_alike() {
    let shim = Shim::build();
    let mut names = 0;
    for path in inputs("elf") {
        let bytes = std::fs::read(&path).unwrap();
        eprintln!("{}", path.display());
        peek::run(&bytes, |bytes| {
            let seen = shim.reads("peek", bytes).unwrap();
            names += seen.iter().filter(|byte| **byte == 0).count();
            seen
        });
    }
    assert!(names > 0, "the shim sees no name in any file");
}
