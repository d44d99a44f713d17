//! Builds the preload object of `cshim/` and leaves it at `$OUT_DIR/libcudashim.so`, which `handout::shim` embeds.
//!
//! Takes the C sources and the stems of `data/families.tsv`; gives one shared object, or an empty file for a target
//! that the object does not know (`image_for` then says so). The C library of the build machine plays no part in it.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

#[path = "build/demo.rs"]
mod demo;
#[path = "build/probe.rs"]
mod probe;
#[path = "build/program.rs"]
mod program;

/// What is torch's own and needs CUDA, though no family of NVIDIA's lists it.
const TORCH: [&str; 7] =
    ["c10_cuda", "caffe2_nvrtc", "torch", "torch_cuda", "torch_cuda_linalg", "torch_global_deps", "torch_python"];

/// The sources that a process goes through for each name, built for speed. The rest is built for size: what is mapped
/// into every process is to stay small.
const HOT: [&str; 2] = ["plan.c", "text.c"];

const FAMILIES: &str = "data/families.tsv";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=cshim");
    println!("cargo::rerun-if-changed={FAMILIES}");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    demo::build(&out)?;
    probe::build(&out)?;
    let object = out.join("libcudashim.so");
    let target = |part: &str| env::var(format!("CARGO_CFG_TARGET_{part}")).unwrap_or_default();

    // The branch protection of the target: without it, one object turns it off for the whole process. Outlined
    // atomics of aarch64 are functions of libgcc, which is not there.
    let machine: &[&str] = match (target("OS").as_str(), target("ARCH").as_str()) {
        ("linux", "x86_64") if target("POINTER_WIDTH") == "64" => &["-fcf-protection=full"],
        ("linux", "aarch64") if target("ENDIAN") == "little" => {
            &["-mbranch-protection=standard", "-mno-outline-atomics"]
        }
        _ => {
            fs::write(object, [])?;
            return Ok(());
        }
    };
    fs::write(out.join("stems.h"), stems_header(Path::new(FAMILIES))?)?;

    // `cc` finds the compiler for the target; `compile` would make an archive, so we link by hand.
    let tool =
        cc::Build::new().opt_level(2).debug(false).pic(true).std("gnu11").cargo_metadata(false).try_get_compiler()?;
    let mut parts = Vec::new();
    for source in sources(Path::new("cshim"))? {
        let name = source.file_name().and_then(|name| name.to_str()).ok_or("a source whose name is not UTF-8")?;
        let part = out.join(format!("{name}.o"));
        let mut command = tool.to_command();
        command
            // Last, so that they win over CFLAGS.
            .args([if HOT.contains(&name) { "-O2" } else { "-Os" }, "-fPIC", "-ffreestanding", "-fvisibility=hidden"])
            .args(["-Wall", "-Wextra", "-Wconversion", "-Werror"])
            // Each of these keeps out an import that would have to be there in every process: some distributions'
            // compilers turn the stack protector and fortified calls on, dynamic TLS calls __tls_get_addr, and a loop
            // that copies may become a call of memcpy.
            .args(["-fno-stack-protector", "-U_FORTIFY_SOURCE"])
            .args(["-ftls-model=initial-exec", "-fno-tree-loop-distribute-patterns"])
            .args(["-fno-lto", "-fno-sanitize=all"])
            .args(machine)
            .arg("-I")
            .arg(&out)
            .arg("-c")
            .arg(&source)
            .arg("-o")
            .arg(&part);
        built(&mut command)?;
        parts.push(part);
    }
    let mut command = tool.to_command();
    command
        .args(["-fno-lto", "-fno-sanitize=all"])
        .args(machine)
        .args(parts)
        .args(["-shared", "-nostdlib", "-nostartfiles"])
        .args(["-Wl,-soname,libcudashim.so", "-Wl,--build-id=sha1", "-Wl,-s"])
        .args(["-Wl,-z,nodelete", "-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack"])
        // Two segments instead of four: fewer maps and page faults in every process, a fifth of our cost to `true`.
        .arg("-Wl,-z,noseparate-code")
        // A text relocation or a strong import is an error here, not in somebody's process.
        .args(["-Wl,-z,text", "-Wl,-z,defs"])
        .arg("-Wl,--version-script=cshim/exports.map")
        .arg("-o")
        .arg(&object);
    built(&mut command)?;
    if target("ENV") == "gnu" {
        program::link(&tool, &out)?;
    }
    Ok(())
}

/// Runs the compiler or the link editor, and tells what was run where that fails.
fn built(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let status = command.status().map_err(|error| format!("the C compiler could not be run: {command:?}: {error}"))?;
    if !status.success() {
        return Err(format!("the preload object could not be built ({status}): {command:?}").into());
    }
    Ok(())
}

/// The C and assembly sources, in a fixed order: the same sources give the same object.
fn sources(dir: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
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

/// The table that `cshim/ask.c` includes: for each stem its length as one byte, then its letters.
fn stems_header(families: &Path) -> Result<String, Box<dyn Error>> {
    let table = match fs::read_to_string(families) {
        Ok(table) => table,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(format!("{}: {error}", families.display()).into()),
    };
    // The first line that is not a comment names the columns; the first column is the stem.
    let rows = table.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let stems: BTreeSet<&str> = rows.skip(1).filter_map(|row| row.split('\t').next()).chain(TORCH).collect();
    let mut header = String::new();
    for stem in stems {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-+.".contains(c);
        if stem.is_empty() || stem.len() > 64 || !stem.chars().all(plain) {
            return Err(format!("{}: `{stem}` cannot be a stem", families.display()).into());
        }
        writeln!(header, "\"\\{:03o}\" \"{stem}\"", stem.len())?;
    }
    Ok(header)
}
