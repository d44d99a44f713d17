//! The set of libraries for a Python's torch: what is chosen, what is refused, and why.
//!
//! cargo run --example 03-choose-a-set -- [PYTHON or directory of an environment]
#![expect(clippy::print_stdout, reason = "the set is its output")]

use cudashim::{Host, Policy, Request, RequestError};
use std::path::PathBuf;

fn main() -> Result<(), RequestError> {
    let python = std::env::args_os().nth(1).map(PathBuf::from);
    // `explain` also reads the symbols of each refused copy.
    let policy = Policy { explain: true, ..Policy::default() };
    match (Request { python, policy, ..Request::default() }).answer(&Host::current()) {
        Ok(answer) => {
            for choice in answer.resolution.iter().flat_map(|found| &found.set) {
                let version = choice.version.as_deref().unwrap_or("?");
                println!("{:32} {version:16} {}\n    {}", choice.soname, choice.because, choice.path.display());
                for refused in &choice.refused {
                    println!("    not {}: {}", refused.path.display(), refused.because);
                }
            }
            if let Some(why) = answer.nothing {
                println!("nothing to choose: {why}");
            }
            Ok(())
        }
        // A smallest set of conflicting facts, and what would change one of them.
        Err(RequestError::NoSolution { source, .. }) => {
            println!("{source}");
            for hint in source.hints() {
                println!("hint: {hint}");
            }
            Ok(())
        }
        Err(error) => Err(error),
    }
}
