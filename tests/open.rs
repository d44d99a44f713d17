//! Opening a plan in a process, and the examples as a newcomer runs them.
//!
//! What is loaded is never unloaded, so each case runs in a separate process: the test binary, started again for
//! that one test.
#![expect(unsafe_code, reason = "dlopen and dlsym, as a caller of the crate would")]
#![allow(clippy::unwrap_used)] // A failure is the test's answer.

use crate::support::*;
use cudashim::Host;
use cudashim::internal::launch::{CallError, LoadError, Origin};
use cudashim::internal::loader::Objects;
use cudashim::internal::plan::{How, Plan, PlanLibrary};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const RUNTIME: &str = "int cudaRuntimeGetVersion(int *v) { *v = 12040; return 0; }";
const OLD_RUNTIME: &str = "int cudaRuntimeGetVersion(int *v) { *v = 12010; return 0; }";
const DRIVER: &str = "int cuDriverGetVersion(int *v) { *v = 13000; return 0; }";
/// Ends the process, as cuDNN does where it cannot open a part.
const DISPATCHER: &str = "void abort(void); __SIZE_TYPE__ cudnnGetVersion(void) { abort(); }";
const GRAPH: &str = "__SIZE_TYPE__ cudnnGetVersion(void) { return 90100; }";

/// Runs the body in a child process; `name` is the test's own path.
fn in_child(name: &str, body: impl FnOnce(&Path)) {
    const CHILD: &str = "CUDASHIM_TEST_CHILD";
    if std::env::var_os(CHILD).is_some_and(|child| child == *name) {
        let dir = tempfile::tempdir().unwrap();
        // As the kernel names it in /proc/self/maps.
        return body(&dir.path().canonicalize().unwrap());
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(CHILD, name)
        .output()
        .unwrap();
    let said = text(&output);
    assert!(output.status.success() && said.contains("1 passed"), "{name} in its child: {}\n{said}", output.status);
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A library of that soname at `dir`/`path`; `needs` are libraries to link with, which are not found at run time.
fn build(dir: &Path, path: &str, source: &str, needs: &[&Path]) -> PathBuf {
    let soname = format!("-Wl,-soname,{}", Path::new(path).file_name().unwrap().display());
    let mut args = vec![soname.as_str(), "-Wl,--no-as-needed"];
    args.extend(needs.iter().map(|path| path.to_str().unwrap()));
    library(dir, path, source, &args)
}

fn planned(path: &Path, how: How) -> PlanLibrary {
    let stat = Host::current().stat(path).unwrap();
    PlanLibrary {
        soname: path.file_name().unwrap().to_str().unwrap().to_owned(),
        path: path.to_owned(),
        id: stat.id,
        size: stat.size,
        mtime: stat.mtime,
        identity: None,
        version: None,
        how,
    }
}

fn plan(paths: &[&Path]) -> Plan {
    Plan { libraries: paths.iter().map(|path| planned(path, How::Redirect)).collect(), ..Plan::default() }
}

/// The files in this process' map whose name contains `name`.
fn mapped(name: &str) -> Vec<String> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut files: Vec<String> = maps.lines().filter_map(|line| Some(line[line.find('/')?..].to_owned())).collect();
    files.retain(|path| path.contains(name));
    files.sort();
    files.dedup();
    files
}

fn sonames(set: &cudashim::LoadedSet) -> Vec<&str> {
    set.libraries().iter().map(|library| library.soname.as_str()).collect()
}

#[test]
fn open_loads_a_set_that_answers() {
    in_child("open::open_loads_a_set_that_answers", |dir| {
        let runtime = build(dir, "libcudart.so.12", RUNTIME, &[]);
        let driver = build(dir, "libcuda.so.1", DRIVER, &[]);
        let graph = build(dir, "libcudnn_graph.so.9", GRAPH, &[]);
        let dispatcher = build(dir, "libcudnn.so.9", DISPATCHER, &[]);
        let set = plan(&[&runtime, &driver, &graph, &dispatcher]).load().unwrap();
        assert_eq!(set.runtime_version().unwrap().unwrap().to_string(), "12.4");
        assert_eq!(set.driver_version().unwrap().unwrap().to_string(), "13.0");
        assert_eq!(set.cudnn_version().unwrap().unwrap().to_string(), "9.1.0");
        assert!(set.libraries().iter().all(|library| library.origin == Origin::Opened));
        assert_eq!(set.mapped_before().count(), 0);
        drop(set);
        assert_eq!(mapped("libcudart.so.12"), [runtime.to_str().unwrap()], "a dropped set closes nothing");
    });
}

#[test]
fn open_loads_needed_first_and_nothing_else() {
    in_child("open::open_loads_needed_first_and_nothing_else", |dir| {
        let runtime = build(dir, "a/libcudart.so.12", RUNTIME, &[]);
        let light = build(dir, "b/libcublasLt.so.12", "int light(void) { return 1; }", &[]);
        // No run path: ld.so finds the needed library only if it is mapped by then.
        let full = build(dir, "c/libcublas.so.12", "int light(void); int full(void) { return light(); }", &[&light]);
        let kept = build(dir, "d/libkept.so.1", "", &[]);
        let mut plan = plan(&[&runtime, &light, &full]);
        plan.libraries.push(planned(&kept, How::Keep));
        plan.aliases = vec![("libcublas.so".to_owned(), "libcublas.so.12".to_owned())];
        let set = plan.load_only(&["libcublas.so"]).unwrap();
        assert_eq!(sonames(&set), ["libcublasLt.so.12", "libcublas.so.12"]);
        assert!(mapped("libcudart").is_empty() && mapped("libkept").is_empty());
        assert_eq!(set.runtime_version().unwrap(), None);
        assert_eq!(set.driver_version().unwrap(), None);
        assert_eq!(set.cudnn_version().unwrap(), None);
        // SAFETY: the function was built from that declaration above.
        let full: extern "C" fn() -> i32 = unsafe { set.symbol("libcublas.so.12", "full") }.unwrap();
        assert_eq!(full(), 1);
        // SAFETY: nothing is called through it.
        let none = unsafe { set.symbol::<*const i32>("libcublas.so.12", "absent") };
        assert!(matches!(none, Err(CallError::NoSymbol { symbol, .. }) if symbol == "absent"));
        let all = plan.load().unwrap();
        assert_eq!(sonames(&all), ["libcudart.so.12", "libcublasLt.so.12", "libcublas.so.12"]);
        assert_eq!(all.libraries()[1].origin, Origin::Present);
        let unknown = plan.load_only(&["libcufft.so.11"]).unwrap_err();
        assert_eq!(unknown.to_string(), "the plan has no `libcufft.so.11`");
    });
}

#[test]
fn open_refuses_a_changed_file() {
    in_child("open::open_refuses_a_changed_file", |dir| {
        let runtime = build(dir, "libcudart.so.12", RUNTIME, &[]);
        let plan = plan(&[&runtime]);
        fs::OpenOptions::new().append(true).open(&runtime).unwrap().set_len(1 << 20).unwrap();
        let error = plan.load().unwrap_err();
        assert!(
            matches!(&error, LoadError::Changed { soname, path } if soname == "libcudart.so.12" && *path == runtime)
        );
        fs::remove_file(&runtime).unwrap();
        let error = plan.load().unwrap_err();
        assert!(matches!(&error, LoadError::Gone { path, .. } if *path == runtime));
        assert!(error.to_string().starts_with("libcudart.so.12: `/") && !error.hints().is_empty());
        assert!(mapped("libcudart").is_empty());
        fs::write(&runtime, "not ELF").unwrap();
        let error = self::plan(&[&runtime]).load_only(&["libcudart.so.12"]).unwrap_err();
        assert!(matches!(&error, LoadError::Open { path, .. } if *path == runtime));
        let mut relative = self::plan(&[&runtime]);
        relative.libraries[0].path = "libcudart.so.12".into();
        assert!(matches!(relative.load().unwrap_err(), LoadError::NotAbsolute { .. }));
    });
}

#[test]
fn open_maps_no_soname_twice() {
    in_child("open::open_maps_no_soname_twice", |dir| {
        let ours = build(dir, "ours/libcudart.so.12", RUNTIME, &[]);
        let other = build(dir, "other/libcudart.so.12", OLD_RUNTIME, &[]);
        // SAFETY: built above, without initialisers.
        let before = unsafe { libloading::Library::new(&other) }.unwrap();
        let set = plan(&[&ours]).load().unwrap();
        let displaced: Vec<_> = set.mapped_before().map(|library| &library.origin).collect();
        assert_eq!(displaced, [&Origin::Other(other.clone())]);
        assert_eq!(mapped("libcudart.so.12"), [other.to_str().unwrap()]);
        let error = set.runtime_version().unwrap_err();
        assert!(matches!(&error, CallError::Elsewhere { path, mapped, .. } if *path == ours && *mapped == other));
        drop(before);
    });
}

#[test]
fn open_maps_no_replaced_library_twice() {
    in_child("open::open_maps_no_replaced_library_twice", |dir| {
        let path = build(dir, "libcudart.so.12", OLD_RUNTIME, &[]);
        // SAFETY: built above, without initialisers.
        let before = unsafe { libloading::Library::new(&path) }.unwrap();
        fs::remove_file(&path).unwrap();
        build(dir, "libcudart.so.12", RUNTIME, &[]);
        let set = plan(&[&path]).load().unwrap();
        let gone = PathBuf::from(format!("{} (deleted)", path.display()));
        assert_eq!(set.libraries()[0].origin, Origin::Other(gone));
        assert_eq!(mapped("libcudart.so.12").len(), 1);
        drop(before);
    });
}

#[test]
fn open_ignores_a_file_mapped_for_reading() {
    in_child("open::open_ignores_a_file_mapped_for_reading", |dir| {
        let ours = build(dir, "ours/libcudart.so.12", RUNTIME, &[]);
        let other = build(dir, "other/libcudart.so.12", OLD_RUNTIME, &[]);
        let host = Host::current();
        let objects = Objects::new(&host);
        let read = objects.open(&other).unwrap();
        assert_eq!(mapped("other/libcudart.so.12").len(), 1, "the inventory maps what it reads");
        let set = plan(&[&ours]).load().unwrap();
        assert_eq!(set.runtime_version().unwrap().unwrap().to_string(), "12.4");
        drop(read);
    });
}

#[test]
fn open_calls_no_dispatcher_without_its_part() {
    in_child("open::open_calls_no_dispatcher_without_its_part", |dir| {
        let dispatcher = build(dir, "libcudnn.so.9", DISPATCHER, &[]);
        let alone = plan(&[&dispatcher]).load().unwrap();
        assert!(matches!(alone.cudnn_version().unwrap_err(), CallError::NoPart { source: None, .. }));
        // A part that cannot be loaded: what it needs is not there.
        let absent = build(dir, "absent/libgone.so.1", "", &[]);
        let graph = build(dir, "libcudnn_graph.so.9", GRAPH, &[&absent]);
        fs::remove_file(absent).unwrap();
        let broken = plan(&[&graph, &dispatcher]).load_only(&["libcudnn.so.9"]).unwrap();
        assert!(matches!(broken.cudnn_version().unwrap_err(), CallError::NoPart { source: Some(_), .. }));
        let rest = plan(&[&graph, &dispatcher]).load().unwrap();
        assert_eq!(sonames(&rest), ["libcudnn.so.9"]);
        assert!(matches!(rest.left_out(), [LoadError::Open { soname, .. }] if soname == "libcudnn_graph.so.9"));
        let mut needed = plan(&[&graph, &dispatcher]);
        needed.libraries[0].how = How::Preload;
        assert!(matches!(needed.load().unwrap_err(), LoadError::Open { .. }));
        // cuDNN before 8 is one library.
        let whole = build(dir, "libcudnn.so.7", "__SIZE_TYPE__ cudnnGetVersion(void) { return 7605; }", &[]);
        let whole = plan(&[&whole]).load().unwrap();
        assert_eq!(whole.cudnn_version().unwrap().unwrap().to_string(), "7.6.5");
    });
}

#[test]
fn open_reports_a_refused_load() {
    in_child("open::open_reports_a_refused_load", |dir| {
        let runtime = build(dir, "libcudart.so.12", "int cudaRuntimeGetVersion(int *v) { return 35; }", &[]);
        let driver = build(dir, "libcuda.so.1", "int cuDriverGetVersion(int *v) { *v = 7; return 0; }", &[]);
        let set = plan(&[&runtime, &driver]).load().unwrap();
        assert!(matches!(set.runtime_version().unwrap_err(), CallError::Status { status: 35, .. }));
        assert!(matches!(set.driver_version().unwrap_err(), CallError::Implausible { value, .. } if value == "7"));
    });
}

/// An example, built beside this binary.
fn example(name: &str) -> Command {
    let this = std::env::current_exe().unwrap();
    let path = this.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(path.is_file(), "`{}` is not built: run `cargo build --examples`", path.display());
    let mut command = Command::new(path);
    command.env_clear();
    command
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, text(&output));
    text(&output)
}

#[test]
fn examples_on_an_empty_machine() {
    let empty = tempfile::tempdir().unwrap();
    let run = |name| run(example(name).env("PATH", empty.path()).env("HOME", empty.path()).current_dir(empty.path()));
    assert!(run("01-find-libraries").contains("librar"));
    assert!(run("02-find-torch").starts_with("no Python found"));
    assert!(run("03-choose-a-set").starts_with("nothing to choose: no Python found"));
    assert!(run("04-load-and-ask").starts_with("no Python found"));
    assert!(run("05-what-is-wrong").contains("driver"));
    assert!(run("06-after-a-change").starts_with("unchanged: "));
}

#[test]
fn examples_on_a_machine_with_torch() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let site = Path::new("venv/lib/python3.12/site-packages");
    let at = |path: &str| site.join(path).display().to_string();
    let runtime = build(dir, &at("nvidia/cuda_runtime/lib/libcudart.so.12"), RUNTIME, &[]);
    let dispatcher = build(dir, &at("nvidia/cudnn/lib/libcudnn.so.9"), DISPATCHER, &[]);
    build(dir, &at("nvidia/cudnn/lib/libcudnn_graph.so.9"), GRAPH, &[]);
    build(dir, &at("torch/lib/libtorch_global_deps.so"), "", &[&runtime, &dispatcher]);
    build(dir, "driver/libcuda.so.1", DRIVER, &[]);
    let size = fs::metadata(&runtime).unwrap().len();
    let wheel = at("nvidia_cuda_runtime_cu12-12.4.127.dist-info");
    let files = [
        ("venv/pyvenv.cfg".to_owned(), "home = /usr/bin\nversion_info = 3.12.4\n".to_owned()),
        ("venv/bin/python".to_owned(), String::new()),
        (at("torch/__init__.py"), String::new()),
        (at("torch/version.py"), "__version__ = '2.5.1+cu124'\ncuda: Optional[str] = '12.4'\n".to_owned()),
        (
            at("torch-2.5.1.dist-info/METADATA"),
            "Name: torch\nVersion: 2.5.1\nRequires-Dist: nvidia-cuda-runtime-cu12==12.4.127\n\n".to_owned(),
        ),
        (format!("{wheel}/METADATA"), "Name: nvidia-cuda-runtime-cu12\nVersion: 12.4.127\n\n".to_owned()),
        (format!("{wheel}/RECORD"), format!("nvidia/cuda_runtime/lib/libcudart.so.12,,{size}\n")),
        ("cuda-12.6/bin/nvcc".to_owned(), String::new()),
        ("cuda-12.6/version.json".to_owned(), r#"{"cuda": {"name": "CUDA SDK", "version": "12.6.3"}}"#.to_owned()),
    ];
    for (path, content) in files {
        fs::create_dir_all(dir.join(&path).parent().unwrap()).unwrap();
        fs::write(dir.join(&path), content).unwrap();
    }
    let run = |name| {
        let mut command = example(name);
        command.env("VIRTUAL_ENV", dir.join("venv")).env("PATH", dir.join("cuda-12.6/bin")).env("HOME", dir);
        run(command.env("LD_LIBRARY_PATH", dir.join("driver")).current_dir(dir))
    };
    let says = |name, lines: &[&str]| {
        let said = run(name);
        for line in lines {
            assert!(said.contains(line), "{name} does not say `{line}`:\n{said}");
        }
    };
    says("01-find-libraries", &["nvidia-cuda-runtime-cu12", "libcudnn_graph.so.9"]);
    says(
        "02-find-torch",
        &["torch 2.5.1+cu124 in ", "built with CUDA 12.4", "pins nvidia-cuda-runtime-cu12 ==12.4.127"],
    );
    says("03-choose-a-set", &["12.4.127         the only copy", runtime.to_str().unwrap()]);
    says("04-load-and-ask", &["libcudart.so.12          Opened", "runtime: 12.4", "cuDNN: 9.1.0"]);
    says(
        "05-what-is-wrong",
        &["fatal (library-not-found): `libtorch_global_deps.so` needs", "is not in any search path"],
    );
    says("06-after-a-change", &["without LD_LIBRARY_PATH: ", "with the chosen set handed out: "]);
    // Where a driver is installed, its libcuda may be preferred to the one built here.
    let here =
        ["/sys/module/nvidia/version", "/proc/driver/nvidia/version"].iter().any(|path| Path::new(path).exists());
    says("04-load-and-ask", &[if here { "driver: " } else { "driver: 13.0" }]);
}
