//! What the README shows is what the program does.

use std::path::Path;
use std::process::Command;

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

fn cudashim(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_cudashim")).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The block of text that begins with a line.
fn block(text: &str, first: &str) -> Vec<String> {
    let from = text.find(first).unwrap_or_else(|| panic!("no block begins with {first:?}"));
    text[from..].lines().take_while(|line| !line.starts_with("```")).map(str::to_owned).collect()
}

#[test]
fn the_demo_is_shown_as_it_is() {
    let shown = block(&readme(), "1. It breaks");
    let real: Vec<String> = cudashim(&["demo"]).lines().map(str::to_owned).collect();
    let at = real.iter().position(|line| *line == shown[0]).unwrap();
    assert_eq!(real[at..at + shown.len()], shown[..]);
}

#[test]
fn every_command_of_the_table_is_one() {
    let text = readme();
    let help = cudashim(&["--help"]);
    let commands: Vec<&str> =
        text.split("cudashim ").skip(1).filter_map(|tail| tail.split([' ', '`', ')']).next()).collect();
    // In running text a verb follows the name; a command stands in code.
    let commands: Vec<&str> = commands
        .into_iter()
        .filter(|word| text.contains(&format!("`cudashim {word}")) || text.contains(&format!("$(cudashim {word})")))
        .collect();
    assert!(commands.len() >= 6, "{commands:?}");
    for command in commands {
        assert!(help.lines().any(|line| line.trim_start().starts_with(&format!("{command} "))), "no command {command}");
    }
}

#[test]
fn every_option_it_names_is_one() {
    let text = readme();
    let help = ["run", "resolve", "env", "scan", "inspect", "check", "trace", "doctor", "lock", "verify"]
        .map(|command| cudashim(&[command, "--help"]))
        .concat();
    for option in text.split("`--").skip(1).filter_map(|tail| tail.split([' ', '`', '=']).next()) {
        assert!(help.contains(&format!("--{option}")), "no option --{option}");
    }
}
