//! `run` and `env`: the command gets the set, and everything else of it stays its own.

use super::{json, sound};
use crate::support::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// A copy of libcublasLt that lacks what cuBLAS takes from it, in a directory for `LD_LIBRARY_PATH`.
pub(super) fn hijack(world: &Machine) -> std::path::PathBuf {
    let dir = world.path("opt/old");
    Lib::new("libcublasLt.so.12").defines(&["cublasLtOther"]).build(&dir.join("libcublasLt.so.12"));
    dir
}

#[test]
fn run_heals_a_broken_ld_library_path() {
    let (world, venv) = sound();
    let library_path = hijack(&world);
    let bare = Process::of(venv.load().env("LD_LIBRARY_PATH", &library_path));
    assert!(bare.out.contains("undefined symbol: cublasLtCreate, version libcublasLt.so.12"), "{}", bare.out);
    // The first run makes the plan, the second finds it.
    for _ in 0..2 {
        let healed = Process::of(world.load(&[], &venv).env("LD_LIBRARY_PATH", &library_path));
        assert_eq!(healed.ok(), "ok\n");
    }
}

/// A shell may start any environment: each process it starts gets its own plan.
#[test]
fn run_heals_what_a_shell_starts() {
    let (world, venv) = sound();
    world.tools(&["sh"]);
    let library_path = hijack(&world);
    let torch = venv.torch_deps();
    let line = format!("'{}' --load '{}'", venv.python().display(), torch.display());
    let mut command = world.cudashim(["run", "--", "sh", "-c", &line]);
    let healed = Process::of(command.env("LD_LIBRARY_PATH", &library_path));
    assert_eq!(healed.ok(), "ok\n");
}

/// A process that starts a Python of another environment does not force its own plan on it.
#[test]
fn run_child_of_another_environment_gets_its_own_plan() {
    let (world, venv) = sound();
    world.tools(&["sh"]);
    let other = world.venv("other");
    super::torch(&other);
    other.wheel("nvidia-cublas-cu12", "12.4.5.8", &super::cublas());
    other.wheel("nvidia-cudnn-cu12", "9.1.0.70", &super::cudnn());
    let plan = world.run(["resolve", "--python", "venv", "-o", "kept.plan"]);
    assert_eq!(plan.code, Some(0), "{}", plan.err);
    // A script in the first environment's `bin` stands for its Python.
    let script = venv.python().with_file_name("start");
    let torch = other.torch_deps();
    fs::write(&script, format!("#!/bin/sh\n'{}' --load '{}'\n", other.python().display(), torch.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = world.cudashim(["run", "--plan", "kept.plan", "--"]);
    let log = world.path("log");
    let healed = Process::of(command.arg(&script).env("LD_LIBRARY_PATH", hijack(&world)).env("CUDASHIM_LOG", &log));
    assert_eq!((healed.code, healed.out.as_str()), (Some(0), "ok\n"), "{}", healed.err);
    let log = fs::read_to_string(log).unwrap();
    assert!(
        log.contains(&*other.site.to_string_lossy()) && !log.contains(&format!("loaded from {}", venv.site.display())),
        "{log}"
    );
}

#[test]
fn run_leaves_a_library_that_was_overwritten_in_its_place() {
    let (world, venv) = sound();
    let plan = world.run(["resolve", "--python", "venv", "-o", "kept.plan"]);
    assert_eq!(plan.code, Some(0), "{}", plan.err);
    let load = || Process::of(world.load(&["--plan", "kept.plan"], &venv).env("LD_LIBRARY_PATH", hijack(&world)));
    assert_eq!((load().out.as_str(), load().err.as_str()), ("ok\n", ""));
    // Its directory is unchanged, so the start does not see it: the shim does, when it would hand it out.
    let library = venv.site.join("nvidia/cublas/lib/libcublasLt.so.12");
    std::io::Write::write_all(&mut fs::OpenOptions::new().append(true).open(&library).unwrap(), b"\0").unwrap();
    insta::assert_snapshot!(load().all(&world), @"
    exit 0
    --- stdout
    [R]/venv/lib/python3.11/site-packages/torch/lib/../../nvidia/cublas/lib/libcublas.so.12: undefined symbol: cublasLtCreate, version libcublasLt.so.12
    --- stderr
    cudashim in [PID]: libcublasLt.so.12: [R]/venv/lib/python3.11/site-packages/nvidia/cublas/lib/libcublasLt.so.12 is not used: its size is another; left to the loader
    cudashim in [PID]: libcublas.so.12: [R]/venv/lib/python3.11/site-packages/nvidia/cublas/lib/libcublas.so.12 is not used: it cannot be loaded: [R]/venv/lib/python3.11/site-packages/nvidia/cublas/lib/libcublas.so.12: undefined symbol: cublasLtCreate, version libcublasLt.so.12
    ");
}

#[test]
fn run_takes_a_kept_plan() {
    let (world, venv) = sound();
    let library_path = hijack(&world);
    insta::assert_snapshot!(world.run(["resolve", "--python", "venv", "-o", "kept.plan"]).all(&world), @"
    exit 0
    --- stderr
    cudashim: wrote `kept.plan`; use it with `cudashim run --plan kept.plan`
    ");
    let load = |world: &Machine| {
        let mut command = world.load(&["--plan", "kept.plan"], &venv);
        Process::of(command.env("LD_LIBRARY_PATH", &library_path))
    };
    assert_eq!(load(&world).out, "ok\n");
    // A file that has changed since the plan was made is reported, and not handed out.
    let library = venv.site.join("nvidia/cublas/lib/libcublasLt.so.12");
    fs::remove_file(&library).unwrap();
    Lib::new("libcublasLt.so.12").defines(&["cublasLtCreate", "cublasLtNew"]).build(&library);
    insta::assert_snapshot!(load(&world).all(&world), @"
    exit 0
    --- stdout
    [R]/venv/lib/python3.11/site-packages/torch/lib/../../nvidia/cublas/lib/libcublas.so.12: undefined symbol: cublasLtCreate, version libcublasLt.so.12
    --- stderr
    cudashim: `[R]/venv/lib/python3.11/site-packages/nvidia/cublas/lib/libcublasLt.so.12` has changed since the plan was made: libcublasLt.so.12 is left to the loader; run `cudashim verify [R]/kept.plan` for all of it
    cudashim in [PID]: libcublas.so.12: [R]/venv/lib/python3.11/site-packages/nvidia/cublas/lib/libcublas.so.12 is not used: it cannot be loaded: [R]/venv/lib/python3.11/site-packages/nvidia/cublas/lib/libcublas.so.12: undefined symbol: cublasLtCreate, version libcublasLt.so.12
    ");
    insta::assert_snapshot!(world.run(["run", "--plan", "none.plan", "venv/bin/python"]).all(&world), @"
    exit 125
    --- stderr
    error: cannot read the plan `none.plan`
      caused by: No such file or directory (os error 2)
    ");
    world.write("kept.plan", "cudashim-plan\t1\n");
    insta::assert_snapshot!(world.run(["run", "--plan", "kept.plan", "venv/bin/python"]).all(&world), @"
    exit 125
    --- stderr
    error: cannot use the plan `[R]/kept.plan`
      caused by: the plan is cut off: its `end` line is missing, or counts other lines
    hint: make a new one with `cudashim lock`: this one was cut short, or edited by hand
    ");
}

#[test]
fn run_exit_codes_are_those_of_env() {
    let world = Machine::new();
    insta::assert_snapshot!(world.run(["run", "none"]).all(&world), @"
    exit 127
    --- stderr
    cudashim: `none`: no such command
    ");
    insta::assert_snapshot!(world.run(["run", "./none"]).all(&world), @"
    exit 127
    --- stderr
    cudashim: `./none`: no such command
    ");
    insta::assert_snapshot!(world.run(["run", "./home"]).all(&world), @"
    exit 126
    --- stderr
    cudashim: `[R]/./home`: is a directory
    ");
    let script = world.path("bin/script");
    fs::write(&script, "true\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o644)).unwrap();
    insta::assert_snapshot!(world.run(["run", "script"]).all(&world), @"
    exit 126
    --- stderr
    cudashim: `[R]/bin/script`: not executable
    ");
    // A directory on PATH is no command (execvp(3)).
    world.mkdir("bin/dir");
    assert_eq!(world.run(["run", "dir"]).code, Some(127));
}

#[test]
fn run_passes_code_and_output_through() {
    let world = Machine::new();
    world.tools(&["sh"]);
    let sh = |line: &str| world.run(["run", "-q", "--", "sh", "-c", line]);
    assert_eq!(sh("exit 7").code, Some(7));
    assert_eq!(sh("kill -9 $$").code, None);
    assert_eq!(sh("printf %s \"$0\"").out, "sh");
    assert_eq!(sh("exit 125").code, Some(125));
    // Options of the command are the command's, with or without `--`.
    assert_eq!(world.run(["run", "-q", "sh", "-c", "exit 3", "--torch", "x"]).code, Some(3));
    insta::assert_snapshot!(world.run(["run", "sh", "-c", "echo out; echo err >&2"]).all(&world), @"
    exit 0
    --- stdout
    out
    --- stderr
    err
    ");
}

#[test]
fn run_starts_nothing_without_a_set() {
    let world = Machine::new();
    super::torch(&world.venv("venv"));
    let ran = world.run(["run", "venv/bin/python", "--load"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(125), ""));
    assert!(ran.err.starts_with("error: no compatible set of libraries"), "{}", ran.err);
}

#[test]
fn env_output_is_valid_shell() {
    let (world, venv) = sound();
    world.tools(&["sh"]);
    let lines = world.run(["env", "--python", "venv"]);
    lines.ok();
    let script = format!("{}printf '%s\\n' \"$CUDASHIM_PLAN\" \"$LD_PRELOAD\"\n", lines.out);
    let read = Process::of(std::process::Command::new("/bin/sh").env_clear().args(["-c", &script]));
    read.ok();
    let [plan, preload] = read.out.lines().collect::<Vec<_>>()[..] else { panic!("{}", read.out) };
    let text = std::path::Path::new(plan).with_extension("plan");
    assert!(fs::read_to_string(text).unwrap().contains(&*venv.site.to_string_lossy()));
    assert!(fs::read(preload).unwrap().starts_with(b"\x7fELF"));
}

#[test]
fn env_quotes_paths() {
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
fn env_without_a_set_exports_the_shim_alone() {
    let world = Machine::new();
    world.venv("venv").torch("2.5.1+cpu", None, &[], &[]);
    // Each process of the shell can request its own.
    let lines = Process::of(world.cudashim(["env", "--python", "venv"]).env("CUDASHIM_PLAN", "/of/another"));
    let says = "torch 2.5.1+cpu in `[R]/venv/lib/python3.11/site-packages` is built without CUDA: no libraries chosen";
    assert!(lines.all(&world).ends_with(&format!("--- stderr\ncudashim: {says}\n")), "{}", lines.err);
    assert!(
        lines.out.starts_with("export LD_PRELOAD=") && lines.out.ends_with("\nunset CUDASHIM_PLAN\n"),
        "{}",
        lines.out
    );
    insta::assert_snapshot!(Process::of(world.cudashim(["shim"]).env_remove("CUDASHIM_CACHE").env_remove("HOME").env("TMPDIR", "/dev/null")).all(&world), @"
    exit 2
    --- stderr
    error: no cache directory: none of CUDASHIM_CACHE, XDG_CACHE_HOME and HOME is set
    hint: set `CUDASHIM_CACHE` to a directory of your own
    ");
}

#[test]
fn resolve_is_repeatable_and_notices_changes() {
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
fn cache_path_may_be_relative() {
    let (world, venv) = sound();
    let library_path = hijack(&world);
    let mut command = world.load(&[], &venv);
    let healed = Process::of(command.env("LD_LIBRARY_PATH", &library_path).env("CUDASHIM_CACHE", "here/cache"));
    assert_eq!(healed.ok(), "ok\n");
}

#[test]
fn cache_that_others_may_write_is_not_used() {
    let (world, venv) = sound();
    let cache = world.path("cache");
    fs::create_dir(&cache).unwrap();
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = world.cudashim(["run", "--"]);
    insta::assert_snapshot!(Process::of(command.arg(venv.python())).all(&world), @"
    exit 125
    --- stderr
    cudashim: no cache: group or others may write to the cache directory `[R]/cache` (mode 777)
    error: cannot write the plan to `[R]/cache`: group or others may write to the cache directory `[R]/cache` (mode 777): set `CUDASHIM_CACHE` to a directory of your own
    ");
    // The answer itself needs no cache.
    assert_eq!(world.run(["resolve", "--python", "venv"]).code, Some(0));
    let left: Vec<_> = fs::read_dir(cache.join("plans")).into_iter().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}
