//! Many processes with one question, and the cache that they share.

use super::run::hijack;
use super::sound;
use crate::support::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Stdio;

/// A hundred workers of a job start at once: one computes the answer for all, and no worker gets a mixture of two
/// answers.
#[test]
fn cache_answers_once_for_many_processes() {
    let (world, venv) = sound();
    let library_path = hijack(&world);
    let children: Vec<_> = (0..24)
        .map(|_| {
            let mut command = world.load(&["-v"], &venv);
            command.env("LD_LIBRARY_PATH", &library_path);
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let mut answered = 0;
    for child in children {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"ok\n"[..]), "{said}");
        // The shim's own lines would be warnings: of a library that is another file by now.
        assert!(!said.contains("cudashim["), "{said}");
        answered += usize::from(said.contains(".image (new)"));
    }
    assert_eq!(answered, 1);
}

/// Where home is small, the cache is a link to where there is room: for the plans as for the shim.
#[test]
fn cache_may_be_a_link_to_a_directory_of_ones_own() {
    let (world, venv) = sound();
    let library_path = hijack(&world);
    let (cache, room) = (world.path("cache"), world.path("room"));
    fs::create_dir(&room).unwrap();
    fs::set_permissions(&room, fs::Permissions::from_mode(0o700)).unwrap();
    symlink(&room, &cache).unwrap();
    let load = || Process::of(world.load(&[], &venv).env("LD_LIBRARY_PATH", &library_path));
    let healed = load();
    assert_eq!(healed.ok(), "ok\n");
    assert!(room.join("plans").is_dir());
    // A directory that others may write to is not used, by any path.
    fs::set_permissions(&room, fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(load().code, Some(125));
    fs::set_permissions(&room, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
#[ignore = "needs root"]
fn cache_link_of_another_user_is_refused() {
    let (world, venv) = sound();
    let cache = world.path("cache");
    world.mkdir("room");
    world.mode("room", 0o700);
    symlink("room", &cache).unwrap();
    std::os::unix::fs::lchown(&cache, Some(65534), None).unwrap();
    let refused = Process::of(world.load(&[], &venv).env("LD_LIBRARY_PATH", hijack(&world)));
    assert!(refused.code == Some(125) && refused.err.contains("belongs to user 65534"), "{}", refused.err);
}

/// Nobody may lay down an answer for another user: what is not his own, or may be written by others, he does not take.
#[test]
fn cache_plan_of_somebody_else_is_not_taken() {
    let (world, venv) = sound();
    let answer = || Process::of(&mut world.load(&["-v"], &venv));
    assert!(answer().err.contains(".image (new)"));
    assert!(answer().err.contains(".image (kept from before)"));
    let plans = world.path("cache/plans");
    let plan = fs::read_dir(&plans).unwrap().map(|entry| entry.unwrap().path());
    let plan = plan.into_iter().find(|path| path.extension().is_some_and(|end| end == "image")).unwrap();
    let good = fs::read(&plan).unwrap();
    for lay in [
        |plan: &std::path::Path, _: &[u8]| fs::set_permissions(plan, fs::Permissions::from_mode(0o666)).unwrap(),
        |plan: &std::path::Path, good: &[u8]| {
            let other = plan.with_extension("other");
            fs::write(&other, good).unwrap();
            fs::remove_file(plan).unwrap();
            symlink(other, plan).unwrap();
        },
        |plan: &std::path::Path, good: &[u8]| fs::write(plan, &good[..good.len() - 1]).unwrap(),
    ] {
        lay(&plan, &good);
        let seen = answer();
        assert!(seen.out == "ok\n" && seen.err.contains(".image (new)"), "{}", seen.err);
        assert_eq!(fs::read(&plan).unwrap(), good);
        assert!(fs::symlink_metadata(&plan).unwrap().is_file());
    }
}
