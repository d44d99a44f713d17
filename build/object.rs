//! How the preload object is compiled and linked, for each machine that it knows.
//!
//! Of the machine's name, the directory with `stems.h`, the sources' directory and the file to make, gives the
//! compiler's arguments. The test that builds it for another machine uses the same.

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

/// What does not depend on the machine.
const COMPILE: [&str; 13] = [
    "-O2",
    "-fPIC",
    "-ffreestanding",
    "-fvisibility=hidden",
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
    "-fno-lto",
];

const LINK: [&str; 14] = [
    "-fno-sanitize=all",
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

/// All arguments of the compiler; they win over what stands before them.
pub(crate) fn arguments(machine: &[&str], stems: &Path, cshim: &Path, object: &Path) -> io::Result<Vec<PathBuf>> {
    let mut arguments: Vec<PathBuf> = COMPILE.iter().chain(&LINK).chain(machine).map(PathBuf::from).collect();
    arguments.extend(["-I".into(), stems.to_owned()]);
    arguments.extend(sources(cshim)?);
    arguments.push(format!("-Wl,--version-script={}", cshim.join("exports.map").display()).into());
    arguments.extend(["-o".into(), object.to_owned()]);
    Ok(arguments)
}

/// The C and assembly sources, in a fixed order: the same sources give the same object.
fn sources(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "c" || e == "S") {
            sources.push(path);
        }
    }
    sources.sort();
    Ok(sources)
}
