//! Writing the image where `LD_PRELOAD` can name it.

use crate::support::*;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use cudashim::internal::host::Hints;
use cudashim::internal::launch::shim::{IMAGE, ShimError, cache_dir, image_for, install};

#[test]
fn install_writes_the_image_under_its_digest() {
    let lab = Machine::new();
    let dir = lab.path("a/cache");
    let path = install(&dir, None).unwrap();
    assert_eq!(fs::read(&path).unwrap(), IMAGE);
    let name = path.file_name().unwrap().to_str().unwrap();
    let digest = name.strip_prefix("libcudashim-").unwrap().strip_suffix(".so").unwrap();
    assert!(digest.len() == 16 && digest.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
    assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o755);
    // With a binary it is another file; both stay, and nothing else is left lying about.
    let other = install(&dir, Some("/bin/cudashim".as_ref())).unwrap();
    assert_eq!(fs::read(&other).unwrap(), image_for(Some("/bin/cudashim".as_ref())).unwrap());
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 2);
}

#[test]
fn install_replaces_a_damaged_file_only() {
    let lab = Machine::new();
    let dir = lab.path("cache");
    let path = install(&dir, None).unwrap();
    let inode = || fs::symlink_metadata(&path).unwrap().ino();
    let first = inode();
    assert_eq!(install(&dir, None).unwrap(), path);
    assert_eq!(inode(), first);

    let mapped = fs::File::open(&path).unwrap();
    fs::write(&path, b"cut").unwrap();
    install(&dir, None).unwrap();
    assert_ne!(inode(), first, "the old file was not written to");
    assert_eq!(mapped.metadata().unwrap().len(), 3);
    assert_eq!(fs::read(&path).unwrap(), IMAGE);

    let elsewhere = lab.write("elsewhere", IMAGE);
    fs::remove_file(&path).unwrap();
    symlink(&elsewhere, &path).unwrap();
    install(&dir, None).unwrap();
    assert!(fs::symlink_metadata(&path).unwrap().is_file());

    fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
    install(&dir, None).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o755);
}

#[test]
fn install_refuses_a_writable_directory() {
    let lab = Machine::new();
    let dir = lab.path("cache");
    fs::create_dir(&dir).unwrap();
    for mode in [0o770, 0o707, 0o720] {
        fs::set_permissions(&dir, Permissions::from_mode(mode)).unwrap();
        let error = install(&dir, None).unwrap_err();
        assert!(matches!(&error, ShimError::Writable { mode: m, .. } if *m == mode), "{error}");
        assert_eq!(error.hints(), [format!("run `chmod go-w {}`", dir.display())]);
    }
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
}

#[test]
fn install_refuses_a_foreign_directory() {
    if rustix::process::geteuid().is_root() {
        let lab = Machine::new();
        let dir = lab.path("cache");
        fs::create_dir(&dir).unwrap();
        std::os::unix::fs::chown(&dir, Some(65534), None).unwrap();
        assert!(matches!(install(&dir, None), Err(ShimError::Foreign { owner: 65534, .. })));
    } else {
        assert!(matches!(install("/usr".as_ref(), None), Err(ShimError::Foreign { owner: 0, .. })));
    }
}

/// As under `sudo -E`: nothing is made in a home that somebody else could exchange, and nothing taken from it.
#[test]
fn install_refuses_a_home_that_others_may_exchange() {
    let lab = Machine::new();
    let home = lab.path("open/home");
    fs::create_dir_all(&home).unwrap();
    lab.mode("open", 0o777);
    falls_back(&lab, &home, "is writable by everybody");
}

#[test]
#[ignore = "needs root"]
fn install_refuses_the_home_of_another_user() {
    let lab = Machine::new();
    let home = lab.path("home/alice");
    fs::create_dir_all(home.join(".cache/cudashim")).unwrap();
    std::os::unix::fs::chown(&home, Some(65534), None).unwrap();
    falls_back(&lab, &home, "belongs to user 65534");
    assert_eq!(fs::read_dir(home.join(".cache/cudashim")).unwrap().count(), 0);
}

fn falls_back(lab: &Machine, home: &Path, why: &str) {
    let before = fs::read_dir(home).unwrap().count();
    let temporary = lab.path("tmp");
    fs::create_dir_all(&temporary).unwrap();
    let variables = |cache: Option<&Path>| {
        let mut command = clean_command(env!("CARGO_BIN_EXE_cudashim"));
        command.args(["shim", "-v"]).env("HOME", home).env("TMPDIR", &temporary);
        command.envs(cache.map(|cache| ("CUDASHIM_CACHE", cache)));
        let output = command.output().unwrap();
        (output.status.code(), [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()))
    };
    let (code, [out, err]) = variables(None);
    let own = temporary.join(format!("cudashim-{}", rustix::process::geteuid().as_raw()));
    assert_eq!((code, Path::new(out.trim()).parent()), (Some(0), Some(own.as_path())), "{err}");
    assert!(err.contains(why) && err.contains("falling back to"), "{err}");
    assert_eq!(fs::read_dir(home).unwrap().count(), before);
    // A directory that is named is the user's choice.
    let (code, [_, err]) = variables(Some(&home.join("cache")));
    assert_ne!(code, Some(0));
    assert!(err.contains(why) && err.contains("hint: set `CUDASHIM_CACHE` to a directory of your own"), "{err}");
}

/// In a user namespace of our own: the only way to a mount of our choice without being root. The test starts itself there.
#[test]
#[ignore = "needs user namespaces"]
fn install_refuses_a_noexec_mount() {
    if let Some(dir) = std::env::var_os("CUDASHIM_TEST_NOEXEC").map(PathBuf::from) {
        let error = install(&dir, None).unwrap_err();
        assert!(matches!(error, ShimError::NoExec { .. }), "{error}");
        return assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    }
    let lab = Machine::new();
    let dir = lab.mkdir("noexec");
    let mut test = clean_command(std::env::current_exe().unwrap());
    test.args(["--exact", "shim::install::install_refuses_a_noexec_mount", "--include-ignored"]);
    test.env("CUDASHIM_TEST_NOEXEC", &dir);
    let mount = format!("mount -t tmpfs -o noexec,mode=700 none '{}'", dir.display());
    let ran = Process::of(&mut in_namespaces(&["-rm"], &mount, &test));
    assert!(ran.code == Some(0) && ran.out.contains("1 passed"), "{}{}", ran.out, ran.err);
}

#[test]
fn install_refuses_a_path_ld_preload_cannot_hold() {
    let lab = Machine::new();
    for (name, character) in [("a b", ' '), ("a:b", ':'), ("$ORIGIN", '$')] {
        let error = install(&lab.path(name), None).unwrap_err();
        assert!(matches!(error, ShimError::Unspeakable { character: c, .. } if c == character), "{error}");
        assert!(error.hints()[0].contains("CUDASHIM_CACHE"));
        assert!(!lab.path(name).exists());
    }
}

#[test]
fn install_refuses_a_binary_path_that_is_too_long() {
    let long = format!("/{}", "x".repeat(4095));
    for path in ["cudashim", &long, "/a\0b"] {
        assert!(matches!(image_for(Some(path.as_ref())), Err(ShimError::Binary { .. })), "{path}");
    }
    assert!(image_for(Some(long[..4095].as_ref())).is_ok());
}

#[test]
fn install_cache_follows_the_environment() {
    let of =
        |vars: &[(&str, &str)]| cache_dir(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v)));
    let all = [("CUDASHIM_CACHE", "c"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")];
    assert_eq!(of(&all).unwrap(), PathBuf::from("c"));
    assert_eq!(of(&all[1..]).unwrap(), PathBuf::from("/x/cudashim"));
    assert_eq!(of(&all[2..]).unwrap(), PathBuf::from("/h/.cache/cudashim"));
    assert_eq!(
        of(&[("CUDASHIM_CACHE", ""), ("XDG_CACHE_HOME", "x"), ("HOME", "/h")]).unwrap(),
        PathBuf::from("/h/.cache/cudashim")
    );
    assert!(matches!(of(&[("HOME", "h")]), Err(ShimError::Relative { path }) if path == Path::new("h")));
    assert!(matches!(of(&[]), Err(ShimError::NoCacheDir)));
}
