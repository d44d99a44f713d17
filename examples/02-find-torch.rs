//! The torch of a Python, read from its files: nothing is imported, and of a virtual environment nothing is run.
//!
//! cargo run --example 02-find-torch -- [PYTHON or directory of an environment]
#![expect(clippy::print_stdout, reason = "what it finds is its output")]

use cudashim::python::{Options, find_on_path};
use cudashim::{Host, Interpreter, TorchBuild, tables};
use std::ffi::OsStr;
use std::path::PathBuf;

fn main() {
    let host = Host::current();
    // The Python meant: as named, else that of the active environment, else the one on PATH.
    let named = std::env::args_os().nth(1).map(PathBuf::from);
    let active = || ["VIRTUAL_ENV", "CONDA_PREFIX"].iter().find_map(|name| host.env(name)).map(PathBuf::from);
    let Some(python) = named.or_else(active).or_else(|| find_on_path(&host, OsStr::new("python3"))) else {
        println!("no Python here: name one");
        return;
    };
    // The directories it imports from, in the order of sys.path: the first torch in them wins.
    let interpreter = match Interpreter::find(&host, &python, &Options::default()) {
        Ok(interpreter) => interpreter,
        Err(error) => return println!("{error}"),
    };
    println!("Python {} at {}", interpreter.version, interpreter.program.display());
    let torch = match TorchBuild::find(&host, &interpreter.paths) {
        Ok(torch) => torch,
        Err(error) => return println!("{error}"),
    };
    println!("torch {} in {}", torch.version, torch.dir.display());
    println!("built with CUDA {}", torch.cuda.as_deref().unwrap_or("none"));
    // Extensions must be built with the same choice, or their import ends in `undefined symbol: …__cxx11…`.
    match torch.cxx11_abi {
        Some(new) => println!("_GLIBCXX_USE_CXX11_ABI={}", u8::from(new)),
        None => println!("_GLIBCXX_USE_CXX11_ABI: its libc10.so does not tell"),
    }

    // The releases its own metadata asks pip for.
    for (package, range) in &torch.pins {
        println!("  pins {package} {range}");
    }
    // What the tables know about the build beyond its files; a version that is not listed is no error.
    let tag = torch.cuda_release().map(|(major, minor)| format!("cu{major}{}", minor.unwrap_or_default()));
    if let Some(row) = tables::torch_build(&torch.version, tag.as_deref()) {
        println!("native code for compute capability {} (known from {})", row.sm.join(", "), row.source);
    }
}
