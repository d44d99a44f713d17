//! What stands in the way of the GPU, on machines with and without one; and that `run --check` does not start then.

use super::*;
use cudashim::internal::diagnose::{Finding, in_the_way};
use cudashim::{Host, Machine, Plan, Request};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

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
    for (path, text) in [
        ("sys/module/nvidia/version", kernel),
        ("dev/null", ""),
        ("dev/nvidia0", ""),
        ("dev/nvidiactl", ""),
        ("dev/nvidia-uvm", ""),
    ] {
        let path = world.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
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

/// What is in the way of a command with a plan, or without one.
fn prove(host: Host, request: Request, plan: Option<&Plan>) -> Vec<Finding> {
    let machine = Machine::new(host, request);
    let machine = plan.into_iter().fold(machine, |machine, plan| machine.with_plan(plan.clone()));
    in_the_way(&machine.answered().unwrap())
}

/// The ids of what is in the way, with the set handed out.
fn stops(world: &World) -> Vec<&'static str> {
    ids(&proven(world))
}

fn proven(world: &World) -> Vec<Finding> {
    let answer = request(&[]).answer(&host(world, &[])).unwrap();
    prove(host(world, &[]), request(&[]), answer.resolution.as_ref().map(|found| &found.plan))
}

fn ids(stops: &[Finding]) -> Vec<&'static str> {
    stops.iter().map(|stop| stop.id).collect()
}

#[test]
fn nothing_in_the_way() {
    let (world, _venv) = machine(Some(("550.54.15", "550.54.15")));
    assert_eq!(stops(&world), [""; 0]);
}

#[test]
fn the_driver() {
    assert_eq!(stops(&machine(None).0), ["no-driver"]);
    let (world, _venv) = machine(None);
    gpu(&world, "550.54.15");
    assert_eq!(stops(&world), ["half-a-driver"]);
    let (world, _venv) = machine(None);
    install(&world, "550.54.15");
    assert_eq!(stops(&world), ["driver-unknown"]);
    let old = proven(&machine(Some(("470.82.01", "470.82.01"))).0);
    assert_eq!(ids(&old), ["driver-too-old"]);
    assert!(old[0].cause.starts_with("torch 2.5.1+cu124 needs 525"), "{old:?}");
    assert_eq!(stops(&machine(Some(("550.54.15", "535.54.03"))).0), ["nvml-kernel-user-mismatch"]);
}

#[test]
fn what_does_not_load() {
    let (world, venv) = machine(Some(("550.54.15", "550.54.15")));
    let plan = plan(&world);
    // Without the plan a copy that lacks a symbol comes first; with it the set loads.
    Lib::new("libcublasLt.so.12").defines(&["cublasLtOther"]).build(&world.path("old/libcublasLt.so.12"));
    let host = || host(&world, &[("LD_LIBRARY_PATH", "/old")]);
    let bare = prove(host(), request(&[]), None);
    assert_eq!(ids(&bare), ["cublaslt-older-wins"]);
    assert!(bare[0].cause.contains("needs `cublasLtCreate`"), "{bare:?}");
    assert_eq!(ids(&prove(host(), request(&[]), Some(&plan))), [""; 0]);
    // The plan's file is gone, and nothing takes its place.
    fs::remove_file(venv.site.join(CUBLAS).join("libcublasLt.so.12")).unwrap();
    assert_eq!(ids(&prove(host(), request(&[]), Some(&plan))), ["cublaslt-older-wins", "no-set", "plan-drifted"]);
}

#[test]
fn a_torch_without_cuda_beside_a_gpu() {
    let world = World::new();
    let venv = world.venv("venv");
    venv.torch("2.8.0+cpu", None, &[], &[]);
    assert_eq!(stops(&world), [""; 0], "there is no GPU to miss");
    gpu(&world, "535.261.03");
    install(&world, "535.261.03");
    let found = proven(&world);
    assert_eq!(ids(&found), ["silent-cpu-fallback"]);
    // The latest build of it that this driver runs.
    let line = found[0].remedies[0].as_command().unwrap();
    assert!(line.contains("/venv/bin/python -m pip install --force-reinstall torch==2.8.0"), "{line}");
    assert!(line.contains("/cu12"), "{line}");
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
    assert_eq!(ids(&proof), ["ort-cuda-ep-missing-lib", "silent-cpu-fallback"]);
    assert!(proof[0].cause.contains("ONNX Runtime 1.20.0") && proof[0].cause.contains("libcurand.so.10"), "{proof:?}");
    let curand = Lib::new("libcurand.so.10").defines(&["curandCreate"]);
    venv.wheel("nvidia-curand-cu12", "10.3.5.147", &[("nvidia/curand/lib/libcurand.so.10", curand)]);
    assert_eq!(stops(&world), [""; 0]);
    // The build for the CPU was installed over it.
    fs::remove_file(venv.site.join(provider[0].0)).unwrap();
    venv.wheel("onnxruntime", "1.20.0", &[]);
    let proof = proven(&world);
    assert_eq!(ids(&proof), ["silent-cpu-fallback"]);
    assert!(proof[0].cause.contains("both installed"), "{proof:?}");

    let (world, venv) = machine(Some(("550.54.15", "550.54.15")));
    venv.wheel("jax", "0.4.35", &[]);
    assert_eq!(stops(&world), [""; 0], "torch is what is served");
    fs::remove_dir_all(venv.site.join("torch")).unwrap();
    assert_eq!(stops(&world), ["silent-cpu-fallback"]);
    let plugin = Lib::new("xla_cuda_plugin.so").unversioned().uses("libcublas.so.12", &["cublasCreate_v2"]);
    venv.wheel("jax-cuda12-plugin", "0.4.35", &[("jax_plugins/xla_cuda12/xla_cuda_plugin.so", plugin)]);
    // JAX asks cuSPARSE for its version, and does without the GPU where that is not there.
    assert_eq!(stops(&world), ["jax-library-unloadable"]);
    fs::remove_file(world.path("lib/x86_64-linux-gnu/libcuda.so.1")).unwrap();
    fs::remove_file(world.path("lib/x86_64-linux-gnu/libcuda.so.550.54.15")).unwrap();
    assert_eq!(stops(&world), ["half-a-driver", "jax-library-unloadable"]);
}

#[test]
fn a_shell_proves_nothing() {
    let (world, _venv) = machine(None);
    fs::create_dir_all(world.path("usr/bin")).unwrap();
    fs::copy("/bin/sh", world.path("usr/bin/sh")).unwrap();
    let seen = Seen::of(&mut world.cudashim(["run", "--check", "--", "/usr/bin/sh"]));
    assert_eq!(seen.code, Some(125), "{}", seen.err);
    assert!(seen.err.contains("cannot determine which Python `/usr/bin/sh` will run"), "{}", seen.err);
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
    for done in [run(&["--check", "--force"], None), run(&["--force"], Some("1"))] {
        assert_eq!((done.code, done.out.as_str()), (Some(125), ""), "{}", done.err);
        assert!(done.err.contains("error: cannot start the command: its check failed\n  - `"), "{}", done.err);
        assert!(done.err.contains("needs `libcublasLt.so.12`: not found [library-not-found]\n"), "{}", done.err);
    }
    for done in [run(&[], None), run(&["--check"], None)] {
        assert_eq!((done.code, done.out.as_str()), (Some(125), ""), "{}", done.err);
        assert!(
            done.err.contains("error: cannot use the plan `") && done.err.contains(" is missing\n"),
            "{}",
            done.err
        );
        assert!(done.err.contains("--relocate` to find the same files here\n"), "{}", done.err);
    }
    for done in [run(&["--force"], None), run(&["--force"], Some("0"))] {
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
    let whole = Lib::new("libtorch_whole.so").unversioned().defines(&["late"]).uses("libtorch_part.so", &[]);
    whole.uses("libcublas.so.12", &["cublasCreate_v2"]).link("-rpath,$ORIGIN").build(&dir.join("libtorch_whole.so"));
    let module = Lib::new("_C.so").unversioned().uses("libtorch_whole.so", &[]).link("-rpath,$ORIGIN/lib");
    module.build(&venv.site.join("torch/_C.cpython-311-x86_64-linux-gnu.so"));
    assert!(plan(&world).library("libtorch_part.so").is_some(), "it is no part of the plan");
    assert_eq!(stops(&world), [""; 0]);
}
