//! The fixture kit: a machine to try things on, a process with what it printed, a plan written by hand, a JSON answer.
#![allow(clippy::unwrap_used)] // A test that cannot build what it needs says why by failing.

pub(crate) mod archive;
mod driver;
pub(crate) mod elf;
mod library;
mod machine;
mod plan;
mod process;
mod schema;
mod wheels;

pub(crate) use driver::{SYSTEM, answering, device, with_driver};
pub(crate) use library::{Lib, Venv};
pub(crate) use machine::Machine;
pub(crate) use plan::PlanText;
pub(crate) use process::{Process, bound_by_rights, clean_command, in_namespaces};
pub(crate) use schema::{answer, described, schema, wrong};
pub(crate) use wheels::{
    CUDNN_PARTS, cublas, cublas_alone, cublas_with, cudnn, cudnn_that_loads, jax_wheels, torch, torch_machine,
    torch_with_cublas, whole_cudnn,
};

use std::path::{Path, PathBuf};
use std::process::Command;

/// Below a machine's root, where the packages of its environment `/venv` are.
pub(crate) const SITE: &str = "/venv/lib/python3.11/site-packages";

/// Compiles C `source` into `dir`/`out` with exactly these arguments, and gives its path.
///
/// `$CC` names the compiler, else it is `cc`. A failure ends the test with the compiler's words.
pub(crate) fn cc(dir: &Path, out: &str, source: &str, args: &[&str]) -> PathBuf {
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    compile(Command::new(compiler), dir, out, source, args)
}

/// [`cc`] by another compiler.
pub(crate) fn compile(mut compiler: Command, dir: &Path, out: &str, source: &str, args: &[&str]) -> PathBuf {
    let object = dir.join(out);
    let unit = dir.join(format!("{out}.c"));
    std::fs::create_dir_all(object.parent().unwrap()).unwrap();
    std::fs::write(&unit, source).unwrap();
    // The source comes before the arguments: a library must follow what needs it.
    compiler.current_dir(dir).arg("-o").arg(&object).arg(&unit).args(args);
    let output = compiler.output().unwrap_or_else(|error| panic!("{compiler:?}: {error}"));
    assert!(output.status.success(), "{compiler:?}\n{}", String::from_utf8_lossy(&output.stderr));
    object
}

/// [`cc`] for a shared library.
pub(crate) fn library(dir: &Path, out: &str, source: &str, args: &[&str]) -> PathBuf {
    cc(dir, out, source, &[&["-shared", "-fPIC", "-Wl,--build-id=sha1"], args].concat())
}

/// Writes a linker's version script into `dir` and gives the argument that names it.
pub(crate) fn version_script(dir: &Path, name: &str, script: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, script).unwrap();
    format!("-Wl,--version-script={}", path.display())
}

/// A path as text.
pub(crate) fn utf8(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The words of a line.
pub(crate) fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}
