//! What a newcomer types first.

use super::{World, seen, torch};
use crate::support::Seen;
use std::fs::OpenOptions;

#[test]
fn help_and_version_are_printed_once() {
    let world = World::new();
    let version = world.cudashim(["--version"]).output().unwrap();
    assert_eq!(String::from_utf8(version.stdout).unwrap(), concat!("cudashim ", env!("CARGO_PKG_VERSION"), "\n"));
    for words in [&["-h"][..], &["--help"], &["help"], &["run", "--help"], &["doctor", "-h"], &["help", "check"]] {
        let Seen { code, out, err } = Seen::of(&mut world.cudashim(words));
        assert_eq!((code, err.as_str()), (Some(0), ""), "{words:?}");
        assert_eq!(out.matches("Usage: ").count(), 1, "{words:?}: {out}");
    }
    // What could not be written is no success.
    for (words, code) in [(&["--help"][..], 2), (&["--version"], 2), (&["check", "--help"], 2), (&["run", "-h"], 125)] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = world.cudashim(words).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}");
        assert!(String::from_utf8(output.stderr).unwrap().starts_with("error: the help cannot be written to stdout"));
    }
}

#[test]
fn another_torch_than_the_one_here() {
    let world = World::new();
    torch(&world.venv("venv"));
    let said = seen(&world, world.cudashim(["resolve", "--torch", "2.6.0", "--python", "venv"]).env("VIRTUAL_ENV", ""));
    assert!(said.contains("has torch 2.5.1+cu124, not `2.6.0`"), "{said}");
    let said = seen(&world, world.cudashim(["resolve", "--torch", "2.6.0"]).env("VIRTUAL_ENV", world.path("venv")));
    assert!(said.contains("has torch 2.5.1+cu124, not `2.6.0`") && !said.contains("install"), "{said}");
}
