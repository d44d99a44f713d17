//! Builds the objects of `cshim/` and leaves them at `$OUT_DIR/libcudashim.so` and `$OUT_DIR/libcudashim-trace.so`, which
//! `launch::shim` embeds.
//!
//! Takes the C sources, the stems of `data/families.tsv` and the names of `data/variables.tsv`; gives two shared objects, or
//! empty files for a target that they do not know (`image_for` then says so). Of the C library of the build machine, only the
//! headers play a part, for numbers and layouts.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
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
const VARIABLES: &str = "data/variables.tsv";
const OBJECTS: [object::Object; 2] = [object::SHIM, object::TRACE];

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
    println!("cargo::rerun-if-changed={VARIABLES}");
    for program in ["python3", "make"] {
        found(program);
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    demo::build(&out)?;
    probe::build(&out)?;
    let target = |part: &str| env::var(format!("CARGO_CFG_TARGET_{part}")).unwrap_or_default();

    let known = match (target("OS").as_str(), target("ARCH").as_str()) {
        ("linux", "x86_64") if target("POINTER_WIDTH") == "64" => object::of_machine("x86_64"),
        ("linux", "aarch64") if target("ENDIAN") == "little" => object::of_machine("aarch64"),
        _ => None,
    };
    let Some(machine) = known else {
        for object in OBJECTS {
            fs::write(out.join(object.soname), [])?;
        }
        return Ok(());
    };
    fs::write(out.join("stems.h"), stems_header(Path::new(FAMILIES))?)?;
    fs::write(out.join("variables.h"), variables_header(Path::new(VARIABLES))?)?;

    // `cc` finds the compiler for the target; `compile` would make an archive, so we link by hand.
    let tool =
        cc::Build::new().opt_level(2).debug(false).pic(true).std("gnu11").cargo_metadata(false).try_get_compiler()?;
    let runs = OBJECTS.map(|object| object::runs(&object, machine, &out, Path::new("cshim"), &out.join(object.soname)));
    for arguments in runs.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
        let mut command = tool.to_command();
        command.args(arguments);
        let status =
            command.status().map_err(|error| format!("the C compiler could not be run: {command:?}: {error}"))?;
        if !status.success() {
            return Err(format!("the preload object could not be built ({status}): {command:?}").into());
        }
    }
    let is_wheel = env::var_os("CARGO_FEATURE_WHEEL").is_some();
    if is_wheel {
        let packaged = Path::new("python/cudashim").join(object::SHIM.soname);
        fs::copy(out.join(object::SHIM.soname), packaged)?;
    }
    if target("ENV") == "gnu" && !program::link(&tool, &out)? && is_wheel {
        return Err(
            "a wheel has a program that needs no library: install the static C library (libc6-dev, glibc-static)"
                .into(),
        );
    }
    Ok(())
}

/// The rows of a table: the first line that is not a comment names the columns. Where there is no table, none.
fn rows(table: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let text = match fs::read_to_string(table) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(format!("{}: {error}", table.display()).into()),
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    Ok(lines.skip(1).map(str::to_owned).collect())
}

/// One entry of a table in C: the length of a name as one byte, and its letters.
fn entry(table: &Path, name: &str) -> Result<String, Box<dyn Error>> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-+.=".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        return Err(format!("{}: `{name}` cannot be a name", table.display()).into());
    }
    Ok(format!("\"\\{:03o}\" \"{name}\"\n", name.len()))
}

/// The table that `cshim/names.c` includes.
fn stems_header(families: &Path) -> Result<String, Box<dyn Error>> {
    let rows = rows(families)?;
    let stems: BTreeSet<&str> = rows.iter().filter_map(|row| row.split('\t').next()).chain(TORCH).collect();
    let rows = stems.into_iter().map(|stem| entry(families, stem));
    Ok(rows.collect::<Result<String, _>>()? + "\"\"\n")
}

/// The table that `cshim/ask.c` includes: what the binary may know of a process's environment.
fn variables_header(variables: &Path) -> Result<String, Box<dyn Error>> {
    let mut entries = BTreeMap::new();
    for row in rows(variables)? {
        let name = row.split('\t').next().unwrap_or_default();
        let name = name.strip_suffix('*').map_or_else(|| format!("{name}="), str::to_owned);
        entries.insert(name.clone(), entry(variables, &name)?);
    }
    let header: String = entries.into_values().collect();
    // A table that is empty is still one.
    Ok(header + "\"\"\n")
}
