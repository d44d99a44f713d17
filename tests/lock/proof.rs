//! What stands in the way of the GPU, on machines with and without one; and that `run --check` does not start then.

use super::*;
use cudashim::proof::{Proof, STOPS, prove};
use cudashim::{Host, Plan, Request};
use std::collections::BTreeMap;

/// A torch with all it needs, on a machine that has a driver of this version, whose libcuda is of that one.
fn machine(driver: Option<(&str, &str)>) -> (World, Venv) {
    let world = World::new();
    let venv = world.venv("venv");
    torch(&venv);
    venv.wheel("nvidia-cublas-cu12", "12.4.5.8", &cublas());
    own_libc(&world);
    if let Some((kernel, libcuda)) = driver {
        gpu(&world, kernel);
        install(&world, libcuda);
    }
    (world, venv)
}

/// The C library of this very process: what is built here needs it.
fn own_libc(world: &World) {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    for line in maps.lines().filter_map(|line| line.split_once('/')) {
        let path = Path::new("/").join(line.1);
        let name = path.file_name().unwrap().to_str().unwrap();
        let copy = world.path("lib/x86_64-linux-gnu").join(name);
        if (name == "libc.so.6" || name.starts_with("ld-linux")) && !copy.exists() {
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(&path, &copy).unwrap();
        }
    }
}

fn gpu(world: &World, kernel: &str) {
    for (path, text) in [("sys/module/nvidia/version", kernel), ("dev/null", ""), ("dev/nvidia0", "")] {
        let path = world.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn install(world: &World, version: &str) {
    let dir = world.path("lib/x86_64-linux-gnu");
    Lib::new("libcuda.so.1").unversioned().defines(&["cuInit"]).build(&dir.join(format!("libcuda.so.{version}")));
    symlink(format!("libcuda.so.{version}"), dir.join("libcuda.so.1")).unwrap();
}

fn host(world: &World, env: &[(&str, &str)]) -> Host {
    let env: BTreeMap<_, _> = env.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Host::new(world.root().to_owned(), env, "/".into())
}

fn request(command: &[&str]) -> Request {
    let python = command.is_empty().then(|| PathBuf::from("/venv"));
    Request { python, command: command.iter().map(Into::into).collect(), ..Request::default() }
}

fn plan(world: &World) -> Plan {
    request(&[]).answer(&host(world, &[])).unwrap().resolution.unwrap().plan
}

/// The ids of what is in the way, with the set handed out.
fn stops(world: &World) -> Vec<&'static str> {
    ids(&proven(world))
}

fn proven(world: &World) -> Proof {
    let answer = request(&[]).answer(&host(world, &[])).unwrap();
    prove(&host(world, &[]), &request(&[]), answer.resolution.as_ref().map(|found| &found.plan)).unwrap()
}

fn ids(proof: &Proof) -> Vec<&'static str> {
    for stop in &proof.stops {
        assert!(STOPS.iter().any(|(id, _)| *id == stop.id) && !stop.hint.is_empty(), "{stop:?}");
    }
    proof.stops.iter().map(|stop| stop.id).collect()
}

#[test]
fn nothing_in_the_way() {
    let (world, _venv) = machine(Some(("550.54.15", "550.54.15")));
    let proof = proven(&world);
    assert_eq!(ids(&proof), [""; 0]);
    assert_eq!(proof.libcuda.as_deref(), Some(Path::new("/lib/x86_64-linux-gnu/libcuda.so.1")));
}

#[test]
fn the_driver() {
    assert_eq!(stops(&machine(None).0), ["no-driver"]);
    let (world, _venv) = machine(None);
    gpu(&world, "550.54.15");
    assert_eq!(stops(&world), ["no-driver"]);
    let (world, _venv) = machine(None);
    install(&world, "550.54.15");
    assert_eq!(stops(&world), ["driver-not-loaded"]);
    let old = proven(&machine(Some(("470.82.01", "470.82.01"))).0);
    assert_eq!((ids(&old), old.libcuda.is_none()), (vec!["driver-too-old"], true));
    assert!(old.stops[0].says.contains("torch 2.5.1+cu124 (CUDA 12.4) needs 525.60.13 or newer"), "{old:?}");
    assert_eq!(stops(&machine(Some(("550.54.15", "535.54.03"))).0), ["driver-mismatch"]);
}

#[test]
fn what_does_not_load() {
    let (world, venv) = machine(Some(("550.54.15", "550.54.15")));
    let plan = plan(&world);
    // Without the plan a copy that lacks a symbol comes first; with it the set loads.
    Lib::new("libcublasLt.so.12").defines(&["cublasLtOther"]).build(&world.path("old/libcublasLt.so.12"));
    let host = || host(&world, &[("LD_LIBRARY_PATH", "/old")]);
    let bare = prove(&host(), &request(&[]), None).unwrap();
    assert_eq!(ids(&bare), ["does-not-load"]);
    assert!(bare.stops[0].says.contains("undefined symbol: cublasLtCreate"), "{bare:?}");
    assert_eq!(ids(&prove(&host(), &request(&[]), Some(&plan)).unwrap()), [""; 0]);
    // The plan's file is gone, and nothing takes its place.
    fs::remove_file(venv.site.join(CUBLAS).join("libcublasLt.so.12")).unwrap();
    assert_eq!(ids(&prove(&host(), &request(&[]), Some(&plan)).unwrap()), ["plan-drifted", "does-not-load"]);
}

#[test]
fn a_torch_without_cuda_beside_a_gpu() {
    let world = World::new();
    let venv = world.venv("venv");
    venv.torch("2.8.0+cpu", None, &[], &[]);
    assert_eq!(stops(&world), [""; 0], "there is no GPU to miss");
    gpu(&world, "535.261.03");
    install(&world, "535.261.03");
    let proof = proven(&world);
    assert_eq!(ids(&proof), ["torch-without-cuda"]);
    // The latest build of it that this driver runs.
    assert!(
        proof.stops[0].hint.contains("/venv/bin/python -m pip install --force-reinstall torch==2.8.0"),
        "{proof:?}"
    );
    assert!(proof.stops[0].hint.contains("/cu12"), "{proof:?}");
}

#[test]
fn onnxruntime_and_jax() {
    let (world, venv) = machine(Some(("550.54.15", "550.54.15")));
    let provider =
        Lib::new("libonnxruntime_providers_cuda.so").unversioned().uses("libcublas.so.12", &["cublasCreate_v2"]);
    let provider = provider.uses("libcurand.so.10", &["curandCreate"]).link("-rpath,$ORIGIN/../../nvidia/curand/lib");
    let provider = [("onnxruntime/capi/libonnxruntime_providers_cuda.so", provider)];
    venv.wheel("onnxruntime-gpu", "1.20.0", &provider);
    let proof = proven(&world);
    assert_eq!(ids(&proof), ["does-not-load"]);
    assert!(proof.stops[0].says.contains("onnxruntime-gpu 1.20.0") && proof.stops[0].says.contains("libcurand.so.10"));
    let curand = Lib::new("libcurand.so.10").defines(&["curandCreate"]);
    venv.wheel("nvidia-curand-cu12", "10.3.5.147", &[("nvidia/curand/lib/libcurand.so.10", curand)]);
    assert_eq!(stops(&world), [""; 0]);
    // The build for the CPU was installed over it.
    fs::remove_file(venv.site.join(provider[0].0)).unwrap();
    venv.wheel("onnxruntime", "1.20.0", &[]);
    let proof = proven(&world);
    assert_eq!(ids(&proof), ["framework-without-cuda"]);
    assert!(proof.stops[0].says.contains("installed over it"), "{proof:?}");

    let (world, venv) = machine(Some(("550.54.15", "550.54.15")));
    venv.wheel("jax", "0.4.35", &[]);
    assert_eq!(stops(&world), [""; 0], "torch is what is served");
    fs::remove_dir_all(venv.site.join("torch")).unwrap();
    assert_eq!(stops(&world), ["framework-without-cuda"]);
    let plugin = Lib::new("xla_cuda_plugin.so").unversioned().uses("libcublas.so.12", &["cublasCreate_v2"]);
    venv.wheel("jax-cuda12-plugin", "0.4.35", &[("jax_plugins/xla_cuda12/xla_cuda_plugin.so", plugin)]);
    assert_eq!(stops(&world), [""; 0]);
    fs::remove_file(world.path("lib/x86_64-linux-gnu/libcuda.so.1")).unwrap();
    fs::remove_file(world.path("lib/x86_64-linux-gnu/libcuda.so.550.54.15")).unwrap();
    assert_eq!(stops(&world), ["no-driver"]);
}

#[test]
fn a_shell_proves_nothing() {
    let (world, _venv) = machine(None);
    fs::create_dir_all(world.path("usr/bin")).unwrap();
    fs::copy("/bin/sh", world.path("usr/bin/sh")).unwrap();
    let proof = prove(&host(&world, &[]), &request(&["/usr/bin/sh"]), None).unwrap();
    assert_eq!(ids(&proof), ["any-environment"]);
}

/// On any machine: with a GPU or without one, a plan that drifted is not started with.
#[test]
fn run_does_not_start_what_is_not_proven() {
    let (world, venv) = locked();
    fs::remove_file(venv.site.join(CUBLAS).join("libcublasLt.so.12")).unwrap();
    let run = |arguments: &[&str], variable: Option<&str>| {
        let mut command = world.cudashim(["run", "--plan", "cudashim.lock"]);
        command.args(arguments).arg("--").arg(venv.python()).arg("--load");
        command.envs(variable.map(|value| ("CUDASHIM_CHECK", value)));
        Seen::of(command.arg(venv.site.join("torch/lib/libtorch_global_deps.so")))
    };
    for done in [run(&["--check"], None), run(&[], Some("1"))] {
        assert_eq!((done.code, done.out.as_str()), (Some(125), ""), "{}", done.err);
        assert!(done.err.contains("error: not started: it would not run as it should\n  - `"), "{}", done.err);
        assert!(done.err.contains("libcublasLt.so.12` is gone\n") && done.err.contains("hint: `cudashim verify"));
        assert!(done.err.contains("the set does not load: "), "{}", done.err);
    }
    for done in [run(&[], None), run(&[], Some("0"))] {
        assert_eq!(done.code, Some(0), "{}", done.err);
        assert!(done.out.contains("cannot open shared object file"), "{}", done.out);
    }
}

/// torch's own parts may take symbols from who loads them, which they do not need by name.
#[test]
fn a_part_that_counts_on_who_loads_it() {
    let (world, venv) = machine(Some(("550.54.15", "550.54.15")));
    let dir = venv.site.join("torch/lib");
    let part = "int late(void);\nint (*use_late)(void) = late;\n";
    crate::support::library(&dir, "libtorch_part.so", part, &["-Wl,-soname,libtorch_part.so"]);
    let whole = Lib::new("libtorch_cuda.so").unversioned().defines(&["late"]).uses("libtorch_part.so", &[]);
    whole.uses("libcublas.so.12", &["cublasCreate_v2"]).link("-rpath,$ORIGIN").build(&dir.join("libtorch_cuda.so"));
    let module = Lib::new("_C.so").unversioned().uses("libtorch_cuda.so", &[]).link("-rpath,$ORIGIN/lib");
    module.build(&venv.site.join("torch/_C.cpython-311-x86_64-linux-gnu.so"));
    assert!(plan(&world).library("libtorch_part.so").is_some(), "it is no part of the plan");
    assert_eq!(stops(&world), [""; 0]);
}
