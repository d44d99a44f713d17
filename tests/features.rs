//! What a build takes in: the bare library nothing that only the command line needs, and neither of them a second crate for
//! what one of theirs does.

use std::collections::BTreeSet;
use std::process::Command;

/// The crates that end up in the library or the program.
fn crates(options: &[&str]) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tree = ["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}"];
    let output = Command::new(cargo)
        .args(tree)
        .args(options)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap_or_else(|error| panic!("cannot start cargo: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn the_bare_library_pulls_nothing_of_the_command_line() {
    let (bare, whole) = (crates(&["--no-default-features"]), crates(&[]));
    for name in ["anstream", "clap", "clap_complete", "clap_mangen", "env_logger", "signal-hook"] {
        assert!(whole.contains(name), "`{name}` is no dependency of the command line: {whole:?}");
        assert!(!bare.contains(name), "the bare library depends on `{name}`");
    }
    assert!(bare.contains("goblin") && bare.is_subset(&whole), "{bare:?}");
}

/// Each of these costs seconds of the first build: see the profiles in `Cargo.toml`.
#[test]
fn one_crate_does_one_thing() {
    let whole = crates(&[]);
    for (heavy, instead) in [
        ("aho-corasick", "memchr"),
        ("ctrlc", "signal-hook"),
        ("jiff", "env_logger without `humantime`"),
        ("nix", "rustix"),
        ("regex", "regex-lite"),
    ] {
        assert!(!whole.contains(heavy), "`{heavy}` is a dependency: {instead} does the same");
    }
}
