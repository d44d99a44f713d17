//! The preload object, in processes: small programs under `LD_PRELOAD` with plans written by hand.
//!
//! Each rule of `docs/SHIM_RULES.md` names its tests here.
#![allow(clippy::unwrap_used)]

mod asking;
mod attack;
mod audit;
mod callers;
mod crowd;
mod decisions;
mod differential;
mod hostile;
mod install;
mod machines;
#[path = "../build/object.rs"]
mod made;
mod mutants;
mod object;
mod programs;
mod rules;
mod secure;
mod strangers;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::support::lab::{Lab, PlanText, Ran, clean_command};

/// The shim with nobody to ask, and the program that does what its arguments say.
struct Common {
    _lab: Lab,
    shim: PathBuf,
    host: PathBuf,
}

static COMMON: LazyLock<Common> = LazyLock::new(|| {
    let lab = Lab::new();
    let shim = lab.write("libcudashim.so", cudashim::internal::launch::shim::IMAGE);
    let host = lab.program("host", include_str!("shim/host.c"), &["-rdynamic", "-ldl", "-pthread"]);
    Common { _lab: lab, shim, host }
});

/// A wrong copy that the loader would find (it is on `LD_LIBRARY_PATH`), and a right one that the plan chose.
struct Two {
    lab: Lab,
    right: PathBuf,
}

impl Two {
    fn new() -> Self {
        let lab = Lab::new();
        lab.copy("wrong/libone.so.1", "libone.so.1", 1);
        let right = lab.copy("right/libone.so.1", "libone.so.1", 2);
        Self { lab, right }
    }

    fn plan(&self, how: &str) -> PlanText {
        PlanText::new().lib("libone.so.1", &self.right, how)
    }
}

/// Compiles the plan, and writes it where only its owner may write. One that names no program is for the host; one that
/// names no object was proven for all that lies in the lab.
fn put_plan(lab: &Lab, plan: &PlanText) -> PathBuf {
    let mut plan = plan.clone();
    if !plan.text().contains("\nprogram\t") {
        plan = plan.program(&COMMON.host);
    }
    if !plan.text().contains("\nobject\t") {
        plan = objects(lab.root()).iter().fold(plan, |plan, path| plan.record(&["object", utf8(path)]));
    }
    put_bytes(lab, &plan.image().1)
}

/// The regular files below a directory whose names a plan can say as they are.
fn objects(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(objects(&entry.path()));
        } else if entry.file_name().to_str().is_some_and(|name| !name.contains(char::is_control)) {
            found.push(entry.path());
        }
    }
    found
}

fn put_bytes(lab: &Lab, text: &[u8]) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = lab.write("plan", text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// The host with the shim preloaded, and no plan yet.
fn host(script: &[&str]) -> Command {
    let mut command = clean_command(&COMMON.host);
    command.env("LD_PRELOAD", &COMMON.shim).args(script);
    command
}

fn run(lab: &Lab, command: &mut Command) -> Ran {
    Ran::of(lab, &command.output().unwrap())
}

/// Runs the host under the shim with a plan; says nothing of what went right.
fn with_plan(lab: &Lab, plan: &PlanText, script: &[&str]) -> Ran {
    let path = put_plan(lab, plan);
    run(lab, host(script).env("CUDASHIM_PLAN", path))
}

fn utf8(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A page that names a test which is not there proves nothing.
#[test]
fn the_pages_name_tests_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = String::new();
    let mut queue = vec![root.join("tests"), root.join("src")];
    while let Some(dir) = queue.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                queue.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                tests.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut count = 0;
    for page in ["docs/SECURITY.md", "docs/SHIM_RULES.md"] {
        let text = fs::read_to_string(root.join(page)).unwrap();
        for row in text.lines().filter(|line| line.starts_with("| ")) {
            // Names of tests have three words at least; names of C are shorter.
            let quoted = row.split('`').skip(1).step_by(2);
            let named = quoted.filter(|word| {
                word.matches('_').count() > 2
                    && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            });
            for name in named {
                count += 1;
                assert!(tests.contains(&format!("fn {name}()")), "{page}: there is no test `{name}`");
            }
        }
    }
    assert!(count > 100, "{count}");
}
