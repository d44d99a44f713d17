//! A shim that cannot act is never taken for one that does.

use super::run::hijack;
use super::sound;
use crate::support::*;
use std::fs;
use std::process::Command;

#[test]
fn run_warns_that_the_shim_is_off() {
    let (world, venv) = sound();
    let library_path = hijack(&world);
    let mut command = world.load(&[], &venv);
    command.env("LD_LIBRARY_PATH", library_path).env("CUDASHIM_OFF", "1");
    let seen = Process::of(&mut command);
    assert!(seen.out.contains("undefined symbol: cublasLtCreate"), "{}", seen.out);
    assert_eq!(seen.err, "cudashim: CUDASHIM_OFF=1 is set: the shim does nothing\n");
}

/// A program of another class or machine: the loader prints a line for each process, and maps no shim.
#[test]
fn run_warns_of_a_32_bit_program() {
    let (world, venv) = sound();
    let plan = world.run(["resolve", "--python", "venv", "-o", "kept.plan"]);
    assert_eq!(plan.code, Some(0), "{}", plan.err);
    let mut program = fs::read(venv.python()).unwrap();
    program[4] = 1;
    let other = world.path("bin/other");
    fs::copy(venv.python(), &other).unwrap();
    fs::write(&other, program).unwrap();
    let seen = world.run(["run", "--plan", "kept.plan", "--", "other"]);
    assert!(
        seen.err.contains("32-bit") && seen.err.contains("this preload object is not built for it"),
        "{}",
        seen.err
    );
}

/// In a user namespace of our own: the only way to a mount of our choice without being root.
#[test]
#[ignore = "needs user namespaces"]
fn run_refuses_a_noexec_cache() {
    let (world, venv) = sound();
    let cache = world.mkdir("noexec");
    let mut run = world.cudashim(["run", "--"]);
    run.arg(venv.python()).env("CUDASHIM_CACHE", &cache);
    let mount = format!("mount -t tmpfs -o noexec,mode=700 none '{}'", cache.display());
    let seen = Process::of(&mut in_namespaces(&["-rm"], &mount, &run));
    assert_eq!((seen.code, seen.out.as_str()), (Some(125), ""), "{}", seen.err);
    assert!(seen.err.contains("is on a file system mounted noexec"), "{}", seen.err);
    assert!(seen.err.contains("hint: set `CUDASHIM_CACHE` to a directory of your own"), "{}", seen.err);
}

/// ld.so reports it for each process; `run` rewrites the file before it names it.
#[test]
fn run_rewrites_a_missing_shim() {
    let (world, venv) = sound();
    let torch = venv.torch_deps();
    let shim = world.run(["shim"]);
    let shim = shim.out.trim_end();
    for damage in [|path: &str| fs::remove_file(path).unwrap(), |path: &str| fs::write(path, "cut").unwrap()] {
        damage(shim);
        let mut command = Command::new(venv.python());
        command.env_clear().env("LD_PRELOAD", shim).env("LD_LIBRARY_PATH", hijack(&world));
        let bare = Process::of(command.arg("--load").arg(&torch));
        assert!(bare.err.contains("from LD_PRELOAD cannot be preloaded"), "{}", bare.err);
        let mut command = world.cudashim(["run", "--"]);
        command
            .arg(venv.python())
            .arg("--load")
            .arg(&torch)
            .env("LD_PRELOAD", shim)
            .env("LD_LIBRARY_PATH", hijack(&world));
        let healed = Process::of(&mut command);
        assert_eq!(healed.ok(), "ok\n");
    }
}
