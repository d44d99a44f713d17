//! `lock`, `verify` and `run --check`, as a user sees them.

use crate::support::*;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

mod input;
mod proof;
mod relocate;
mod rest;

const CUBLAS: &str = "nvidia/cublas/lib";

/// A machine with one environment, and a lock of it.
fn locked() -> (Machine, Venv) {
    let (world, venv) = torch_machine();
    let done = world.run(["lock", "--python", "venv"]);
    assert_eq!((done.code, done.out.as_str()), (Some(0), ""), "{}", done.err);
    (world, venv)
}

/// The report of `verify`, which must match its schema.
fn verify(world: &Machine, arguments: &[&str]) -> (i32, Value) {
    answer(world.cudashim(["verify"]).args(arguments), "verify.json")
}

/// The line about something: state, change and text.
fn line(value: &Value, name: &str) -> (String, Option<String>, String) {
    let checks = value["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{name} in {value:#}"));
    let text = |key: &str| check[key].as_str().map(str::to_owned);
    (text("state").unwrap(), text("change"), text("says").unwrap())
}

/// The same without its words.
fn state(value: &Value, name: &str) -> (String, Option<String>) {
    let (state, change, _) = line(value, name);
    (state, change)
}

fn drifted(change: &str) -> (String, Option<String>) {
    ("drifted".to_owned(), Some(change.to_owned()))
}

fn holds() -> (String, Option<String>) {
    ("holds".to_owned(), None)
}

#[test]
fn lock_records_what_it_was_made_with() {
    let (world, _venv) = locked();
    let text = world.read("cudashim.lock");
    for record in [
        "with\tpython\t3.11\t-\n",
        "with\ttorch\t2.5.1+cu124\t12.4\n",
        "for\ttorch\ttorch 2.5.1+cu124\t{env}/",
        "environment\tvenv\n",
        "package\tnvidia-cublas-cu12\t12.4.5.8\n",
    ] {
        assert!(text.contains(record), "{text}");
    }
    assert!(text.contains(&format!("with\tcudashim\t{}\t-\n", env!("CARGO_PKG_VERSION"))), "{text}");
    // Each library of NVIDIA's has an identity.
    let libraries = text.lines().filter(|line| line.starts_with("lib\t"));
    assert!(libraries.clone().count() >= 2 && libraries.into_iter().all(|line| line.contains("\tbuild-id:")), "{text}");
}

#[test]
fn lock_is_reproducible() {
    let (world, venv) = locked();
    let first = fs::read(world.path("cudashim.lock")).unwrap();
    let stamp = fs::metadata(world.path("cudashim.lock")).unwrap().modified().unwrap();
    let again = world.run(["lock", "--python", "venv"]);
    assert_eq!((again.code, again.err.as_str()), (Some(0), "cudashim: `cudashim.lock` is up to date\n"));
    // Not even its time changes.
    assert_eq!(fs::metadata(world.path("cudashim.lock")).unwrap().modified().unwrap(), stamp);
    let other = world.run(["lock", "--python", "venv", "-o", "other.lock"]);
    assert_eq!(other.code, Some(0), "{}", other.err);
    assert_eq!(fs::read(world.path("other.lock")).unwrap(), first);
    let check = || world.run(["lock", "--python", "venv", "--check"]).code;
    assert_eq!(check(), Some(0));
    Lib::new("libcublasLt.so.12")
        .defines(&["cublasLtCreate", "cublasLtNew"])
        .build(&venv.site.join(CUBLAS).join("libcublasLt.so.12"));
    assert_eq!(check(), Some(1));
    assert_eq!(fs::read(world.path("cudashim.lock")).unwrap(), first, "--check wrote");
}

/// Without a build ID its bytes identify a library.
#[test]
fn lock_identifies_by_digest_without_a_build_id() {
    let (world, venv) = Machine::with_venv();
    torch_with_cublas(&venv);
    venv.wheel(
        "nvidia-cublas-cu12",
        "12.4.5.8",
        &cublas().map(|(path, library)| (path, library.link("--build-id=none"))),
    );
    let done = world.run(["lock", "--python", "venv"]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    let file = venv.site.join(CUBLAS).join("libcublasLt.so.12");
    let digest = cudashim::internal::inventory::sha256(&fs::read(&file).unwrap());
    assert!(world.read("cudashim.lock").contains(&format!("\tsha256:{digest}\t")));
    // Another file of the same bytes, then one of other bytes and the same size.
    let bytes = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    fs::write(&file, &bytes).unwrap();
    let (code, value) = verify(&world, &[]);
    assert_eq!((code, state(&value, "libcublasLt.so.12")), (0, holds()));
    let mut other = bytes;
    *other.last_mut().unwrap() ^= 1;
    fs::write(&file, &other).unwrap();
    assert_eq!(state(&verify(&world, &[]).1, "libcublasLt.so.12"), drifted("other_build"));
}

#[test]
fn verify_holds_where_the_lock_was_made() {
    let (world, venv) = locked();
    let (code, value) = verify(&world, &[]);
    assert_eq!((code, &value["holds"], &value["for"][0]), (0, &true.into(), &"torch 2.5.1+cu124".into()));
    for name in ["torch", "python", "libcublas.so.12", "libcublasLt.so.12"] {
        assert_eq!(state(&value, name), holds(), "{name}");
    }
    let text = Process::of(world.cudashim(["verify", "-v"]).env("COLUMNS", "300"));
    text.ok();
    let site = venv.site.display();
    for expected in [
        format!("unchanged  libcublas.so.12          12.4.5.8, `{site}/{CUBLAS}/libcublas.so.12`"),
        // Of the consumer's own libraries, those that need a chosen one.
        format!("unchanged  libtorch_global_deps.so  `{site}/torch/lib/libtorch_global_deps.so`"),
    ] {
        assert!(text.out.lines().any(|line| line == expected), "{}", text.out);
    }
    assert!(text.out.ends_with("\nthe lock holds: 6 of 6 unchanged\n"), "{}", text.out);
}

#[test]
fn verify_names_each_drift() {
    let (world, venv) = locked();
    let file = venv.site.join(CUBLAS).join("libcublasLt.so.12");
    let bytes = fs::read(&file).unwrap();
    let now = || {
        let (code, value) = verify(&world, &[]);
        assert_eq!((code, &value["holds"]), (1, &false.into()));
        assert_eq!(state(&value, "libcublas.so.12"), holds());
        line(&value, "libcublasLt.so.12")
    };
    fs::remove_file(&file).unwrap();
    let gone = now();
    assert_eq!((gone.1.as_deref(), gone.2.ends_with("is gone")), (Some("gone"), true), "{gone:?}");
    symlink("missing", &file).unwrap();
    let dangling = now();
    assert!(
        dangling.1.as_deref() == Some("gone") && dangling.2.contains("is a dangling symbolic link"),
        "{dangling:?}"
    );
    fs::remove_file(&file).unwrap();
    symlink("libcublasLt.so.12", &file).unwrap();
    assert_eq!(now().1.as_deref(), Some("unreadable"), "a link to itself does not show the file");
    fs::remove_file(&file).unwrap();
    fs::write(&file, &bytes).unwrap();
    // The same bytes, wherever they came from, are what is handed out.
    let (code, value) = verify(&world, &[]);
    assert_eq!((code, &value["holds"], state(&value, "libcublasLt.so.12")), (0, &true.into(), holds()));
    // What follows the last section is not of the build.
    fs::write(&file, [&bytes[..], b"more"].concat()).unwrap();
    assert_eq!(now().1.as_deref(), Some("other_size"));
    Lib::new("libcublasLt.so.12").defines(&["cublasLtCreate", "cublasLtNew"]).build(&file);
    let other = now();
    assert!(other.1.as_deref() == Some("other_build") && other.2.contains(" was build-id:"), "{other:?}");
    fs::write(&file, "no library").unwrap();
    assert_eq!(now().1.as_deref(), Some("unreadable"));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert_eq!(now().1.as_deref(), Some("other_build"));
}

#[test]
fn verify_names_the_target_of_a_changed_link() {
    let (world, venv) = torch_machine();
    let file = venv.site.join(CUBLAS).join("libcublasLt.so.12");
    fs::rename(&file, world.path("first.so")).unwrap();
    symlink(world.path("first.so"), &file).unwrap();
    assert_eq!(world.run(["lock", "--python", "venv"]).code, Some(0));
    assert_eq!(state(&verify(&world, &[]).1, "libcublasLt.so.12"), holds());
    let second = Lib::new("libcublasLt.so.12").defines(&["cublasLtCreate", "x"]).build(&world.path("second.so"));
    fs::remove_file(&file).unwrap();
    symlink(&second, &file).unwrap();
    let (code, value) = verify(&world, &[]);
    let (_, change, says) = line(&value, "libcublasLt.so.12");
    assert_eq!((code, change.as_deref()), (1, Some("other_build")));
    assert!(says.contains(&format!("the link resolves to `{}`", second.display())), "{says}");
    let checks = value["checks"].as_array().unwrap();
    assert!(checks.iter().any(|check| check["leads_to"] == second.to_str().unwrap()), "{value:#}");
}

#[test]
fn verify_another_torch_and_python() {
    let (world, venv) = locked();
    fs::write(venv.site.join("torch/version.py"), "__version__ = '2.6.0+cu124'\ncuda = '12.4'\n").unwrap();
    let (code, value) = verify(&world, &[]);
    assert_eq!((code, state(&value, "torch")), (1, drifted("other_version")));
    assert!(line(&value, "torch").2.starts_with("is 2.6.0+cu124, was 2.5.1+cu124"));
    fs::write(venv.site.join("torch/version.py"), "__version__ = '2.5.1+cu124'\ncuda = '12.1'\n").unwrap();
    assert_eq!(state(&verify(&world, &[]).1, "torch"), drifted("other_version"));
    fs::remove_file(venv.site.join("torch/version.py")).unwrap();
    assert_eq!(state(&verify(&world, &[]).1, "torch"), drifted("unreadable"));
    fs::remove_dir_all(venv.site.join("torch")).unwrap();
    assert_eq!(state(&verify(&world, &[]).1, "torch"), drifted("gone"));
    torch_with_cublas(&venv);
    fs::write(venv.dir.join("pyvenv.cfg"), "home = /usr/bin\nversion = 3.12.1\n").unwrap();
    let (_, value) = verify(&world, &[]);
    assert_eq!(state(&value, "python"), ("differs".to_owned(), Some("other_version".to_owned())));
    assert_eq!(world.run(["verify", "--python", "none"]).code, Some(2));
}

/// Under `--root` with a driver that is a file and the text of its module.
#[test]
fn verify_another_driver() {
    let (world, _venv) = torch_machine();
    let module = |version: &str| {
        world.write("sys/module/nvidia/version", format!("{version}\n"));
    };
    let lock = || assert_eq!(world.run_rooted(["lock", "--python", "/venv", "-o", "cudashim.lock"]).code, Some(0));
    let now = || {
        let done = world.run_rooted(["verify", "--format", "json"]);
        let value = done.json();
        (done.code, state(&value, "driver"), line(&value, "driver").2)
    };
    let differs = ("differs".to_owned(), Some("other_version".to_owned()));
    lock();
    assert_eq!(now(), (Some(0), holds(), "no driver (unchanged)".to_owned()));
    module("550.54.15");
    assert_eq!(now(), (Some(0), differs.clone(), "is 550.54.15, was none".to_owned()));
    lock();
    assert!(world.read("cudashim.lock").contains("with\tdriver\t550.54.15\t12.4\n"));
    assert_eq!(now(), (Some(0), holds(), "550.54.15".to_owned()));
    module("570.124.06");
    assert_eq!(now(), (Some(0), differs, "is 570.124.06, was 550.54.15".to_owned()));
    module("470.82.01");
    let (code, state, says) = now();
    assert_eq!((code, state), (Some(1), drifted("other_version")));
    assert!(says.contains("CUDA 12.4 requires 525.60.13 or newer"), "{says}");
    fs::remove_dir_all(world.path("sys")).unwrap();
    assert_eq!(now(), (Some(1), drifted("gone"), "no driver, was 550.54.15".to_owned()));
}

/// The driver's libraries share one line, and the machine's own may be updated.
#[test]
fn verify_updated_driver_and_system() {
    let (world, venv) = Machine::with_venv();
    let library = Lib::new("libtorch_global_deps.so")
        .unversioned()
        .uses("libcublas.so.12", &["cublasCreate_v2"])
        .uses("libsystem.so.1", &[])
        .link("-rpath,$ORIGIN/../../nvidia/cublas/lib");
    venv.torch("2.5.1+cu124", Some("12.4"), &[], &[("lib/libtorch_global_deps.so", library)]);
    venv.wheel("nvidia-cublas-cu12", "12.4.5.8", &cublas());
    let driver = world.path("lib/x86_64-linux-gnu");
    let install = |version: &str, symbol: &str| {
        Lib::new("libcuda.so.1").defines(&["cuInit", symbol]).build(&driver.join(format!("libcuda.so.{version}")));
        let _ = fs::remove_file(driver.join("libcuda.so.1"));
        symlink(format!("libcuda.so.{version}"), driver.join("libcuda.so.1")).unwrap();
        Lib::new("libsystem.so.1").unversioned().defines(&[symbol]).build(&driver.join("libsystem.so.1"));
    };
    install("550.54.15", "one");
    let lock = world.run_rooted(["lock", "--python", "/venv", "-o", "cudashim.lock"]);
    assert_eq!(lock.code, Some(0), "{}", lock.err);
    let text = world.read("cudashim.lock");
    assert!(text.contains("lib\tlibcuda.so.1\t") && text.contains("lib\tlibsystem.so.1\t"), "{text}");
    install("570.124.06", "two");
    fs::remove_file(driver.join("libcuda.so.550.54.15")).unwrap();
    let done = world.run_rooted(["verify", "--format", "json"]);
    let value = done.json();
    // The driver is the machine's, and no part of the lock.
    assert_eq!(
        (done.code, state(&value, "driver")),
        (Some(0), ("differs".to_owned(), Some("other_version".to_owned())))
    );
    assert_eq!(line(&value, "driver").2, "is 570.124.06, was 550.54.15");
    assert_eq!(state(&value, "libsystem.so.1"), ("differs".to_owned(), Some("other_build".to_owned())));
    assert!(!value["checks"].as_array().unwrap().iter().any(|check| check["name"] == "libcuda.so.1"));
}
