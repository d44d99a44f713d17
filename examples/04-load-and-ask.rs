//! Opens the chosen runtime, driver and cuDNN in this process and calls their version functions.
//!
//! cargo run --example 04-load-and-ask -- [PYTHON or directory of an environment]
#![expect(clippy::print_stdout, reason = "the answers are its output")]

use cudashim::{Host, Request};
use std::error::Error;
use std::fmt::Display;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let python = std::env::args_os().nth(1).map(PathBuf::from);
    let answer = Request { python, ..Request::default() }.answer(&Host::current())?;
    let Some(found) = answer.resolution else {
        println!("{}", answer.nothing.unwrap_or_default());
        return Ok(());
    };

    // The three libraries with a version function, under any soname. What they need is loaded too; the rest of the set
    // is not.
    let has_version =
        |soname: &&str| ["libcudart.so", "libcuda.so", "libcudnn.so"].iter().any(|stem| soname.starts_with(stem));
    let names: Vec<&str> = found.set.iter().map(|choice| choice.soname.as_str()).filter(has_version).collect();
    let set = found.plan.load_only(&names)?;
    for library in set.libraries() {
        println!("{:24} {:?} {}", library.soname, library.origin, library.path.display());
    }
    // ld.so resolves a soname to the copy that was mapped first, so none of these was opened.
    for library in set.mapped_before() {
        println!("{} is mapped in this process from another file", library.soname);
    }

    println!("runtime: {}", shown(set.runtime_version()));
    println!("driver: {}", shown(set.driver_version()));
    println!("cuDNN: {}", shown(set.cudnn_version()));
    Ok(())
}

fn shown<T: Display, E: Display>(version: Result<Option<T>, E>) -> String {
    match version {
        Ok(Some(version)) => version.to_string(),
        Ok(None) => "not in the set".to_owned(),
        Err(error) => error.to_string(),
    }
}
