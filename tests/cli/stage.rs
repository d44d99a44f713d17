//! `stage`: copies on a disk of this node, handed out in place of the originals.

use super::run::hijack;
use super::sound;
use crate::support::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The user's directory of copies on a machine.
fn stages(world: &Machine) -> PathBuf {
    world.path(&format!("node/cudashim-stage-{}", rustix::process::geteuid().as_raw()))
}

/// A command with `/node` as the place of copies.
fn on_node(world: &Machine, mut command: Command) -> Command {
    world.mkdir("node");
    command.env("CUDASHIM_STAGE_DIR", world.path("node"));
    command
}

fn stage(world: &Machine, venv: &Venv, options: &[&str]) -> Command {
    let mut command = on_node(world, world.cudashim(["stage"]));
    command.arg(&venv.dir).args(options);
    command
}

/// The libraries are loaded by the environment's interpreter under `run`, beside an older copy; gives the shim's log.
fn load(world: &Machine, venv: &Venv) -> String {
    let mut command = on_node(world, world.load(&[], venv));
    let healed = Process::of(command.env("LD_LIBRARY_PATH", hijack(world)).env("CUDASHIM_LOG", "1"));
    assert_eq!((healed.code, healed.out.as_str()), (Some(0), "ok\n"), "{}", healed.err);
    healed.err
}

/// The one stage that is there.
fn only(world: &Machine) -> PathBuf {
    let found: Vec<PathBuf> = fs::read_dir(stages(world)).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [dir] = &found.iter().filter(|path| path.is_dir()).collect::<Vec<_>>()[..] else { panic!("{found:?}") };
    dir.to_path_buf()
}

/// The copy of a file.
fn copy_of(world: &Machine, path: &Path) -> PathBuf {
    only(world).join("root").join(path.strip_prefix("/").unwrap())
}

fn named(world: &Machine) -> String {
    format!("{}/", only(world).display())
}

#[test]
fn stage_hands_out_the_copies() {
    let (world, venv) = sound();
    assert!(!load(&world, &venv).contains("cudashim-stage"));
    let json = described(&Process::of(stage(&world, &venv, &[]).args(["--format", "json"])), "stage.json");
    assert_eq!((json["copied"].as_bool(), json["removed"].as_array().map(Vec::len)), (Some(true), Some(0)));
    let again = Process::of(&mut stage(&world, &venv, &[]));
    assert!(again.ok().contains("already"), "{}", again.out);
    let log = load(&world, &venv);
    assert!(log.contains(&named(&world)), "{log}");
    // The set and the framework's own, each at the place of the original below one directory.
    for path in [venv.torch_deps(), venv.site.join("nvidia/cublas/lib/libcublas.so.12")] {
        assert_eq!(fs::read(copy_of(&world, &path)).unwrap(), fs::read(&path).unwrap());
    }
    assert!(fs::symlink_metadata(only(&world)).unwrap().permissions().mode() & 0o077 == 0);
}

/// A neighbour that is no library of the set is found beside the copy.
#[test]
fn stage_keeps_neighbours_beside_the_copies() {
    let (world, venv) = sound();
    let dir = venv.site.join("nvidia/cublas/lib");
    fs::write(dir.join("libother.so.1"), "not of the set").unwrap();
    std::os::unix::fs::symlink("libcublas.so.12", dir.join("libcublas.so")).unwrap();
    Process::of(&mut stage(&world, &venv, &[])).ok();
    let beside = |name: &str| fs::canonicalize(copy_of(&world, &dir.join(name))).unwrap();
    assert_eq!(beside("libother.so.1"), fs::canonicalize(dir.join("libother.so.1")).unwrap());
    assert_eq!(beside("libcublas.so"), copy_of(&world, &dir.join("libcublas.so.12")));
}

/// What a process left that died while it copied is never used, and made anew.
#[test]
fn stage_of_a_process_that_died_is_not_used() {
    let (world, venv) = sound();
    Process::of(&mut stage(&world, &venv, &[])).ok();
    fs::remove_file(only(&world).join("stage.image")).unwrap();
    let torn = copy_of(&world, &venv.torch_deps());
    fs::write(&torn, "half of it").unwrap();
    assert!(!load(&world, &venv).contains("cudashim-stage"));
    let again = Process::of(&mut stage(&world, &venv, &[]));
    assert!(again.ok().contains("copied"), "{}", again.out);
    assert_eq!(fs::read(torn).unwrap(), fs::read(venv.torch_deps()).unwrap());
    assert!(load(&world, &venv).contains(&named(&world)));
}

/// A copy that was changed is not handed out, and what needs it loads all the same.
#[test]
fn stage_with_a_changed_copy_is_not_used() {
    let (world, venv) = sound();
    Process::of(&mut stage(&world, &venv, &[])).ok();
    let copy = copy_of(&world, &venv.torch_deps());
    fs::remove_file(&copy).unwrap();
    fs::write(&copy, "another").unwrap();
    let log = load(&world, &venv);
    assert!(log.contains("libtorch_global_deps.so` has changed since it was copied: no copy is used"), "{log}");
    assert_eq!(log.matches(&named(&world)).count(), 1, "{log}");
    assert!(Process::of(&mut stage(&world, &venv, &[])).ok().contains("copied"));
}

/// After an install the plan is another one, and the old copies are of no plan.
#[test]
fn stage_is_of_the_files_that_were_copied() {
    let (world, venv) = sound();
    Process::of(&mut stage(&world, &venv, &[])).ok();
    let bytes = fs::read(venv.torch_deps()).unwrap();
    fs::remove_file(venv.torch_deps()).unwrap();
    fs::write(venv.torch_deps(), bytes).unwrap();
    assert!(!load(&world, &venv).contains("cudashim-stage"));
}

#[test]
fn stage_refuses_what_its_package_did_not_record() {
    let (world, venv) = sound();
    let record = venv.site.join("nvidia_cublas_cu12-12.4.5.8.dist-info/RECORD");
    let sum = "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
    let text = fs::read_to_string(&record).unwrap().replacen(",,", &format!(",{sum},"), 1);
    fs::write(&record, text).unwrap();
    let refused = Process::of(&mut stage(&world, &venv, &[]));
    assert_eq!(refused.code, Some(2), "{}", refused.out);
    assert!(
        refused.err.contains("its SHA-256 is not the one that nvidia-cublas-cu12 12.4.5.8 recorded"),
        "{}",
        refused.err
    );
    assert!(fs::read_dir(stages(&world)).unwrap().all(|entry| !entry.unwrap().path().is_dir()));
    assert!(Process::of(&mut stage(&world, &venv, &["--force"])).ok().contains("copied"));
}

#[test]
fn stage_keeps_within_its_limit() {
    let (world, venv) = sound();
    let refused = Process::of(&mut stage(&world, &venv, &["--limit", "1K"]));
    assert_eq!(refused.code, Some(2));
    assert!(refused.err.contains("the limit is"), "{}", refused.err);
    Process::of(&mut stage(&world, &venv, &[])).ok();
    let first = only(&world);
    let size: u64 = {
        let json = Process::of(stage(&world, &venv, &["--format", "json"]).args::<[&str; 0], _>([])).json();
        json["bytes"].as_u64().unwrap()
    };
    // Another set takes the place of one that nobody uses.
    let other = world.venv("other");
    super::torch(&other);
    other.wheel("nvidia-cublas-cu12", "12.4.5.8", &super::cublas());
    other.wheel("nvidia-cudnn-cu12", "9.1.0.70", &super::whole_cudnn());
    Process::of(&mut stage(&world, &other, &["--limit", &(size + size / 2).to_string()])).ok();
    assert!(only(&world) != first && !first.exists());
}

#[test]
fn stage_clean_leaves_what_a_process_uses() {
    let (world, venv) = sound();
    Process::of(&mut stage(&world, &venv, &[])).ok();
    let clean = || {
        let command = world.cudashim(["stage", "--clean", "--format", "json"]);
        described(&Process::of(&mut on_node(&world, command)), "stage.json")["removed"].as_array().unwrap().len()
    };
    // A process that was started with the plan has not loaded anything yet.
    let mut child = Command::new("cat");
    child.env("CUDASHIM_PLAN", only(&world).join("stage.image")).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = child.spawn().unwrap();
    assert_eq!(clean(), 0);
    drop(child.stdin.take());
    child.wait().unwrap();
    assert_eq!(clean(), 1);
    assert_eq!(clean(), 0);
    assert!(!load(&world, &venv).contains("cudashim-stage"));
}

/// Of many processes of a node one copies, and all have the copies.
#[test]
fn stage_is_made_once() {
    let (world, venv) = sound();
    let children: Vec<_> = (0..6)
        .map(|_| {
            stage(&world, &venv, &["--format", "json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let copied = children.into_iter().filter(|_| true).map(|child| {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["copied"].as_bool().unwrap()
    });
    assert_eq!(copied.filter(|copied| *copied).count(), 1);
}

#[test]
fn stage_directory_that_others_may_write_is_refused() {
    let (world, venv) = sound();
    Process::of(&mut stage(&world, &venv, &[])).ok();
    fs::set_permissions(stages(&world), fs::Permissions::from_mode(0o777)).unwrap();
    let refused = Process::of(&mut stage(&world, &venv, &[]));
    assert_eq!(refused.code, Some(2));
    assert!(refused.err.contains("may write to it"), "{}", refused.err);
    // `run` goes on with the originals.
    assert!(!load(&world, &venv).contains(&format!("{}/", stages(&world).display())));
}

#[test]
#[ignore = "needs root"]
fn stage_directory_of_another_user_is_refused() {
    let (world, venv) = sound();
    Process::of(&mut stage(&world, &venv, &[])).ok();
    std::os::unix::fs::chown(stages(&world), Some(65534), None).unwrap();
    let refused = Process::of(&mut stage(&world, &venv, &[]));
    assert!(refused.code == Some(2) && refused.err.contains("belongs to user 65534"), "{}", refused.err);
    assert!(!load(&world, &venv).contains("`stage.image`"));
}

/// Two users have one place, and each a directory of his own in it.
#[test]
#[ignore = "needs root"]
fn stage_place_may_be_shared() {
    let (world, venv) = sound();
    world.mkdir("node");
    world.mode("node", 0o1777);
    Process::of(&mut stage(&world, &venv, &[])).ok();
    let path = format!("node/cudashim-stage-{}", rustix::process::geteuid().as_raw());
    assert_eq!(fs::symlink_metadata(world.path(&path)).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
#[ignore = "needs root"]
fn stage_on_noexec_or_full_disks_is_refused() {
    let (world, venv) = sound();
    let node = world.mkdir("node");
    for (options, says) in [("noexec", "mounted noexec"), ("size=64k", "are free")] {
        let mount = format!("mount -t tmpfs -o {options},mode=700 none '{}'", node.display());
        let refused = Process::of(&mut in_namespaces(&["-m"], &mount, &stage(&world, &venv, &[])));
        assert!(refused.code == Some(2) && refused.err.contains(says), "{}{}", refused.out, refused.err);
    }
}
