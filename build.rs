//! Builds the preload object of `cshim/` and leaves it at `$OUT_DIR/libcudashim.so`, which `handout::shim` embeds.
//!
//! Takes the C sources and the stems of `data/families.tsv`; gives one shared object, or an empty file for a target
//! that the object does not know (`image_for` then says so). The C library of the build machine plays no part in it.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

#[path = "build/demo.rs"]
mod demo;
#[path = "build/object.rs"]
mod object;
#[path = "build/probe.rs"]
mod probe;
#[path = "build/program.rs"]
mod program;

/// What is torch's own and needs CUDA, though no family of NVIDIA's lists it.
const TORCH: [&str; 7] =
    ["c10_cuda", "caffe2_nvrtc", "torch", "torch_cuda", "torch_cuda_linalg", "torch_global_deps", "torch_python"];

const FAMILIES: &str = "data/families.tsv";

/// Sets `has_PROGRAM` for tests, which are left out where the machine has no such program on `PATH`.
fn found(program: &str) {
    println!("cargo::rustc-check-cfg=cfg(has_{program})");
    let path = env::var_os("PATH").unwrap_or_default();
    if env::split_paths(&path).any(|dir| dir.join(program).is_file()) {
        println!("cargo::rustc-cfg=has_{program}");
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=cshim");
    println!("cargo::rerun-if-changed={FAMILIES}");
    for program in ["python3", "make"] {
        found(program);
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    demo::build(&out)?;
    probe::build(&out)?;
    let file = out.join("libcudashim.so");
    let target = |part: &str| env::var(format!("CARGO_CFG_TARGET_{part}")).unwrap_or_default();

    let known = match (target("OS").as_str(), target("ARCH").as_str()) {
        ("linux", "x86_64") if target("POINTER_WIDTH") == "64" => object::of_machine("x86_64"),
        ("linux", "aarch64") if target("ENDIAN") == "little" => object::of_machine("aarch64"),
        _ => None,
    };
    let Some(machine) = known else {
        fs::write(file, [])?;
        return Ok(());
    };
    fs::write(out.join("stems.h"), stems_header(Path::new(FAMILIES))?)?;

    // `cc` finds the compiler for the target; `compile` would make an archive, so we link by hand.
    let tool =
        cc::Build::new().opt_level(2).debug(false).pic(true).std("gnu11").cargo_metadata(false).try_get_compiler()?;
    for arguments in object::runs(machine, &out, Path::new("cshim"), &file)? {
        let mut command = tool.to_command();
        command.args(arguments);
        let status =
            command.status().map_err(|error| format!("the C compiler could not be run: {command:?}: {error}"))?;
        if !status.success() {
            return Err(format!("the preload object could not be built ({status}): {command:?}").into());
        }
    }
    if target("ENV") == "gnu" {
        program::link(&tool, &out)?;
    }
    Ok(())
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
