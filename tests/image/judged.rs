//! What is said about an image.

use crate::support::archive::{Image, Tar};
use crate::support::*;

/// An image of a machine, as an archive in the directory of another.
pub(super) fn packed(root: Machine, change: impl FnOnce(Image) -> Image) -> Machine {
    let root = root.glibc();
    let image =
        Image::of([Tar::default().tree(root.root())]).env("PATH=/venv/bin:/usr/bin").command(&["python", "x.py"]);
    let work = Machine::new();
    work.write("app.tar", change(image).docker(&["app:1"]));
    work
}

fn ids(machine: &Machine, more: &[&str]) -> (i32, Vec<String>) {
    let (code, report) = answer(machine.cudashim(["image", "app.tar"]).args(more), "image.json");
    let ids = report["findings"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned());
    (code, ids.collect())
}

#[test]
fn a_sound_image_is_fine_without_a_driver() {
    let (root, _venv) = torch_machine();
    let work = packed(root, |image| image);
    assert_eq!(ids(&work, &[]), (0, vec![]));
    let process = work.run(["image", "app.tar"]);
    assert_eq!(process.code, Some(0));
    assert!(process.out.starts_with("torch 2.5.1+cu124: no problems found\n"), "{}", process.out);
    assert!(
        process
            .out
            .contains("python   /venv/bin/python: torch 2.5.1+cu124: loads; the command of a container starts it"),
        "{}",
        process.out
    );
}

#[test]
fn an_image_without_cuda_is_fine() {
    let work = packed(Machine::new().file("etc/hostname", "x"), |image| image);
    assert_eq!(ids(&work, &[]), (0, vec![]));
    let process = work.run(["image", "app.tar", "--require"]);
    assert_eq!((process.code, process.out.as_str()), (Some(2), ""));
    assert!(process.err.contains("nothing in the image needs CUDA"), "{}", process.err);
}

#[test]
fn an_image_of_a_build_for_the_cpu_is_fine() {
    let root = Machine::new();
    root.venv("venv").torch("2.8.0+cpu", None, &[], &[]).dist_info("jax", "0.7.0", "", "");
    let work = packed(root, |image| image);
    assert_eq!(ids(&work, &[]), (0, vec![]));
    assert_eq!(ids(&work, &["--driver", "470", "--gpu", "H100"]), (0, vec![]));
}

#[test]
fn the_environment_of_the_image_counts() {
    let (root, _venv) = torch_machine();
    Lib::new("libcublasLt.so.12").defines(&["cublasLtOther"]).build(&root.path("opt/old/libcublasLt.so.12"));
    let work = packed(root, |image| image.env("LD_LIBRARY_PATH=/opt/old"));
    let (code, found) = ids(&work, &[]);
    assert_eq!((code, &*found[0]), (1, "cublaslt-older-wins"), "{found:?}");
    let text = work.run(["image", "app.tar"]).out;
    assert!(text.contains("set no LD_LIBRARY_PATH in the image (`ENV LD_LIBRARY_PATH=`)"), "{text}");
    assert!(text.contains("torch 2.5.1+cu124: does not load"), "{text}");
    assert_eq!(ids(&work, &["--env", "LD_LIBRARY_PATH="]).0, 0);
}

#[test]
fn a_driver_in_the_image_is_named_with_its_layer() {
    let (root, _venv) = torch_machine();
    let work = packed(root.driver(SYSTEM, "535.261.03"), |image| image);
    let (code, report) = answer(&mut work.cudashim(["image", "app.tar"]), "image.json");
    let finding = &report["findings"][0];
    assert_eq!((code, &finding["id"], &finding["severity"]), (1, &"driver-in-image".into(), &"warning".into()));
    let says = finding["evidence"][0]["says"].as_str().unwrap();
    assert!(says.ends_with(", in layer 1"), "{says}");
}

#[test]
fn what_the_image_asks_the_runtime_for_counts() {
    let set = |variable: &'static str| {
        let (root, _venv) = torch_machine();
        ids(&packed(root, |image| image.env(variable)), &[])
    };
    assert_eq!(set("NVIDIA_DRIVER_CAPABILITIES=utility"), (1, vec!["capabilities-without-compute".to_owned()]));
    assert_eq!(set("NVIDIA_DRIVER_CAPABILITIES=graphics,compute"), (0, vec![]));
    assert_eq!(set("NVIDIA_VISIBLE_DEVICES=void"), (0, vec!["image-hides-gpus".to_owned()]));
    assert_eq!(set("NVIDIA_VISIBLE_DEVICES=all"), (0, vec![]));
}

#[test]
fn variables_of_the_image_exclude_drivers() {
    let on = |variables: &[&'static str], driver: &str, gpu: &str| {
        let (root, _venv) = torch_machine();
        let work = packed(root, |image| variables.iter().fold(image, |image, variable| image.env(variable)));
        let options = ["--driver", driver, "--gpu", gpu];
        let (code, report) = answer(work.cudashim(["image", "app.tar"]).args(options), "image.json");
        let cell = &report["table"]["cells"][0];
        (code, cell["runs"].as_str().unwrap().to_owned(), cell["findings"][0]["id"].as_str().map(str::to_owned))
    };
    let refused = (1, "no".to_owned(), Some("image-refuses-host".to_owned()));
    assert_eq!(on(&["NVIDIA_REQUIRE_CUDA=cuda>=12.8"], "550", "H100"), refused);
    assert_eq!(on(&["NVIDIA_REQUIRE_CUDA=cuda>=12.8 brand=tesla,driver>=550"], "550", "RTX 4090"), refused);
    // Images from before the variable.
    assert_eq!(on(&["CUDA_VERSION=12.8.1"], "550", "H100"), refused);
    let fine = on(&[], "550", "H100");
    assert_eq!((fine.0, fine.1.as_str()), (0, "yes"));
    assert_eq!(on(&["NVIDIA_REQUIRE_CUDA=cuda>=12.4"], "550", "H100"), fine);
    assert_eq!(on(&["NVIDIA_REQUIRE_CUDA=cuda>=12.8 brand=tesla,driver>=550 brand=nvidia"], "550", "H100"), fine);
    assert_eq!(on(&["NVIDIA_REQUIRE_CUDA=cuda>=12.8", "NVIDIA_DISABLE_REQUIRE=true"], "550", "H100"), fine);
}

#[test]
fn variables_of_the_image_are_compared_with_what_it_requires() {
    let set = |variable: &'static str| {
        let (root, _venv) = torch_machine();
        let work = packed(root, |image| image.env(variable));
        let (code, report) = answer(&mut work.cudashim(["image", "app.tar"]), "image.json");
        let finding = &report["findings"][0];
        let field = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
        assert!(finding["id"].is_null() || finding["id"] == "require-cuda-differs", "{finding}");
        (code, field("severity"), field("cause"))
    };
    let is = |code, severity: &str, cause: &str| (code, severity.to_owned(), cause.to_owned());
    assert_eq!(set("NVIDIA_REQUIRE_CUDA=cuda>=12.0"), is(0, "", ""));
    assert_eq!(
        set("NVIDIA_REQUIRE_CUDA=cuda>=12.8"),
        is(0, "fact", "NVIDIA_REQUIRE_CUDA excludes drivers 525 to 560, which the image runs on")
    );
    assert_eq!(
        set("NVIDIA_REQUIRE_CUDA=cuda>=11.8"),
        is(0, "fact", "NVIDIA_REQUIRE_CUDA accepts driver 520; the image requires 525 or newer")
    );
    assert_eq!(
        set("NVIDIA_REQUIRE_CUDA=driver<470"),
        is(1, "fatal", "NVIDIA_REQUIRE_CUDA excludes every driver that the image runs on: 525 and newer")
    );
    let (code, severity, cause) = set("NVIDIA_REQUIRE_CUDA=cuda=>12");
    assert_eq!((code, &*severity), (1, "warning"));
    assert!(cause.starts_with("`cuda=>12` in NVIDIA_REQUIRE_CUDA is no condition"), "{cause}");
}

#[test]
fn copies_are_weighed() {
    let (root, _venv) = torch_machine();
    cublas_alone().build(&root.path("usr/local/cuda-12.4/lib64/libcublas.so.12"));
    let work = packed(root, |image| image);
    let (_, report) = answer(&mut work.cudashim(["image", "app.tar"]), "image.json");
    assert_eq!(report["findings"][0]["id"], "copies-in-image");
    let copies = &report["copies"][0];
    assert_eq!((copies["name"].as_str(), copies["paths"].as_array().unwrap().len()), (Some("libcublas.so.12"), 2));
    assert!(copies["bytes"].as_u64() > copies["spare"].as_u64(), "{copies}");
}

#[test]
fn the_table_of_drivers_decides_the_exit_code() {
    let (root, _venv) = torch_machine();
    let work = packed(root, |image| image);
    let runs = |driver: &str| {
        let (code, report) =
            answer(work.cudashim(["image", "app.tar", "--driver", driver]).args(["--gpu", "H100"]), "image.json");
        (code, report["table"]["cells"][0]["runs"].as_str().unwrap().to_owned())
    };
    assert_eq!(runs("470"), (1, "no".to_owned()));
    assert_eq!(runs("580").0, 0);
    let shown = work.run(["image", "app.tar", "--driver", "470", "--driver", "580", "--gpu", "H100"]);
    let first = "torch 2.5.1+cu124: runs on 1 of 2 pairs of driver and GPU\n";
    assert!(shown.code == Some(1) && shown.out.starts_with(first), "{}", shown.out);
    let shown = work.run(["image", "app.tar", "--driver", "470"]).out;
    assert!(shown.starts_with("torch 2.5.1+cu124 requires driver 525 or newer; assumed: 470\n"), "{shown}");
    let error = work.run(["image", "app.tar", "--driver", "x"]);
    assert_eq!(error.code, Some(2));
}

#[test]
fn requirements_in_each_form() {
    let (root, _venv) = torch_machine();
    let work = packed(root, |image| image);
    let require = |form: &str| work.run(["image", "app.tar", &format!("--require{form}")]).out;
    let text = require("");
    assert!(text.starts_with("driver   525.60.13 or newer (CUDA 12.0)\n"), "{text}");
    let code = text.lines().find_map(|line| line.strip_prefix("GPU      compute capability "));
    let code: Vec<&str> = code.unwrap_or_else(|| panic!("{text}")).split(", ").collect();
    assert!(code.contains(&"9.0") && !code.iter().any(|it| ["7.2", "8.7", "11.0"].contains(it)), "{text}");
    let variable = require("=cuda");
    assert!(variable.starts_with("NVIDIA_REQUIRE_CUDA=cuda>=12.0"), "{variable}");
    let affinity = require("=kubernetes");
    assert!(affinity.contains("- key: \"nvidia.com/cuda.driver.major\"\n"), "{affinity}");
    assert!(affinity.contains("operator: \"Gt\"\n"), "{affinity}");
    let artefact = require("=nfd");
    assert!(artefact.contains("version: \"v1alpha1\"\n"), "{artefact}");
    let (_, report) = answer(&mut work.cudashim(["image", "app.tar", "--require"]), "image.json");
    assert_eq!(report["require"]["driver"], "525.60.13");
}

#[test]
fn a_damaged_archive_is_an_error() {
    let work = Machine::new();
    work.write("app.tar", "no archive");
    let process = work.run(["image", "app.tar"]);
    assert_eq!((process.code, process.out.as_str()), (Some(2), ""));
    assert!(process.err.contains("cannot read the image `app.tar`: "), "{}", process.err);
    assert!(work.run(["image", "missing"]).err.contains("cannot read the image `missing`: "));
}
