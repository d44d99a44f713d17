//! The torch of a Python, read from its files: nothing is imported.
//!
//! cargo run --example 02-find-torch -- [PYTHON or directory of an environment]
#![expect(clippy::print_stdout, reason = "what it finds is its output")]

use cudashim::{Host, Machine, Request};
use std::path::PathBuf;

fn main() {
    let python = std::env::args_os().nth(1).map(PathBuf::from);
    let machine = Machine::new(Host::current(), Request { python, ..Request::default() });
    let environment = machine.environment();
    let Some(interpreter) = &environment.interpreter else {
        println!("no Python found: name one");
        return;
    };
    println!("Python {} at {}", interpreter.version, interpreter.program.display());
    // The first torch in sys.path overrides all others.
    let Some(torch) = &environment.torch else {
        println!("no torch in {:?}", interpreter.paths);
        return;
    };
    println!("torch {} in {}", torch.version, torch.dir.display());
    println!("built with CUDA {}", torch.cuda.as_deref().unwrap_or("none"));
    // Extensions must be built with the same ABI, or their import fails with `undefined symbol: …__cxx11…`.
    if let Some(new) = torch.cxx11_abi {
        println!("_GLIBCXX_USE_CXX11_ABI={}", u8::from(new));
    }
    // The releases that its metadata requires.
    for (package, range) in &torch.pins {
        println!("  pins {package} {range}");
    }
}
