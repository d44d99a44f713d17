//! What is wrong with an environment, what proves it, and the lines that heal it.
//!
//! cargo run --example 05-what-is-wrong -- [PYTHON or directory of an environment]
#![expect(clippy::print_stdout, reason = "the findings are its output")]

use cudashim::{Host, Machine, Request};
use std::path::PathBuf;

fn main() {
    let python = std::env::args_os().nth(1).map(PathBuf::from);
    let findings = Machine::new(Host::current(), Request { python, ..Request::default() }).findings();
    for finding in &findings {
        println!("{} ({}): {}", finding.severity, finding.id, finding.cause);
        for evidence in &finding.evidence {
            println!("    {}", evidence.says);
        }
        // Each line was tried on a model of the machine: it removes the finding.
        for remedy in &finding.remedies {
            match remedy.as_command() {
                Some(line) => println!("    $ {line}"),
                None => println!("    {}", remedy.as_action().unwrap_or_default()),
            }
        }
    }
    if findings.is_empty() {
        println!("no problems found");
    }
}
