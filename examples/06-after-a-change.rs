//! What a change would heal: the findings that are gone without `LD_LIBRARY_PATH`, and with the chosen set. Writes
//! nothing.
//!
//! cargo run --example 06-after-a-change -- [PYTHON or directory of an environment]
#![expect(clippy::print_stdout, reason = "the comparison is its output")]

use cudashim::{Change, Host, Machine, Request};
use std::path::PathBuf;

fn main() {
    let python = std::env::args_os().nth(1).map(PathBuf::from);
    let machine = Machine::new(Host::current(), Request { python, ..Request::default() });
    let found = machine.findings();
    println!("unchanged: {} findings", found.len());
    let changes = [
        ("without LD_LIBRARY_PATH", Change::Variable("LD_LIBRARY_PATH".into(), None)),
        ("with the chosen set handed out", Change::Set),
    ];
    for (what, change) in changes {
        let left = machine.with(&change).findings();
        let gone = found.iter().filter(|finding| left.iter().all(|other| other.id != finding.id));
        let gone: Vec<&str> = gone.map(|finding| finding.id).collect();
        println!(
            "{what}: {} findings; gone: {}",
            left.len(),
            if gone.is_empty() { "none".into() } else { gone.join(", ") }
        );
    }
}
