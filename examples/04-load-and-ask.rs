//! Opens the chosen runtime, driver and cuDNN in this very process and asks them what they are.
//!
//! cargo run --example 04-load-and-ask -- [PYTHON or directory of an environment]
#![expect(clippy::print_stdout, reason = "the answers are its output")]

use cudashim::{Host, Request, tables};
use std::error::Error;
use std::fmt::Display;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    // A request goes from the question to the plan in one call (03-choose-a-set has the steps).
    let python = std::env::args_os().nth(1).map(PathBuf::from);
    let answer = Request { python, ..Request::default() }.answer(&Host::current())?;
    let Some(found) = answer.resolution else {
        println!("{}", answer.nothing.unwrap_or_default());
        return Ok(());
    };

    // The three libraries that know a version, by whatever soname they have here, chosen or torch's own. What they need
    // comes along; the rest of the set stays out of this process.
    let asked: Vec<&str> = found
        .plan
        .libraries
        .iter()
        .map(|library| library.soname.as_str())
        .filter(|soname| {
            tables::parse_library_name(soname).is_some_and(|name| ["cudart", "cuda", "cudnn"].contains(&name.stem()))
        })
        .collect();
    let set = found.plan.load_only(&asked)?;
    for library in set.libraries() {
        println!("{:24} {:?} {}", library.soname, library.origin, library.path.display());
    }
    // ld.so would give the copy that was mapped first to everybody; a second one would only be torn from the rest.
    for library in set.mapped_before() {
        println!("{} was in this process before, from another file", library.soname);
    }

    println!("runtime: {}", said(set.runtime_version()));
    println!("driver: {}", said(set.driver_version()));
    println!("cuDNN: {}", said(set.cudnn_version()));
    Ok(())
}

fn said<T: Display, E: Display>(version: Result<Option<T>, E>) -> String {
    match version {
        Ok(Some(version)) => version.to_string(),
        Ok(None) => "not in the set".to_owned(),
        Err(error) => error.to_string(),
    }
}
