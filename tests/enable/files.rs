//! What is written, and what is taken away again.

use super::{Machine, Process, enabled, environment, tree};
use std::fs;

#[test]
fn nothing_but_an_environment_is_written_to() {
    let world = Machine::new();
    let venv = environment(&world, "venv");
    enabled(&world, &venv);
    let mut names: Vec<_> = fs::read_dir(&venv.site).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["_cudashim_hook.py", "cudashim.enabled.json", "cudashim.pth", "cudashim.start"]);
    let pth = fs::read_to_string(venv.site.join("cudashim.pth")).unwrap();
    assert!(pth.lines().count() == 1 && pth.starts_with("import sys; exec("), "{pth}");
    assert_eq!(fs::read_to_string(venv.site.join("cudashim.start")).unwrap(), "_cudashim_hook:start\n");
}

#[test]
fn enabling_twice_is_enabling_once() {
    let world = Machine::new();
    let venv = environment(&world, "venv");
    let before = tree(&venv.dir);
    enabled(&world, &venv);
    let once = tree(&venv.dir);
    enabled(&world, &venv);
    assert_eq!(tree(&venv.dir), once);
    let status = Process::of(&mut world.cudashim(["status", "venv"]));
    assert!(status.code == Some(0) && status.out.starts_with("on "), "{}", status.out);
    assert_eq!(Process::of(&mut world.cudashim(["disable", "venv"])).code, Some(0));
    assert_eq!(tree(&venv.dir), before);
    let again = Process::of(&mut world.cudashim(["disable", "venv"]));
    assert_eq!(again.code, Some(1));
    assert!(again.err.contains("is not enabled"), "{}", again.err);
}

#[test]
fn a_file_of_somebody_else_is_not_written_over() {
    let world = Machine::new();
    let venv = environment(&world, "venv");
    // As a package that is installed in place has it.
    fs::write(venv.site.join("cudashim.pth"), "/src/cudashim/python\n").unwrap();
    let before = tree(&venv.dir);
    let seen = Process::of(&mut world.cudashim(["enable", "venv"]));
    assert_eq!(seen.code, Some(2));
    assert!(seen.err.contains("cudashim.pth`: a file that is not cudashim's stands there"), "{}", seen.err);
    assert_eq!(tree(&venv.dir), before);
}

#[test]
fn a_file_that_was_changed_by_hand_is_not_removed_in_silence() {
    let world = Machine::new();
    let venv = environment(&world, "venv");
    enabled(&world, &venv);
    let path = venv.site.join("cudashim.pth");
    let text = fs::read_to_string(&path).unwrap() + "/opt/mine\n";
    fs::write(&path, &text).unwrap();
    let status = Process::of(&mut world.cudashim(["status", "venv"]));
    assert!(status.code == Some(1) && status.out.contains("was changed since"), "{}", status.out);
    let seen = Process::of(&mut world.cudashim(["disable", "venv"]));
    assert_eq!(seen.code, Some(2));
    assert!(seen.err.contains("was changed since it was written") && seen.err.contains("--force"), "{}", seen.err);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    assert_eq!(Process::of(&mut world.cudashim(["disable", "--force", "venv"])).code, Some(0));
    assert_eq!(fs::read_dir(&venv.site).unwrap().count(), 0);
}

/// A manifest tells what was written, and is never obeyed.
#[test]
fn a_manifest_that_is_broken_or_hostile_removes_nothing_of_others() {
    let world = Machine::new();
    let venv = environment(&world, "venv");
    fs::write(world.path("precious"), "x").unwrap();
    fs::write(venv.site.join("other.py"), "x").unwrap();
    let before = tree(world.root());
    for text in [
        "",
        "{",
        "[]",
        r#"{"schema": 9, "version": "9", "binary": "/x", "files": {}}"#,
        r#"{"schema": 1, "version": "1", "binary": "/x", "files": {"../../../../precious": "00", "other.py": "00"}, "made": ["..", "../../..", "/"]}"#,
    ] {
        enabled(&world, &venv);
        fs::write(venv.site.join("cudashim.enabled.json"), text).unwrap();
        let status = Process::of(&mut world.cudashim(["status", "venv"]));
        assert!(status.code == Some(1) && status.out.starts_with("broken"), "{text}: {}", status.out);
        let seen = Process::of(&mut world.cudashim(["disable", "venv"]));
        assert_eq!(seen.code, Some(0), "{text}: {}", seen.err);
        assert_eq!(tree(world.root()), before, "{text}");
    }
    // A link in the place of a file of ours is taken away, and not what it leads to.
    enabled(&world, &venv);
    fs::remove_file(venv.site.join("cudashim.start")).unwrap();
    std::os::unix::fs::symlink(world.path("precious"), venv.site.join("cudashim.start")).unwrap();
    assert_eq!(Process::of(&mut world.cudashim(["disable", "venv"])).code, Some(2));
    assert_eq!(fs::read_to_string(world.path("precious")).unwrap(), "x");
}

#[test]
fn what_cannot_be_written_leaves_nothing_behind() {
    let world = Machine::new();
    let venv = environment(&world, "venv");
    fs::create_dir(venv.site.join("cudashim.start")).unwrap();
    let before = tree(&venv.dir);
    let seen = Process::of(&mut world.cudashim(["enable", "--force", "venv"]));
    assert_eq!(seen.code, Some(2));
    assert!(seen.err.contains("cannot write"), "{}", seen.err);
    assert_eq!(tree(&venv.dir), before);
}

#[test]
fn what_no_shim_reaches_is_refused() {
    let world = Machine::new();
    let venv = environment(&world, "venv");
    let python = venv.python();
    let mut image = fs::read(super::python().0.as_path()).unwrap();
    // e_machine: of another architecture.
    image[18] = if image[18] == 62 { 183 } else { 62 };
    fs::remove_file(&python).unwrap();
    fs::write(&python, image).unwrap();
    let seen = Process::of(&mut world.cudashim(["enable", "venv"]));
    assert_eq!(seen.code, Some(2));
    assert!(seen.err.contains("this preload object is not built for it"), "{}", seen.err);
    assert_eq!(fs::read_dir(&venv.site).unwrap().count(), 0);
}

/// PEP 668: the package manager's own.
#[test]
fn a_python_that_the_system_manages_is_refused() {
    let world = Machine::new();
    let (file, version, _) = super::python();
    // An installation of its own, with the tester's standard library.
    let out = std::process::Command::new(file)
        .args(["-I", "-S", "-c", "import os, sys; print(os.path.dirname(os.__file__)); print(sys.platlibdir)"])
        .output()
        .unwrap();
    let out = String::from_utf8(out.stdout).unwrap();
    let library = std::path::PathBuf::from(out.lines().next().unwrap());
    let lib = world.path(&format!("usr/lib/python{version}"));
    fs::create_dir_all(&lib).unwrap();
    fs::create_dir_all(world.path("usr/bin")).unwrap();
    for entry in fs::read_dir(&library).unwrap() {
        let entry = entry.unwrap();
        if !["site-packages", "EXTERNALLY-MANAGED"].iter().any(|name| entry.file_name() == *name) {
            std::os::unix::fs::symlink(entry.path(), lib.join(entry.file_name())).unwrap();
        }
    }
    fs::create_dir(lib.join("site-packages")).unwrap();
    fs::write(lib.join("EXTERNALLY-MANAGED"), "[externally-managed]\n").unwrap();
    let python = world.path("usr/bin/python3");
    super::copied(file, &python);
    let enable = |more: &[&str]| {
        let mut command = world.cudashim(["enable"]);
        Process::of(command.arg(&python).args(more).env("PYTHONHOME", world.path("usr")))
    };
    let seen = enable(&[]);
    assert_eq!(seen.code, Some(2));
    assert!(seen.err.contains("EXTERNALLY-MANAGED") && seen.err.contains("--force"), "{}", seen.err);
    assert_eq!(fs::read_dir(lib.join("site-packages")).unwrap().count(), 0);
    assert_eq!(enable(&["--force"]).code, Some(0));
    assert!(lib.join("site-packages/cudashim.pth").is_file());
}
