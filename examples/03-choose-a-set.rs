//! The set of libraries for a Python's torch, step by step: requirement, inventory, choice, and why.
//!
//! cargo run --example 03-choose-a-set -- [PYTHON or directory of an environment]
#![expect(clippy::print_stdout, reason = "the set is its output")]

use cudashim::inventory::places;
use cudashim::python::{Options, find_on_path};
use cudashim::{Host, Interpreter, Inventory, Loader, Objects, Policy, TorchBuild, resolve};
use std::error::Error;
use std::ffi::OsStr;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let host = Host::current();
    let objects = Objects::new(&host);
    let loader = Loader::new(&objects);

    // Whose set it is to be (see 02-find-torch).
    let named = std::env::args_os().nth(1).or_else(|| host.env("VIRTUAL_ENV").map(OsStr::to_owned)).map(PathBuf::from);
    let Some(python) = named.or_else(|| find_on_path(&host, OsStr::new("python3"))) else {
        println!("no Python here: name one");
        return Ok(());
    };
    let interpreter = Interpreter::find(&host, &python, &Options::default())?;
    let torch = match TorchBuild::find(&host, &interpreter.paths) {
        Ok(torch) => torch,
        Err(error) => {
            println!("{error}");
            return Ok(());
        }
    };

    // What it asks for: sonames its objects need or open by name, symbols that must be there, releases it pins. The
    // closure is the link map that ld.so would build for it today.
    let (requirement, closure) = torch.require(&objects, &loader, Some(&interpreter));
    let hard = requirement.wants.iter().filter(|want| want.hard).count();
    println!(
        "{} cannot be imported without {hard} sonames and may ask for {} more",
        requirement.text,
        requirement.wants.len() - hard
    );

    // What there is: its own wheels first, then the machine.
    let mut places = places::sites(&host, &requirement.sites);
    places.extend(places::machine(&host, &loader));
    let inventory = Inventory::scan(&objects, places);

    // One copy per soname, all rules kept. `explain` costs a look at each refused copy's symbols.
    let policy = Policy { explain: true, ..Policy::default() };
    match resolve::resolve(&requirement, &closure, &inventory, &loader, &policy) {
        Ok(found) => {
            for choice in &found.set {
                let version = choice.version.as_deref().unwrap_or("?");
                println!("{:32} {version:16} {}\n    {}", choice.soname, choice.because, choice.path.display());
                for refused in &choice.refused {
                    println!("    not {}: {}", refused.path.display(), refused.because);
                }
            }
            for (soname, why) in &found.unserved {
                println!("{soname:32} left to the loader: {why}");
            }
        }
        // A smallest set of facts that cannot hold together, and what would change one of them.
        Err(none) => {
            for clause in &none.clauses {
                println!("cannot all be: {clause}");
            }
            for hint in none.hints() {
                println!("hint: {hint}");
            }
        }
    }
    Ok(())
}
