//! Libraries that are found, and are the wrong ones.

use super::{OTHER, Torch, cudnn_wheel, cudnn8_wheel, driven, extension, seen, sound, suggests_run};
use crate::doctor::{RUN, commands};
use crate::support::*;
use cudashim::internal::tables::Phase;
use cudashim::internal::tables::Severity::{Fact, Fatal, Warning};
use std::fs;

const OLD: (&str, &str) = ("LD_LIBRARY_PATH", "/old");

#[test]
fn nvjitlink_older_comes_first() {
    let library = Lib::new("libnvJitLink.so.12").defines(&["__nvJitLinkCreate_12_1"]);
    let sick = || sound().glibc().with("old/libnvJitLink.so.12", &library);
    let found = seen("nvjitlink-older-wins", &sick().set(OLD.0, OLD.1), &sick());
    assert_eq!(
        found.cause,
        "`libcusparse.so.12` needs `__nvJitLinkCreate_12_8`, which `libnvJitLink.so.12` (LD_LIBRARY_PATH) does not define"
    );
    suggests_run(&found);
    assert_eq!(commands(&found)[1], "unset LD_LIBRARY_PATH");
    let evidence = |kind: &str| found.evidence.iter().find(|it| it.kind == kind).unwrap();
    assert_eq!(evidence("symbol").says, "__nvJitLinkCreate_12_8@libnvJitLink.so.12");
    let message = &evidence("message").says;
    assert!(message.ends_with("undefined symbol: __nvJitLinkCreate_12_8, version libnvJitLink.so.12"), "{message}");
    // What else is on the path stays there.
    let found = sick().file("opt/mine/readme", "").set(OLD.0, "/opt/mine:/old").first();
    assert_eq!(commands(&found)[1], "export LD_LIBRARY_PATH=/opt/mine");
}

/// The environment that `cudashim env` makes: the shim preloaded, and the plan named.
fn in_force(machine: Machine, dir: &std::path::Path) -> Machine {
    let python = Some("/venv".into());
    let request = cudashim::Request { python, ..cudashim::Request::default() };
    let plan = request.answer(&machine.host()).unwrap().resolution.unwrap().plan;
    fs::write(dir.join("x.plan"), plan.to_bytes()).unwrap();
    let image = dir.join("x.image").display().to_string();
    let shim = Lib::new("libcudashim.so").unversioned();
    let machine = machine.glibc().with("cache/libcudashim-0.so", &shim);
    machine.set("LD_PRELOAD", "/cache/libcudashim-0.so").set("CUDASHIM_PLAN", &image)
}

#[test]
fn plan_in_force_heals() {
    let dir = tempfile::tempdir().unwrap();
    let sick = sound().with("old/libcublasLt.so.12", &Lib::new("libcublasLt.so.12")).set(OLD.0, OLD.1);
    let healed = in_force(sick, dir.path());
    let report = healed.report();
    let ids: Vec<&str> = report.findings.iter().map(|finding| finding.id).collect();
    assert_eq!(ids, ["no-driver", "healed"], "{:#?}", report.findings);
    assert!(report.is_fine());
    let cause = &report.findings[1].cause;
    assert!(cause.starts_with("healed by the plan in force: `libcublas.so.12` needs `cublasLtCreate`"), "{cause}");
}

/// What was reinstalled since is not handed out, and the line that makes a new plan is seen to heal.
#[test]
fn plan_in_force_drifted() {
    let dir = tempfile::tempdir().unwrap();
    let sick = sound().with("old/libcublasLt.so.12", &Lib::new("libcublasLt.so.12")).set(OLD.0, OLD.1);
    let healed = in_force(sick, dir.path());
    let path = healed.path(&format!(".{SITE}/nvidia/cublas/lib/libcublasLt.so.12"));
    fs::remove_file(&path).unwrap();
    Lib::new("libcublasLt.so.12").defines(&["cublasLtCreate"]).build(&path);
    let report = healed.report();
    let ids: Vec<&str> = report.findings.iter().map(|finding| finding.id).collect();
    assert!(ids.starts_with(&["cublaslt-older-wins"]) && ids.contains(&"plan-drifted"), "{ids:?}");
    for id in ["cublaslt-older-wins", "plan-drifted"] {
        let found = report.findings.iter().find(|finding| finding.id == id).unwrap();
        assert_eq!(commands(found)[0], RUN, "{found:#?}");
    }
}

#[test]
fn cublaslt_older_comes_first() {
    let sick = || sound().with("old/libcublasLt.so.12", &Lib::new("libcublasLt.so.12"));
    let found = seen("cublaslt-older-wins", &sick().set(OLD.0, OLD.1), &sick());
    suggests_run(&found);
}

#[test]
fn cudart_and_nccl_older_in_ld_preload() {
    let older = Lib::new("libcudart.so.12").defines(&["cudaMalloc"]);
    let sick = || sound().with("old/libcudart.so.12", &older);
    let found = seen("cudart-or-cupti-older-wins", &sick().set("LD_PRELOAD", "/old/libcudart.so.12"), &sick());
    // Its other needed library is missing, which the line without it heals, too.
    assert_eq!(commands(&found), ["unset LD_PRELOAD", RUN]);
    // NCCL has no version nodes: the name of the symbol shows its library.
    let sick = || sound().with("old/libnccl.so.2", &Lib::new("libnccl.so.2").unversioned());
    let found = seen("nccl-older-wins", &sick().set("LD_PRELOAD", "/old/libnccl.so.2"), &sick());
    assert_eq!(
        found.cause,
        "`libtorch_cuda.so` needs `ncclMemFree`, which `libnccl.so.2` (LD_PRELOAD) does not define"
    );
    assert_eq!(commands(&found), ["unset LD_PRELOAD", RUN]);
}

#[test]
fn cudnn_of_another_release_comes_first() {
    let sick = |version: &str| {
        let machine = sound();
        cudnn_wheel(&machine, "other", "nvidia-cudnn-cu12", version);
        machine
    };
    let path = &format!("{OTHER}/nvidia/cudnn/lib");
    // torch 2.8.0 was built with cuDNN 9.8.0.
    let found = seen("cudnn-older-than-torch", &sick("9.1.0.70").set("LD_LIBRARY_PATH", path), &sick("9.1.0.70"));
    assert_eq!(
        found.cause,
        "torch was built with cuDNN 9.8.0, but gets `libcudnn_graph.so.9` 9.1.0.70 (LD_LIBRARY_PATH)"
    );
    suggests_run(&found);
    let found = seen("cudnn9-torn-set", &sick("9.26.0.51").set("LD_LIBRARY_PATH", path), &sick("9.26.0.51"));
    assert_eq!(
        found.cause,
        "`libcudnn.so.9` 9.10.2.21 is loaded with `libcudnn_graph.so.9` 9.26.0.51 (LD_LIBRARY_PATH) and 6 more of other releases: their releases must be equal"
    );
    suggests_run(&found);
    // The same release from elsewhere is the same release.
    let same = sick("9.10.2.21").set("LD_LIBRARY_PATH", path);
    assert_eq!(same.ids(), [("no-driver", Fact)], "{:#?}", same.report().findings);
}

/// A dispatcher with `DT_RPATH` opens the part that holds the version first, as cuDNN 9.26 does: its siblings are found by
/// then, and nothing is torn before a GPU is used.
#[test]
fn cudnn_dispatcher_keeps_its_parts() {
    let dir = format!(".{SITE}/nvidia/cudnn/lib");
    let dispatcher = Lib::new("libcudnn.so.9").defines(&["cudnnCreate"]).link("--disable-new-dtags,-rpath,$ORIGIN");
    let adv = Lib::new("libcudnn_adv.so.9").uses("libcudnn_graph.so.9", &["cudnn_graphVersionCheck"]);
    let machine = sound()
        .with(&format!("{dir}/libcudnn.so.9"), &dispatcher)
        .with(&format!("{dir}/libcudnn_adv.so.9"), &adv.link("-rpath,$ORIGIN"));
    cudnn_wheel(&machine, "other", "nvidia-cudnn-cu12", "9.1.0.70");
    let machine = machine.set("LD_LIBRARY_PATH", &format!("{OTHER}/nvidia/cudnn/lib"));
    let found = machine.report().findings;
    assert!(found.iter().all(|found| !found.id.starts_with("cudnn") || found.phase == Phase::Gpu), "{found:#?}");
}

#[test]
fn cudnn8_parts_of_another_release() {
    let sick = || {
        let machine = Machine::new();
        let cuda = Lib::new("libtorch_cuda.so").unversioned().uses("libcudnn.so.8", &["cudnnCreate"]);
        let cuda = cuda.link("--disable-new-dtags,-rpath,$ORIGIN/../../nvidia/cudnn/lib");
        let libraries = [extension(), ("lib/libtorch_cuda.so", cuda)];
        machine.venv("venv").torch("2.1.2+cu121", Some("12.1"), &[], &libraries);
        cudnn8_wheel(&machine, "venv", "nvidia-cudnn-cu12", "8.9.2.26");
        cudnn8_wheel(&machine, "other", "nvidia-cudnn-cu12", "8.9.7.29");
        machine
    };
    let on_path = sick().set("LD_LIBRARY_PATH", &format!("{OTHER}/nvidia/cudnn/lib"));
    let found = seen("cudnn8-mixed-sublibs", &on_path, &sick());
    // NVRTC is missing here, too: what heals both comes first.
    let both = format!("/venv/bin/python -m pip install nvidia-cuda-nvrtc-cu12==12.1.105 && {RUN}");
    assert_eq!(commands(&found)[..2], [&both, RUN]);
}

#[test]
fn cublaslt_of_another_release() {
    let sick = || {
        let machine = sound();
        let newer = Lib::new("libcublasLt.so.12").defines(&["cublasLtCreate", "cublasLtClearNvjetCache"]);
        let library = [("nvidia/cublas/lib/libcublasLt.so.12", newer)];
        machine.venv("other").wheel("nvidia-cublas-cu12", "12.9.3.13", &library);
        machine
    };
    let on_path = sick().set("LD_LIBRARY_PATH", &format!("{OTHER}/nvidia/cublas/lib"));
    let found = seen("cublas-silent-mix", &on_path, &sick());
    assert_eq!(found.severity, Warning);
    assert_eq!(
        found.cause,
        "`libcublas.so.12` 12.8.4.1 is loaded with `libcublasLt.so.12` 12.9.3.13 (LD_LIBRARY_PATH): their releases must be equal"
    );
    suggests_run(&found);
}

#[test]
fn link_to_another_major() {
    let other = Lib::new("libcublasLt.so.13").defines(&["cublasLtCreate"]);
    let sick = || sound().with("old/libcublasLt.so.12", &other);
    let found = seen("major-symlink-hack", &sick().set(OLD.0, OLD.1), &sick());
    assert_eq!(
        found.cause,
        "`libcublas.so.12` needs the version `libcublasLt.so.12` and 1 more, which `libcublasLt.so.12` (LD_LIBRARY_PATH) does not define"
    );
    suggests_run(&found);
    assert_eq!(commands(&found).last(), Some(&"rm /old/libcublasLt.so.12"));
    // Nobody is seen to load it: no more than a warning.
    let lone = Machine::new().with("old/libcublasLt.so.12", &other).set(OLD.0, OLD.1);
    assert!(lone.ids().contains(&("major-symlink-hack", Warning)), "{:?}", lone.ids());
}

#[test]
fn libstdcxx_older_comes_first() {
    let torch = || {
        let library = |node: &str| Lib::new("libstdc++.so.6").node(node).defines(&["_ZSt4cout"]);
        Torch::new()
            .with(|cuda| cuda.uses_of("libstdc++.so.6", Some("GLIBCXX_3.4.30"), &["_ZSt4cout"]))
            .on(Machine::new())
            .with(&format!("{SYSTEM}/libstdc++.so.6"), &library("GLIBCXX_3.4.30"))
            .with("old/libstdc++.so.6", &library("GLIBCXX_3.4.11"))
    };
    let found = seen("glibcxx-too-old", &torch().set(OLD.0, OLD.1), &torch());
    assert_eq!(
        found.cause,
        "`libtorch_cuda.so` needs the version `GLIBCXX_3.4.30` and 1 more, which `libstdc++.so.6` (LD_LIBRARY_PATH) does not define"
    );
    assert!(commands(&found).contains(&"unset LD_LIBRARY_PATH"), "{found:#?}");
}

#[test]
fn library_is_not_elf() {
    let sick = || sound().file("old/libnvJitLink.so.12", "version https://git-lfs.github.com/spec/v1\n");
    let found = seen("truncated-or-foreign-elf", &sick().set(OLD.0, OLD.1), &sick());
    assert_eq!(
        found.cause,
        "`libnvJitLink.so.12` (LD_LIBRARY_PATH), which `libcusparse.so.12` needs, cannot be loaded: file too short"
    );
    suggests_run(&found);
    // The wheel's own: it must be installed again.
    let cut = sound();
    let path = cut.path(&format!(".{SITE}/nvidia/nvjitlink/lib/libnvJitLink.so.12"));
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..30]).unwrap();
    let found = seen("truncated-or-foreign-elf", &cut, &sound());
    let line = "/venv/bin/python -m pip install --force-reinstall --no-deps nvidia-nvjitlink-cu12==12.8.93";
    assert_eq!(commands(&found), [line]);
}

#[test]
fn nvrtc_without_its_builtins() {
    let compiler = || ("nvidia/cuda_nvrtc/lib/libnvrtc.so.12", Lib::new("libnvrtc.so.12").link("-rpath,$ORIGIN"));
    let builtins =
        ("nvidia/cuda_nvrtc/lib/libnvrtc-builtins.so.12.8", Lib::new("libnvrtc-builtins.so.12.8").unversioned());
    let sick = |path: &str| {
        let machine = sound();
        machine.venv("other").wheel("nvidia-cuda-nvrtc-cu12", "12.8.93", &[compiler()]);
        machine.set("LD_LIBRARY_PATH", path)
    };
    let dir = format!("{OTHER}/nvidia/cuda_nvrtc/lib");
    let found = seen("nvrtc-builtins-missing", &sick(&dir), &sick(""));
    assert!(found.cause.contains("does not find `libnvrtc-builtins.so.12.8`"), "{}", found.cause);
    assert_eq!(commands(&found), ["unset LD_LIBRARY_PATH"]);
    let whole = sick(&dir);
    whole.venv("other").wheel("nvidia-cuda-nvrtc-cu12", "12.8.93", &[compiler(), builtins]);
    assert!(whole.ids().iter().all(|(id, _)| *id != "nvrtc-builtins-missing"), "{:?}", whole.ids());
}

/// cuDNN 8.5 opens `libnvrtc.so`; torch's own bears another name.
fn asking_for_a_bare_name(path: &str) -> Machine {
    let machine = with_driver("535.261.03");
    let cuda = Lib::new("libtorch_cuda.so").unversioned().uses("libcudnn.so.8", &["cudnnCreate"]);
    let cuda = cuda.uses("libnvrtc.so.11.2", &["nvrtcVersion"]);
    let cuda =
        cuda.link("--disable-new-dtags,-rpath,$ORIGIN/../../nvidia/cudnn/lib:$ORIGIN/../../nvidia/cuda_nvrtc/lib");
    let libraries = [extension(), ("lib/libtorch_cuda.so", cuda)];
    machine.venv("venv").torch("1.13.1+cu117", Some("11.7"), &[], &libraries);
    cudnn8_wheel(&machine, "venv", "nvidia-cudnn-cu11", "8.5.0.96");
    let nvrtc = |venv: &str, name: &str, soname: &str, package: &str, version: &str, minor: &str| {
        let (compiler, builtins) =
            (Lib::new(soname).defines(&["nvrtcVersion"]), format!("libnvrtc-builtins.so.{minor}"));
        let paths = [format!("nvidia/cuda_nvrtc/lib/{name}"), format!("nvidia/cuda_nvrtc/lib/{builtins}")];
        let [one, two] = [compiler.link("-rpath,$ORIGIN"), Lib::new(&builtins).unversioned()];
        machine.venv(venv).wheel(package, version, &[(paths[0].as_str(), one), (paths[1].as_str(), two)]);
    };
    nvrtc("venv", "libnvrtc.so.11.2", "libnvrtc.so.11.2", "nvidia-cuda-nvrtc-cu11", "11.7.99", "11.7");
    nvrtc("other", "libnvrtc.so", "libnvrtc.so.12", "nvidia-cuda-nvrtc-cu12", "12.1.105", "12.1");
    machine.set("LD_LIBRARY_PATH", path)
}

#[test]
fn nvrtc_by_a_bare_name_missing_or_of_another_release() {
    let without = asking_for_a_bare_name("");
    let with = asking_for_a_bare_name(&format!("{OTHER}/nvidia/cuda_nvrtc/lib"));
    let found = seen("cudnn-bare-libnvrtc-libcuda", &without, &with);
    assert_eq!(found.severity, Fatal);
    assert_eq!(found.cause, "`libcudnn_cnn_infer.so.8` opens `libnvrtc.so`: not found");
    suggests_run(&found);
    let found = seen("nvrtc-wrong-version-silent", &with, &without);
    assert_eq!(found.severity, Warning);
    suggests_run(&found);
}

#[test]
fn search_path_has_unused_stubs_and_duplicates() {
    let stub = Lib::new("libcufft.so.11");
    let sick = || sound().with("usr/local/cuda-12.8/lib64/stubs/libcufft.so.11", &stub);
    let path = "/usr/local/cuda-12.8/lib64/stubs";
    let found = seen("stub-on-path", &sick().set("LD_LIBRARY_PATH", path), &sick());
    assert_eq!((found.severity, commands(&found)), (Warning, vec!["unset LD_LIBRARY_PATH"]));
    // Two of one name: the second is never found. That is worth knowing, and no more.
    let sick = || {
        let library = |symbol: &str| Lib::new("libcufft.so.11").defines(&[symbol]);
        driven().with("one/libcufft.so.11", &library("one")).with("two/libcufft.so.11", &library("two"))
    };
    let found = seen("duplicate-soname", &sick().set("LD_LIBRARY_PATH", "/one:/two"), &sick());
    assert_eq!(found.severity, Fact);
}
