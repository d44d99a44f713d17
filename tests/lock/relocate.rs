//! The same files found where they stand now, and nothing else taken for them.

use super::*;

fn load(world: &Machine, venv: &Venv, plan: &str) -> Process {
    Process::of(&mut world.load(&["--plan", plan], venv))
}

#[test]
fn relocate_a_moved_environment() {
    let (world, _venv) = locked();
    fs::rename(world.path("venv"), world.path("moved")).unwrap();
    let moved = Venv { dir: world.path("moved"), site: world.path("moved/lib/python3.11/site-packages") };
    let (code, value) = verify(&world, &[]);
    assert_eq!(code, 1);
    assert_eq!((state(&value, "torch"), state(&value, "program")), (drifted("gone"), drifted("gone")));
    assert!(value["hints"][0].as_str().unwrap().contains("--relocate"), "{value:#}");
    // Nothing records where it moved.
    let (code, value) = verify(&world, &["--relocate"]);
    assert_eq!((code, &value["relocated"]), (1, &Value::Null));
    assert!(value["hints"][0].as_str().unwrap().contains("--python"), "{value:#}");
    let before = fs::read(world.path("cudashim.lock")).unwrap();
    let (code, value) = verify(&world, &["--python", "moved", "--relocate", "-o", "here.lock"]);
    assert_eq!((code, value["relocated"].as_str()), (0, Some("here.lock")), "{value:#}");
    assert_eq!(fs::read(world.path("cudashim.lock")).unwrap(), before);
    assert_eq!(verify(&world, &["here.lock"]).0, 0);
    let text = world.read("here.lock");
    assert!(!text.contains(&*world.path("venv").to_string_lossy()), "{text}");
    assert_eq!(load(&world, &moved, "here.lock").out, "ok\n");
    // It is what a lock made there would be.
    assert_eq!(world.run(["lock", "--python", "moved", "-o", "here.lock", "--check"]).code, Some(0));
}

/// However the environment is spelt.
#[test]
fn a_lock_is_the_same_by_any_path_of_the_environment() {
    let (world, venv) = locked();
    let first = fs::read_to_string(world.path("cudashim.lock")).unwrap();
    fs::create_dir(world.path("opt")).unwrap();
    for spelt in [PathBuf::from("opt/../venv"), PathBuf::from("./venv/bin/python"), venv.dir.clone()] {
        let mut command = world.cudashim(["lock", "-o", "again.lock", "--python"]);
        assert_eq!(Process::of(command.arg(&spelt)).code, Some(0), "{spelt:?}");
        assert_eq!(fs::read_to_string(world.path("again.lock")).unwrap(), first, "{spelt:?}");
        fs::remove_file(world.path("again.lock")).unwrap();
    }
    let mut command = world.cudashim(["run", "--plan", "cudashim.lock", "--", "opt/../venv/bin/python", "--load"]);
    let seen = Process::of(command.arg(venv.site.join("torch/lib/libtorch_global_deps.so")));
    assert_eq!((seen.code, seen.out.as_str(), seen.err.as_str()), (Some(0), "ok\n", ""));
}

/// Another checkout, container or node: an environment of its own, with the same builds.
#[test]
fn a_lock_holds_wherever_the_same_builds_are() {
    let (world, _venv) = locked();
    let other = Machine::new();
    let venv = other.venv("elsewhere/env");
    torch_with_cublas(&venv);
    venv.wheel("nvidia-cublas-cu12", "12.4.5.8", &cublas());
    fs::copy(world.path("cudashim.lock"), other.path("cudashim.lock")).unwrap();
    let (code, value) = verify(&other, &["--python", "elsewhere/env"]);
    assert_eq!((code, &value["holds"]), (0, &true.into()), "{value:#}");
    let ran = load(&other, &venv, "cudashim.lock");
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(0), "ok\n", ""));
    // A lock made there is the same but for where it says the environment was.
    assert_eq!(
        Process::of(&mut other.cudashim(["lock", "--python", "elsewhere/env", "-o", "there.lock"])).code,
        Some(0)
    );
    let lines = |path: PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        text.lines().filter(|line| !line.starts_with("environment\t")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(lines(other.path("there.lock")), lines(world.path("cudashim.lock")));
    // Another torch is another matter, and said.
    fs::write(venv.site.join("torch/version.py"), "__version__ = '2.6.0+cu124'\ncuda = '12.4'\n").unwrap();
    let refused = load(&other, &venv, "cudashim.lock");
    assert_eq!((refused.code, refused.out.as_str()), (Some(125), ""));
    assert!(refused.err.contains("torch is 2.6.0+cu124, was 2.5.1+cu124"), "{}", refused.err);
}

#[test]
fn relocate_moved_libraries() {
    let (world, venv) = locked();
    world.mkdir("opt");
    fs::rename(venv.site.join("nvidia"), world.path("opt/nvidia")).unwrap();
    let (code, value) = verify(&world, &["--relocate"]);
    assert_eq!(code, 1);
    let why = value["not_relocated"].as_array().unwrap();
    assert_eq!(why[0], "2 libraries are not found on this machine");
    assert!(why[1].as_str().unwrap().contains("12.4.5.8 (build-id:"), "{value:#}");
    let place = ["--relocate", "--place", "opt/nvidia/cublas/lib"];
    let (code, value) = verify(&world, &place);
    assert_eq!((code, value["relocated"].as_str()), (0, Some("cudashim.lock")), "{value:#}");
    // They stand outside of the environment: a lock alone is no reason to load them.
    let alone = load(&world, &venv, "cudashim.lock");
    assert!(alone.err.contains("is outside the environment of the command"), "{}", alone.err);
    let mut command = world.load(&["--plan", "cudashim.lock", "--place", "opt/nvidia/cublas/lib"], &venv);
    assert_eq!(Process::of(&mut command).out, "ok\n");
    let text = world.read("cudashim.lock");
    assert!(text.contains("/opt/nvidia/cublas/lib/libcublas.so.12\t") && text.contains("\t12.4.5.8\t"), "{text}");
    // Once here, there is nothing left to do.
    assert_eq!(verify(&world, &place).1["relocated"], Value::Null);
}

#[test]
fn relocate_copied_files() {
    let (world, venv) = locked();
    let file = venv.site.join(CUBLAS).join("libcublas.so.12");
    let bytes = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    fs::write(&file, &bytes).unwrap();
    // The same bytes as another file: after a copy, on another mount of an image. Both take it for what it is.
    let ran = load(&world, &venv, "cudashim.lock");
    assert_eq!(ran.quiet(), "ok\n");
    let (code, value) = verify(&world, &[]);
    assert_eq!((code, state(&value, "libcublas.so.12").0.as_str()), (0, "holds"));
    assert_eq!(verify(&world, &["--relocate"]).0, 0);
    let ran = load(&world, &venv, "cudashim.lock");
    assert_eq!(ran.quiet(), "ok\n");
}

#[test]
fn relocate_takes_no_other_build() {
    let (world, venv) = locked();
    let file = venv.site.join(CUBLAS).join("libcublasLt.so.12");
    Lib::new("libcublasLt.so.12").defines(&["cublasLtCreate", "cublasLtNew"]).build(&file);
    let before = fs::read(world.path("cudashim.lock")).unwrap();
    let (code, value) = verify(&world, &["--relocate"]);
    assert_eq!(code, 1);
    let why = value["not_relocated"].as_array().unwrap();
    assert_eq!(why[0], "one library is not found on this machine");
    assert!(why[1].as_str().unwrap().contains(&format!("`{}` is 12.4.5.8", file.display())), "{value:#}");
    assert_eq!(fs::read(world.path("cudashim.lock")).unwrap(), before);
}

#[test]
fn relocate_cannot_fix_another_torch() {
    let (world, _venv) = locked();
    let other = world.venv("other");
    torch_with_cublas(&other);
    other.wheel("nvidia-cublas-cu12", "12.4.5.8", &cublas());
    fs::write(other.site.join("torch/version.py"), "__version__ = '2.6.0+cu124'\ncuda = '12.4'\n").unwrap();
    fs::remove_dir_all(world.path("venv")).unwrap();
    let (code, value) = verify(&world, &["--python", "other", "--relocate"]);
    assert_eq!(code, 1);
    let why = value["not_relocated"][0].as_str().unwrap();
    assert!(why.contains("for torch 2.5.1+cu124, but torch 2.6.0+cu124 is installed"), "{why}");
}

/// What an environment has besides is not of the lock.
#[test]
fn relocate_ignores_what_else_is_installed() {
    let (world, venv) = locked();
    venv.nvidia("nccl", "2.21.5", Lib::new("libnccl.so.2").unversioned());
    fs::rename(world.path("venv"), world.path("moved")).unwrap();
    assert_eq!(verify(&world, &["--python", "moved", "--relocate"]).0, 0);
    let text = world.read("cudashim.lock");
    assert!(!text.contains("libnccl"), "{text}");
    let fresh = world.run(["lock", "--python", "moved", "-o", "fresh.lock"]);
    assert_eq!(fresh.code, Some(0));
    assert!(world.read("fresh.lock").contains("lib\tlibnccl.so.2\t"));
}

/// The environment that is named comes first, also where the files of the lock still stand.
#[test]
fn relocate_a_copied_environment() {
    let (world, venv) = locked();
    let copied = Command::new("cp").arg("-r").arg(&venv.dir).arg(world.path("copy")).status().unwrap();
    assert!(copied.success());
    // It holds in the copy as it is, and hands out what that has.
    let (code, value) = verify(&world, &["--python", "copy"]);
    assert_eq!((code, state(&value, "torch")), (0, holds()));
    assert!(line(&value, "libcublas.so.12").2.contains(&*world.path("copy").to_string_lossy()), "{value:#}");
    assert_eq!(verify(&world, &["--python", "copy", "--relocate", "-o", "copy.lock"]).0, 0);
    let text = world.read("copy.lock");
    assert!(!text.contains(&*venv.dir.to_string_lossy()), "{text}");
}

#[test]
fn relocate_a_file_with_its_own_name() {
    let (world, _venv) = locked();
    let path = Lib::new("libcublasLt.so.12").defines(&["cublasLtCreate", "mine"]).build(&world.path("opt/patched.bin"));
    let fixed = format!("libcublasLt.so.12={}", path.display());
    let beside = Lib::new("libcublas.so.12").defines(&["cublasCreate_v2"]).uses("libcublasLt.so.12", &["mine"]);
    let beside = format!("libcublas.so.12={}", beside.build(&world.path("opt/other.bin")).display());
    let lock = world.run(["lock", "--python", "venv", "--use", &fixed, "--use", &beside]);
    assert_eq!(lock.code, Some(0), "{}", lock.err);
    fs::rename(world.path("venv"), world.path("moved")).unwrap();
    let (code, value) = verify(&world, &["--python", "moved", "--relocate"]);
    assert_eq!(code, 0, "{value:#}");
    let text = world.read("cudashim.lock");
    assert!(text.contains(&*path.to_string_lossy()), "{text}");
}
