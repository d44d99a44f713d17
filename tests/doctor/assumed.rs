//! `--driver` and `--gpu` on the commands that have them.

use super::commands;
use crate::support::*;
use serde_json::Value;

/// A machine with torch 2.8.0, without a driver.
fn with_torch() -> Machine {
    Machine::new().torch("2.8.0+cu128", "12.8")
}

fn json(machine: &Machine, arguments: &[&str], name: &str) -> (i32, Value) {
    let (code, value) = answer(&mut machine.rooted(arguments), name);
    if let Some(table) = value.get("table") {
        assert_eq!(wrong(&schema("table.json"), table), [""; 0], "{table:#}");
    }
    (code, value)
}

#[test]
fn assumed_driver_is_judged_like_an_installed_one() {
    let machine = with_torch();
    let (code, report) = json(&machine, &["doctor", "/venv", "--driver", "580,open", "--gpu", "H100"], "doctor.json");
    assert_eq!((code, &report["findings"]), (0, &serde_json::json!([])), "{report:#}");
    let driver = &report["driver"];
    assert_eq!(
        (&driver["version"], &driver["cuda"], &driver["module"]),
        (&"580".into(), &"13.0".into(), &"open".into())
    );
    assert_eq!(driver["assumed"], true);
    assert_eq!(report["devices"][0]["name"], "NVIDIA H100");
    let (code, report) = json(&machine, &["doctor", "/venv", "--driver", "470"], "doctor.json");
    let found = &report["findings"][0];
    assert_eq!((code, found["id"].as_str()), (1, Some("driver-too-old")));
    assert_eq!(found["cause"], "torch 2.8.0+cu128 requires driver 525 or newer; assumed: 470");
}

#[test]
fn assumed_drivers_and_gpus_give_a_table() {
    let machine = with_torch();
    let arguments =
        ["doctor", "/venv", "--driver", "535", "--driver", "570.124.06,open", "--gpu", "H100,T4", "--gpu", "5090"];
    let shown = machine.run_rooted(arguments);
    assert_eq!(shown.code, Some(1));
    let table: Vec<&str> = shown.out.lines().skip_while(|line| !line.starts_with("driver")).take(3).collect();
    assert_eq!(
        table,
        [
            "driver           H100        Tesla T4    GeForce RTX 5090",
            "535              conditions  conditions  no",
            "570.124.06,open  yes         yes         yes",
        ],
        "{}",
        shown.out
    );
    let why = machine.run_rooted(arguments.into_iter().chain(["--explain"]));
    assert!(why.out.contains("driver 535, GeForce RTX 5090: no: driver 535 does not support"), "{}", why.out);
    let page = machine.run_rooted(arguments.into_iter().chain(["--format", "markdown"]));
    assert!(page.out.contains("| 570.124.06,open | NVIDIA H100 | yes |"), "{}", page.out);
    let found = machine.run_rooted(arguments.into_iter().chain(["--format", "github"]));
    assert!(found.out.contains("driver 535, NVIDIA GeForce RTX 5090: driver 535 does not support"), "{}", found.out);
    let (code, report) = json(&machine, &arguments, "doctor.json");
    let cells = report["table"]["cells"].as_array().unwrap();
    let runs: Vec<&str> = cells.iter().map(|cell| cell["runs"].as_str().unwrap()).collect();
    assert_eq!((code, runs), (1, vec!["conditions", "conditions", "no", "yes", "yes", "yes"]));
    let (code, _) =
        json(&machine, &["doctor", "/venv", "--driver", "535", "--driver", "570", "--gpu", "H100"], "doctor.json");
    assert_eq!(code, 0);
}

#[test]
fn assumed_gpu_alone_is_judged_with_its_newest_driver() {
    let machine = with_torch();
    let (code, report) = json(&machine, &["doctor", "/venv", "--gpu", "GTX 1080"], "doctor.json");
    assert_eq!((code, report["findings"][0]["id"].as_str()), (1, Some("no-code-for-device")), "{report:#}");
    assert_eq!(report["driver"]["version"], "580");
    let line = report["findings"][0]["remedies"][0]["command"].as_str().unwrap();
    assert_eq!(line, "pip install torch==2.14.1 --index-url https://download.pytorch.org/whl/cu126");
}

#[test]
fn assumed_names_are_checked() {
    let machine = with_torch();
    for (option, name, says, hint) in [
        ("--driver", "53x", "invalid driver `53x`", "expected `535`"),
        ("--driver", "570,closed", "invalid driver `570,closed`", "expected `535`"),
        ("--gpu", "RTX 6000", "several have this name", "`Quadro RTX 6000`"),
        ("--gpu", "H1000", "cannot find a GPU named `H1000`", "`H100"),
        ("--gpu", "sm_99", "compute capability `sm_99`", "`9.0`"),
    ] {
        let shown = machine.run_rooted(["doctor", "/venv", option, name]);
        assert_eq!(shown.code, Some(2), "{name}: {}", shown.err);
        assert!(shown.err.contains(says) && shown.err.contains(hint), "{name}: {}", shown.err);
    }
}

#[test]
fn assumed_driver_on_check() {
    let machine = with_torch().glibc();
    let (code, report) = json(&machine, &["check", "/venv", "--driver", "535", "--gpu", "H100"], "check.json");
    assert_eq!((code, report["table"]["cells"][0]["runs"].as_str()), (0, Some("conditions")), "{report:#}");
    let shown = machine.run_rooted(["check", "/venv", "--driver", "470"]);
    assert_eq!(shown.code, Some(1));
    assert!(shown.out.contains("470     no"), "{}", shown.out);
}

/// A program that is linked against libcuda loads as if the driver were here, and no torch beside it counts.
#[test]
fn assumed_driver_has_its_libraries() {
    let machine = with_torch().glibc();
    let library = Lib::new("libkernels.so").unversioned().uses("libcuda.so.1", &["cuMemAlloc_v2"]);
    library.build(&machine.path("opt/libkernels.so"));
    assert_eq!(machine.run_rooted(["check", "/opt/libkernels.so"]).code, Some(1));
    let shown = machine.run_rooted(["check", "/opt/libkernels.so", "--driver", "470"]);
    assert_eq!(shown.code, Some(0), "{}{}", shown.out, shown.err);
    // A function that came with CUDA 12.4.
    let library = Lib::new("libgreen.so").unversioned().uses("libcuda.so.1", &["cuGreenCtxCreate"]).link("-z,now");
    library.build(&machine.path("opt/libgreen.so"));
    let shown = machine.run_rooted(["check", "/opt/libgreen.so", "--driver", "535"]);
    assert!(shown.code == Some(1) && shown.out.contains("cuGreenCtxCreate"), "{}{}", shown.out, shown.err);
    assert_eq!(machine.run_rooted(["check", "/opt/libgreen.so", "--driver", "550"]).code, Some(0));
}

/// What a driver lacks follows from its age, where that is found; by itself it is found, too.
#[test]
fn functions_that_an_assumed_driver_lacks() {
    let tensor_map =
        |name: &str| Lib::new(name).unversioned().uses("libcuda.so.1", &["cuTensorMapEncodeTiled"]).link("-z,now");
    let machine = Machine::new().glibc();
    let compiler = ("lib/libcaffe2_nvrtc.so", tensor_map("libcaffe2_nvrtc.so"));
    machine.venv("venv").torch("2.8.0+cu128", Some("12.8"), &[], &[compiler]);
    let (code, report) = json(&machine, &["doctor", "/venv", "--driver", "470"], "doctor.json");
    let fatal = |report: &Value| -> Vec<String> {
        let found = report["findings"].as_array().unwrap().iter().filter(|it| it["severity"] == "fatal");
        found.map(|it| it["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((code, fatal(&report)), (1, vec!["driver-too-old".to_owned()]), "{report:#}");
    let first = &report["findings"][0];
    assert_eq!(first["cause"], "torch 2.8.0+cu128 requires driver 525 or newer; assumed: 470");
    let follows = first["consequences"][0]["cause"].as_str().unwrap();
    assert!(
        follows.starts_with("`libcaffe2_nvrtc.so` needs `cuTensorMapEncodeTiled`, which `libcuda.so.1`"),
        "{follows}"
    );
    assert_eq!(json(&machine, &["doctor", "/venv", "--driver", "525"], "doctor.json").0, 0);

    // A torch that runs on the driver, and a package that does not.
    let machine = Machine::new().glibc();
    let venv = machine.venv("venv");
    venv.torch("2.7.1+cu118", Some("11.8"), &[], &[]);
    venv.wheel("kernels", "1.0", &[("kernels/libkernels.so", tensor_map("libkernels.so"))]);
    let (code, report) = json(&machine, &["doctor", "/venv", "--driver", "470"], "doctor.json");
    assert_eq!((code, fatal(&report)), (1, vec!["driver-too-old".to_owned()]), "{report:#}");
    assert_eq!(report["findings"][0]["remedies"][0]["action"], "install a newer driver", "{report:#}");
}

/// A driver that is assumed is no sign of a GPU: a torch for the CPU has nothing wrong.
#[test]
fn build_for_the_cpu_on_an_assumed_driver() {
    let machine = Machine::new();
    machine.venv("venv").torch("2.8.0+cpu", None, &[], &[]);
    let (code, report) = json(&machine, &["doctor", "/venv", "--driver", "580"], "doctor.json");
    assert_eq!((code, &report["findings"]), (0, &serde_json::json!([])), "{report:#}");
    let (code, report) = json(&machine, &["doctor", "/venv", "--driver", "580", "--gpu", "H100"], "doctor.json");
    assert_eq!((code, report["findings"][0]["id"].as_str()), (1, Some("silent-cpu-fallback")), "{report:#}");
}

#[test]
fn assumed_driver_on_resolve() {
    let machine = Machine::new();
    let venv = machine.venv("venv");
    let library = Lib::new("libtorch_global_deps.so").unversioned().uses("libcublas.so.12", &["cublasCreate_v2"]);
    let requires = ["nvidia-cublas-cu12 (==12.8.4.1)"];
    venv.torch("2.8.0+cu128", Some("12.8"), &requires, &[("lib/libtorch_global_deps.so", library)]);
    venv.nvidia("cublas", "12.8.4.1", cublas_alone());
    let (code, report) = json(&machine, &["resolve", "/venv", "--driver", "570"], "resolve.json");
    assert_eq!((code, report["table"]["cells"][0]["runs"].as_str()), (0, Some("yes")), "{report:#}");
    assert_eq!(json(&machine, &["resolve", "/venv", "--driver", "470"], "resolve.json").0, 1);
    // A line to type is never wrapped, and no library of a driver that is nowhere is listed.
    let shown = machine.run_rooted(["resolve", "/venv", "--driver", "470"]);
    assert!(shown.out.contains("torch==2.7.1 --index-url https://download.pytorch.org/whl/cu118"), "{}", shown.out);
    assert!(!shown.out.contains("libcuda.so.1"), "{}", shown.out);
}

#[test]
fn assumed_driver_on_run_needs_check() {
    let machine = with_torch();
    let run = |arguments: &[&str]| {
        let python = machine.path("venv/bin/python");
        let words =
            ["run"].iter().chain(arguments).map(|word| (*word).into()).chain(["--".into(), python.into_os_string()]);
        machine.run(words.collect::<Vec<std::ffi::OsString>>())
    };
    let shown = run(&["--driver", "535"]);
    assert_eq!(shown.code, Some(125));
    assert!(shown.err.contains("`--check`"), "{}", shown.err);
    let shown = run(&["--check", "--driver", "470"]);
    assert_eq!(shown.code, Some(125), "{}", shown.err);
    assert!(shown.err.contains("requires driver 525 or newer; assumed: 470"), "{}", shown.err);
    let shown = run(&["--check", "--driver", "570,open", "--gpu", "H100"]);
    assert_eq!(shown.code, Some(0), "{}", shown.err);
}

#[test]
fn newest_torch_for_a_driver() {
    let newest = |arguments: &[&str]| {
        let words: Vec<&str> = ["resolve", "--torch", "latest"].iter().chain(arguments).copied().collect();
        json(&Machine::new(), &words, "newest.json")
    };
    let (code, found) = newest(&["--driver", "535"]);
    assert_eq!((code, &found["torch"], &found["cuda"]), (0, &"2.14.1".into(), &"12.6".into()), "{found:#}");
    assert_eq!(found["pip"], "pip install torch==2.14.1 --index-url https://download.pytorch.org/whl/cu126");
    assert_eq!(found["uv"], "uv pip install torch==2.14.1 --index-url https://download.pytorch.org/whl/cu126");
    assert_eq!(found["tables"], "2026-11-22");
    assert!(found["newer"].as_str().unwrap().contains("requires driver 580.65.06 or newer"), "{found:#}");
    // PyPI's own build needs no index.
    let (_, found) = newest(&["--driver", "595", "--gpu", "H100"]);
    assert_eq!(
        (&found["torch"], &found["pip"], &found["index"]),
        (&"2.15.0".into(), &"pip install torch==2.15.0".into(), &Value::Null)
    );
    let (_, found) = newest(&["--driver", "570,open", "--gpu", "RTX 5090"]);
    assert_eq!((&found["torch"], &found["cuda"]), (&"2.11.0".into(), &"12.8".into()), "{found:#}");
    let (_, found) = newest(&["--driver", "535", "--python", "3.9"]);
    assert_eq!((&found["torch"], &found["pip"]), (&"2.8.0".into(), &"pip install torch==2.8.0".into()), "{found:#}");
    // The driver's own CUDA comes before a later one of the same release.
    let (_, found) = newest(&["--driver", "470"]);
    assert_eq!((&found["torch"], &found["cuda"]), (&"2.7.1".into(), &"11.8".into()), "{found:#}");
    assert_eq!(found["by_minor_compatibility"], true);
    for (arguments, says) in [
        (["--driver", "535", "--gpu", "RTX 5090"], "does not support NVIDIA GeForce RTX 5090"),
        (["--driver", "590", "--gpu", "V100"], "no longer supports NVIDIA Tesla V100"),
        (["--driver", "418", "--gpu", "T4"], "requires driver"),
    ] {
        let shown = Machine::new().run_rooted(["resolve", "--torch", "latest"].into_iter().chain(arguments));
        assert_eq!(shown.code, Some(1), "{}", shown.err);
        assert!(shown.err.contains(says), "{}", shown.err);
    }
}

/// Every line that is printed to install a build names a build of the table, and its index.
#[test]
fn newest_torch_lines_are_of_the_tables() {
    for branch in cudashim::internal::tables::drivers().iter().map(|row| row.branch.to_string()) {
        let shown = Machine::new().run_rooted(["resolve", "--torch", "latest", "--driver", &branch]);
        let lines: Vec<&str> = shown.out.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
        if shown.code == Some(1) {
            continue;
        }
        let [pip, uv] = lines[..] else { panic!("{branch}: {}{}", shown.out, shown.err) };
        assert_eq!(format!("uv {pip}"), uv);
        let words: Vec<&str> = pip.split(' ').collect();
        let version = words[2].strip_prefix("torch==").unwrap();
        let tag = words.get(4).map(|index| index.strip_prefix("https://download.pytorch.org/whl/").unwrap());
        assert!(cudashim::internal::tables::torch_build(version, tag).is_some(), "{branch}: {pip}");
    }
}

#[test]
fn cudnn_that_dropped_the_gpu() {
    let machine = with_driver("580.95.05").torch("2.14.1+cu126", "12.6");
    let venv = machine.venv("venv");
    venv.torch(
        "2.14.1+cu126",
        Some("12.6"),
        &[],
        &[("lib/libtorch_cuda.so", Lib::new("libtorch_cuda.so").unversioned().uses("libcudnn.so.9", &["cudnnCreate"]))],
    );
    let found = |version: &str| {
        venv.nvidia("cudnn", version, Lib::new("libcudnn.so.9").defines(&["cudnnCreate"]));
        let v100 = cudashim::internal::driver::gpu_of("V100").unwrap();
        let assumed = "580".parse().unwrap();
        let table = cudashim::internal::diagnose::matrix(&machine.judged(), &[assumed], &[v100]);
        let cell = &table.cells[0];
        let line = |finding| commands(finding).into_iter().map(ToOwned::to_owned).collect();
        cell.findings.iter().map(|finding| (finding.id, line(finding))).collect::<Vec<(_, Vec<String>)>>()
    };
    assert_eq!(found("9.19.0.56"), [("no-code-for-device", vec!["pip install 'nvidia-cudnn-cu12<9.11'".to_owned()])]);
    assert_eq!(found("9.10.2.21"), []);
}
