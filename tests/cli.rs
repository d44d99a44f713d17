//! The command line, as a user sees it: what it prints where, and its exit codes.

use crate::support::Seen;
use crate::support::world::{Lib, Venv, World};
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
mod proof;
mod refusals;
mod run;
mod torn;
mod variables;

/// Everything a command printed, for a snapshot.
fn seen(world: &World, command: &mut Command) -> String {
    Seen::of(command).all(world)
}

/// cuBLAS in two parts, of which the first takes a symbol from the second.
fn cublas() -> [(&'static str, Lib); 2] {
    let first =
        Lib::new("libcublas.so.12").defines(&["cublasCreate_v2"]).uses("libcublasLt.so.12", &["cublasLtCreate"]);
    let second = Lib::new("libcublasLt.so.12").defines(&["cublasLtCreate"]);
    [
        ("nvidia/cublas/lib/libcublas.so.12", first.link("-rpath,$ORIGIN")),
        ("nvidia/cublas/lib/libcublasLt.so.12", second),
    ]
}

/// cuDNN's dispatcher and two of its parts.
fn cudnn() -> [(&'static str, Lib); 3] {
    let dispatcher = Lib::new("libcudnn.so.9").defines(&["cudnnCreate"]).link("-rpath,$ORIGIN");
    let graph = Lib::new("libcudnn_graph.so.9").defines(&["cudnnBackendCreateDescriptor"]).link("-rpath,$ORIGIN");
    let ops = Lib::new("libcudnn_ops.so.9")
        .defines(&["cudnnAddTensor"])
        .uses("libcudnn_graph.so.9", &["cudnnBackendCreateDescriptor"]);
    [
        ("nvidia/cudnn/lib/libcudnn.so.9", dispatcher),
        ("nvidia/cudnn/lib/libcudnn_graph.so.9", graph),
        ("nvidia/cudnn/lib/libcudnn_ops.so.9", ops.link("-rpath,$ORIGIN")),
    ]
}

/// The same with all that its parts open.
fn whole_cudnn() -> Vec<(&'static str, Lib)> {
    let more = [
        "nvidia/cudnn/lib/libcudnn_adv.so.9",
        "nvidia/cudnn/lib/libcudnn_cnn.so.9",
        "nvidia/cudnn/lib/libcudnn_engines_precompiled.so.9",
        "nvidia/cudnn/lib/libcudnn_engines_runtime_compiled.so.9",
        "nvidia/cudnn/lib/libcudnn_heuristic.so.9",
    ];
    let part = |path: &'static str| (path, Lib::new(path.rsplit('/').next().unwrap()));
    cudnn().into_iter().chain(more.map(part)).collect()
}

/// A torch that needs cuBLAS and cuDNN, and finds them in the wheels beside it.
fn torch(venv: &Venv) {
    let library = Lib::new("libtorch_global_deps.so")
        .unversioned()
        .uses("libcublas.so.12", &["cublasCreate_v2"])
        .uses("libcudnn.so.9", &["cudnnCreate"])
        .link("-rpath,$ORIGIN/../../nvidia/cublas/lib:$ORIGIN/../../nvidia/cudnn/lib")
        .link("--disable-new-dtags");
    let pins = ["nvidia-cublas-cu12 (==12.4.5.8)", "nvidia-cudnn-cu12 (==9.1.0.70)"];
    venv.torch("2.5.1+cu124", Some("12.4"), &pins, &[("lib/libtorch_global_deps.so", library)]);
}

/// A machine with one environment that holds torch and all it needs.
fn sound() -> (World, Venv) {
    with_cudnn(&whole_cudnn())
}

/// The same with no more of cuDNN than torch is linked against, and what that needs.
fn plain() -> (World, Venv) {
    with_cudnn(&cudnn())
}

fn with_cudnn(parts: &[(&str, Lib)]) -> (World, Venv) {
    let world = World::new();
    let venv = world.venv("venv");
    torch(&venv);
    venv.wheel("nvidia-cublas-cu12", "12.4.5.8", &cublas());
    venv.wheel("nvidia-cudnn-cu12", "9.1.0.70", parts);
    (world, venv)
}

/// `plain` with another release's cuBLAS in `/opt/mine`.
fn two_copies() -> World {
    let (world, _) = plain();
    for (path, library) in cublas() {
        library.build(&world.path("opt/mine").join(Path::new(path).file_name().unwrap()));
    }
    world
}

/// The value of a JSON answer.
fn json(command: &mut Command) -> (Option<i32>, serde_json::Value) {
    let seen = Seen::of(command.args(["--format", "json"]));
    let value = serde_json::from_str(&seen.out).unwrap_or_else(|error| panic!("{error}: {}{}", seen.out, seen.err));
    (seen.code, value)
}

/// The path an answer gives for a soname.
fn chosen(answer: &serde_json::Value, soname: &str) -> Option<PathBuf> {
    let set = answer["set"].as_array()?;
    Some(set.iter().find(|library| library["soname"] == soname)?["path"].as_str()?.into())
}

#[test]
fn no_arguments_is_a_question_for_help() {
    let world = World::new();
    let seen = Seen::of(&mut world.cudashim([""; 0]));
    assert_eq!(seen.code, Some(2));
    assert_eq!(seen.out, "");
    insta::assert_snapshot!(seen.err, @"
    Find every copy of NVIDIA's libraries, choose the set that fits, and make programs load it

    Usage: cudashim [OPTIONS] <COMMAND>

    Run with the matching libraries:
      run          Run a command with the libraries that fit it
      env          Print shell lines that do the same for every later command
      shim         Print the path of the preload object, for `LD_PRELOAD`

    Find out what is wrong:
      doctor       Say what is wrong with this machine, why, and what to type
      check        Predict whether it loads: each file, its search rule, what is missing
      why          Show each place where ld.so looks for a library, and what it resolves to
      trace        Run a command and report which CUDA libraries it really loads

    Choose and keep a set:
      resolve      Show the set that fits, and why
      lock         Write the set to a file to keep beside requirements.txt
      verify       Compare a lock file with this machine

    Look at libraries:
      scan         List every CUDA library here: release, owner, how it is found, problems
      inspect      Show one library in full
      diff         Compare two libraries, or two saved scans

    More:
      demo         Break, explain and heal an import of torch, on tiny libraries
      man          Print the manual page
      completions  Print a completion script
      help         Print this help, or that of a command

    Options:
      -v, --verbose...    Print more: -v decisions, -vv directories searched
      -q, --quiet         Print no report and no notes, only errors; the exit status is the answer
          --color <WHEN>  When to use colour [default: auto] [possible values: auto, always, never]
          --root <DIR>    Look at the machine image mounted at this directory
      -h, --help          Print help (see more with '--help')
      -V, --version       Print version
    ");
}

#[test]
fn help_and_version_are_data() {
    let world = World::new();
    for arguments in [&["--help"][..], &["-h"], &["help"], &["resolve", "--help"], &["run", "--help"], &["--version"]] {
        let seen = Seen::of(&mut world.cudashim(arguments));
        assert_eq!((seen.code, seen.err.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(seen.out.contains("cudashim"), "{arguments:?}: {}", seen.out);
    }
}

#[test]
fn what_cannot_be_understood() {
    let world = World::new();
    insta::assert_snapshot!(seen(&world, &mut world.cudashim(["resolve", "--tourch", "2.5"])), @"
    exit 2
    --- stderr
    error: unexpected argument '--tourch' found

      tip: a similar argument exists: '--torch'

    Usage: cudashim resolve --torch <SPEC> [TARGET]

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(seen(&world, &mut world.cudashim(["resolve", "--torch", "new"])), @"
    exit 2
    --- stderr
    error: invalid value 'new' for '--torch <SPEC>': `new` is no torch version: write `2.5.1+cu124`, `2.5`, `>=2.4`, `cu124` or `auto`

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(seen(&world, &mut world.cudashim(["resolve", "--use", "libcublas.so.12"])), @"
    exit 2
    --- stderr
    error: invalid value 'libcublas.so.12' for '--use <SONAME=PATH>': write SONAME=PATH, such as libnvrtc.so.12=/opt/x/libnvrtc.so.12

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(seen(&world, &mut world.cudashim(["run"])), @"
    exit 125
    --- stderr
    error: the following required arguments were not provided:
      <CMD>...

    Usage: cudashim run <CMD>...

    For more information, try '--help'.
    ");
    let code = |arguments: &[&str]| Seen::of(&mut world.cudashim(arguments)).code;
    assert_eq!(code(&["run", "--tourch", "2.5", "true"]), Some(125));
    // A global option before the command makes it no other command.
    assert_eq!(code(&["-v", "run", "--tourch", "2.5", "true"]), Some(125));
    assert_eq!(code(&["--color", "run", "resolve"]), Some(2));
}

#[test]
fn the_set() {
    let world = two_copies();
    insta::assert_snapshot!(seen(&world, &mut world.rooted(["resolve", "--python", "/venv"])), @"
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
    insta::assert_snapshot!(seen(&world, &mut world.rooted(["resolve", "--python", "/venv", "--place", "/opt/mine"])), @"
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

    5 libraries chosen, 2 other copies not; `--explain SONAME` says why
    ");
}

#[test]
fn why_this_copy() {
    let world = two_copies();
    let arguments = ["resolve", "--python", "/venv/bin/python", "--place", "/opt/mine", "--explain"];
    let explain = |soname: &str| seen(&world, world.rooted(arguments).arg(soname));
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
    assert_eq!(Seen::of(world.rooted(arguments).args(["libcudnn.so.9", "-o", "plan"])).code, Some(2));
    let nothing = World::new();
    insta::assert_snapshot!(seen(&nothing, &mut nothing.rooted(["resolve", "--explain", "libcudnn.so.9"])), @"
    exit 2
    --- stderr
    error: cannot explain `libcudnn.so.9`: there is no Python here, and nothing else is named
    ");
    insta::assert_snapshot!(explain("libnccl.so.2"), @"
    exit 2
    --- stderr
    error: `libnccl.so.2` is not in the set
    hint: run `cudashim resolve` to list the set
    ");
}

#[test]
fn a_copy_laid_down() {
    let world = two_copies();
    let (code, answer) =
        json(&mut world.rooted(["resolve", "--python", "/venv", "--use", "libcublas.so.12=/opt/mine/libcublas.so.12"]));
    assert_eq!(code, Some(0));
    // Its other half comes from the same release and directory.
    for soname in ["libcublas.so.12", "libcublasLt.so.12"] {
        assert_eq!(chosen(&answer, soname).as_deref(), Some(&*Path::new("/opt/mine").join(soname)));
    }
    insta::assert_snapshot!(seen(&world, &mut world.rooted(["resolve", "--python", "/venv", "--use", "libcublas.so.12=/opt/none/libcublas.so.12"])), @"
    exit 1
    --- stderr
    error: no set of libraries fits
      - libcublas.so.12 is fixed to `/opt/none/libcublas.so.12`, and no usable copy of it stands there
    hint: drop `--use libcublas.so.12=/opt/none/libcublas.so.12`
    ");
}

#[test]
fn a_copy_forbidden() {
    let world = two_copies();
    let site = "/venv/lib/python3.11/site-packages/nvidia/cublas/lib";
    for forbidden in [site, &format!("{site}/libcublas.so.12")] {
        let (code, answer) =
            json(&mut world.rooted(["resolve", "--python", "/venv", "--place", "/opt/mine", "--forbid", forbidden]));
        assert_eq!(code, Some(0), "{answer}");
        assert_eq!(chosen(&answer, "libcublas.so.12").as_deref(), Some(Path::new("/opt/mine/libcublas.so.12")));
    }
    insta::assert_snapshot!(seen(&world, &mut world.rooted(["resolve", "--python", "/venv", "--forbid", site])), @"
    exit 1
    --- stderr
    error: no set of libraries fits
      - `/venv/lib/python3.11/site-packages/torch/lib/libtorch_global_deps.so` needs libcublas.so.12
      - `/venv/lib/python3.11/site-packages/nvidia/cublas/lib` is forbidden, and `/venv/lib/python3.11/site-packages/nvidia/cublas/lib/libcublas.so.12`, `/venv/lib/python3.11/site-packages/nvidia/cublas/lib/libcublasLt.so.12` with it
    hint: drop `--forbid /venv/lib/python3.11/site-packages/nvidia/cublas/lib`
    ");
}

#[test]
fn a_place_given() {
    let world = World::new();
    let venv = world.venv("venv");
    torch(&venv);
    venv.wheel("nvidia-cudnn-cu12", "9.1.0.70", &cudnn());
    for (path, library) in cublas() {
        library.build(&world.path("opt/mine").join(Path::new(path).file_name().unwrap()));
    }
    assert_eq!(Seen::of(&mut world.rooted(["resolve", "--python", "/venv"])).code, Some(1));
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
fn nothing_to_choose() {
    let world = World::new();
    insta::assert_snapshot!(seen(&world, &mut world.rooted(["resolve"])), @"
    exit 0
    --- stdout
    no set: there is no Python here, and nothing else is named
    hint: activate the environment, or name it: `cudashim resolve DIR`
    ");
    let venv = world.venv("venv");
    insta::assert_snapshot!(seen(&world, &mut world.rooted(["resolve", "--python", "/venv"])), @"
    exit 0
    --- stdout
    no set: `/venv/bin/python` has no torch, and nothing in its environment asks for CUDA
    hint: activate the environment, or name it: `cudashim resolve DIR`
    ");
    venv.torch("2.5.1+cpu", None, &[], &[]);
    insta::assert_snapshot!(seen(&world, &mut world.rooted(["resolve", "--python", "/venv"])), @"
    exit 0
    --- stdout
    no set: torch 2.5.1+cpu in `/venv/lib/python3.11/site-packages` is built without CUDA
    hint: activate the environment, or name it: `cudashim resolve DIR`
    ");
    let (code, answer) = json(&mut world.rooted(["resolve", "--python", "/venv"]));
    assert_eq!((code, answer["set"].as_array().map(Vec::len)), (Some(0), Some(0)));
}

#[test]
fn which_interpreter_is_meant() {
    let world = World::new();
    for name in ["named", "active", "onpath"] {
        world.venv(name).torch(&format!("2.5.1+{name}"), None, &[], &[]);
    }
    let path = world.path("onpath/bin");
    let is_meant = |command: &mut Command, name: &str| {
        let seen = Seen::of(command.env("PATH", &path));
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
fn an_interpreter_that_is_not_there() {
    let world = World::new();
    insta::assert_snapshot!(seen(&world, &mut world.cudashim(["resolve", "--python", "none/bin/python"])), @"
    exit 2
    --- stderr
    error: cannot find the Python `[WORLD]/none/bin/python`: no such file
    hint: name an interpreter, a command on PATH, an environment's directory, or a project that has `.venv`
    ");
    world.venv("venv").torch("2.5.1+cu124", Some("12.4"), &[], &[]);
    insta::assert_snapshot!(seen(&world, &mut world.cudashim(["resolve", "--python", "venv", "--torch", "2.4"])), @"
    exit 2
    --- stderr
    error: `[WORLD]/venv/bin/python` has torch 2.5.1+cu124, not `2.4`
    hint: omit `--torch`, or name the Python that has it with `--python`
    ");
    insta::assert_snapshot!(seen(&world, &mut world.cudashim(["resolve", "--for", "venv/pyvenv.cfg"])), @"
    exit 2
    --- stderr
    error: `[WORLD]/venv/pyvenv.cfg` cannot be served: not an ELF file
    hint: name a 64-bit ELF program or library of this machine
    ");
}

#[test]
fn the_shim_is_written_before_its_path_is_printed() {
    let world = World::new();
    let seen = Seen::of(&mut world.cudashim(["shim"]));
    assert_eq!((seen.code, seen.err.as_str()), (Some(0), ""));
    let path = Path::new(seen.out.strip_suffix('\n').unwrap());
    assert_eq!(path.parent(), Some(&*world.path("cache")));
    assert!(fs::read(path).unwrap().starts_with(b"\x7fELF"));
}

#[test]
fn completions() {
    let world = World::new();
    let seen = Seen::of(&mut world.cudashim(["completions", "bash"]));
    assert_eq!((seen.code, seen.err.as_str()), (Some(0), ""));
    assert!(seen.out.contains("complete -F _cudashim"), "{}", seen.out);
    assert_eq!(Seen::of(&mut world.cudashim(["completions", "cmd.exe"])).code, Some(2));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
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
fn what_cannot_be_written_is_a_failure() {
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
fn file_names_cannot_speak_to_the_terminal() {
    let world = World::new();
    let venv = world.venv("a\u{1b}[31m\u{202e}b");
    torch(&venv);
    venv.wheel("nvidia-cublas-cu12", "12.4.5.8", &cublas());
    venv.wheel("nvidia-cudnn-cu12", "9.1.0.70", &cudnn());
    let seen = Seen::of(world.rooted(["resolve", "--python"]).arg("/a\u{1b}[31m\u{202e}b"));
    assert_eq!(seen.code, Some(0), "{}", seen.err);
    assert!(!seen.out.contains(['\u{1b}', '\u{202e}']), "{}", seen.out);
    assert!(seen.out.contains("/a\\u{1b}[31m\\u{202e}b/"), "{}", seen.out);
}

/// A `libgomp.so.1` too old for torch hides the system's: it joins the set, and says why.
#[test]
fn a_runtime_library_that_lacks_a_node() {
    let world = World::new();
    let library = Lib::new("libtorch_global_deps.so").unversioned().uses("libgomp.so.1", &["newer"]);
    world.venv("venv").torch("2.5.1+cu124", Some("12.4"), &[], &[("lib/libtorch_global_deps.so", library)]);
    Lib::new("libgomp.so.1").unversioned().build(&world.path("old/libgomp.so.1"));
    let system = world.path("lib/x86_64-linux-gnu/libgomp.so.1");
    Lib::new("libgomp.so.1").defines(&["newer"]).build(&system);
    let explain = |library_path: &str| {
        let mut command = world.rooted(["resolve", "--python", "/venv", "--explain", "libgomp.so.1"]);
        seen(&world, command.env("LD_LIBRARY_PATH", library_path))
    };
    insta::assert_snapshot!(explain("/old"), @"
    exit 0
    --- stdout
    libgomp.so.1
      /lib/x86_64-linux-gnu/libgomp.so.1
      chosen: has the version node `libgomp.so.1`, which is needed

      /old/libgomp.so.1
      not chosen: lacks the version node `libgomp.so.1`
    ");
    // The copy ld.so takes by itself is left to it.
    assert!(explain("/none").contains("is not in the set"), "{}", explain("/none"));
}
