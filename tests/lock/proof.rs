//! What prevents the use of the GPU, on machines with and without one; and that `run --check` does not start then.

use super::*;
use cudashim::internal::diagnose::{Finding, in_the_way};
use cudashim::{Host, Plan, Request};

/// A torch with all it needs, on a machine that has a driver of this version, whose libcuda is of that one.
fn torch_on(driver: Option<(&str, &str)>) -> (Machine, Venv) {
    let world = driver.into_iter().fold(Machine::new().glibc(), |world, (kernel, libcuda)| {
        world.module(kernel).device_files().part(SYSTEM, "cuda", libcuda)
    });
    let venv = world.venv("venv");
    torch_with_cublas(&venv);
    venv.wheel("nvidia-cublas-cu12", "12.4.5.8", &cublas());
    (world, venv)
}

fn request(command: &[&str]) -> Request {
    let python = command.is_empty().then(|| PathBuf::from("/venv"));
    Request { python, command: command.iter().map(Into::into).collect(), ..Request::default() }
}

fn plan(world: &Machine) -> Plan {
    request(&[]).answer(&world.host()).unwrap().resolution.unwrap().plan
}

/// What is in the way of a command with a plan, or without one.
fn prove(host: Host, request: Request, plan: Option<&Plan>) -> Vec<Finding> {
    let machine = cudashim::Machine::new(host, request);
    let machine = plan.into_iter().fold(machine, |machine, plan| machine.with_plan(plan.clone()));
    in_the_way(&machine.answered().unwrap())
}

/// The ids of what is in the way, with the set handed out.
fn stops(world: &Machine) -> Vec<&'static str> {
    ids(&proven(world))
}

fn proven(world: &Machine) -> Vec<Finding> {
    let answer = request(&[]).answer(&world.host()).unwrap();
    prove(world.host(), request(&[]), answer.resolution.as_ref().map(|found| &found.plan))
}

fn ids(stops: &[Finding]) -> Vec<&'static str> {
    stops.iter().map(|stop| stop.id).collect()
}

#[test]
fn proof_of_a_sound_machine() {
    let (world, _venv) = torch_on(Some(("550.54.15", "550.54.15")));
    assert_eq!(stops(&world), [""; 0]);
}

#[test]
fn proof_of_the_driver() {
    assert_eq!(stops(&torch_on(None).0), ["no-driver"]);
    assert_eq!(stops(&torch_on(None).0.module("550.54.15").device_files()), ["half-a-driver"]);
    assert_eq!(stops(&torch_on(None).0.part(SYSTEM, "cuda", "550.54.15")), ["driver-unknown"]);
    let old = proven(&torch_on(Some(("470.82.01", "470.82.01"))).0);
    assert_eq!(ids(&old), ["driver-too-old"]);
    assert!(old[0].cause.starts_with("torch 2.5.1+cu124 requires driver 525"), "{old:?}");
    assert_eq!(stops(&torch_on(Some(("550.54.15", "535.54.03"))).0), ["nvml-kernel-user-mismatch"]);
}

#[test]
fn proof_of_what_does_not_load() {
    let (world, venv) = torch_on(Some(("550.54.15", "550.54.15")));
    let plan = plan(&world);
    // Without the plan a copy that lacks a symbol comes first; with it the set loads.
    Lib::new("libcublasLt.so.12").defines(&["cublasLtOther"]).build(&world.path("old/libcublasLt.so.12"));
    let host = || world.host_with(&[("LD_LIBRARY_PATH", "/old")], "/");
    let bare = prove(host(), request(&[]), None);
    assert_eq!(ids(&bare), ["cublaslt-older-wins"]);
    assert!(bare[0].cause.contains("needs `cublasLtCreate`"), "{bare:?}");
    assert_eq!(ids(&prove(host(), request(&[]), Some(&plan))), [""; 0]);
    // The plan's file is gone, and nothing takes its place.
    fs::remove_file(venv.site.join(CUBLAS).join("libcublasLt.so.12")).unwrap();
    assert_eq!(ids(&prove(host(), request(&[]), Some(&plan))), ["cublaslt-older-wins", "no-set", "plan-drifted"]);
}

#[test]
fn proof_of_a_cpu_torch_beside_a_gpu() {
    let (world, venv) = Machine::with_venv();
    venv.torch("2.8.0+cpu", None, &[], &[]);
    assert_eq!(stops(&world), [""; 0], "there is no GPU to miss");
    let world = world.module("535.261.03").device_files().part(SYSTEM, "cuda", "535.261.03");
    let found = proven(&world);
    assert_eq!(ids(&found), ["silent-cpu-fallback"]);
    // The latest build of it that this driver runs.
    let line = found[0].remedies[0].as_command().unwrap();
    assert!(line.contains("/venv/bin/python -m pip install --force-reinstall torch==2.8.0"), "{line}");
    assert!(line.contains("/cu12"), "{line}");
}

#[test]
fn proof_of_onnxruntime_and_jax() {
    let (world, venv) = torch_on(Some(("550.54.15", "550.54.15")));
    let provider =
        Lib::new("libonnxruntime_providers_cuda.so").unversioned().uses("libcublas.so.12", &["cublasCreate_v2"]);
    let provider = provider.uses("libcurand.so.10", &["curandCreate"]).link("-rpath,$ORIGIN/../../nvidia/curand/lib");
    let provider = [("onnxruntime/capi/libonnxruntime_providers_cuda.so", provider)];
    venv.wheel("onnxruntime-gpu", "1.20.0", &provider);
    let proof = proven(&world);
    assert_eq!(ids(&proof), ["ort-cuda-ep-missing-lib", "silent-cpu-fallback"]);
    assert!(proof[0].cause.contains("ONNX Runtime 1.20.0") && proof[0].cause.contains("libcurand.so.10"), "{proof:?}");
    let curand = Lib::new("libcurand.so.10").defines(&["curandCreate"]);
    venv.nvidia("curand", "10.3.5.147", curand);
    assert_eq!(stops(&world), [""; 0]);
    // The build for the CPU was installed over it.
    fs::remove_file(venv.site.join(provider[0].0)).unwrap();
    venv.dist_info("onnxruntime", "1.20.0", "", "");
    let proof = proven(&world);
    assert_eq!(ids(&proof), ["silent-cpu-fallback"]);
    assert!(proof[0].cause.contains("both installed"), "{proof:?}");

    let (world, venv) = torch_on(Some(("550.54.15", "550.54.15")));
    venv.dist_info("jax", "0.4.35", "", "");
    assert_eq!(stops(&world), [""; 0], "torch is what is served");
    fs::remove_dir_all(venv.site.join("torch")).unwrap();
    assert_eq!(stops(&world), ["silent-cpu-fallback"]);
    let plugin = Lib::new("xla_cuda_plugin.so").unversioned().uses("libcublas.so.12", &["cublasCreate_v2"]);
    venv.wheel("jax-cuda12-plugin", "0.4.35", &[("jax_plugins/xla_cuda12/xla_cuda_plugin.so", plugin)]);
    // JAX calls cuSPARSE's version function, and falls back to the CPU if that is missing.
    assert_eq!(stops(&world), ["jax-library-unloadable"]);
    let libcuda = ["libcuda.so.1", "libcuda.so.550.54.15"];
    let world = libcuda.into_iter().fold(world, |world, name| world.without(&format!("{SYSTEM}/{name}")));
    assert_eq!(stops(&world), ["half-a-driver", "jax-library-unloadable"]);
}

#[test]
fn run_check_refuses_a_shell() {
    let (world, _venv) = torch_on(None);
    world.mkdir("usr/bin");
    fs::copy("/bin/sh", world.path("usr/bin/sh")).unwrap();
    let seen = world.run(["run", "--check", "--", "/usr/bin/sh"]);
    assert_eq!(seen.code, Some(125), "{}", seen.err);
    assert!(seen.err.contains("cannot determine which Python `/usr/bin/sh` will run"), "{}", seen.err);
}

/// On any machine: with a GPU or without one, a plan that drifted is not started with.
#[test]
fn run_check_starts_nothing_unproven() {
    let (world, venv) = locked();
    fs::remove_file(venv.site.join(CUBLAS).join("libcublasLt.so.12")).unwrap();
    let run = |arguments: &[&str], variable: Option<&str>| {
        let mut command = world.cudashim(["run", "--plan", "cudashim.lock"]);
        command.args(arguments).arg("--").arg(venv.python()).arg("--load");
        command.envs(variable.map(|value| ("CUDASHIM_CHECK", value)));
        Process::of(command.arg(venv.torch_deps()))
    };
    for done in [run(&["--check", "--force"], None), run(&["--force"], Some("1"))] {
        assert_eq!((done.code, done.out.as_str()), (Some(125), ""), "{}", done.err);
        assert!(done.err.contains("error: cannot start the command: its check failed\n  - `"), "{}", done.err);
        assert!(done.err.contains("needs `libcublasLt.so.12`: not found [library-not-found]\n"), "{}", done.err);
    }
    for done in [run(&[], None), run(&["--check"], None)] {
        assert_eq!((done.code, done.out.as_str()), (Some(125), ""), "{}", done.err);
        assert!(
            done.err.contains("error: cannot use the plan `")
                && done.err.contains("which does not hold here: libcublasLt.so.12 "),
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

/// torch's own parts may use symbols of their consumer, which they do not need by name.
#[test]
fn proof_of_a_part_that_depends_on_its_loader() {
    let (world, venv) = torch_on(Some(("550.54.15", "550.54.15")));
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
