//! How the preload object is compiled and linked, for each machine that it knows.
//!
//! Of the object, the machine's arguments, the directory with the headers that `build.rs` makes and the sources' directory,
//! gives the compiler's arguments. The test that builds it for another machine uses the same.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// The branch protection of the machine: without it, one object turns it off for the whole process. Outlined atomics
/// of aarch64 are functions of libgcc, which is not there; all of the object lies within a mebibyte, where one instruction makes an
/// address. `None` for a machine that `cshim/` has no code for.
pub(crate) fn of_machine(arch: &str) -> Option<&'static [&'static str]> {
    match arch {
        "x86_64" => Some(&["-DELF_MACHINE=EM_X86_64", "-fcf-protection=full"]),
        "aarch64" => {
            Some(&["-DELF_MACHINE=EM_AARCH64", "-mbranch-protection=standard", "-mno-outline-atomics", "-mcmodel=tiny"])
        }
        _ => None,
    }
}

const COMPILE: [&str; 18] = [
    "-D_GNU_SOURCE",
    "-fPIC",
    "-ffreestanding",
    "-fvisibility=hidden",
    // Nothing walks these frames but debuggers, who read the tables.
    "-fomit-frame-pointer",
    "-Wall",
    "-Wextra",
    // What the loader calls has the arguments that it has.
    "-Wno-unused-parameter",
    // The tracer includes files of which it uses a part.
    "-Wno-unused-function",
    "-Wconversion",
    "-Werror",
    // The host's threads may have small stacks, and one dlopen goes through several frames.
    "-Wframe-larger-than=512",
    // Each of these keeps out an import that would have to be there in every process: some distributions' compilers
    // turn the stack protector and fortified calls on, dynamic TLS calls __tls_get_addr, and a loop that copies may
    // become a call of memcpy.
    "-fno-stack-protector",
    "-U_FORTIFY_SOURCE",
    "-ftls-model=initial-exec",
    "-fno-tree-loop-distribute-patterns",
    // What is mapped into every process is to stay small.
    "-Os",
    "-c",
];

const LINK: [&str; 12] = [
    "-shared",
    "-nostdlib",
    "-nostartfiles",
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

/// What stands in production processes.
pub(crate) const SHIM: Object = Object {
    source: "shim.c",
    exports: &["cudashim_abi", "dlopen", "la_objopen", "la_objsearch", "la_version"],
    soname: "libcudashim.so",
};

/// What `cudashim trace` maps: the tracer, and behind it the audit door, whose own names it takes.
pub(crate) const TRACE: Object = Object {
    source: "trace/trace.c",
    exports: &["la_activity", "la_objclose", "la_objopen", "la_objsearch", "la_preinit", "la_version"],
    soname: "libcudashim-trace.so",
};

/// One of the objects that are made of the sources.
pub(crate) struct Object {
    /// The source that includes all the others that it is made of.
    source: &'static str,
    /// All that can be seen from outside.
    exports: &'static [&'static str],
    pub(crate) soname: &'static str,
}

/// The arguments of the two runs of the compiler: one for the source, one that links `file`. They stand last, so that they win
/// over CFLAGS.
pub(crate) fn runs(
    object: &Object,
    machine: &[&str],
    headers: &Path,
    cshim: &Path,
    file: &Path,
) -> io::Result<[Vec<PathBuf>; 2]> {
    let words = |words: &[&str]| words.iter().chain(&BOTH).chain(machine).map(PathBuf::from).collect::<Vec<_>>();
    let part = file.with_file_name(format!("{}.o", object.soname));
    let mut compile = words(&COMPILE);
    compile.extend(["-I".into(), headers.to_owned(), cshim.join(object.source), "-o".into(), part.clone()]);
    let mut link = vec![part];
    link.extend(words(&LINK));
    link.push(format!("-Wl,-soname,{}", object.soname).into());
    // Without a version node, so that dlopen answers to any version asked for.
    let script = file.with_file_name(format!("{}.map", object.soname));
    fs::write(&script, format!("{{ global: {}; local: *; }};\n", object.exports.join("; ")))?;
    link.push(format!("-Wl,--version-script={}", script.display()).into());
    link.extend(["-o".into(), file.to_owned()]);
    Ok([compile, link])
}
