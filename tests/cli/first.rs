//! What a newcomer types first.

use super::sound;
use crate::support::*;
use std::fs::OpenOptions;

#[test]
fn cli_prints_help_and_version_once() {
    let world = Machine::new();
    assert_eq!(world.run(["--version"]).ok(), concat!("cudashim ", env!("CARGO_PKG_VERSION"), "\n"));
    for words in [&["-h"][..], &["--help"], &["help"], &["run", "--help"], &["doctor", "-h"], &["help", "check"]] {
        let Process { code, out, err } = world.run(words);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{words:?}");
        assert_eq!(out.matches("Usage: ").count(), 1, "{words:?}: {out}");
    }
    // What could not be written is no success.
    for (words, code) in [(&["--help"][..], 2), (&["--version"], 2), (&["check", "--help"], 2), (&["run", "-h"], 125)] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = world.cudashim(words).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}");
        assert!(String::from_utf8(output.stderr).unwrap().starts_with("error: cannot write the help to stdout"));
    }
}

#[test]
fn resolve_torch_must_be_the_one_installed() {
    let world = Machine::new();
    torch(&world.venv("venv"));
    let said = Process::of(world.cudashim(["resolve", "--torch", "2.6.0", "--python", "venv"]).env("VIRTUAL_ENV", ""))
        .all(&world);
    assert!(said.contains("has torch 2.5.1+cu124, not `2.6.0`"), "{said}");
    let said =
        Process::of(world.cudashim(["resolve", "--torch", "2.6.0"]).env("VIRTUAL_ENV", world.path("venv"))).all(&world);
    assert!(said.contains("has torch 2.5.1+cu124, not `2.6.0`") && !said.contains("install"), "{said}");
}

#[test]
fn resolve_hint_reinstalls_only_the_damaged_wheel() {
    let (world, venv) = sound();
    let python = venv.python();
    let start = || Process::of(world.cudashim(["resolve", "--python"]).arg(&python));
    assert_eq!(start().code, Some(0));
    let file = venv.site.join("nvidia/cublas/lib/libcublas.so.12");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 3]).unwrap();
    let Process { code, err, .. } = start();
    assert_eq!(code, Some(1), "{err}");
    let anew = "-m pip install --force-reinstall --no-deps nvidia-cublas-cu12==12.4.5.8`";
    assert!(err.contains(anew) && !err.contains("hint: install"), "{err}");
    let json = Process::of(world.cudashim(["resolve", "--format", "json", "--python"]).arg(&python)).out;
    assert!(json.contains("reinstall it: `") && !json.contains("\"install `"), "{json}");
}

#[test]
fn doctor_prints_no_remedy_for_a_path_the_loader_expands() {
    let world = Machine::new();
    for name in ["plain", "dol$x"] {
        let venv = world.venv(name);
        let needs = Lib::new("libtorch_global_deps.so").unversioned().uses("libcublas.so.12", &["cublasCreate_v2"]);
        let needs = needs.link("-rpath,$ORIGIN/../../nvidia/cublas/lib").link("--disable-new-dtags");
        venv.torch("2.5.1+cu124", Some("12.4"), &[], &[("lib/libtorch_global_deps.so", needs)]);
        let [(path, first), (second, lt)] = cublas();
        // The second hop is found by DT_RUNPATH, which LD_LIBRARY_PATH goes before.
        venv.wheel("nvidia-cublas-cu12", "12.4.5.8", &[(path, first), (second, lt)]);
        Lib::new("libcublasLt.so.12").defines(&["cublasLtOld"]).build(&world.path("old/libcublasLt.so.12"));
        let mut command = world.cudashim(["doctor", "--python", name]);
        let Process { code, out, .. } = Process::of(command.env("LD_LIBRARY_PATH", world.path("old")));
        assert_eq!(code, Some(1), "{out}");
        let heals = out.contains("$ eval \"$(cudashim env --python");
        assert_eq!((heals, out.contains("but      ")), (name == "plain", name != "plain"), "{out}");
        assert!(out.contains("$ unset LD_LIBRARY_PATH"), "{out}");
    }
}

#[test]
fn check_names_a_hard_linked_file_by_the_environment_asked_for() {
    let (world, one) = sound();
    let two = world.venv("two");
    torch(&two);
    let dir = two.site.join("nvidia/cublas/lib");
    std::fs::create_dir_all(&dir).unwrap();
    for name in ["libcublas.so.12", "libcublasLt.so.12"] {
        std::fs::hard_link(one.site.join("nvidia/cublas/lib").join(name), dir.join(name)).unwrap();
    }
    two.dist_info("nvidia-cublas-cu12", "12.4.5.8", "", "nvidia/cublas/lib/libcublas.so.12,,\n");
    for (words, is_two) in
        [(["check", "--all", "--python", "two"], true), (["check", "--all", "--python", "venv"], false)]
    {
        let Process { out, .. } = world.run(words);
        let shown =
            |dir: &str| out.contains(&world.path(dir).join("lib/python3.11/site-packages").display().to_string());
        assert_eq!((shown("two"), shown("venv")), (is_two, !is_two), "{out}");
    }
    let mut command = world.cudashim(["doctor", "--all", "--python", "two"]);
    let out = Process::of(&mut command).out;
    assert!(!out.contains(&one.site.display().to_string()), "{out}");
    let (a, b) = ("venv/lib/python3.11/site-packages/nvidia/cublas/lib/libcublas.so.12", dir.join("libcublas.so.12"));
    let mut command = world.cudashim(["diff", a]);
    let out = Process::of(command.arg(&b)).out;
    assert!(out.starts_with(&format!("- {}\n+ {}\n", world.path(a).display(), b.display())), "{out}");
}

#[test]
fn cli_prints_short_paths_and_one_cause() {
    let (world, venv) = sound();
    let file = venv.site.join("nvidia/cublas/lib/../lib/./libcublas.so.12");
    let mut command = world.cudashim(["check"]);
    let Process { out, .. } = Process::of(command.arg(&file));
    assert!(!out.contains("/../") && !out.contains("/./"), "{out}");
    let Process { err, .. } = world.run(["check", "--plan", "/nonexistent", "torch"]);
    assert_eq!(err.matches("No such file").count(), 1, "{err}");
    assert_eq!(err.matches("/nonexistent").count(), 1, "{err}");
    world.write("libmine.so", "");
    let Process { err, .. } = world.run(["inspect", "libmine.so"]);
    assert_eq!(err, "error: cannot read `libmine.so`: too short for an ELF header\n");
    let Process { out, .. } = world.run_rooted(["--root", "opt", "doctor"]);
    assert!(!out.contains("--for"), "{out}");
}
