//! Files that no installer would leave on a disk: they are reported or skipped, and never stops a scan, breaks a
//! terminal or ends the program.

use crate::support::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

const TIB: u64 = 1 << 40;

/// `scan /t` as JSON.
fn scan(world: &Machine) -> Value {
    let seen = world.run_rooted(["scan", "/t", "--format", "json"]);
    seen.ok();
    seen.json()
}

/// The ids of the problems about a path.
fn ids<'a>(scan: &'a Value, path: &str) -> Vec<&'a str> {
    let about = scan["problems"].as_array().unwrap().iter().filter(|problem| problem["path"] == path);
    about.map(|problem| problem["id"].as_str().unwrap()).collect()
}

fn paths(scan: &Value) -> Vec<&Value> {
    scan["libraries"].as_array().unwrap().iter().map(|library| &library["path"]).collect()
}

fn build(path: &Path) -> Vec<u8> {
    Lib::new("libcudart.so.12").defines(&["cudaGetDevice"]).build(path);
    fs::read(path).unwrap()
}

#[test]
fn scan_opens_regular_files_only() {
    let world = Machine::new();
    world.mkdir("t/dir/libcudart.so.12");
    world.mkdir("t/others");
    let at = |name: &str| world.path("t/others").join(name);
    mknodat(CWD, at("libcublas.so.12"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let _socket = UnixListener::bind(at("libcufft.so.11")).unwrap();
    symlink("/dev/zero", at("libcurand.so.10")).unwrap();
    symlink("libnccl.so.2", at("libnccl.so.2")).unwrap();
    symlink("libcusparse.so.12", at("libcusparse.so")).unwrap();
    symlink("libcusparse.so", at("libcusparse.so.12")).unwrap();
    symlink("..", at("up")).unwrap();

    let seen = scan(&world);
    assert_eq!(paths(&seen), [] as [&Value; 0]);
    assert_eq!(ids(&seen, "/t/others/libcublas.so.12"), ["not-a-file"]);
    assert_eq!(ids(&seen, "/t/others/libcufft.so.11"), ["not-a-file"]);
    for name in ["libcurand.so.10", "libnccl.so.2", "libcusparse.so", "libcusparse.so.12"] {
        // The root of this machine has no `/dev/zero`.
        assert_eq!(ids(&seen, &format!("/t/others/{name}")), ["dangling-link"], "{name}");
    }
    // By name it is reported too, without waiting for a writer.
    let Process { code, err, .. } = world.run_rooted(["inspect", "/t/others/libcublas.so.12"]);
    assert!(code == Some(2) && err.contains("not a regular file"), "{code:?} {err}");
}

#[test]
#[ignore = "needs root"]
fn scan_opens_no_device() {
    let world = Machine::new();
    build(&world.path("t/libcudart.so.12"));
    let zero = rustix::fs::makedev(1, 5);
    mknodat(CWD, world.path("t/libcusolver.so.11"), FileType::CharacterDevice, Mode::RUSR, zero).unwrap();
    assert_eq!(ids(&scan(&world), "/t/libcusolver.so.11"), ["not-a-file"]);
}

#[test]
fn scan_escapes_names() {
    let world = Machine::new();
    let odd = OsStr::from_bytes(b"a\n\x1b[31m\xffb\\");
    let dir = world.path("t").join(odd);
    fs::create_dir_all(&dir).unwrap();
    build(&dir.join("libcudart.so.12"));
    symlink("nowhere", dir.join("libcublas.so.12")).unwrap();

    // What is UTF-8 and acts on a terminal all the same: a control sequence of one character, and text turned round.
    let acts = ['\x1b', '\u{9b}', '\u{202e}'];
    let other = world.path("u/\u{9b}31m\u{202e}");
    fs::create_dir_all(&other).unwrap();
    build(&other.join("libcudart.so.12"));
    let file = "/u/\u{9b}31m\u{202e}/libcudart.so.12";
    for arguments in [
        &["scan", "/t", "/u"][..],
        &["scan", "/t", "/u", "--format", "jsonl"],
        &["scan", "/t", "/u", "--format", "json"],
        &["inspect", file, "--format", "jsonl"],
        &["diff", file, file, "--format", "jsonl"],
        &["-v", "scan", "/t", "/u"],
    ] {
        let Process { code, out, err } = world.run_rooted(arguments);
        assert_eq!(code, Some(0), "{err}");
        let text = out + &err;
        assert!(!text.contains(acts) && !text.contains("a\n"), "{arguments:?}: {text:?}");
        assert!(text.contains("libcudart.so.12"));
    }
    let seen = scan(&world);
    let [path] = paths(&seen)[..] else { panic!("{seen}") };
    let bytes: Vec<u8> = path["bytes"].as_array().unwrap().iter().map(|byte| byte.as_u64().unwrap() as u8).collect();
    assert_eq!(bytes, Path::new("/t").join(odd).join("libcudart.so.12").as_os_str().as_bytes());
    let problem = &seen["problems"].as_array().unwrap()[0];
    assert!(problem["id"] == "dangling-link" && problem["path"]["bytes"].is_array(), "{problem}");
}

#[test]
fn scan_does_not_read_a_sparse_tebibyte() {
    let world = Machine::new();
    for dir in ["t/zeros", "t/elf"] {
        world.mkdir(dir);
    }
    let zeros = world.path("t/zeros/libcudart.so.12");
    File::create(&zeros).unwrap().set_len(TIB).unwrap();
    // A sound library with nothing behind it, and one whose only segment is all of it.
    let sound = world.path("t/elf/libcudart.so.12");
    build(&sound);
    fs::OpenOptions::new().write(true).open(&sound).unwrap().set_len(TIB).unwrap();
    let wide = world.path("t/elf/libcublas.so.12");
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0".to_vec();
    bytes.extend(if cfg!(target_arch = "aarch64") { 183_u16 } else { 62 }.to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend([0_u64, 64, 0].map(u64::to_le_bytes).concat());
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend([64_u16, 56, 1, 64, 0, 0].map(u16::to_le_bytes).concat());
    bytes.extend([1_u32, 4].map(u32::to_le_bytes).concat());
    bytes.extend([0, 0, 0, TIB, TIB, 4096].map(u64::to_le_bytes).concat());
    fs::write(&wide, bytes).unwrap();
    fs::OpenOptions::new().write(true).open(&wide).unwrap().set_len(TIB).unwrap();

    let seen = scan(&world);
    assert_eq!(ids(&seen, "/t/zeros/libcudart.so.12"), ["truncated-or-foreign-elf"]);
    let sizes: Vec<_> = seen["libraries"].as_array().unwrap().iter().map(|library| &library["size"]).collect();
    assert_eq!(sizes, [TIB; 3]);
}

#[test]
fn scan_of_a_hundred_thousand_files() {
    let world = Machine::new();
    world.mkdir("t");
    let first = world.path("t/0.so");
    fs::write(&first, "").unwrap();
    for number in 1..100_000_u32 {
        // A file has at most 65000 names on ext4.
        let from = if number % 50_000 == 0 { None } else { Some(number / 50_000 * 50_000) };
        let path = world.path(&format!("t/{number}.so"));
        match from {
            Some(from) => fs::hard_link(world.path(&format!("t/{from}.so")), path).unwrap(),
            None => fs::write(path, "").unwrap(),
        }
    }
    build(&world.path("t/libcudart.so.12"));
    assert_eq!(paths(&scan(&world)), ["/t/libcudart.so.12"]);
}

/// Another process replaces, cuts and removes the scanned files. The scan may see any state, and reports it.
#[test]
fn scan_survives_changing_files() {
    let world = Machine::new();
    world.mkdir("t");
    let path = world.path("t/libcudart.so.12");
    let whole = [build(&path), vec![0xa5; 2 << 20]].concat();
    let link = world.path("t/libcublas.so.12");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let spare = world.path("spare");
            while !done.load(Ordering::Relaxed) {
                // In place, as a careless copy does, so that what is mapped loses its end.
                fs::write(&path, &whole).unwrap();
                File::options().write(true).open(&path).unwrap().set_len(100).unwrap();
                fs::write(&path, &whole).unwrap();
                File::options().write(true).open(&path).unwrap().set_len(whole.len() as u64 / 2).unwrap();
                // By another file, a pipe, nothing.
                fs::write(&spare, &whole).unwrap();
                fs::rename(&spare, &path).unwrap();
                fs::remove_file(&path).unwrap();
                mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap();
                let _ = fs::remove_file(&link);
                symlink("libcudart.so.12", &link).unwrap();
                fs::remove_file(&path).unwrap();
            }
        });
        for _ in 0..30 {
            for arguments in [&["scan", "--all", "/t", "--format", "json"][..], &["scan", "/t", "--format", "json"]] {
                let Process { code, out, err } = world.run_rooted(arguments);
                // Each problem has an id that is documented; there is no other.
                if code != Some(0) || !err.is_empty() {
                    done.store(true, Ordering::Relaxed);
                    panic!("{code:?} {err}");
                }
                let seen: Value = serde_json::from_str(&out).unwrap();
                let known = |id: &Value| {
                    cudashim::internal::tables::finding_rows().iter().any(|row| id == row.id && row.advice.is_some())
                };
                assert!(seen["problems"].as_array().unwrap().iter().all(|problem| known(&problem["id"])), "{seen}");
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn scan_reports_unreadable_files() {
    let world = Machine::new();
    fs::set_permissions(world.root(), Permissions::from_mode(0o755)).unwrap();
    world.mkdir("t/locked");
    build(&world.path("t/libcudart.so.12"));
    world.mode("t/libcudart.so.12", 0o000);
    build(&world.path("t/locked/libcublas.so.12"));
    world.mode("t/locked", 0o000);
    let mut command = bound_by_rights(&world.rooted(["scan", "/t", "--format", "json"]));
    let Process { code, out, err } = Process::of(&mut command);
    world.mode("t/locked", 0o700);
    assert_eq!((code, err.as_str()), (Some(0), "cudashim: cannot read 1 directory\n"));
    let seen: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(ids(&seen, "/t/libcudart.so.12"), ["unreadable"]);
    assert_eq!(seen["problems"].as_array().unwrap().len(), 1, "{seen}");
}
