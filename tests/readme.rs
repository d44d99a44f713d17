//! What the README and the reference show is what the program does.

use crate::support::Process;
use crate::support::{Lib, Machine};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// A page for a first visitor is read to its end.
const LINES: usize = 120;

fn page(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn cudashim(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_cudashim")).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The names of all commands, as the help lists them.
fn commands() -> BTreeSet<String> {
    let help = cudashim(&["--help"]);
    let listed = help.lines().take_while(|line| !line.starts_with("Options:")).filter(|line| line.starts_with("  "));
    listed.filter_map(|line| line.split_whitespace().next()).map(ToOwned::to_owned).collect()
}

/// The environment of the first example, in which an older nvJitLink comes by `LD_LIBRARY_PATH`.
fn broken() -> Machine {
    let world = Machine::new();
    let nvjitlink = |symbol: &str| Lib::new("libnvJitLink.so.12").defines(&[symbol]);
    let cusparse = Lib::new("libcusparse.so.12")
        .defines(&["cusparseCreate"])
        .uses("libnvJitLink.so.12", &["__nvJitLinkComplete_12_4"])
        .link("--enable-new-dtags,-rpath,$ORIGIN/../../nvjitlink/lib");
    let torch = Lib::new("libtorch_global_deps.so")
        .unversioned()
        .uses("libcusparse.so.12", &["cusparseCreate"])
        .link("--disable-new-dtags,-rpath,$ORIGIN/../../nvidia/cusparse/lib");
    let new = nvjitlink("__nvJitLinkComplete_12_4");
    world
        .venv("venv")
        .wheel("nvidia-nvjitlink-cu12", "12.4.127", &[("nvidia/nvjitlink/lib/libnvJitLink.so.12", new)])
        .wheel("nvidia-cusparse-cu12", "12.3.1.170", &[("nvidia/cusparse/lib/libcusparse.so.12", cusparse)])
        .torch(
            "2.5.1+cu124",
            Some("12.4"),
            &["nvidia-nvjitlink-cu12==12.4.127", "nvidia-cusparse-cu12==12.3.1.170"],
            &[("lib/libtorch_global_deps.so", torch)],
        );
    nvjitlink("__nvJitLinkComplete_12_1").build(&world.path("opt/cuda-12.1/lib64/libnvJitLink.so.12"));
    world
}

#[test]
fn the_diagnosis_it_shows_is_real() {
    let world = broken();
    let mut command = world.rooted(["doctor"]);
    command.env("VIRTUAL_ENV", "/venv").env("LD_LIBRARY_PATH", "/opt/cuda-12.1/lib64").env("COLUMNS", "120");
    let real = Process::of(&mut command);
    assert_eq!((real.code, real.err.as_str()), (Some(1), ""));
    let real: Vec<&str> = real.out.lines().skip_while(|line| !line.starts_with("fatal: ")).collect();
    let readme = page("README.md");
    let shown = readme.lines().skip_while(|line| line != real.first().unwrap());
    let shown: Vec<&str> = shown.take_while(|line| !line.starts_with("```")).collect();
    assert!(shown.len() >= 8, "not shown:\n{}", real.join("\n"));
    assert_eq!(shown, real[..shown.len()]);
}

#[test]
fn the_readme_is_one_page() {
    assert!(page("README.md").lines().count() <= LINES);
}

#[test]
fn every_command_that_is_named_is_one_and_every_one_is_named() {
    let known = commands();
    for path in ["README.md", "docs/REFERENCE.md"] {
        let text = page(path);
        for before in ["`cudashim ", "$(cudashim "] {
            for word in text.split(before).skip(1).filter_map(|tail| tail.split([' ', '`', ')']).next()) {
                assert!(known.contains(word) || word.starts_with('-') || word == "COMMAND", "{path}: {word}");
            }
        }
    }
    let reference = page("docs/REFERENCE.md");
    for command in known.iter().filter(|command| *command != "help") {
        assert!(reference.contains(&format!("`cudashim {command}")), "{command} is not in the reference");
    }
}

#[test]
fn every_option_that_is_named_is_one() {
    let help: String = commands().iter().filter(|it| *it != "help").map(|it| cudashim(&[it, "--help"])).collect();
    for path in ["README.md", "docs/REFERENCE.md"] {
        for option in page(path).split("`--").skip(1).filter_map(|tail| tail.split([' ', '`', '=']).next()) {
            assert!(help.contains(&format!("--{option}")), "{path}: --{option}");
        }
    }
}

#[test]
fn every_variable_and_exit_code_of_the_manual_is_in_the_reference() {
    let reference = page("docs/REFERENCE.md");
    let manual = cudashim(&["man"]).replace("\\-", "-");
    for section in ["EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES"] {
        assert!(manual.contains(&format!(".SH {section}\n")), "{section}");
    }
    let (_, rest) = manual.split_once(".SH EXIT STATUS\n").unwrap();
    let (exits, rest) = rest.split_once(".SH ENVIRONMENT\n").unwrap();
    let (variables, _) = rest.split_once(".SH FILES\n").unwrap();
    let terms = |text: &str| {
        let bold = text.lines().filter_map(|line| line.strip_prefix("\\fB")?.strip_suffix("\\fR"));
        bold.flat_map(|term| term.split(", ")).map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let variables = terms(variables);
    assert!(variables.len() >= 8);
    for variable in variables {
        assert!(reference.contains(&variable), "{variable}");
    }
    for exit in terms(exits) {
        assert!(reference.lines().any(|line| line.starts_with('|') && line.contains(&exit)), "{exit}");
    }
}
