//! The command line, as a user sees it: what it prints where, and its exit codes.

use crate::support::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

mod asked;
mod asking;
mod cache;
mod crowd;
mod damage;
mod first;
mod judged;
mod manners;
mod native;
mod preloads;
mod prewarm;
mod proof;
mod refusals;
mod run;
mod stage;
mod torn;
mod variables;

/// A machine with one environment that holds torch and all it needs.
fn sound() -> (Machine, Venv) {
    with_cudnn(&whole_cudnn())
}

/// The same with no more of cuDNN than torch is linked against, and what that needs.
fn plain() -> (Machine, Venv) {
    with_cudnn(&cudnn())
}

fn with_cudnn<P: AsRef<str>>(parts: &[(P, Lib)]) -> (Machine, Venv) {
    let (world, venv) = Machine::with_venv();
    torch(&venv);
    venv.wheel("nvidia-cublas-cu12", "12.4.5.8", &cublas());
    venv.wheel("nvidia-cudnn-cu12", "9.1.0.70", parts);
    (world, venv)
}

/// `plain` with another release's cuBLAS in `/opt/mine`.
fn two_copies() -> Machine {
    let (world, _) = plain();
    for (path, library) in cublas() {
        library.build(&world.path("opt/mine").join(Path::new(path).file_name().unwrap()));
    }
    world
}

/// The value of a JSON answer.
fn json(command: &mut Command) -> (Option<i32>, serde_json::Value) {
    let process = Process::of(command.args(["--format", "json"]));
    (process.code, process.json())
}

/// The path an answer gives for a soname.
fn chosen(answer: &serde_json::Value, soname: &str) -> Option<PathBuf> {
    let set = answer["set"].as_array()?;
    Some(set.iter().find(|library| library["soname"] == soname)?["path"].as_str()?.into())
}

#[test]
fn cli_without_arguments_prints_help() {
    let world = Machine::new();
    let (bare, help) = (world.run([""; 0]), world.run(["-h"]));
    assert_eq!((bare.code, bare.out.as_str(), bare.err.as_str()), (Some(2), "", help.out.as_str()));
}

/// Of each command: one line in the list, a help page that begins with that line, nothing wider than the page.
#[test]
fn cli_help_describes_each_command() {
    let world = Machine::new();
    let list = world.run(["--help"]).out;
    let commands = list.lines().filter_map(|line| line.strip_prefix("  ")?.split_once("  "));
    let commands: Vec<_> = commands.filter(|(name, _)| name.starts_with(|c: char| c.is_ascii_lowercase())).collect();
    assert!(commands.len() > 10, "{list}");
    for (name, says) in commands.iter().filter(|(name, _)| *name != "help") {
        let Process { code, out, err } = world.run([name, "--help"]);
        assert_eq!((code, err.as_str(), out.matches("Usage: ").count()), (Some(0), "", 1), "{name}: {out}");
        assert!(out.starts_with(says.trim()), "{name}: `{says}` in the list, and {out}");
        assert!(out.lines().all(|line| line.chars().count() <= 100), "{name}: {out}");
    }
}

#[test]
fn cli_rejects_bad_arguments() {
    let world = Machine::new();
    insta::assert_snapshot!(world.run(["resolve", "--tourch", "2.5"]).all(&world), @"
    exit 2
    --- stderr
    error: unexpected argument '--tourch' found

      tip: a similar argument exists: '--torch'

    Usage: cudashim resolve --torch <SPEC> [TARGET]

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(world.run(["resolve", "--torch", "new"]).all(&world), @"
    exit 2
    --- stderr
    error: invalid value 'new' for '--torch <SPEC>': invalid torch version `new`: expected `2.5.1+cu124`, `2.5`, `>=2.4`, `cu124`, `latest` or `auto`

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(world.run(["resolve", "--use", "libcublas.so.12"]).all(&world), @"
    exit 2
    --- stderr
    error: invalid value 'libcublas.so.12' for '--use <SONAME=PATH>': write SONAME=PATH, such as libnvrtc.so.12=/opt/x/libnvrtc.so.12

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(world.run(["run"]).all(&world), @"
    exit 125
    --- stderr
    error: the following required arguments were not provided:
      <CMD>...

    Usage: cudashim run <CMD>...

    For more information, try '--help'.
    ");
    let code = |arguments: &[&str]| world.run(arguments).code;
    assert_eq!(code(&["run", "--tourch", "2.5", "true"]), Some(125));
    // A global option before the command makes it no other command.
    assert_eq!(code(&["-v", "run", "--tourch", "2.5", "true"]), Some(125));
    assert_eq!(code(&["--color", "run", "resolve"]), Some(2));
}

#[test]
fn resolve_prints_the_set() {
    let world = two_copies();
    insta::assert_snapshot!(world.run_rooted(["resolve", "--python", "/venv"]).all(&world), @"
    exit 0
    --- stdout
    torch 2.5.1+cu124 in /venv/lib/python3.11/site-packages/torch

      library              release   loaded      in
    /venv/lib/python3.11/site-packages
      libcublasLt.so.12    12.4.5.8  at start    nvidia/cublas/lib
      libcublas.so.12      12.4.5.8  at start    nvidia/cublas/lib
      libcudnn.so.9        9.1.0.70  at start    nvidia/cudnn/lib
      libcudnn_graph.so.9  9.1.0.70  at start    nvidia/cudnn/lib
      libcudnn_ops.so.9    9.1.0.70  on request  nvidia/cudnn/lib

    5 libraries chosen
    ");
    let (plain, placed) = (
        world.run_rooted(["resolve", "--python", "/venv"]),
        world.run_rooted(["resolve", "--python", "/venv", "--place", "/opt/mine"]),
    );
    let refused = ", 2 other copies not; `--explain SONAME` shows why\n";
    assert_eq!(placed.ok(), plain.ok().trim_end().to_owned() + refused);
}

#[test]
fn resolve_explains_a_copy() {
    let world = two_copies();
    let arguments = ["resolve", "--python", "/venv/bin/python", "--place", "/opt/mine", "--explain"];
    let explain = |soname: &str| Process::of(world.rooted(arguments).arg(soname)).all(&world);
    insta::assert_snapshot!(explain("libcublasLt.so.12"), @"
    exit 0
    --- stdout
    libcublasLt.so.12 (12.4.5.8)
      /venv/lib/python3.11/site-packages/nvidia/cublas/lib/libcublasLt.so.12
      chosen: the only copy that fits

      /opt/mine/libcublasLt.so.12
      not chosen: its release is unknown, that of libcublas.so.12 is 12.4.5.8
    ");
    insta::assert_snapshot!(explain("libcudnn_ops.so.9"), @"
    exit 0
    --- stdout
    libcudnn_ops.so.9 (9.1.0.70)
      /venv/lib/python3.11/site-packages/nvidia/cudnn/lib/libcudnn_ops.so.9
      chosen: the only copy

      no other copy was found
    ");
    assert_eq!(Process::of(world.rooted(arguments).args(["libcudnn.so.9", "-o", "plan"])).code, Some(2));
    let nothing = Machine::new();
    insta::assert_snapshot!(nothing.run_rooted(["resolve", "--explain", "libcudnn.so.9"]).all(&nothing), @"
    exit 2
    --- stderr
    error: cannot explain `libcudnn.so.9`: no Python found, and no other target given
    ");
    insta::assert_snapshot!(explain("libnccl.so.2"), @"
    exit 2
    --- stderr
    error: `libnccl.so.2` is not in the set
    hint: run `cudashim resolve` to list the set
    ");
}

#[test]
fn resolve_use_fixes_a_copy() {
    let world = two_copies();
    let (code, answer) =
        json(&mut world.rooted(["resolve", "--python", "/venv", "--use", "libcublas.so.12=/opt/mine/libcublas.so.12"]));
    assert_eq!(code, Some(0));
    // Its other half comes from the same release and directory.
    for soname in ["libcublas.so.12", "libcublasLt.so.12"] {
        assert_eq!(chosen(&answer, soname).as_deref(), Some(&*Path::new("/opt/mine").join(soname)));
    }
    insta::assert_snapshot!(world.run_rooted(["resolve", "--python", "/venv", "--use", "libcublas.so.12=/opt/none/libcublas.so.12"]).all(&world), @"
    exit 1
    --- stderr
    error: no compatible set of libraries
      - libcublas.so.12 is fixed to `/opt/none/libcublas.so.12`, which holds no usable copy of it
    hint: drop `--use libcublas.so.12=/opt/none/libcublas.so.12`
    ");
}

#[test]
fn resolve_forbid_excludes_a_copy() {
    let world = two_copies();
    let site = "/venv/lib/python3.11/site-packages/nvidia/cublas/lib";
    for forbidden in [site, &format!("{site}/libcublas.so.12")] {
        let (code, answer) =
            json(&mut world.rooted(["resolve", "--python", "/venv", "--place", "/opt/mine", "--forbid", forbidden]));
        assert_eq!(code, Some(0), "{answer}");
        assert_eq!(chosen(&answer, "libcublas.so.12").as_deref(), Some(Path::new("/opt/mine/libcublas.so.12")));
    }
    insta::assert_snapshot!(world.run_rooted(["resolve", "--python", "/venv", "--forbid", site]).all(&world), @"
    exit 1
    --- stderr
    error: no compatible set of libraries
      - `/venv/lib/python3.11/site-packages/torch/lib/libtorch_global_deps.so` needs libcublas.so.12
      - `/venv/lib/python3.11/site-packages/nvidia/cublas/lib` is forbidden, and `/venv/lib/python3.11/site-packages/nvidia/cublas/lib/libcublas.so.12`, `/venv/lib/python3.11/site-packages/nvidia/cublas/lib/libcublasLt.so.12` with it
    hint: drop `--forbid /venv/lib/python3.11/site-packages/nvidia/cublas/lib`
    ");
}

#[test]
fn resolve_place_adds_a_directory() {
    let (world, venv) = Machine::with_venv();
    torch(&venv);
    venv.wheel("nvidia-cudnn-cu12", "9.1.0.70", &cudnn());
    for (path, library) in cublas() {
        library.build(&world.path("opt/mine").join(Path::new(path).file_name().unwrap()));
    }
    assert_eq!(world.run_rooted(["resolve", "--python", "/venv"]).code, Some(1));
    let placed = ["resolve", "--python", "/venv", "--place", "/opt/mine"];
    let (code, answer) = json(&mut world.rooted(placed));
    assert_eq!(code, Some(0));
    assert_eq!(chosen(&answer, "libcublas.so.12").as_deref(), Some(Path::new("/opt/mine/libcublas.so.12")));
    // Named by a variable.
    let (code, answer) = json(world.rooted(["resolve", "--python", "/venv"]).env("CUDASHIM_PLACE", "/none:/opt/mine"));
    assert_eq!(code, Some(0));
    assert_eq!(chosen(&answer, "libcublas.so.12").as_deref(), Some(Path::new("/opt/mine/libcublas.so.12")));
}

#[test]
fn resolve_has_nothing_to_choose() {
    let world = Machine::new();
    insta::assert_snapshot!(world.run_rooted(["resolve"]).all(&world), @"
    exit 0
    --- stdout
    no set: no Python found, and no other target given
    hint: activate the environment, or name it: `cudashim resolve DIR`
    ");
    let venv = world.venv("venv");
    insta::assert_snapshot!(world.run_rooted(["resolve", "--python", "/venv"]).all(&world), @"
    exit 0
    --- stdout
    no set: `/venv/bin/python` has no torch, and nothing in its environment needs CUDA
    hint: activate the environment, or name it: `cudashim resolve DIR`
    ");
    venv.torch("2.5.1+cpu", None, &[], &[]);
    insta::assert_snapshot!(world.run_rooted(["resolve", "--python", "/venv"]).all(&world), @"
    exit 0
    --- stdout
    no set: torch 2.5.1+cpu in `/venv/lib/python3.11/site-packages` is built without CUDA
    hint: activate the environment, or name it: `cudashim resolve DIR`
    ");
    let (code, answer) = json(&mut world.rooted(["resolve", "--python", "/venv"]));
    assert_eq!((code, answer["set"].as_array().map(Vec::len)), (Some(0), Some(0)));
}

#[test]
fn resolve_picks_the_interpreter() {
    let world = Machine::new();
    for name in ["named", "active", "onpath"] {
        world.venv(name).torch(&format!("2.5.1+{name}"), None, &[], &[]);
    }
    let path = world.path("onpath/bin");
    let is_meant = |command: &mut Command, name: &str| {
        let seen = Process::of(command.env("PATH", &path));
        assert!(seen.out.contains(&format!("torch 2.5.1+{name} in ")), "{name}: {}{}", seen.out, seen.err);
    };
    is_meant(&mut world.cudashim(["resolve"]), "onpath");
    is_meant(world.cudashim(["resolve"]).env("VIRTUAL_ENV", world.path("active")), "active");
    is_meant(world.cudashim(["resolve"]).env("CONDA_PREFIX", world.path("active")), "active");
    for python in ["named", "named/bin/python"] {
        is_meant(world.cudashim(["resolve", "--python", python]).env("VIRTUAL_ENV", world.path("active")), "named");
    }
    // An environment that was moved away leaves its variable behind.
    is_meant(world.cudashim(["resolve"]).env("VIRTUAL_ENV", world.path("gone")), "onpath");
}

#[test]
fn resolve_rejects_a_missing_interpreter() {
    let world = Machine::new();
    insta::assert_snapshot!(world.run(["resolve", "--python", "none/bin/python"]).all(&world), @"
    exit 2
    --- stderr
    error: cannot find the Python `[R]/none/bin/python`: no such file
    hint: name an interpreter, a command on PATH, an environment's directory, or a project that has `.venv`
    ");
    world.venv("venv").torch("2.5.1+cu124", Some("12.4"), &[], &[]);
    insta::assert_snapshot!(world.run(["resolve", "--python", "venv", "--torch", "2.4"]).all(&world), @"
    exit 2
    --- stderr
    error: `[R]/venv/bin/python` has torch 2.5.1+cu124, not `2.4`
    hint: omit `--torch`, or name the Python that has it with `--python`
    ");
    insta::assert_snapshot!(world.run(["resolve", "--for", "venv/pyvenv.cfg"]).all(&world), @"
    exit 2
    --- stderr
    error: cannot read `[R]/venv/pyvenv.cfg`: not an ELF file
    hint: name a 64-bit ELF program or library of this machine
    ");
}

#[test]
fn shim_command_writes_the_shim_before_its_path() {
    let world = Machine::new();
    let seen = world.run(["shim"]);
    seen.ok();
    let path = Path::new(seen.out.strip_suffix('\n').unwrap());
    assert_eq!(path.parent(), Some(&*world.path("cache")));
    assert!(fs::read(path).unwrap().starts_with(b"\x7fELF"));
}

#[test]
fn cli_prints_completions() {
    let world = Machine::new();
    let seen = world.run(["completions", "bash"]);
    seen.ok();
    assert!(seen.out.contains("complete -F _cudashim"), "{}", seen.out);
    assert_eq!(world.run(["completions", "cmd.exe"]).code, Some(2));
}

#[test]
fn cli_survives_a_closed_pipe() {
    let (world, _venv) = plain();
    for arguments in [
        &["resolve", "--python", "/venv"][..],
        &["resolve", "--python", "/venv", "--format", "json"],
        &["completions", "bash"],
        &["--help"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        // Completions are of no machine.
        let mut command =
            if arguments[0] == "completions" { world.cudashim(arguments) } else { world.rooted(arguments) };
        let output = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        assert_eq!(
            (output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
}

#[test]
fn cli_fails_where_stdout_is_full() {
    let (world, _venv) = plain();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = world
        .rooted(["resolve", "--python", "/venv"])
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stderr), @"
    error: cannot write to stdout
      caused by: No space left on device (os error 28)
    ");
}

#[test]
fn cli_escapes_file_names() {
    let world = Machine::new();
    let venv = world.venv("a\u{1b}[31m\u{202e}b");
    torch(&venv);
    venv.wheel("nvidia-cublas-cu12", "12.4.5.8", &cublas());
    venv.wheel("nvidia-cudnn-cu12", "9.1.0.70", &cudnn());
    let seen = Process::of(world.rooted(["resolve", "--python"]).arg("/a\u{1b}[31m\u{202e}b"));
    assert_eq!(seen.code, Some(0), "{}", seen.err);
    assert!(!seen.out.contains(['\u{1b}', '\u{202e}']), "{}", seen.out);
    assert!(seen.out.contains("/a\\u{1b}[31m\\u{202e}b/"), "{}", seen.out);
}

/// A `libgomp.so.1` too old for torch hides the system's: it joins the set, with the reason.
#[test]
fn resolve_replaces_a_libgomp_that_lacks_a_node() {
    let world = Machine::new();
    let library = Lib::new("libtorch_global_deps.so").unversioned().uses("libgomp.so.1", &["newer"]);
    world.venv("venv").torch("2.5.1+cu124", Some("12.4"), &[], &[("lib/libtorch_global_deps.so", library)]);
    Lib::new("libgomp.so.1").unversioned().build(&world.path("old/libgomp.so.1"));
    let system = world.path("lib/x86_64-linux-gnu/libgomp.so.1");
    Lib::new("libgomp.so.1").defines(&["newer"]).build(&system);
    let explain = |library_path: &str| {
        let mut command = world.rooted(["resolve", "--python", "/venv", "--explain", "libgomp.so.1"]);
        Process::of(command.env("LD_LIBRARY_PATH", library_path)).all(&world)
    };
    insta::assert_snapshot!(explain("/old"), @"
    exit 0
    --- stdout
    libgomp.so.1
      /lib/x86_64-linux-gnu/libgomp.so.1
      chosen: defines the version node `libgomp.so.1`, which is needed

      /old/libgomp.so.1
      not chosen: does not define the version node `libgomp.so.1`
    ");
    // The copy ld.so takes by itself is left to it.
    assert!(explain("/none").contains("is not in the set"), "{}", explain("/none"));
}
