//! A shim that cannot act is never taken for one that does.

use super::run::hijack;
use super::{Seen, sound};
use crate::support::lab::clean_command;
use std::fs;
use std::process::Command;

#[test]
fn one_that_is_switched_off_is_said() {
    let (world, venv) = sound();
    let library_path = hijack(&world);
    let torch = venv.site.join("torch/lib/libtorch_global_deps.so");
    let mut command = world.cudashim(["run", "--"]);
    command.arg(venv.python()).arg("--load").arg(&torch).env("LD_LIBRARY_PATH", library_path).env("CUDASHIM_OFF", "1");
    let seen = Seen::of(&mut command);
    assert!(seen.out.contains("undefined symbol: cublasLtCreate"), "{}", seen.out);
    assert_eq!(seen.err, "cudashim: CUDASHIM_OFF=1 is set: the shim does nothing\n");
}

/// A program of another class or machine: the loader would print a line for each process, and serve none.
#[test]
fn a_program_of_another_class_is_said() {
    let (world, venv) = sound();
    let plan = Seen::of(&mut world.cudashim(["resolve", "--python", "venv", "-o", "kept.plan"]));
    assert_eq!(plan.code, Some(0), "{}", plan.err);
    let mut program = fs::read(venv.python()).unwrap();
    program[4] = 1;
    let other = world.path("bin/other");
    fs::copy(venv.python(), &other).unwrap();
    fs::write(&other, program).unwrap();
    let seen = Seen::of(&mut world.cudashim(["run", "--plan", "kept.plan", "--", "other"]));
    assert!(seen.err.contains("32-bit") && seen.err.contains("which this shim is not built for"), "{}", seen.err);
}

/// In a user namespace of our own: the only way to a mount of our choice without being root.
#[test]
fn a_cache_that_nothing_can_be_run_from_is_said() {
    let (world, venv) = sound();
    let cache = world.path("noexec");
    fs::create_dir(&cache).unwrap();
    let mut wanted = world.cudashim(["run", "--"]);
    wanted.arg(venv.python()).env("CUDASHIM_CACHE", &cache);
    let lay = "mount -t tmpfs -o noexec,mode=700 none \"$0\" || exit 77; exec \"$@\"";
    let mut command = clean_command("unshare");
    command.args(["-rm", "sh", "-c", lay]).arg(&cache).arg(wanted.get_program()).args(wanted.get_args());
    for (name, value) in wanted.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    // The tools of this machine, which the world has not.
    command.env("PATH", "/usr/bin:/bin").current_dir(world.root());
    let seen = Seen::of(&mut command);
    if seen.code == Some(77) || seen.err.contains("unshare") {
        eprintln!("skipped: this machine lends us no mount: {}", seen.err);
        return;
    }
    assert_eq!((seen.code, seen.out.as_str()), (Some(125), ""), "{}", seen.err);
    assert!(seen.err.contains("is on a file system mounted noexec"), "{}", seen.err);
    assert!(seen.err.contains("hint: set `CUDASHIM_CACHE` to a directory of your own"), "{}", seen.err);
}

/// ld.so says it for each process; `run` writes the file anew before it names it.
#[test]
fn a_file_that_is_gone_is_written_again() {
    let (world, venv) = sound();
    let torch = venv.site.join("torch/lib/libtorch_global_deps.so");
    let shim = Seen::of(&mut world.cudashim(["shim"]));
    let shim = shim.out.trim_end();
    for damage in [|path: &str| fs::remove_file(path).unwrap(), |path: &str| fs::write(path, "cut").unwrap()] {
        damage(shim);
        let mut command = Command::new(venv.python());
        command.env_clear().env("LD_PRELOAD", shim).env("LD_LIBRARY_PATH", hijack(&world));
        let bare = Seen::of(command.arg("--load").arg(&torch));
        assert!(bare.err.contains("from LD_PRELOAD cannot be preloaded"), "{}", bare.err);
        let mut command = world.cudashim(["run", "--"]);
        command
            .arg(venv.python())
            .arg("--load")
            .arg(&torch)
            .env("LD_PRELOAD", shim)
            .env("LD_LIBRARY_PATH", hijack(&world));
        let healed = Seen::of(&mut command);
        assert_eq!((healed.code, healed.out.as_str(), healed.err.as_str()), (Some(0), "ok\n", ""));
    }
}
