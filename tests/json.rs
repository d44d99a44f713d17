//! JSON output matches `docs/json-schema/`.

use crate::support::*;
use serde_json::Value;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A torch that needs libcublas and knows of no other place for it than its own environment.
fn torch_at(world: &Machine, name: &str) -> PathBuf {
    let venv = world.venv(name);
    let library = Lib::new("libtorch_global_deps.so").unversioned().uses("libcublas.so.12", &["cublasCreate_v2"]);
    venv.torch(
        "2.5.1+cu124",
        Some("12.4"),
        &["nvidia-cublas-cu12 (==12.4.5.8)"],
        &[("lib/libtorch_global_deps.so", library)],
    );
    venv.site
}

/// The same, with libcublas beside it.
fn with_cublas() -> Machine {
    let world = Machine::new();
    cublas_alone().build(&torch_at(&world, "venv").join("nvidia/cublas/lib/libcublas.so.12"));
    world
}

#[test]
fn json_of_resolve() {
    let world = with_cublas();
    cublas_alone().build(&world.path("opt/libcublas.so.12"));
    let answer = answer(&mut world.rooted(["resolve", "--python", "/venv", "--place", "/opt"]), "resolve.json").1;
    let schema = schema("resolve.json");
    assert_eq!((answer["for"].as_str(), answer["cuda"].as_str()), (Some("torch 2.5.1+cu124"), Some("12.4")));
    assert_eq!(answer["set"][0]["refused"][0]["path"], "/opt/libcublas.so.12");

    // What would be wrong is found to be.
    let broken = |change: &dyn Fn(&mut Value)| {
        let mut answer = answer.clone();
        change(&mut answer);
        wrong(&schema, &answer)
    };
    assert_eq!(broken(&|answer| answer["schema"] = 2.into()), ["/schema: 2 is not 1"]);
    assert_eq!(broken(&|answer| drop(answer.as_object_mut().unwrap().remove("for"))), [": `for` is missing"]);
    assert_eq!(
        broken(&|answer| answer["set"][0]["how"] = "link".into()),
        ["/set/0/how: \"link\" is none of [\"preload\",\"redirect\"]"]
    );
    assert_eq!(broken(&|answer| answer["set"][0]["soname"] = 1.into()).len(), 1);
    assert_eq!(broken(&|answer| answer["set"][0]["path"] = serde_json::json!({"bytes": [256]})).len(), 1);
    assert_eq!(
        broken(&|answer| answer["set"][0]["refused"][0]["new"] = 1.into()),
        ["/set/0/refused/0/new: not described"]
    );
    assert_eq!(broken(&|answer| answer["no_solution"] = serde_json::json!(["both"])).len(), 1);
}

#[test]
fn json_of_scan() {
    let (world, venv) = Machine::with_venv();
    venv.nvidia("cublas", "12.4.5.8", cublas_alone());
    cublas_alone().build(&world.path("usr/local/cuda-12.1/lib64/stubs/libcublas.so.12"));
    std::fs::write(venv.site.join("nvidia/cublas/lib/libcublasLt.so.12"), "no library").unwrap();
    let answer = answer(&mut world.rooted(["scan", "/"]), "scan.json").1;
    let found = |name: &str| {
        let libraries = answer["libraries"].as_array().unwrap().iter();
        libraries.filter(|library| library["path"].as_str().unwrap().ends_with(name)).collect::<Vec<_>>()
    };
    let [stub] = found("stubs/libcublas.so.12")[..] else { panic!("{answer:#}") };
    let [wheel] = found("nvidia/cublas/lib/libcublas.so.12")[..] else { panic!("{answer:#}") };
    assert_eq!((stub["stub"].as_bool(), wheel["stub"].as_bool()), (Some(true), Some(false)));
    assert_eq!((wheel["version"].as_str(), wheel["confidence"].as_str()), (Some("12.4.5.8"), Some("certain")));
    assert_eq!(wheel["owner"]["name"], "nvidia-cublas-cu12");
    let [damaged] = found("libcublasLt.so.12")[..] else { panic!("{answer:#}") };
    assert_eq!(damaged["problems"][0], "truncated-or-foreign-elf");
}

#[test]
fn json_of_scan_probe() {
    let world = Machine::new();
    let source = "int ncclGetVersion(int *v) { *v = 22105; return 0; }";
    crate::support::library(&world.path("m"), "libnccl.so.2", source, &[]);
    let answer = answer(&mut world.cudashim(["scan", "--probe", "m"]), "scan.json").1;
    let evidence = answer["libraries"][0]["evidence"].as_array().unwrap();
    let probed = evidence.iter().find(|one| one["kind"] == "probe").unwrap();
    assert_eq!(probed["says"], "ncclGetVersion returned 22105, which is 2.21.5");
    assert_eq!((&probed["version"], &probed["confidence"]), (&"2.21.5".into(), &"certain".into()));
}

#[test]
fn json_of_no_set() {
    let world = Machine::new();
    torch_at(&world, "venv");
    let answer = answer(&mut world.rooted(["resolve", "--python", "/venv"]), "resolve.json").1;
    assert!(answer["no_solution"][0].as_str().is_some_and(|says| says.contains("libcublas.so.12")), "{answer}");
    assert!(answer["hints"][0].as_str().is_some_and(|says| says.contains("nvidia-cublas-cu12==12.4.5.8")), "{answer}");
}

#[test]
fn json_of_nothing_to_choose() {
    let world = Machine::new();
    let answer = answer(&mut world.rooted(["resolve"]), "resolve.json").1;
    assert!(answer["nothing"].is_string(), "{answer}");
}

#[test]
fn json_of_a_cached_answer() {
    let world = with_cublas();
    let ask = || answer(&mut world.cudashim(["resolve", "--python", "venv"]), "resolve.json").1;
    let fresh = ask();
    assert!(fs::read_dir(world.path("cache/plans")).unwrap().count() >= 3, "nothing was kept");
    assert_eq!(fresh, ask());
}

#[test]
fn json_keeps_a_path_that_is_not_utf_8() {
    let world = with_cublas();
    let odd = std::ffi::OsString::from_vec(b"odd\xff".to_vec());
    fs::rename(world.path("venv"), world.root().join(&odd)).unwrap();
    let answer = answer(world.rooted(["resolve", "--python"]).arg(Path::new("/").join(&odd)), "resolve.json").1;
    let bytes: Vec<u8> = serde_json::from_value(answer["set"][0]["path"]["bytes"].clone()).unwrap();
    assert!(bytes.starts_with(b"/odd\xff/lib/"), "{bytes:?}");
}

#[test]
fn json_of_doctor() {
    let root = schema("doctor.json");
    let sick = with_driver("535.261.03").torch("2.15.0+cu132", "13.2");
    let sick = sick.answers(answering(vec![device("NVIDIA H100 80GB HBM3", 9, 0)]));
    for machine in [sick, Machine::new()] {
        let value = serde_json::to_value(machine.report()).unwrap();
        assert_eq!(wrong(&root, &value), Vec::<String>::new());
        assert!(!value["findings"].as_array().unwrap().is_empty());
    }
    let text = "ImportError: /x/a.so: undefined symbol: ncclMemFree";
    let read = Machine::new().explain(text);
    let value = serde_json::to_value(read).unwrap();
    assert_eq!(wrong(&root, &value), Vec::<String>::new());
    assert_eq!(value["messages"][0]["names"]["symbol"], "ncclMemFree");
}
