//! Which interpreter is run to query its paths: none that another user could have written or placed.

use crate::support::*;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file that stands in for a Python which no `pyvenv.cfg` describes: it records that it ran, and answers as a Python
/// does.
fn python(world: &Machine, path: &str) -> PathBuf {
    let ran = world.path("ran");
    let text = "printf '%s\\0/usr\\0003.12\\000/nowhere' \"$0\"";
    world.script(path, &format!("#!/bin/sh\n: > {}\n{text}\n", ran.display()))
}

/// Whether a command runs it, and the command's output.
fn runs(world: &Machine, command: &mut Command) -> (bool, String) {
    let _ = fs::remove_file(world.path("ran"));
    let seen = Process::of(command);
    (world.path("ran").exists(), seen.out + &seen.err)
}

#[test]
fn python_of_the_working_directory_is_not_run() {
    let world = Machine::new();
    let repo = world.path("repo");
    python(&world, "repo/python3");
    python(&world, "repo/.venv/bin/python");
    python(&world, "repo/bin/python3");
    for (name, value) in [("PATH", "."), ("PATH", ":/nowhere"), ("PATH", "bin:/nowhere"), ("VIRTUAL_ENV", ".venv")] {
        for word in ["resolve", "doctor", "check", "env"] {
            let (ran, err) = runs(&world, world.cudashim([word]).current_dir(&repo).env(name, value));
            assert!(!ran, "{word} with {name}={value}: {err}");
        }
    }
    // Named by the user, or started by him, it is.
    let name = |path: &str| runs(&world, world.cudashim(["resolve", "--python", path]).current_dir(&repo));
    assert!(name("./python3").0 && name(".venv").0);
    assert!(runs(&world, world.cudashim(["run", "--", "./python3"]).current_dir(&repo)).0);
    assert!(runs(&world, world.cudashim(["resolve"]).env("PATH", repo.join("bin"))).0);
}

#[test]
fn python_that_others_may_write_is_not_run() {
    let world = Machine::new();
    let file = python(&world, "tools/python3");
    let tools = world.path("tools");
    let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let resolve = |more: &[&str]| runs(&world, world.cudashim(["resolve"]).args(more).env("PATH", &tools));
    assert!(resolve(&[]).0);
    for (path, open, closed) in [(&tools, 0o777, 0o755), (&file, 0o775, 0o755)] {
        set(path, open);
        // The cached answer is still valid; a new request has none.
        assert!(!resolve(&[]).0);
        let (ran, says) = resolve(&["--python", file.to_str().unwrap()]);
        assert!(!ran && says.contains(&format!("`{}` is writable by", path.display())), "{says}");
        set(path, closed);
    }
    assert!(resolve(&["--python", file.to_str().unwrap()]).0);
}

#[test]
#[ignore = "needs root"]
fn python_of_another_user_is_not_run() {
    let world = Machine::new();
    let file = python(&world, "tools/python3");
    std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
    let (ran, says) = runs(&world, world.cudashim(["resolve"]).env("PATH", world.path("tools")));
    assert!(!ran && says.contains("belongs to user 65534"), "{says}");
}
