//! `run` and `env`: the command gets the set, and everything else of it stays its own.

use super::{Lib, Seen, World, json, seen, sound};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// A copy of libcublasLt that lacks what cuBLAS takes from it, in a directory for `LD_LIBRARY_PATH`.
pub(super) fn hijack(world: &World) -> std::path::PathBuf {
    let dir = world.path("opt/old");
    Lib::new("libcublasLt.so.12").defines(&["cublasLtOther"]).build(&dir.join("libcublasLt.so.12"));
    dir
}

#[test]
fn a_broken_search_path_is_healed() {
    let (world, venv) = sound();
    let library_path = hijack(&world);
    let torch = venv.site.join("torch/lib/libtorch_global_deps.so");
    let bare = Seen::of(
        std::process::Command::new(venv.python())
            .arg("--load")
            .arg(&torch)
            .env_clear()
            .env("LD_LIBRARY_PATH", &library_path),
    );
    assert!(bare.out.contains("undefined symbol: cublasLtCreate, version libcublasLt.so.12"), "{}", bare.out);
    // The first run makes the plan, the second finds it.
    for _ in 0..2 {
        let mut command = world.cudashim(["run", "--"]);
        let healed =
            Seen::of(command.arg(venv.python()).arg("--load").arg(&torch).env("LD_LIBRARY_PATH", &library_path));
        assert_eq!((healed.code, healed.out.as_str(), healed.err.as_str()), (Some(0), "ok\n", ""));
    }
}

/// A shell may start any environment: each process it starts gets the plan of its own.
#[test]
fn what_a_shell_starts_is_healed() {
    let (world, venv) = sound();
    world.tools(&["sh"]);
    let library_path = hijack(&world);
    let torch = venv.site.join("torch/lib/libtorch_global_deps.so");
    let line = format!("'{}' --load '{}'", venv.python().display(), torch.display());
    let mut command = world.cudashim(["run", "--", "sh", "-c", &line]);
    let healed = Seen::of(command.env("LD_LIBRARY_PATH", &library_path));
    assert_eq!((healed.code, healed.out.as_str(), healed.err.as_str()), (Some(0), "ok\n", ""));
}

/// A process that starts a Python of another environment does not force its own plan on it.
#[test]
fn a_child_of_another_environment_gets_a_plan_of_its_own() {
    let (world, venv) = sound();
    world.tools(&["sh"]);
    let other = world.venv("other");
    super::torch(&other);
    other.wheel("nvidia-cublas-cu12", "12.4.5.8", &super::cublas());
    other.wheel("nvidia-cudnn-cu12", "9.1.0.70", &super::cudnn());
    let plan = Seen::of(&mut world.cudashim(["resolve", "--python", "venv", "-o", "kept.plan"]));
    assert_eq!(plan.code, Some(0), "{}", plan.err);
    // A script in the first environment's `bin` stands for its Python.
    let script = venv.python().with_file_name("start");
    let torch = other.site.join("torch/lib/libtorch_global_deps.so");
    fs::write(&script, format!("#!/bin/sh\n'{}' --load '{}'\n", other.python().display(), torch.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = world.cudashim(["run", "--plan", "kept.plan", "--"]);
    let log = world.path("log");
    let healed = Seen::of(command.arg(&script).env("LD_LIBRARY_PATH", hijack(&world)).env("CUDASHIM_LOG", &log));
    assert_eq!((healed.code, healed.out.as_str()), (Some(0), "ok\n"), "{}", healed.err);
    let log = fs::read_to_string(log).unwrap();
    assert!(
        log.contains(&*other.site.to_string_lossy()) && !log.contains(&format!("loaded from {}", venv.site.display())),
        "{log}"
    );
}

#[test]
fn a_kept_plan_is_handed_out() {
    let (world, venv) = sound();
    let library_path = hijack(&world);
    insta::assert_snapshot!(seen(&world, &mut world.cudashim(["resolve", "--python", "venv", "-o", "kept.plan"])), @"
    exit 0
    --- stderr
    cudashim: wrote `kept.plan`; use it with `cudashim run --plan kept.plan`
    ");
    let load = |world: &World| {
        let mut command = world.cudashim(["run", "--plan", "kept.plan", "--"]);
        command.arg(venv.python()).arg("--load").arg(venv.site.join("torch/lib/libtorch_global_deps.so"));
        Seen::of(command.env("LD_LIBRARY_PATH", &library_path))
    };
    assert_eq!(load(&world).out, "ok\n");
    // A file that is no longer the one the plan names is said to be so, and not handed out.
    Lib::new("libcublasLt.so.12")
        .defines(&["cublasLtCreate", "cublasLtNew"])
        .build(&venv.site.join("nvidia/cublas/lib/libcublasLt.so.12"));
    insta::assert_snapshot!(load(&world).all(&world), @"
    exit 0
    --- stdout
    [WORLD]/venv/lib/python3.11/site-packages/torch/lib/../../nvidia/cublas/lib/libcublas.so.12: undefined symbol: cublasLtCreate, version libcublasLt.so.12
    --- stderr
    cudashim: `[WORLD]/venv/lib/python3.11/site-packages/nvidia/cublas/lib/libcublasLt.so.12` was changed since the plan was made: libcublasLt.so.12 is left to the loader; run `cudashim verify [WORLD]/kept.plan` for all of it
    cudashim in [PID]: libcublas.so.12: [WORLD]/venv/lib/python3.11/site-packages/nvidia/cublas/lib/libcublas.so.12 could not be loaded: [WORLD]/venv/lib/python3.11/site-packages/nvidia/cublas/lib/libcublas.so.12: undefined symbol: cublasLtCreate, version libcublasLt.so.12
    ");
    insta::assert_snapshot!(seen(&world, &mut world.cudashim(["run", "--plan", "none.plan", "venv/bin/python"])), @"
    exit 125
    --- stderr
    error: cannot read the plan `none.plan`
      caused by: No such file or directory (os error 2)
    ");
    fs::write(world.path("kept.plan"), "cudashim-plan\t1\n").unwrap();
    insta::assert_snapshot!(seen(&world, &mut world.cudashim(["run", "--plan", "kept.plan", "venv/bin/python"])), @"
    exit 125
    --- stderr
    error: cannot use the plan `[WORLD]/kept.plan`
      caused by: the plan is cut off: its `end` line is missing or counts other lines
    hint: it was cut short, or edited by hand: make a new one with `cudashim lock`
    ");
}

#[test]
fn exit_codes_of_env() {
    let world = World::new();
    insta::assert_snapshot!(seen(&world, &mut world.cudashim(["run", "none"])), @"
    exit 127
    --- stderr
    cudashim: `none`: no such command
    ");
    insta::assert_snapshot!(seen(&world, &mut world.cudashim(["run", "./none"])), @"
    exit 127
    --- stderr
    cudashim: `./none`: no such command
    ");
    insta::assert_snapshot!(seen(&world, &mut world.cudashim(["run", "./home"])), @"
    exit 126
    --- stderr
    cudashim: `[WORLD]/./home`: is a directory
    ");
    let script = world.path("bin/script");
    fs::write(&script, "true\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o644)).unwrap();
    insta::assert_snapshot!(seen(&world, &mut world.cudashim(["run", "script"])), @"
    exit 126
    --- stderr
    cudashim: `[WORLD]/bin/script`: not executable
    ");
    // A directory on PATH is no command (execvp(3)).
    fs::create_dir(world.path("bin/dir")).unwrap();
    assert_eq!(Seen::of(&mut world.cudashim(["run", "dir"])).code, Some(127));
}

#[test]
fn the_commands_own_code_and_words() {
    let world = World::new();
    world.tools(&["sh"]);
    let sh = |line: &str| Seen::of(&mut world.cudashim(["run", "-q", "--", "sh", "-c", line]));
    assert_eq!(sh("exit 7").code, Some(7));
    assert_eq!(sh("kill -9 $$").code, None);
    assert_eq!(sh("printf %s \"$0\"").out, "sh");
    assert_eq!(sh("exit 125").code, Some(125));
    // Options of the command are the command's, with or without `--`.
    assert_eq!(Seen::of(&mut world.cudashim(["run", "-q", "sh", "-c", "exit 3", "--torch", "x"])).code, Some(3));
    insta::assert_snapshot!(seen(&world, &mut world.cudashim(["run", "sh", "-c", "echo out; echo err >&2"])), @"
    exit 0
    --- stdout
    out
    --- stderr
    err
    ");
}

#[test]
fn no_set_no_run() {
    let world = World::new();
    super::torch(&world.venv("venv"));
    let ran = Seen::of(&mut world.cudashim(["run", "venv/bin/python", "--load"]));
    assert_eq!((ran.code, ran.out.as_str()), (Some(125), ""));
    assert!(ran.err.starts_with("error: no set of libraries fits"), "{}", ran.err);
}

#[test]
fn env_is_read_back_by_a_shell() {
    let (world, venv) = sound();
    world.tools(&["sh"]);
    let lines = Seen::of(&mut world.cudashim(["env", "--python", "venv"]));
    assert_eq!((lines.code, lines.err.as_str()), (Some(0), ""));
    let script = format!("{}printf '%s\\n' \"$CUDASHIM_PLAN\" \"$LD_PRELOAD\"\n", lines.out);
    let read = Seen::of(std::process::Command::new("/bin/sh").env_clear().args(["-c", &script]));
    assert_eq!((read.code, read.err.as_str()), (Some(0), ""));
    let [plan, preload] = read.out.lines().collect::<Vec<_>>()[..] else { panic!("{}", read.out) };
    let text = std::path::Path::new(plan).with_extension("plan");
    assert!(fs::read_to_string(text).unwrap().contains(&*venv.site.to_string_lossy()));
    assert!(fs::read(preload).unwrap().starts_with(b"\x7fELF"));
}

#[test]
fn env_quotes_whatever_stands_in_a_path() {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let (world, _venv) = sound();
    // A plan's path holds the cache's: quotes are spelt out, and bytes that are not UTF-8 stay what they are.
    let cache = world.root().join(std::ffi::OsString::from_vec(b"it's\xff".to_vec()));
    let output = world.cudashim(["env", "--python", "venv"]).env("CUDASHIM_CACHE", &cache).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let mut script = output.stdout;
    script.extend(b"printf %s \"$CUDASHIM_PLAN\"\n");
    let read = std::process::Command::new("/bin/sh")
        .env_clear()
        .arg("-c")
        .arg(std::ffi::OsStr::from_bytes(&script))
        .output()
        .unwrap();
    assert!(
        fs::metadata(std::ffi::OsStr::from_bytes(&read.stdout)).is_ok(),
        "{}",
        String::from_utf8_lossy(&read.stdout)
    );
}

#[test]
fn what_env_has_nothing_for() {
    let world = World::new();
    world.venv("venv").torch("2.5.1+cpu", None, &[], &[]);
    // What the shell starts can ask for its own.
    let lines = Seen::of(world.cudashim(["env", "--python", "venv"]).env("CUDASHIM_PLAN", "/of/another"));
    let says =
        "torch 2.5.1+cpu in `[WORLD]/venv/lib/python3.11/site-packages` is built without CUDA: no libraries chosen";
    assert!(lines.all(&world).ends_with(&format!("--- stderr\ncudashim: {says}\n")), "{}", lines.err);
    assert!(
        lines.out.starts_with("export LD_PRELOAD=") && lines.out.ends_with("\nunset CUDASHIM_PLAN\n"),
        "{}",
        lines.out
    );
    insta::assert_snapshot!(seen(&world, world.cudashim(["shim"]).env_remove("CUDASHIM_CACHE").env_remove("HOME").env("TMPDIR", "/dev/null")), @"
    exit 2
    --- stderr
    error: there is no cache directory: neither CUDASHIM_CACHE nor XDG_CACHE_HOME nor HOME is set
    hint: set `CUDASHIM_CACHE` to a directory of your own
    ");
}

#[test]
fn the_same_question_the_same_answer() {
    let (world, venv) = sound();
    let ask = || json(&mut world.cudashim(["resolve", "--python", "venv"]));
    let first = ask();
    assert_eq!(first, ask());
    // A wheel that goes is noticed.
    fs::remove_file(venv.site.join("nvidia/cublas/lib/libcublas.so.12")).unwrap();
    let (code, answer) = ask();
    assert_ne!(first.1, answer);
    assert_eq!(code, Some(1));
}

#[test]
fn a_relative_cache_is_as_good_as_an_absolute_one() {
    let (world, venv) = sound();
    let library_path = hijack(&world);
    let torch = venv.site.join("torch/lib/libtorch_global_deps.so");
    let mut command = world.cudashim(["run", "--"]);
    command.arg(venv.python()).arg("--load").arg(&torch);
    let healed = Seen::of(command.env("LD_LIBRARY_PATH", &library_path).env("CUDASHIM_CACHE", "here/cache"));
    assert_eq!((healed.code, healed.out.as_str(), healed.err.as_str()), (Some(0), "ok\n", ""));
}

#[test]
fn a_cache_that_others_can_write_to_is_not_used() {
    let (world, venv) = sound();
    let cache = world.path("cache");
    fs::create_dir(&cache).unwrap();
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = world.cudashim(["run", "--"]);
    insta::assert_snapshot!(seen(&world, command.arg(venv.python())), @"
    exit 125
    --- stderr
    cudashim: no cache: the cache directory `[WORLD]/cache` can be written by group or others (mode 777)
    error: cannot write the plan to `[WORLD]/cache`: the cache directory `[WORLD]/cache` can be written by group or others (mode 777): set `CUDASHIM_CACHE` to a directory of your own
    ");
    // The answer itself needs no cache.
    assert_eq!(Seen::of(&mut world.cudashim(["resolve", "--python", "venv"])).code, Some(0));
    let left: Vec<_> = fs::read_dir(cache.join("plans")).into_iter().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}
