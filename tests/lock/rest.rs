//! What a user met beside: names of files, homes that cannot be written, the manual page, what a torch does not say.

use super::*;

#[test]
fn a_file_named_by_hand_may_have_any_name() {
    let world = World::new();
    let venv = world.venv("venv");
    torch(&venv);
    venv.wheel("nvidia-cublas-cu12", "12.4.5.8", &cublas());
    fs::create_dir_all(world.path("opt")).unwrap();
    let patched =
        Lib::new("libcublasLt.so.12").defines(&["cublasLtCreate", "mine"]).build(&world.path("opt/patched.bin"));
    let mine = Lib::new("libcublas.so.12").defines(&["cublasCreate_v2"]).uses("libcublasLt.so.12", &["mine"]);
    let mine = mine.build(&world.path("opt/libcublas-mine.so.12.9"));
    let uses = [format!("libcublasLt.so.12={}", patched.display()), format!("libcublas.so.12={}", mine.display())];
    let resolve = |uses: &[String]| {
        let mut command = world.cudashim(["resolve", "--python", "venv", "--format", "json"]);
        command.args(uses.iter().flat_map(|one| ["--use", one]));
        let done = Seen::of(&mut command);
        let value: Value = serde_json::from_str(&done.out).unwrap_or_else(|_| panic!("{}", done.err));
        (done.code, value)
    };
    let (code, value) = resolve(&uses);
    assert_eq!(code, Some(0), "{value:#}");
    let path = |soname: &str| {
        let set = value["set"].as_array().unwrap();
        PathBuf::from(set.iter().find(|library| library["soname"] == soname).unwrap()["path"].as_str().unwrap())
    };
    assert_eq!((path("libcublasLt.so.12"), path("libcublas.so.12")), (patched, mine));
    // One whose soname is another's cannot stand for it.
    Lib::new("libother.so.1").build(&world.path("opt/other.bin"));
    let (code, value) = resolve(&[format!("libcublasLt.so.12={}", world.path("opt/other.bin").display())]);
    assert_eq!(code, Some(1), "{value:#}");
    // And a name of the wheel's own file that is not its soname is as good as the soname.
    fs::hard_link(
        venv.site.join(CUBLAS).join("libcublasLt.so.12"),
        venv.site.join(CUBLAS).join("libcublasLt.so.12.4.5.8"),
    )
    .unwrap();
    let other_name = venv.site.join(CUBLAS).join("libcublasLt.so.12.4.5.8");
    assert_eq!(resolve(&[format!("libcublasLt.so.12={}", other_name.display())]).0, Some(0));
}

#[test]
fn a_home_that_cannot_be_written_stops_nobody() {
    let (world, venv) = locked();
    fs::write(world.path("file"), "").unwrap();
    fs::create_dir_all(world.path("tmp")).unwrap();
    fs::create_dir_all(world.path("runtime")).unwrap();
    fs::set_permissions(world.path("runtime"), fs::Permissions::from_mode(0o700)).unwrap();
    let run = |set: &[(&str, &Path)]| {
        let mut command = world.cudashim(["run", "--"]);
        command.arg(venv.python()).arg("--load").arg(venv.site.join("torch/lib/libtorch_global_deps.so"));
        command.env_remove("CUDASHIM_CACHE").env("HOME", world.path("file")).env("TMPDIR", world.path("tmp"));
        Seen::of(command.envs(set.iter().copied()))
    };
    let own = world.path(&format!("tmp/cudashim-{}", rustix::process::geteuid().as_raw()));
    let done = run(&[]);
    assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (Some(0), "ok\n", ""));
    assert_eq!(fs::metadata(&own).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(own.join("plans").is_dir());
    let done = run(&[("XDG_RUNTIME_DIR", &world.path("runtime"))]);
    assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (Some(0), "ok\n", ""));
    assert!(world.path("runtime/cudashim/plans").is_dir());
    // Others may write to it: it is no place for what decides what is loaded, and the first complaint is told with its path.
    fs::set_permissions(&own, fs::Permissions::from_mode(0o777)).unwrap();
    let done = run(&[]);
    let home = world.path("file/.cache/cudashim");
    assert_eq!(done.code, Some(125));
    assert!(done.err.contains(&*home.to_string_lossy()) && done.err.contains("Not a directory"), "{}", done.err);
    // So may they where they may write to the directory above.
    fs::set_permissions(&own, fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(world.path("tmp"), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(run(&[]).code, Some(125));
    fs::set_permissions(world.path("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    assert_eq!(run(&[]).code, Some(0));
    // What the user names is not passed over.
    assert_eq!(run(&[("CUDASHIM_CACHE", &world.path("file"))]).code, Some(125));
    // ld.so could not name a file in it.
    fs::create_dir_all(world.path("a b")).unwrap();
    assert_eq!(run(&[("HOME", &world.path("a b"))]).code, Some(0));
}

#[test]
fn a_command_that_cannot_be_looked_at_is_not_absent() {
    let world = World::new();
    symlink("loop", world.path("bin/loop")).unwrap();
    for word in ["loop", "./bin/loop"] {
        let done = Seen::of(&mut world.cudashim(["run", word]));
        assert!(done.code == Some(126) && done.err.contains("symbolic links"), "{word}: {:?} {}", done.code, done.err);
    }
    assert_eq!(Seen::of(&mut world.cudashim(["run", "none"])).code, Some(127));
    assert_eq!(Seen::of(&mut world.cudashim(["run", "cudashim.lock/x"])).code, Some(127));
}

#[test]
fn copies_that_are_refused_are_told_of_on_request() {
    let (world, venv) = locked();
    fs::create_dir_all(world.path("old")).unwrap();
    fs::write(world.path("old/libcublasLt.so.12"), "no library").unwrap();
    Lib::new("libcublas.so.12").defines(&["other"]).build(&world.path("old/libcublas.so.12"));
    let run = |arguments: &[&str]| {
        let mut command = world.cudashim(["run"]);
        command.args(arguments).arg("--").arg(venv.python()).env("LD_LIBRARY_PATH", world.path("old"));
        Seen::of(&mut command)
    };
    assert_eq!(run(&[]).err, "");
    // Also of an answer that was kept.
    for _ in 0..2 {
        let done = run(&["-v"]);
        let told = |name: &str| {
            let start = format!("cudashim: not {}: ", world.path("old").join(name).display());
            done.err.lines().any(|line| line.starts_with(&start) && line.len() > start.len())
        };
        assert!(told("libcublas.so.12") && told("libcublasLt.so.12"), "{}", done.err);
    }
}

#[test]
fn the_manual_page_and_what_stands_in_no_help() {
    let world = World::new();
    let page = Seen::of(&mut world.cudashim(["man"]));
    assert_eq!((page.code, page.err.as_str()), (Some(0), ""));
    assert!(page.out.contains(".TH cudashim 1") && page.out.contains("cudashim\\-verify(1)"), "{}", page.out);
    let page = Seen::of(&mut world.cudashim(["man", "verify"]));
    assert!(page.out.contains("cudashim\\-verify \\- ") && page.out.contains("\\-\\-relocate"), "{}", page.out);
    assert_eq!(Seen::of(&mut world.cudashim(["man", "none"])).code, Some(2));
    for shell in ["bash", "zsh", "fish"] {
        let script = Seen::of(&mut world.cudashim(["completions", shell])).out;
        assert!(
            script.contains("relocate") && !script.contains("plan-for") && !script.contains("plan__for"),
            "{shell}"
        );
    }
    assert!(!Seen::of(&mut world.cudashim(["man"])).out.contains("plan\\-for"));
    let odd = Seen::of(&mut world.cudashim(["plan-for", "x"]));
    assert_eq!((odd.code, odd.out.as_str()), (Some(0), "!expected a process ID\n"));
}

#[test]
fn a_torch_for_the_cpu_is_named() {
    let world = World::new();
    world.venv("venv").torch("2.5.1+cpu", None, &[], &[]);
    let done = Seen::of(&mut world.rooted(["resolve", "--python", "/venv", "--format", "json"]));
    let value: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((&value["for"], &value["set"]), (&"torch 2.5.1+cpu".into(), &serde_json::json!([])));
    assert!(value["path"].as_str().unwrap().ends_with("site-packages/torch"));
    assert_eq!(undescribed("resolve.json", &value), [""; 0]);
}

/// A `version.py` that is lost or empty says nothing, and so not that there is no CUDA.
#[test]
fn a_torch_that_does_not_say_its_cuda() {
    let (world, venv) = locked();
    let cuda = |version: &str, text: Option<&str>| {
        let file = venv.site.join("torch/version.py");
        match text {
            Some(text) => fs::write(&file, text).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let dir = venv.site.join(format!("torch-{version}.dist-info"));
        let _ = fs::remove_dir_all(venv.site.join("torch-2.5.1+cu124.dist-info"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("METADATA"), format!("Name: torch\nVersion: {version}\n\n")).unwrap();
        let done = Seen::of(&mut world.cudashim(["resolve", "--python", "venv", "--format", "json"]));
        fs::remove_dir_all(&dir).unwrap();
        let value: Value = serde_json::from_str(&done.out).unwrap_or_else(|_| panic!("{}", done.err));
        value["cuda"].as_str().map(str::to_owned)
    };
    assert_eq!(cuda("2.5.1+cu124", Some("")).as_deref(), Some("12.4"));
    assert_eq!(cuda("2.5.1+cu124", None).as_deref(), Some("12.4"));
    assert_eq!(cuda("2.5.1", Some("")), None);
    let library = Lib::new("libtorch_cuda.so").unversioned().uses("libcublas.so.12", &["cublasCreate_v2"]);
    library.link("-rpath,$ORIGIN/../../nvidia/cublas/lib").build(&venv.site.join("torch/lib/libtorch_cuda.so"));
    assert_eq!(cuda("2.5.1", Some("")).as_deref(), Some("12"));
    assert_eq!(cuda("2.5.1", Some("__version__ = '2.5.1'\ncuda = None\n")), None);
}
