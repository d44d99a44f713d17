//! No set fits: the error and the hints.

use super::{json, sound};
use crate::support::*;

#[test]
fn resolve_fails_without_any_copy() {
    let (world, venv) = Machine::with_venv();
    torch(&venv);
    venv.wheel("nvidia-cudnn-cu12", "9.1.0.70", &cudnn());
    insta::assert_snapshot!(world.run_rooted(["resolve", "--python", "/venv"]).all(&world), @"
    exit 1
    --- stderr
    error: no compatible set of libraries
      - `/venv/lib/python3.11/site-packages/torch/lib/libtorch_global_deps.so` needs libcublas.so.12, of which no copy was found
    hint: `/venv/bin/python -m pip install nvidia-cublas-cu12==12.4.5.8`
    ");
    insta::assert_snapshot!(world.run_rooted(["resolve", "--python", "/venv", "--format", "json"]).all(&world), @r#"
    exit 1
    --- stdout
    {
      "schema": 1,
      "for": "torch 2.5.1+cu124",
      "path": "/venv/lib/python3.11/site-packages/torch",
      "cuda": "12.4",
      "no_solution": [
        "`/venv/lib/python3.11/site-packages/torch/lib/libtorch_global_deps.so` needs libcublas.so.12, of which no copy was found"
      ],
      "hints": [
        "install `nvidia-cublas-cu12==12.4.5.8`",
        "name a directory that holds libcublas.so.12 with `--place DIR`"
      ]
    }
    "#);
}

#[test]
fn resolve_fails_without_the_symbol() {
    let (world, venv) = Machine::with_venv();
    torch(&venv);
    let [(path, _), lt] = cublas();
    let old = Lib::new("libcublas.so.12").defines(&["cublasCreate"]).uses("libcublasLt.so.12", &[]);
    venv.wheel("nvidia-cublas-cu12", "12.1.3.1", &[(path, old), lt]);
    venv.wheel("nvidia-cudnn-cu12", "9.1.0.70", &cudnn());
    insta::assert_snapshot!(world.run_rooted(["resolve", "--python", "/venv"]).all(&world), @"
    exit 1
    --- stderr
    error: no compatible set of libraries
      - `/venv/lib/python3.11/site-packages/torch/lib/libtorch_global_deps.so` needs libcublas.so.12
      - `/venv/lib/python3.11/site-packages/torch/lib/libtorch_global_deps.so` needs `cublasCreate_v2@libcublas.so.12` of libcublas.so.12, which 12.1.3.1 (`/venv/lib/python3.11/site-packages/nvidia/cublas/lib/libcublas.so.12`) does not define
    hint: `/venv/bin/python -m pip install --no-deps nvidia-cublas-cu12==12.4.5.8`
    ");
}

#[test]
fn resolve_writes_no_plan_on_failure() {
    let world = Machine::new();
    torch(&world.venv("venv"));
    let plan = world.path("plan");
    let arguments = ["resolve", "--python", "venv", "-o", "plan"];
    assert!(world.run(arguments).all(&world).starts_with("exit 1\n"));
    assert!(!plan.exists());
}

#[test]
fn resolve_rejects_impossible_options() {
    let (world, _venv) = sound();
    let fixed = "libcublas.so.12=/venv/pyvenv.cfg";
    insta::assert_snapshot!(world.run_rooted(["resolve", "--python", "/venv", "--use", fixed]).all(&world), @"
    exit 1
    --- stderr
    error: no compatible set of libraries
      - libcublas.so.12 is fixed to `/venv/pyvenv.cfg`, which holds no usable copy of it
    hint: drop `--use libcublas.so.12=/venv/pyvenv.cfg`
    ");
    let (code, answer) = json(&mut world.rooted(["resolve", "--python", "/venv", "--use", fixed]));
    assert_eq!(code, Some(1));
    assert!(answer["no_solution"].as_array().is_some_and(|clauses| !clauses.is_empty()), "{answer}");
}

#[test]
fn resolve_rejects_a_copy_for_another_cuda_major() {
    let world = Machine::new();
    let nccl = |dir: &str, built: &str| {
        let text =
            format!("const char version[] = \"NCCL version {built}\"; const char *text(void) {{ return version; }}\n");
        let library = Lib::new("libnccl.so.2").unversioned().defines(&["ncclMemFree"]).source(&text);
        library.build(&world.path(&format!("{dir}/libnccl.so.2")));
    };
    Lib::new("libcudart.so.12").defines(&["cudaMalloc"]).build(&world.path("cuda/libcudart.so.12"));
    let user = Lib::new("libuser.so").unversioned().uses("libcudart.so.12", &["cudaMalloc"]);
    user.takes("libnccl.so.2", &["ncclMemFree"]).build(&world.path("libuser.so"));
    let places = ["--place", "/cuda", "--place", "/one", "--place", "/two"];
    let ask = || {
        let mut command = world.rooted(["resolve", "--for", "/libuser.so"]);
        let (code, answer) = json(command.args(places));
        let set = answer["set"].as_array().cloned().unwrap_or_default();
        let chosen = set.iter().find(|it| it["soname"] == "libnccl.so.2").cloned().unwrap_or_default();
        (code, chosen, answer)
    };
    nccl("one", "2.27.7+cuda13.0");
    std::fs::create_dir(world.path("two")).unwrap();
    let (code, _, answer) = ask();
    assert_eq!(code, Some(1), "{answer:#}");
    assert!(answer["no_solution"].to_string().contains("13"), "{answer:#}");
    nccl("two", "2.26.2+cuda12.8");
    let (code, chosen, answer) = ask();
    assert_eq!((code, chosen["path"].as_str()), (Some(0), Some("/two/libnccl.so.2")), "{answer:#}");
}
