//! Commands follow the judge: a set that does not load is not started, a target that loads without one runs without
//! one, and a healed target is reported as healed.

use super::run::hijack;
use super::{json, sound};
use crate::support::*;
use std::process::Command;

/// torch that was built for a newer cuBLAS than pip put there.
fn older_cublas() -> (Machine, crate::support::Venv) {
    let (world, venv) = Machine::with_venv();
    torch(&venv);
    let [(path, _), lt] = cublas();
    let old = Lib::new("libcublas.so.12").defines(&["cublasCreate"]).uses("libcublasLt.so.12", &[]);
    venv.wheel("nvidia-cublas-cu12", "12.1.3.1", &[(path, old.link("-rpath,$ORIGIN")), lt]);
    venv.wheel("nvidia-cudnn-cu12", "9.1.0.70", &whole_cudnn());
    (world, venv)
}

#[test]
fn run_refuses_a_set_that_does_not_load() {
    let (world, venv) = older_cublas();
    let load = venv.torch_deps();
    let run = |force: &[&str]| {
        let mut command = world.cudashim(["run"]);
        Process::of(command.args(force).arg("--").arg(venv.python()).arg("--load").arg(&load))
    };
    let line = format!("`{} -m pip install --no-deps nvidia-cublas-cu12==12.4.5.8`", venv.python().display());
    let refused = run(&[]);
    assert_eq!((refused.code, refused.out.as_str()), (Some(125), ""), "{}", refused.err);
    assert!(refused.err.contains(&format!("hint: {line}\n")), "{}", refused.err);
    // Who insists gets what ld.so makes of it.
    let forced = run(&["--force"]);
    assert!(forced.out.contains("undefined symbol: cublasCreate_v2"), "{} {}", forced.out, forced.err);
    for command in [&["resolve", "--python", "venv"][..], &["lock", "--python", "venv"], &["env", "--python", "venv"]] {
        let seen = world.run(command);
        assert!(seen.code == Some(1) && seen.err.contains(&line), "{command:?}: {:?} {}", seen.code, seen.err);
    }
    // doctor prints the same text.
    let (_, page) = json(&mut world.cudashim(["doctor", "--python", "venv", "--no-devices"]));
    let remedy = page["findings"][0]["remedies"][0]["command"].as_str().unwrap();
    assert_eq!(format!("`{remedy}`"), line);
}

#[test]
fn run_starts_what_loads_without_help() {
    let (world, venv) = Machine::with_venv();
    torch(&venv);
    // Newer than the pin: no set is chosen against that, and ld.so has nothing against it.
    venv.wheel("nvidia-cublas-cu12", "12.9.1.4", &cublas());
    venv.wheel("nvidia-cudnn-cu12", "9.1.0.70", &whole_cudnn());
    let mut command = world.load(&[], &venv);
    let seen = Process::of(&mut command);
    assert_eq!((seen.code, seen.out.as_str()), (Some(0), "ok\n"), "{}", seen.err);
}

#[test]
fn doctor_sees_what_env_healed() {
    let (world, venv) = sound();
    let path = hijack(&world);
    let bare = |command: &[&str]| {
        let mut asked = world.cudashim(command);
        asked.env("LD_LIBRARY_PATH", &path);
        asked
    };
    assert_eq!(json(&mut bare(&["check", "--python", "venv"])).1["verdict"], "fails");
    let (code, page) = json(&mut bare(&["doctor", "--python", "venv", "--no-devices"]));
    assert_eq!((code, page["findings"][0]["id"].as_str()), (Some(1), Some("cublaslt-older-wins")));
    // The line is run unchanged by a shell that has `cudashim`.
    let line = page["findings"][0]["remedies"][0]["command"].as_str().unwrap();
    let shell = |then: &str| {
        let mut shell = Command::new("/bin/sh");
        let script = format!("cudashim() {{ '{}' \"$@\"; }}\n{line}\n{then}", env!("CARGO_BIN_EXE_cudashim"));
        let mut like = bare(&["shim"]);
        let variables: Vec<_> =
            like.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
        shell.env_clear().envs(variables).current_dir(world.root()).args(["-c", &script]);
        like.env_clear();
        Process::of(&mut shell)
    };
    let load = format!("{} --load {}", venv.python().display(), venv.torch_deps().display());
    assert_eq!(shell(&load).out, "ok\n");
    let doctor = shell("cudashim doctor --python venv --no-devices");
    assert_eq!(doctor.code, Some(0), "{}{}", doctor.out, doctor.err);
    assert!(
        doctor.out.contains("healed by the plan in force: `libcublas.so.12` needs `cublasLtCreate`"),
        "{}",
        doctor.out
    );
    let check = shell("cudashim check --python venv");
    assert_eq!(check.code, Some(0), "{}{}", check.out, check.err);
    assert_eq!(check.err, "cudashim: the plan in force is applied; `--bare` checks without it\n");
    assert_eq!(shell("cudashim check --python venv --bare").code, Some(1));
}

/// The place of a copy of a library, and which one.
const STATES: [&str; 4] = ["sound", "older", "older first", "missing"];

/// A torch of three libraries, each in one of the states; `LD_LIBRARY_PATH` names `/old`.
fn machine(states: [usize; 3]) -> (Machine, crate::support::Venv) {
    let (world, venv) = Machine::with_venv();
    let all = [
        ("nvidia-nvjitlink-cu12", "12.4.127", "nvjitlink", "libnvJitLink.so.12", "__nvJitLinkCreate_12_4"),
        ("nvidia-cublas-cu12", "12.4.5.8", "cublas", "libcublasLt.so.12", "cublasLtCreate"),
        ("nvidia-cuda-runtime-cu12", "12.4.127", "cuda_runtime", "libcudart.so.12", "cudaMalloc"),
    ];
    let mut top = Lib::new("libtorch_global_deps.so").unversioned();
    let mut pins = Vec::new();
    for ((wheel, release, folder, soname, symbol), state) in all.into_iter().zip(states) {
        top = top.uses(soname, &[symbol]).link(&format!("-rpath,$ORIGIN/../../nvidia/{folder}/lib"));
        pins.push(format!("{wheel}=={release}"));
        let file = format!("nvidia/{folder}/lib/{soname}");
        let (whole, old) = (Lib::new(soname).defines(&[symbol]), Lib::new(soname).defines(&["other"]));
        match STATES[state] {
            "older" => {
                venv.wheel(wheel, "12.1.105", &[(file.as_str(), old)]);
            }
            "missing" => {}
            state => {
                venv.wheel(wheel, release, &[(file.as_str(), whole)]);
                if state == "older first" {
                    old.build(&world.path(&format!("old/{soname}")));
                }
            }
        }
    }
    let pins: Vec<&str> = pins.iter().map(String::as_str).collect();
    venv.torch("2.5.1+cu124", Some("12.4"), &pins, &[("lib/libtorch_global_deps.so", top)]);
    (world, venv)
}

/// On machines of every kind: doctor predicts what ld.so does; `run` refuses what it cannot load, and nothing else; and
/// a line about a variable heals where it is typed.
#[test]
fn doctor_and_run_agree_with_ld_so() {
    for number in (0..64).step_by(3) {
        let states = [number % 4, number / 4 % 4, number / 16];
        let (world, venv) = machine(states);
        let what = states.map(|state| STATES[state]);
        let old = world.path("old");
        let bare = Process::of(venv.load().env("LD_LIBRARY_PATH", &old));
        let bare = bare.out == "ok\n";
        let under = |command: &mut Command| Process::of(command.env("LD_LIBRARY_PATH", &old));
        let mut doctor = world.cudashim(["doctor", "--python", "venv", "--no-devices"]);
        let (_, page) = json(doctor.env("LD_LIBRARY_PATH", &old));
        let findings = page["findings"].as_array().unwrap();
        let ends: Vec<_> = findings.iter().filter(|it| it["severity"] == "fatal" && it["phase"] == "import").collect();
        assert_eq!(bare, ends.is_empty(), "{what:?}: {page:#}");
        let run = under(&mut world.load(&[], &venv));
        match run.code {
            Some(125) => {
                assert!(!bare, "{what:?}: {}", run.err);
                assert!(
                    states.iter().any(|state| matches!(STATES[*state], "older" | "missing")),
                    "{what:?}: {}",
                    run.err
                );
            }
            code => assert_eq!((code, run.out.as_str()), (Some(0), "ok\n"), "{what:?}: {}", run.err),
        }
        let lines = ends.iter().filter_map(|it| it["remedies"][0]["command"].as_str());
        let wheels_are_whole = states.iter().all(|state| !matches!(STATES[*state], "older" | "missing"));
        for line in lines.filter(|_| wheels_are_whole) {
            assert_eq!(line, "eval \"$(cudashim env --python venv)\"", "{what:?}");
        }
    }
}
