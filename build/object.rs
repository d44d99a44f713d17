//! How the preload object is compiled and linked, for each machine that it knows.
//!
//! Of the machine's arguments, the directory with `stems.h` and the sources' directory, gives the compiler's arguments for
//! each part and for the whole. The test that builds it for another machine uses the same.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// The branch protection of the machine: without it, one object turns it off for the whole process. Outlined atomics
/// of aarch64 are functions of libgcc, which is not there. `None` for a machine that `cshim/` has no code for.
pub(crate) fn of_machine(arch: &str) -> Option<&'static [&'static str]> {
    match arch {
        "x86_64" => Some(&["-fcf-protection=full"]),
        "aarch64" => Some(&["-mbranch-protection=standard", "-mno-outline-atomics"]),
        _ => None,
    }
}

/// The source that a process goes through for each byte of a name, built for speed. The rest is built for size: what is
/// mapped into every process is to stay small.
const HOT: &str = "text.c";

const COMPILE: [&str; 13] = [
    "-fPIC",
    "-ffreestanding",
    "-fvisibility=hidden",
    // Nothing walks these frames but debuggers, who read the tables.
    "-fomit-frame-pointer",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Werror",
    // Each of these keeps out an import that would have to be there in every process: some distributions' compilers
    // turn the stack protector and fortified calls on, dynamic TLS calls __tls_get_addr, and a loop that copies may
    // become a call of memcpy.
    "-fno-stack-protector",
    "-U_FORTIFY_SOURCE",
    "-ftls-model=initial-exec",
    "-fno-tree-loop-distribute-patterns",
    "-c",
];

const LINK: [&str; 13] = [
    "-shared",
    "-nostdlib",
    "-nostartfiles",
    "-Wl,-soname,libcudashim.so",
    "-Wl,--build-id=sha1",
    "-Wl,-s",
    "-Wl,-z,nodelete",
    "-Wl,-z,relro",
    "-Wl,-z,now",
    "-Wl,-z,noexecstack",
    // Two segments instead of four: fewer maps and page faults in every process, a fifth of our cost to `true`.
    "-Wl,-z,noseparate-code",
    // A text relocation or a strong import is an error here, not in somebody's process.
    "-Wl,-z,text",
    "-Wl,-z,defs",
];

const BOTH: [&str; 2] = ["-fno-lto", "-fno-sanitize=all"];

/// The arguments of each run of the compiler: one for a source, then the one that links `object`. They stand last, so that
/// they win over CFLAGS. The sources are in a fixed order: the same sources give the same object.
pub(crate) fn runs(machine: &[&str], stems: &Path, cshim: &Path, object: &Path) -> io::Result<Vec<Vec<PathBuf>>> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(cshim)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "c" || e == "S") {
            sources.push(path);
        }
    }
    sources.sort();
    let words = |words: &[&str]| words.iter().chain(&BOTH).chain(machine).map(PathBuf::from).collect::<Vec<_>>();
    let mut runs = Vec::new();
    let mut parts = Vec::new();
    for source in sources {
        let name = source.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let part = object.with_file_name(format!("{name}.o"));
        let mut run = words(&COMPILE);
        run.push(if name == HOT { "-O2" } else { "-Os" }.into());
        run.extend(["-I".into(), stems.to_owned(), source, "-o".into(), part.clone()]);
        runs.push(run);
        parts.push(part);
    }
    let mut link = parts;
    link.extend(words(&LINK));
    link.push(format!("-Wl,--version-script={}", cshim.join("exports.map").display()).into());
    link.extend(["-o".into(), object.to_owned()]);
    runs.push(link);
    Ok(runs)
}
