//! `--probe`, as a user sees it.

use crate::support::*;
use std::fs;
use std::path::{Path, PathBuf};

const CUDART: &str = "int cudaRuntimeGetVersion(int *v) { *v = 12040; return 0; }";
const CUBLAS: &str = "int cublasGetProperty(int t, int *v) { *v = 12 - 4 * t; return 0; }";

/// A library of this source.
fn put(path: &Path, source: &str) -> PathBuf {
    let (dir, name) = (path.parent().unwrap(), path.file_name().unwrap().to_str().unwrap());
    fs::create_dir_all(dir).unwrap();
    let built = library(dir, name, source, &[&format!("-Wl,-soname,{name}")]);
    fs::remove_file(dir.join(format!("{name}.c"))).unwrap();
    built
}

fn scan(world: &Machine) -> (serde_json::Value, String) {
    let scan = world.run(["scan", "--probe", "--format", "json", "m"]);
    assert_eq!(scan.code, Some(0), "{}", scan.err);
    (scan.json(), scan.err)
}

fn of<'j>(answer: &'j serde_json::Value, name: &str) -> &'j serde_json::Value {
    let libraries = answer["libraries"].as_array().unwrap();
    libraries.iter().find(|library| library["path"].as_str().unwrap().ends_with(name)).unwrap()
}

fn says(library: &serde_json::Value) -> Vec<&str> {
    let evidence = library["evidence"].as_array().unwrap().iter();
    evidence.filter(|one| one["kind"] == "probe").map(|one| one["says"].as_str().unwrap()).collect()
}

#[test]
fn probe_answer_is_evidence() {
    let world = Machine::new();
    put(&world.path("m/libcudart.so.12"), CUDART);
    put(&world.path("m/libcublas.so.12"), CUBLAS);
    Lib::new("libcufftw.so.11").build(&world.path("m/libcufftw.so.11"));
    let (answer, err) = scan(&world);
    let cudart = of(&answer, "libcudart.so.12");
    assert_eq!(says(cudart), ["cudaRuntimeGetVersion returned 12040, which is 12.4"]);
    assert_eq!((&cudart["version"], &cudart["cuda"]), (&"12.4".into(), &"12.4".into()));
    assert_eq!((&cudart["confidence"], cudart["problems"].as_array().unwrap().len()), (&"certain".into(), 0));
    assert_eq!(of(&answer, "libcublas.so.12")["version"], "12.8.4");
    assert_eq!(says(of(&answer, "libcufftw.so.11")), [""; 0]);
    assert_eq!(err, "cudashim: asked 2 libraries for their versions: 2 answered\n");
}

#[test]
fn probe_answer_that_disagrees_is_a_problem() {
    let world = Machine::new();
    let venv = world.venv("m");
    let path = "nvidia/cuda_runtime/lib/libcudart.so.12";
    venv.wheel("nvidia-cuda-runtime-cu12", "12.1.105", &[(path, Lib::new("libcudart.so.12"))]);
    put(&venv.site.join(path), CUDART);
    let (answer, _) = scan(&world);
    let cudart = of(&answer, path);
    assert_eq!((&cudart["confidence"], &cudart["problems"][0]), (&"unsure".into(), &"altered-file".into()));
    let problem = answer["problems"].as_array().unwrap().iter().find(|one| one["id"] == "probe-disagrees").unwrap();
    assert_eq!(
        problem["says"],
        "cudaRuntimeGetVersion returned 12040, which is 12.4, but its package shows nvidia-cuda-runtime-cu12 12.1.105"
    );
}

#[test]
fn probe_crash_is_a_finding() {
    let world = Machine::new();
    put(&world.path("m/libcublas.so.12"), "#include <stdlib.h>\nint cublasGetProperty(int t, int *v) { abort(); }");
    put(&world.path("m/libcufft.so.11"), "int gone(void); int cufftGetProperty(int t, int *v) { return gone(); }");
    put(&world.path("m/libcusolver.so.11"), "int cusolverGetProperty(int t, int *v) { return 3; }");
    let other = put(&world.path("elsewhere/libmlx5.so.1"), "");
    let needs = ["-Wl,--no-as-needed", other.to_str().unwrap()];
    library(&world.path("m"), "libcurand.so.10", "", &needs);
    let (answer, err) = scan(&world);
    let problems = answer["problems"].as_array().unwrap().iter();
    let found: Vec<String> = problems
        .filter(|one| one["id"].as_str().unwrap().starts_with("probe"))
        .map(|one| format!("{} {}", one["id"].as_str().unwrap(), one["says"].as_str().unwrap()))
        .collect();
    insta::assert_debug_snapshot!(found, @r#"
    [
        "probe-crashed cublasGetProperty crashed with SIGABRT",
        "probe-crashed cufftGetProperty ended the process with exit code 127",
        "probe-not-loaded could not be loaded: libmlx5.so.1: cannot open shared object file: No such file or directory",
    ]
    "#);
    assert_eq!(says(of(&answer, "libcusolver.so.11")), ["cusolverGetProperty returned the error 3"]);
    assert!(err.ends_with("asked 4 libraries for their versions: 0 answered\n"), "{err}");
}

/// A dispatcher with its part in another directory reports that part's version, not its own.
#[test]
fn probe_answer_of_another_copy_is_no_evidence() {
    let world = Machine::new();
    let venv = world.venv("m");
    let graph = "unsigned long part(void) { return 90100; }";
    let graph = put(&venv.site.join("nvidia/cudnn/lib/libcudnn_graph.so.9"), graph);
    let source = "unsigned long part(void); unsigned long cudnnGetVersion(void) { return part(); }";
    let dir = venv.site.join("app.libs");
    fs::create_dir(&dir).unwrap();
    library(&dir, "libcudnn.so.9", source, &["-Wl,-soname,libcudnn.so.9", graph.to_str().unwrap()]);
    let (answer, _) = scan(&world);
    let cudnn = of(&answer, "app.libs/libcudnn.so.9");
    let expected = format!("cudnnGetVersion returned 90100, which is 9.1.0, from `{}`", graph.display());
    assert_eq!((says(cudnn), &cudnn["version"]), (vec![expected.as_str()], &serde_json::Value::Null));
}

#[test]
fn probe_runs_no_file_that_others_may_write() {
    use std::os::unix::fs::PermissionsExt;
    let world = Machine::new();
    let ran = world.path("ran");
    let source = format!(
        "#include <stdio.h>\n__attribute__((constructor)) static void f(void) {{ fclose(fopen(\"{}\", \"w\")); }}\n{CUDART}",
        ran.display()
    );
    let library = put(&world.path("m/libcudart.so.12"), &source);
    for path in [library.clone(), world.path("m")] {
        let before = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        let (answer, err) = scan(&world);
        assert_eq!(says(of(&answer, "libcudart.so.12")), [""; 0]);
        assert!(err.contains("did not load 1 library, which others can write to"), "{err}");
        assert!(!ran.exists());
        fs::set_permissions(&path, before).unwrap();
    }
    assert_eq!(says(of(&scan(&world).0, "libcudart.so.12")).len(), 1);
    assert!(ran.exists());
}

#[test]
fn probe_inspects_one_file() {
    let world = Machine::new();
    put(&world.path("m/libcudart.so.12"), CUDART);
    put(&world.path("m/libother.so.1"), "");
    put(&world.path("m/libcufftw.so.11"), "");
    let Process { code, out, err } = world.run(["inspect", "--probe", "m/libcudart.so.12"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("probe: cudaRuntimeGetVersion returned 12040, which is 12.4\n"), "{out}");
    let mut all = String::new();
    for (arguments, expected) in [
        (&["inspect", "--probe", "m/libother.so.1"][..], 0),
        (&["inspect", "--probe", "m/libcufftw.so.11"], 0),
        (&["inspect", "--probe", "--root", ".", "/m/libcudart.so.12"], 2),
        (&["scan", "--probe", "--root", "."], 2),
    ] {
        let Process { code, out, err } = world.run(arguments);
        assert_eq!((code, out.is_empty()), (Some(expected), expected == 2), "{arguments:?}");
        all += &err;
    }
    insta::assert_snapshot!(all, @"
    cudashim: cannot ask `m/libother.so.1` for its version: it is not named like a library of NVIDIA's
    cudashim: cannot ask `m/libcufftw.so.11` for its version: it has no version function
    error: `--root` cannot be used here: libraries of an image cannot be loaded here

    Usage: cudashim [OPTIONS] <COMMAND>

    For more information, try '--help'.
    error: `--root` cannot be used here: libraries of an image cannot be loaded here

    Usage: cudashim [OPTIONS] <COMMAND>

    For more information, try '--help'.
    ");
    let Process { code, err, .. } = world.run(["scan", "--probe", "home"]);
    assert_eq!((code, err.contains("no library here can be asked")), (Some(0), true), "{err}");
}
