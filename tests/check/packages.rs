//! A word that names a package: it is judged as it is imported in the environment.

use super::{ids, object};
use crate::support::*;
use serde_json::Value;
use std::path::Path;

fn check(world: &Machine, word: &str) -> (i32, Value) {
    answer(world.cudashim(["check", word]).env("VIRTUAL_ENV", world.path("venv")), "check.json")
}

#[test]
fn check_without_a_word_is_check_torch() {
    let (world, venv) = Machine::with_venv();
    torch_with_cublas(&venv);
    let both = || {
        let (code, value) = check(&world, "torch");
        let plain = answer(world.cudashim(["check"]).env("VIRTUAL_ENV", world.path("venv")), "check.json");
        assert_eq!((code, &value), (plain.0, &plain.1));
        (code, value["verdict"].as_str().unwrap().to_owned())
    };
    assert_eq!(both(), (1, "fails".into()));
    venv.nvidia("cublas", "12.4.5.8", cublas_alone());
    assert_eq!(both(), (0, "loads".into()));
}

#[test]
fn check_names_a_package_that_is_not_installed() {
    let (world, venv) = Machine::with_venv();
    venv.nvidia("cublas", "12.4.5.8", cublas_alone());
    for word in ["torch", "cupy", "onnxruntime", "tensorflow", "cudnn"] {
        let seen = Process::of(world.cudashim(["check", word]).env("VIRTUAL_ENV", world.path("venv")));
        let says = format!("{word} fails: {word} is not installed in `{}`\n", world.path("venv").display());
        assert_eq!((seen.code, seen.err.as_str()), (Some(1), ""));
        assert!(seen.out.ends_with(&says), "{}", seen.out);
        assert_eq!(check(&world, word).1["verdict"], "fails");
    }
    // A library of the environment's wheels is judged by its file there.
    let (code, value) = check(&world, "cublas");
    assert_eq!((code, object(&value, "libcublas.so.12")["rule"].as_str()), (0, Some("path")));
}

#[test]
fn check_package_opens_its_libraries_and_finds_the_wheels() {
    let (world, venv) = Machine::with_venv();
    let module = Lib::new("_state.so").unversioned();
    let provider = Lib::new("libonnxruntime_providers_cuda.so").unversioned();
    let provider = provider.uses("libcublas.so.12", &["cublasCreate_v2"]);
    venv.wheel(
        "onnxruntime-gpu",
        "1.22.0",
        &[
            ("onnxruntime/capi/_state.cpython-311.so", module),
            ("onnxruntime/capi/libonnxruntime_providers_cuda.so", provider),
        ],
    );
    // The provider is there; the library it needs is missing, or in no search path.
    for is_there in [false, true] {
        if is_there {
            venv.nvidia("cublas", "12.8.4.1", cublas_alone());
        }
        let (code, value) = check(&world, "onnxruntime");
        assert_eq!((code, value["verdict"].as_str()), (1, Some("fails")), "{value:#}");
        let required = value["not_found"].as_array().unwrap().iter().filter(|entry| entry["optional"] == false);
        let names: Vec<&str> = required.map(|entry| entry["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["libcublas.so.12"], "{value:#}");
        let path = object(&value, "libonnxruntime_providers_cuda.so")["path"].as_str().unwrap();
        assert!(Path::new(path).starts_with(&venv.site), "{path}");
        let says = value["findings"][0]["says"].as_str().unwrap();
        assert_eq!(says.ends_with("installed, but not in any search path"), is_there, "{says}");
    }
    // JAX finds the wheels by their place. Without one of them it says so, and uses no GPU.
    venv.dist_info("jax-cuda12-plugin", "0.7.2", "", "");
    jax_wheels(&venv);
    let (code, value) = check(&world, "jax");
    assert_eq!((code, ids(&value)), (0, vec!["bare-name-dlopen-consumers"]), "{value:#}");
    assert!(value["findings"][0]["says"].as_str().unwrap().contains("libcudnn.so.9"), "{value:#}");
    venv.wheel("nvidia-cudnn-cu12", "9.10.2.21", &cudnn_that_loads());
    let (code, value) = check(&world, "jax");
    assert_eq!((code, ids(&value)), (0, vec![]), "{value:#}");
    assert_eq!(object(&value, "libcublas.so.12")["rule"], "path");
    // TensorFlow opens by soname, from a library with its own run paths.
    let framework = Lib::new("libtensorflow_framework.so.2").unversioned();
    let cc = Lib::new("libtensorflow_cc.so.2").unversioned().uses("libtensorflow_framework.so.2", &[]);
    let framework = framework.link("-rpath,$ORIGIN/../nvidia/cublas/lib");
    venv.wheel(
        "tensorflow",
        "2.20.0",
        &[("tensorflow/libtensorflow_framework.so.2", framework), ("tensorflow/libtensorflow_cc.so.2", cc)],
    );
    let (_, value) = check(&world, "tensorflow");
    assert_eq!(object(&value, "libcublas.so.12")["rule"], "runpath", "{value:#}");
}

#[test]
fn check_maps_what_a_package_opens_by_path_before_its_modules() {
    let (world, venv) = Machine::with_venv();
    let logger = Lib::new("librapids_logger.so").unversioned().defines(&["log"]);
    let memory = Lib::new("librmm.so").unversioned().defines(&["allocate"]).uses("librapids_logger.so", &["log"]);
    let frames = Lib::new("libcudf.so").unversioned().defines(&["read"]).uses("librmm.so", &["allocate"]);
    let frames = frames.uses("libnvcomp.so.5", &["nvcompGetProperties"]);
    let frames = frames.link("-rpath,$ORIGIN/../../nvidia/libnvcomp/lib64");
    let module = Lib::new("io.so").unversioned().uses("libcudf.so", &["read"]).uses("librmm.so", &["allocate"]);
    venv.wheel("rapids-logger", "0.2.3", &[("rapids_logger/lib64/librapids_logger.so", logger)]);
    venv.wheel("librmm-cu12", "26.10.0", &[("librmm/lib64/librmm.so", memory)]);
    venv.wheel("libcudf-cu12", "26.10.2", &[("libcudf/lib64/libcudf.so", frames)]);
    venv.wheel("pylibcudf-cu12", "26.10.2", &[("pylibcudf/io.abi3.so", module)]);
    for package in ["rapids_logger", "librmm", "libcudf"] {
        std::fs::write(venv.site.join(package).join("load.py"), "").unwrap();
    }
    // The import opens it, so what it needs has to be there; its consumers have no run path to it.
    let (code, value) = check(&world, "cudf");
    assert_eq!((code, ids(&value)), (1, vec!["library-not-found"]), "{value:#}");
    let compression = Lib::new("libnvcomp.so.5").unversioned().defines(&["nvcompGetProperties"]);
    venv.wheel("nvidia-libnvcomp-cu12", "5.3.0.16", &[("nvidia/libnvcomp/lib64/libnvcomp.so.5", compression)]);
    let (code, value) = check(&world, "cudf");
    assert_eq!((code, ids(&value)), (0, vec![]), "{value:#}");
    let paths: Vec<&Path> =
        value["objects"].as_array().unwrap().iter().filter_map(|it| it["path"].as_str()).map(Path::new).collect();
    let order = ["librapids_logger.so", "librmm.so", "libcudf.so", "io.abi3.so"];
    let at =
        |name: &str| paths.iter().position(|path| path.ends_with(name)).unwrap_or_else(|| panic!("{name}: {paths:?}"));
    assert!(order.windows(2).all(|pair| at(pair[0]) < at(pair[1])), "{paths:?}");
}

#[test]
fn check_lists_the_frameworks_that_it_knows() {
    let (world, venv) = Machine::with_venv();
    venv.dist_info("cupy-cuda12x", "14.2.0", "", "");
    let seen = Process::of(world.cudashim(["check", "--list"]).env("VIRTUAL_ENV", world.path("venv")));
    assert_eq!((seen.code, seen.err.as_str()), (Some(0), ""));
    for row in cudashim::internal::tables::frameworks() {
        let is_it = |line: &str| line.split_whitespace().next() == Some(row.name);
        let line = seen.out.lines().find(|line| is_it(line)).unwrap_or_else(|| panic!("{}", row.name));
        assert_eq!(line.contains("cupy-cuda12x 14.2.0"), row.name == "cupy", "{line}");
    }
    let mut command = world.cudashim(["check", "--list"]);
    let (code, value) = answer(command.env("VIRTUAL_ENV", world.path("venv")), "frameworks.json");
    let named: Vec<_> = value["frameworks"].as_array().unwrap().iter().map(|row| row["name"].clone()).collect();
    let table: Vec<_> = cudashim::internal::tables::frameworks().iter().map(|row| row.name).collect();
    assert_eq!((code, named), (0, table.into_iter().map(Into::into).collect::<Vec<serde_json::Value>>()));
    let cupy = value["frameworks"].as_array().unwrap().iter().find(|row| row["name"] == "cupy").unwrap();
    assert_eq!(cupy["installed"], serde_json::json!([{ "name": "cupy-cuda12x", "version": "14.2.0" }]));
    assert_eq!(cupy["finds"], serde_json::json!(["pathfinder", "toolkit", "name"]));
    let refused = Process::of(&mut world.cudashim(["check", "--list", "--format", "sarif"]));
    assert_eq!(refused.code, Some(2), "{}", refused.err);
}

#[test]
fn check_of_an_environment_without_torch_shows_the_framework_that_fares_worst() {
    let (world, venv) = Machine::with_venv();
    let plain = || answer(&mut world.cudashim(["check", "--python", "venv"]), "check.json");
    venv.nvidia("cublas", "12.8.4.1", cublas_alone());
    let tensorflow = |run_path: &str| {
        let lib = Lib::new("libtensorflow_framework.so.2").unversioned().link(&format!("-rpath,{run_path}"));
        lib.build(&venv.site.join("tensorflow/libtensorflow_framework.so.2"));
        venv.dist_info("tensorflow", "2.20.0", "", "");
    };
    let bundled =
        Lib::new("libctranslate2-a7a60d30.so.4.8.5").unversioned().link("-rpath,$ORIGIN/../nvidia/cublas/lib");
    venv.wheel("ctranslate2", "4.8.5", &[("ctranslate2.libs/libctranslate2-a7a60d30.so.4.8.5", bundled)]);
    let (code, value) = plain();
    assert_eq!((code, value["for"].as_str(), ids(&value)), (0, Some("ctranslate2 4.8.5"), vec![]), "{value:#}");
    tensorflow("/nowhere");
    let (_, value) = plain();
    assert_eq!(value["for"], "tensorflow 2.20.0");
    assert_eq!(ids(&value), ["bare-name-dlopen-consumers"]);
}

#[test]
fn check_fails_of_a_framework_that_stops_without_a_library_that_it_opens() {
    let (world, venv) = Machine::with_venv();
    let bundled = Lib::new("libctranslate2-a7a60d30.so.4.8.5").unversioned();
    venv.wheel("ctranslate2", "4.8.5", &[("ctranslate2.libs/libctranslate2-a7a60d30.so.4.8.5", bundled)]);
    venv.nvidia("cublas", "12.8.4.1", cublas_alone());
    let (code, value) = check(&world, "ctranslate2");
    assert_eq!((code, value["verdict"].as_str()), (1, Some("fails")), "{value:#}");
    assert_eq!(ids(&value), ["bare-name-dlopen-consumers"]);
}

#[test]
fn check_dali_judges_the_libraries_that_its_operators_open() {
    let (world, venv) = Machine::with_venv();
    let operators = Lib::new("libdali_operators.so").unversioned().link("-rpath,$ORIGIN/../nvimgcodec");
    venv.wheel("nvidia-dali-cuda120", "2.4.0", &[("nvidia/dali/libdali_operators.so", operators)]);
    let (code, value) = check(&world, "dali");
    assert_eq!((code, value["verdict"].as_str()), (1, Some("fails")), "{value:#}");
    let codec = Lib::new("libnvimgcodec.so.0").defines(&["nvimgcodecInstanceCreate"]);
    venv.wheel("nvidia-nvimgcodec-cu12", "0.9.0.20", &[("nvidia/nvimgcodec/libnvimgcodec.so.0", codec)]);
    let (code, value) = check(&world, "dali");
    assert_eq!((code, ids(&value)), (0, vec![]), "{value:#}");
    assert_eq!(object(&value, "libnvimgcodec.so.0")["rule"], "runpath");
}
