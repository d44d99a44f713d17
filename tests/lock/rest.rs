//! Further cases of users: names of files, read-only homes, the manual page, a torch without version.

use super::*;

#[test]
fn lock_use_takes_a_file_of_any_name() {
    let (world, venv) = torch_machine();
    world.mkdir("opt");
    let patched =
        Lib::new("libcublasLt.so.12").defines(&["cublasLtCreate", "mine"]).build(&world.path("opt/patched.bin"));
    let mine = Lib::new("libcublas.so.12").defines(&["cublasCreate_v2"]).uses("libcublasLt.so.12", &["mine"]);
    let mine = mine.build(&world.path("opt/libcublas-mine.so.12.9"));
    let uses = [format!("libcublasLt.so.12={}", patched.display()), format!("libcublas.so.12={}", mine.display())];
    let resolve = |uses: &[String]| {
        let mut command = world.cudashim(["resolve", "--python", "venv", "--format", "json"]);
        command.args(uses.iter().flat_map(|one| ["--use", one]));
        let done = Process::of(&mut command);
        let value = done.json();
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
fn run_works_with_an_unwritable_home() {
    let (world, venv) = locked();
    world.write("file", "");
    world.mkdir("tmp");
    world.mkdir("runtime");
    world.mode("runtime", 0o700);
    let run = |set: &[(&str, &Path)]| {
        let mut command = world.load(&[], &venv);
        command.env_remove("CUDASHIM_CACHE").env("HOME", world.path("file")).env("TMPDIR", world.path("tmp"));
        Process::of(command.envs(set.iter().copied()))
    };
    let own = world.path(&format!("tmp/cudashim-{}", rustix::process::geteuid().as_raw()));
    let done = run(&[]);
    assert_eq!(done.ok(), "ok\n");
    assert_eq!(fs::metadata(&own).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(own.join("plans").is_dir());
    let done = run(&[("XDG_RUNTIME_DIR", &world.path("runtime"))]);
    assert_eq!(done.ok(), "ok\n");
    assert!(world.path("runtime/cudashim/plans").is_dir());
    // Others may write to it, so it is unfit for plans and shims; the first error is printed with its path.
    fs::set_permissions(&own, fs::Permissions::from_mode(0o777)).unwrap();
    let done = run(&[]);
    let home = world.path("file/.cache/cudashim");
    assert_eq!(done.code, Some(125));
    assert!(done.err.contains(&*home.to_string_lossy()) && done.err.contains("Not a directory"), "{}", done.err);
    // So may they where they may write to the directory above.
    fs::set_permissions(&own, fs::Permissions::from_mode(0o700)).unwrap();
    world.mode("tmp", 0o777);
    assert_eq!(run(&[]).code, Some(125));
    world.mode("tmp", 0o1777);
    assert_eq!(run(&[]).code, Some(0));
    // What the user names is not passed over.
    assert_eq!(run(&[("CUDASHIM_CACHE", &world.path("file"))]).code, Some(125));
    // ld.so could not name a file in it.
    world.mkdir("a b");
    assert_eq!(run(&[("HOME", &world.path("a b"))]).code, Some(0));
}

#[test]
fn run_reports_an_unreadable_command() {
    let world = Machine::new();
    symlink("loop", world.path("bin/loop")).unwrap();
    for word in ["loop", "./bin/loop"] {
        let done = world.run(["run", word]);
        assert!(done.code == Some(126) && done.err.contains("symbolic links"), "{word}: {:?} {}", done.code, done.err);
    }
    assert_eq!(world.run(["run", "none"]).code, Some(127));
    assert_eq!(world.run(["run", "cudashim.lock/x"]).code, Some(127));
}

#[test]
fn resolve_lists_refused_copies_on_request() {
    let (world, venv) = locked();
    world.write("old/libcublasLt.so.12", "no library");
    Lib::new("libcublas.so.12").defines(&["other"]).build(&world.path("old/libcublas.so.12"));
    let run = |arguments: &[&str]| {
        let mut command = world.cudashim(["run"]);
        command.args(arguments).arg("--").arg(venv.python()).env("LD_LIBRARY_PATH", world.path("old"));
        Process::of(&mut command)
    };
    assert_eq!(run(&[]).err, "");
    // Also of an answer that was kept.
    for _ in 0..2 {
        let done = run(&["-v"]);
        let is_listed = |name: &str| {
            let start = format!("cudashim: not {}: ", world.path("old").join(name).display());
            done.err.lines().any(|line| line.starts_with(&start) && line.len() > start.len())
        };
        assert!(is_listed("libcublas.so.12") && is_listed("libcublasLt.so.12"), "{}", done.err);
    }
}

#[test]
fn man_page_documents_variables() {
    let world = Machine::new();
    let page = world.run(["man"]);
    page.ok();
    assert!(page.out.contains(".TH cudashim 1") && page.out.contains("cudashim\\-verify(1)"), "{}", page.out);
    let page = world.run(["man", "verify"]);
    assert!(page.out.contains("cudashim\\-verify \\- ") && page.out.contains("\\-\\-relocate"), "{}", page.out);
    assert_eq!(world.run(["man", "none"]).code, Some(2));
    for shell in ["bash", "zsh", "fish"] {
        let script = world.run(["completions", shell]).out;
        assert!(
            script.contains("relocate") && !script.contains("plan-for") && !script.contains("plan__for"),
            "{shell}"
        );
    }
    assert!(!world.run(["man"]).out.contains("plan\\-for"));
    let odd = world.run(["plan-for", "x"]);
    assert_eq!((odd.code, odd.out.as_str()), (Some(0), "!expected a process ID\n"));
}

#[test]
fn resolve_names_a_cpu_torch() {
    let world = Machine::new();
    world.venv("venv").torch("2.5.1+cpu", None, &[], &[]);
    let value = answer(&mut world.rooted(["resolve", "--python", "/venv"]), "resolve.json").1;
    assert_eq!((&value["for"], &value["set"]), (&"torch 2.5.1+cpu".into(), &serde_json::json!([])));
    assert!(value["path"].as_str().unwrap().ends_with("site-packages/torch"));
}

/// A missing or empty `version.py` records nothing, so it is no evidence of a build without CUDA.
#[test]
fn resolve_infers_the_cuda_of_a_torch() {
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
        let done = world.run(["resolve", "--python", "venv", "--format", "json"]);
        fs::remove_dir_all(&dir).unwrap();
        let value = done.json();
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
