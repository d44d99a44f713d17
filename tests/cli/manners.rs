//! How the command line behaves, whatever is asked: help, colour, width, quiet, what is not there.

use super::{plain, sound, two_copies};
use crate::support::Machine;
use crate::support::Process;
use std::fs;

const COMMANDS: [&str; 16] = [
    "run",
    "env",
    "shim",
    "doctor",
    "check",
    "why",
    "trace",
    "resolve",
    "lock",
    "verify",
    "scan",
    "inspect",
    "diff",
    "demo",
    "man",
    "completions",
];

fn ran<const N: usize>(world: &Machine, arguments: [&str; N]) -> Process {
    Process::of(&mut world.rooted(arguments))
}

#[test]
fn help_and_version_are_printed_once() {
    let world = Machine::new();
    let out = |arguments: &[&str]| Process::of(&mut world.cudashim(arguments)).out;
    assert_eq!(out(&["--version"]).lines().count(), 1);
    for command in COMMANDS {
        for help in ["-h", "--help"] {
            let text = out(&[command, help]);
            assert_eq!(text.matches("Usage: ").count(), 1, "{command} {help}");
            assert!(text.lines().all(|line| line.chars().count() <= 100), "{command} {help}:\n{text}");
        }
        let examples = out(&[command, "--help"]);
        assert_eq!(examples.matches(&format!("\n  $ cudashim {command}")).count(), 3, "{examples}");
    }
    assert_eq!(out(&["--help"]).matches("Usage: ").count(), 1);
}

#[test]
fn each_command_offers_the_formats_it_has() {
    let world = Machine::new();
    for (command, formats) in [
        ("resolve", "human, json]"),
        ("check", "human, json, html, sarif, junit, github]"),
        ("verify", "human, json, sarif, junit, github]"),
        ("scan", "human, json, jsonl, html, sarif, junit, github]"),
        ("doctor", "human, json, markdown, html, sarif, junit, github]"),
    ] {
        let seen = Process::of(&mut world.cudashim([command, "--format", "yaml"]));
        assert!(seen.code == Some(2) && seen.err.contains(&format!("[possible values: {formats}")), "{}", seen.err);
    }
    for command in ["lock", "env", "shim", "demo", "man"] {
        let seen = Process::of(&mut world.cudashim([command, "--format", "json"]));
        assert!(seen.code == Some(2) && seen.err.contains("unexpected argument '--format'"), "{command}: {}", seen.err);
    }
}

#[test]
fn root_is_refused_where_nothing_of_an_image_can_be_used() {
    let world = Machine::new();
    for (arguments, code) in [
        (&["run", "--", "true"][..], 125),
        (&["trace", "--", "true"], 125),
        (&["doctor", "--", "true"], 125),
        (&["env"], 2),
        (&["shim"], 2),
        (&["demo"], 2),
        (&["man"], 2),
        (&["scan", "--probe"], 2),
        (&["check", "--pid", "1"], 2),
    ] {
        let seen = Process::of(&mut world.rooted(arguments));
        assert_eq!(seen.code, Some(code), "{arguments:?}: {}", seen.err);
        assert!(seen.err.starts_with("error: `--root` cannot be used here: "), "{arguments:?}: {}", seen.err);
    }
    assert!(!Process::of(&mut world.cudashim(["run", "--help"])).out.contains("--root"));
}

#[test]
fn colour_reaches_every_report_and_nothing_is_coloured_unasked() {
    let world = two_copies();
    fs::write(world.path("empty"), "").unwrap();
    for arguments in [
        &["resolve", "--python", "/venv", "--explain", "libcublas.so.12", "--place", "/opt/mine"][..],
        &["doctor", "/venv"],
        &["why", "libcublas.so.12", "--python", "/venv"],
        &["inspect", "/empty"],
        &["resolve", "--tourch"],
    ] {
        let with = |color: &str| {
            let seen = Process::of(world.rooted(arguments).args(["--color", color]));
            seen.out + &seen.err
        };
        assert!(with("always").contains('\u{1b}'), "{arguments:?}: {}", with("always"));
        assert!(!with("auto").contains('\u{1b}') && !with("never").contains('\u{1b}'), "{arguments:?}");
        let forced = Process::of(world.rooted(arguments).env("CLICOLOR_FORCE", "1"));
        assert!((forced.out + &forced.err).contains('\u{1b}'), "{arguments:?}");
    }
}

#[test]
fn long_lines_are_wrapped_to_the_width() {
    let (world, _) = sound();
    for arguments in [
        &["check", "--python", "/venv", "--all"][..],
        &["why", "libcudnn.so.9", "--python", "/venv"],
        &["doctor", "/venv"],
        &["scan", "/venv", "--all"],
        &["resolve", "/venv"],
    ] {
        for columns in [60, 90] {
            let seen = Process::of(world.rooted(arguments).env("COLUMNS", columns.to_string()));
            assert!(!seen.out.is_empty(), "{arguments:?}: {}", seen.err);
            for line in seen.out.lines().filter(|line| line.chars().count() > columns) {
                // A word by itself, such as a path, cannot be broken.
                let words = line.trim_start_matches(['│', '├', '└', '─', ' ']);
                assert!(!words.contains(' '), "{arguments:?}, {columns}: {line}");
            }
        }
    }
}

#[test]
fn an_ascii_locale_gets_ascii() {
    let (world, _) = sound();
    let tree = |locale: &str| Process::of(world.rooted(["check", "--python", "/venv"]).env("LC_ALL", locale)).out;
    assert!(tree("C").is_ascii() && tree("C").contains("|- "), "{}", tree("C"));
    assert!(tree("C.UTF-8").contains("├─ "));
}

#[test]
fn quiet_leaves_the_answer_to_the_exit_status() {
    let (world, _) = sound();
    let lock = Process::of(&mut world.cudashim(["-q", "lock", "venv"]));
    assert_eq!((lock.code, lock.out.as_str(), lock.err.as_str()), (Some(0), "", ""));
    let ran = |arguments: &[&str]| {
        let seen = Process::of(&mut world.cudashim(arguments));
        (seen.code, seen.out + &seen.err)
    };
    for arguments in [&["-q", "verify"][..], &["-q", "check", "--python", "venv"], &["-q", "resolve", "venv"]] {
        assert_eq!(ran(arguments), (Some(0), String::new()), "{arguments:?}");
    }
    fs::remove_file(world.path("venv/lib/python3.11/site-packages/nvidia/cudnn/lib/libcudnn.so.9")).unwrap();
    assert_eq!(ran(&["-q", "verify"]), (Some(1), String::new()));
    // What a program reads is no talk.
    assert!(ran(&["-q", "verify", "--format", "json"]).1.starts_with('{'));
    let (code, says) = ran(&["-q", "verify", "nothing.lock"]);
    assert!(code == Some(2) && says.starts_with("error: cannot find the lock"), "{says}");
}

#[test]
fn verify_shows_what_changed() {
    let (world, _) = sound();
    assert_eq!(Process::of(&mut world.cudashim(["lock", "venv"])).code, Some(0));
    let verify = |more: &[&str]| Process::of(world.cudashim(["verify"]).args(more).env("COLUMNS", "300")).out;
    assert!(verify(&[]).starts_with("the lock holds: ") && verify(&[]).lines().count() == 1, "{}", verify(&[]));
    assert!(verify(&["-v"]).contains("unchanged  libcudnn.so.9 "), "{}", verify(&["-v"]));
    fs::remove_file(world.path("venv/lib/python3.11/site-packages/nvidia/cudnn/lib/libcudnn.so.9")).unwrap();
    let changed = verify(&[]);
    assert!(changed.starts_with("changed ") && changed.contains("\nthe lock does not hold: 1 of "), "{changed}");
    assert_eq!(changed.lines().take_while(|line| !line.is_empty()).count(), 1, "{changed}");
}

#[test]
fn an_environment_is_understood_however_it_is_named() {
    let (world, _) = plain();
    let project = world.path("project");
    fs::create_dir_all(&project).unwrap();
    std::os::unix::fs::symlink(world.path("venv"), project.join(".venv")).unwrap();
    std::os::unix::fs::symlink(world.path("venv/bin/python"), world.path("bin/python3.11")).unwrap();
    let site = "venv/lib/python3.11/site-packages";
    for word in ["venv", "venv/bin", "venv/bin/python", site, "project", "./venv"] {
        for arguments in
            [&["resolve", word][..], &["resolve", "--python", word], &["doctor", word], &["check", "--python", word]]
        {
            let seen = Process::of(&mut world.cudashim(arguments));
            assert!(seen.out.contains("torch 2.5.1+cu124"), "{arguments:?}: {}{}", seen.out, seen.err);
        }
    }
    for arguments in
        [&["check", "venv"][..], &["lock", "project"], &["env", "project"], &["verify", "--python", "venv"]]
    {
        let seen = Process::of(&mut world.cudashim(arguments));
        assert_eq!(seen.code, Some(0), "{arguments:?}: {}{}", seen.out, seen.err);
    }
    let seen = Process::of(world.cudashim(["why", "libcudnn.so.9", "--for", "venv"]).env("COLUMNS", "200"));
    assert!(seen.code == Some(0) && seen.out.contains("resolves to "), "{}{}", seen.out, seen.err);
    let both = Process::of(&mut world.cudashim(["resolve", "venv", "--python", "venv"]));
    assert!(both.code == Some(2) && both.err.contains("cannot be used with"), "{}", both.err);
}

#[test]
fn what_is_not_there_is_an_error_with_a_hint() {
    let world = two_copies();
    fs::write(world.path("file"), "").unwrap();
    for (arguments, error, hint) in [
        (
            &["resolve", "/venv", "--place", "/nope"][..],
            "cannot use `--place /nope`: no such file or directory",
            "check the path",
        ),
        (
            &["resolve", "/venv", "--place", "/file"],
            "cannot search `/file`: not a directory",
            "`--use SONAME=PATH` takes a file",
        ),
        (
            &["resolve", "/venv", "--forbid", "/nope"],
            "cannot use `--forbid /nope`: no such file or directory",
            "check the path",
        ),
        (&["resolve", "/nope"], "cannot find the Python `/nope`: no such file", "name an interpreter"),
        (&["scan", "/nope"], "cannot search `/nope`: no such file or directory", ""),
        (&["scan", "/file"], "cannot search `/file`: not a directory", ""),
        (&["inspect", "libnone.so.1"], "cannot open `libnone.so.1`: no such file or directory", "run `cudashim scan`"),
        (&["check", "nothing"], "cannot check `nothing`: no such file", "known packages: "),
        (&["verify", "none.lock"], "cannot find the lock `none.lock`", "write one with"),
    ] {
        let seen = Process::of(&mut world.rooted(arguments));
        assert_eq!((seen.code, seen.out.as_str()), (Some(2), ""), "{arguments:?}: {}", seen.err);
        assert!(seen.err.contains(&format!("error: {error}")), "{arguments:?}: {}", seen.err);
        assert!(
            hint.is_empty() || seen.err.contains(&format!("hint: {hint}")) || seen.err.contains(hint),
            "{}",
            seen.err
        );
    }
    // Of several directories the others are searched all the same.
    let some = ran(&world, ["scan", "/nope", "/opt/mine"]);
    assert!(some.code == Some(0) && some.err.contains("cannot search `/nope`") && some.out.contains("libcublas"));
    let place = Process::of(world.rooted(["resolve", "/venv"]).env("CUDASHIM_PLACE", "/nope"));
    assert!(place.err.contains("CUDASHIM_PLACE names `/nope`, which is not a directory"), "{}", place.err);
}

#[test]
fn a_library_is_understood_as_people_call_it() {
    let (world, _) = plain();
    for name in ["libcudnn.so.9", "libcudnn", "cudnn", "CUDNN", "libcudnn.so"] {
        let seen = ran(&world, ["resolve", "/venv", "--explain", name]);
        assert!(seen.out.starts_with("libcudnn.so.9 "), "{name}: {}{}", seen.out, seen.err);
    }
    let near = ran(&world, ["resolve", "/venv", "--explain", "libcu"]);
    assert!(near.err.contains("hint: name one of `libcublasLt.so.12`, "), "{}", near.err);
    let driver = ran(&world, ["resolve", "/venv", "--explain", "libcuda.so.1"]);
    assert!(driver.err.contains("`libcuda.so.1` belongs to the driver"), "{}", driver.err);
    let why = ran(&world, ["why", "cudnn", "--python", "/venv"]);
    assert!(
        why.code == Some(1) && why.err.contains("`cudnn` is not a file name: try `libcudnn.so.9`"),
        "{}{}",
        why.out,
        why.err
    );
    let inspect = Process::of(world.rooted(["inspect", "libcudnn.so.9"]).env("VIRTUAL_ENV", "/venv"));
    assert!(inspect.out.contains("/nvidia/cudnn/lib/libcudnn.so.9\n"), "{}{}", inspect.out, inspect.err);
}

#[test]
fn why_does_not_contradict_itself_about_what_is_mapped() {
    let (world, _) = plain();
    fs::create_dir_all(world.path("first")).unwrap();
    fs::copy(
        world.path("venv/lib/python3.11/site-packages/nvidia/cudnn/lib/libcudnn.so.9"),
        world.path("first/libcudnn.so.9"),
    )
    .unwrap();
    let mut command = world.rooted(["why", "libcudnn.so.9", "--python", "/venv"]);
    let seen = Process::of(command.env("LD_LIBRARY_PATH", "/first").env("COLUMNS", "200"));
    assert!(seen.out.contains("which is mapped already\nif it were not mapped, without "), "{}", seen.out);
}

#[test]
fn env_speaks_fish_and_undoes_itself() {
    let (world, _) = sound();
    let fish = Process::of(&mut world.cudashim(["env", "--shell", "fish", "venv"]));
    assert!(fish.out.lines().all(|line| line.starts_with("set -gx ")), "{}{}", fish.out, fish.err);
    let set = Process::of(&mut world.cudashim(["env", "venv"]));
    let value = |name: &str| {
        let line = set.out.lines().find_map(|line| line.strip_prefix(&format!("export {name}='")));
        line.unwrap().strip_suffix('\'').unwrap().to_owned()
    };
    let mut undo = world.cudashim(["env", "--unset"]);
    undo.env("LD_PRELOAD", value("LD_PRELOAD") + ":/other.so").env("CUDASHIM_PLAN", value("CUDASHIM_PLAN"));
    assert_eq!(Process::of(&mut undo).out, "export LD_PRELOAD='/other.so'\nunset CUDASHIM_PLAN\n");
    let mut all = world.cudashim(["env", "--unset", "--shell", "fish"]);
    assert_eq!(Process::of(all.env("LD_PRELOAD", value("LD_PRELOAD"))).out, "set -e LD_PRELOAD\n");
    assert_eq!(Process::of(&mut world.cudashim(["env", "--unset"])).out, "");
}

#[test]
fn an_environment_that_is_not_active_is_asked_for() {
    let world = Machine::new();
    let doctor = ran(&world, ["doctor"]);
    assert!(
        doctor.out.contains("try      activate an environment, or name it: `cudashim doctor DIR`"),
        "{}",
        doctor.out
    );
    let resolve = ran(&world, ["resolve"]);
    assert!(
        resolve.out.contains("hint: activate the environment, or name it: `cudashim resolve DIR`"),
        "{}",
        resolve.out
    );
}
