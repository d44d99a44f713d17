//! What the cache keeps, for how long, and what it never hands out.

use super::run::hijack;
use super::sound;
use crate::support::*;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

/// The files in the cache of one kind, with their inodes.
fn kept(world: &Machine, kind: &str) -> Vec<(PathBuf, u64)> {
    let entries = fs::read_dir(world.path("cache/plans")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == kind)).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::metadata(path).unwrap().ino())).collect()
}

fn load(world: &Machine, venv: &Venv) -> Command {
    let mut command = world.load(&[], venv);
    command.env("LD_LIBRARY_PATH", hijack(world));
    command
}

/// Adds a package that needs one more library: the answer changes.
fn changed(venv: &Venv) {
    let library = Lib::new("_x.so").unversioned().uses("libcurand.so.10", &["curandCreate"]);
    let curand = Lib::new("libcurand.so.10").defines(&["curandCreate"]);
    venv.wheel("x", "1", &[("x/_x.so", library)]);
    venv.nvidia("curand", "10.3.5.147", curand);
    fs::write(venv.site.join("torch/version.py"), "__version__ = '2.5.1+cu124'\ncuda = '12.4'\n# new\n").unwrap();
    let deps = venv.torch_deps();
    let library = Lib::new("libtorch_global_deps.so").unversioned().uses("libcublas.so.12", &["cublasCreate_v2"]);
    library.link("-rpath,$ORIGIN/../../nvidia/cublas/lib").link("--disable-new-dtags").build(&deps);
}

/// A process that runs has its plan by name: another answer to the same question leaves that file alone.
#[test]
fn cache_keeps_a_plan_in_use_as_it_was() {
    let (world, venv) = sound();
    assert_eq!(Process::of(&mut load(&world, &venv)).out, "ok\n");
    let first = [kept(&world, "image"), kept(&world, "plan")].concat();
    assert_eq!(first.len(), 2);
    let bytes: Vec<Vec<u8>> = first.iter().map(|(path, _)| fs::read(path).unwrap()).collect();
    changed(&venv);
    assert_eq!(Process::of(&mut load(&world, &venv)).out, "ok\n");
    assert_eq!(
        [kept(&world, "image"), kept(&world, "plan"), kept(&world, "answer")].map(|files| files.len()),
        [2, 2, 1]
    );
    for ((path, inode), bytes) in first.iter().zip(bytes) {
        assert_eq!((fs::metadata(path).unwrap().ino(), fs::read(path).unwrap()), (*inode, bytes));
    }
}

/// Where the new plan cannot be written, the old one is not handed out in its place; nor is anything half written.
#[test]
fn cache_hands_out_nothing_half_written() {
    let (world, venv) = sound();
    world.tools(&["sh"]);
    assert_eq!(Process::of(&mut load(&world, &venv)).out, "ok\n");
    // Still the answer: nothing is to be written.
    let limited = |world: &Machine| {
        let run = load(world, &venv);
        let mut command = world.cudashim([] as [&str; 0]);
        command = {
            let mut sh = Command::new("/bin/sh");
            sh.args(["-c", "ulimit -f 0; exec \"$@\"", "sh"]).arg(command.get_program()).args(run.get_args());
            sh.env_clear().envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
            sh.current_dir(world.root());
            sh
        };
        Process::of(&mut command)
    };
    assert_eq!(limited(&world).out, "ok\n");
    let before = kept(&world, "plan");
    changed(&venv);
    let refused = limited(&world);
    assert_eq!((refused.code, refused.out.as_str()), (Some(125), ""), "{}", refused.err);
    assert!(
        refused.err.contains("cannot write the plan to") && refused.err.contains("raise `ulimit -f`"),
        "{}",
        refused.err
    );
    assert_eq!(kept(&world, "plan"), before);
    let temporary = fs::read_dir(world.path("cache/plans")).unwrap().map(|entry| entry.unwrap().file_name());
    let temporary: Vec<_> = temporary.filter(|name| name.as_encoded_bytes().starts_with(b".tmp")).collect();
    assert!(temporary.is_empty(), "{temporary:?}");
    assert_eq!(Process::of(&mut load(&world, &venv)).out, "ok\n");
}

/// Questions that differ in what decides nothing have an answer each, and one plan.
#[test]
fn cache_shares_one_plan_between_equal_answers() {
    let (world, venv) = sound();
    for job in ["/job/1", "/job/2", "/job/3"] {
        let seen = Process::of(load(&world, &venv).env("UV_CACHE_DIR", job));
        assert_eq!(seen.quiet(), "ok\n");
    }
    assert_eq!(
        [kept(&world, "image"), kept(&world, "plan"), kept(&world, "answer")].map(|files| files.len()),
        [1, 1, 3]
    );
    assert!(kept(&world, "lock").is_empty());
}

/// Containers of one image have the same paths on file systems of their own, and may share a cache.
#[test]
#[ignore = "needs root that may mount"]
fn cache_keeps_two_mounts_apart() {
    let (world, venv) = sound();
    hijack(&world);
    fs::rename(venv.site.ancestors().nth(3).unwrap(), world.path("packed")).unwrap();
    let room = world.path("venv");
    fs::create_dir_all(&room).unwrap();
    let run = load(&world, &venv);
    // One over the other, so that both are there.
    let fill =
        format!("mount -t tmpfs none '{0}' && cp -a '{1}/.' '{0}'", room.display(), world.path("packed").display());
    let seen = Process::of(&mut in_namespaces(&["-m"], &format!("{fill} && \"$@\" && {fill}"), &run));
    assert_eq!((seen.code, seen.out.as_str()), (Some(0), "ok\nok\n"), "{}", seen.err);
    assert_eq!([kept(&world, "image"), kept(&world, "answer")].map(|files| files.len()), [2, 2]);
}
