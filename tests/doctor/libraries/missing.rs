//! Libraries that are not found, that were changed, or that ld.so refuses.

use super::{Torch, cudnn_wheel, driven, seen, sound, suggests_run};
use crate::doctor::commands;
use crate::support::*;
use cudashim::Request;
use cudashim::internal::diagnose::examine;
use cudashim::internal::tables::Severity::{Fact, Fatal, Warning};
use std::fs;

#[test]
fn torch_library_missing() {
    let torch = || Torch::new().with(|cuda| cuda.uses_of("libcusparseLt.so.0", None, &["cusparseLtInit"]));
    let whole = torch().on(Machine::new());
    let library = Lib::new("libcusparseLt.so.0").unversioned().defines(&["cusparseLtInit"]);
    let file = [("nvidia/cusparselt/lib/libcusparseLt.so.0", library)];
    whole.venv("venv").wheel("nvidia-cusparselt-cu12", "0.7.1", &file);
    let bare = || torch().on(Machine::new()).without(&format!(".{SITE}/nvidia_cusparselt_cu12-0.7.1.dist-info"));
    let found = seen("optional-lib-missing", &bare(), &whole);
    assert_eq!(found.severity, Fatal);
    assert_eq!(found.cause, "`libtorch_cuda.so` needs `libcusparseLt.so.0`: not found");
    assert_eq!(commands(&found), ["/venv/bin/python -m pip install nvidia-cusparselt-cu12==0.7.1"]);
    // uv made the environment: it has no pip.
    let by_uv = bare().file("venv/pyvenv.cfg", "home = /usr/bin\nuv = 0.9.1\nversion = 3.11.2\n");
    let line = "uv pip install --python /venv/bin/python nvidia-cusparselt-cu12==0.7.1";
    assert_eq!(commands(&by_uv.first()), [line]);
}

/// What pip did over torch's pins is found by what torch requires, and the line restores that.
#[test]
fn pin_is_not_met() {
    let other = |version: &str| {
        let machine = sound().without(&format!(".{SITE}/nvidia_nccl_cu12-2.27.3.dist-info"));
        let library = Lib::new("libnccl.so.2").unversioned().defines(&["ncclMemFree"]);
        machine.venv("venv").nvidia("nccl", version, library);
        machine
    };
    let found = seen("pin-not-met", &other("2.29.1"), &other("2.27.3"));
    assert_eq!(found.severity, Warning);
    assert_eq!(found.cause, "torch 2.8.0+cu128 requires nvidia-nccl-cu12==2.27.3, but 2.29.1 is installed");
    assert_eq!(commands(&found), ["/venv/bin/python -m pip install --no-deps nvidia-nccl-cu12==2.27.3"]);
    // An older one that lacks what torch binds to is worse, and has the same cure.
    let old = sound().without(&format!(".{SITE}/nvidia_nccl_cu12-2.27.3.dist-info"));
    let library = Lib::new("libnccl.so.2").unversioned().defines(&["ncclCommInitAll"]);
    old.venv("venv").nvidia("nccl", "2.21.5", library);
    let found = old.first();
    assert_eq!((found.id, found.severity), ("nccl-older-wins", Fatal));
    assert_eq!(commands(&found), ["/venv/bin/python -m pip install --no-deps nvidia-nccl-cu12==2.27.3"]);
    assert!(found.consequences.iter().any(|other| other.id == "pin-not-met"), "{found:#?}");
}

#[test]
fn nvtx_removed_in_cuda_12_9() {
    let torch = || Torch::new().with(|cuda| cuda.uses("libnvToolsExt.so.1", &["nvtxRangePushA"]));
    let whole = torch().on(Machine::new());
    let library = Lib::new("libnvToolsExt.so.1").defines(&["nvtxRangePushA"]);
    let file = [("nvidia/nvtx/lib/libnvToolsExt.so.1", library)];
    whole.venv("venv").wheel("nvidia-nvtx-cu12", "12.8.90", &file);
    let found = seen("nvtx-removed", &torch().on(Machine::new()), &whole);
    assert_eq!(commands(&found), ["/venv/bin/python -m pip install nvidia-nvtx-cu12==12.8.90"]);
}

#[test]
fn mkl_without_the_ijit_symbol() {
    let torch = |symbol: &str| {
        let library = Lib::new("libmkl_intel_thread.so.2").unversioned().defines(&[symbol]);
        Torch::new()
            .with(|cuda| cuda.uses_of("libmkl_intel_thread.so.2", None, &["iJIT_NotifyEvent"]))
            .on(Machine::new())
            .with(&format!("{SYSTEM}/libmkl_intel_thread.so.2"), &library)
            .glibc()
    };
    let found = seen("mkl-ijit", &torch("mkl_other"), &torch("iJIT_NotifyEvent"));
    assert_eq!(commands(&found), ["conda install \"mkl<2024.1\""]);
}

/// A package that bundles cuDNN's dispatcher; the parts are in a wheel that is in no search path.
fn bundle(machine: Machine, version: &str) -> Machine {
    let name = format!("libcudnn-74a4c495.so.{version}");
    let extension = Lib::new("_ext.so").unversioned().uses_of(&name, None, &[]);
    let extension = extension.link("-rpath,$ORIGIN/../ctranslate2.libs");
    let path = format!("ctranslate2.libs/{name}");
    let libraries = [
        ("ctranslate2/_ext.cpython-311-x86_64-linux-gnu.so", extension),
        (path.as_str(), Lib::new(&name).unversioned()),
    ];
    machine.venv("venv").wheel("ctranslate2", "4.5.0", &libraries);
    cudnn_wheel(&machine, "venv", "nvidia-cudnn-cu12", "9.1.0.70");
    machine
}

#[test]
fn cudnn_parts_installed_and_not_found() {
    let sick = || bundle(with_driver("570.86.15"), "9.1.0");
    let on_path = sick().set("LD_LIBRARY_PATH", &format!("{SITE}/nvidia/cudnn/lib"));
    let found = seen("cudnn9-sublib-not-found", &sick(), &on_path);
    assert!(found.cause.ends_with("and 1 more: installed, but not in any search path"), "{}", found.cause);
    suggests_run(&found);
    // Without a GPU they are not opened yet.
    let ids = bundle(Machine::new(), "9.1.0").ids();
    assert_eq!(ids, [("cudnn9-sublib-not-found", Fatal), ("no-driver", Fact)]);
}

#[test]
fn cudnn_of_another_major() {
    let sick = || bundle(with_driver("570.86.15"), "8.9.7");
    let names = ["cudnn_ops_infer", "cudnn_ops_train", "cudnn_cnn_infer", "cudnn_cnn_train", "cudnn_adv_infer"];
    let whole = names.into_iter().chain(["cudnn", "cudnn_adv_train"]).fold(sick(), |machine, name| {
        let soname = format!("lib{name}.so.8");
        machine.with(&format!("{SYSTEM}/{soname}"), &Lib::new(&soname))
    });
    let found = seen("cudnn8-vs-9-major", &sick(), &whole);
    assert_eq!(found.severity, Fatal);
    assert!(!found.remedies.is_empty(), "{found:#?}");
}

#[test]
fn library_changed_since_installed() {
    let sick = sound();
    let path = sick.path(&format!(".{SITE}/nvidia/nccl/lib/libnccl.so.2"));
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend([0; 16]);
    fs::write(&path, bytes).unwrap();
    let found = seen("altered-file", &sick, &sound());
    assert_eq!(found.severity, Warning);
    let line = "/venv/bin/python -m pip install --force-reinstall --no-deps nvidia-nccl-cu12==2.27.3";
    assert_eq!(commands(&found), [line]);
}

#[test]
fn library_needs_too_much_static_tls() {
    let machine = |size: u32| {
        let text = format!(
            "static __thread char block[{size}] __attribute__((tls_model(\"initial-exec\"), aligned(64)));\n\
             char *touch(void) {{ return block; }}\n"
        );
        Torch::new().with(|cuda| cuda.source(&text)).on(Machine::new())
    };
    let found = seen("static-tls", &machine(4096), &machine(64));
    assert_eq!(found.severity, Warning);
    assert_eq!(
        commands(&found),
        [
            "export GLIBC_TUNABLES=glibc.rtld.optional_static_tls=2944",
            "export LD_PRELOAD=/venv/lib/python3.11/site-packages/torch/lib/libtorch_cuda.so"
        ]
    );
    let tuned = machine(4096).set("GLIBC_TUNABLES", "glibc.rtld.optional_static_tls=2944");
    assert!(tuned.ids().iter().all(|(id, _)| *id != "static-tls"), "{:?}", tuned.ids());
}

#[test]
fn library_needs_an_executable_stack() {
    let machine = |stack: &str| Torch::new().with(|cuda| cuda.link(&format!("-z,{stack}"))).on(Machine::new());
    let found = seen("executable-stack", &machine("execstack"), &machine("noexecstack"));
    // The glibc of this machine is unknown.
    assert_eq!(found.severity, Warning);
    assert!(commands(&found)[0].starts_with("patchelf --clear-execstack /venv/"), "{found:#?}");
}

#[test]
fn numba_without_libnvvm() {
    let numba = |machine: Machine| {
        machine.venv("venv").dist_info("numba-cuda", "0.20.0", "", "");
        machine
    };
    let path = format!(".{SITE}/nvidia/cuda_nvcc/nvvm/lib64/libnvvm.so");
    let with = numba(driven()).with(&path, &Lib::new("libnvvm.so.4"));
    let found = seen("libnvvm-not-found", &numba(driven()), &with);
    assert_eq!(commands(&found), ["/venv/bin/python -m pip install nvidia-cuda-nvcc-cu12"]);
    // A list is no directory.
    let listed = numba(driven()).set("CUDA_HOME", "/usr/local/cuda-12.8:/usr/local/cuda-11.8").first();
    assert!(listed.cause.starts_with("CUDA_HOME is a list"), "{}", listed.cause);
    assert_eq!(commands(&listed)[0], "unset CUDA_HOME");
    // It is the same on a machine without a GPU, which is not asked for one yet.
    assert_eq!(numba(sound()).ids(), [("libnvvm-not-found", Fatal), ("no-driver", Fact)]);
}

#[test]
fn torch_without_any_fitting_set() {
    let request = Request { spec: "2.8.0".parse().unwrap(), ..Request::default() };
    let report = examine(&cudashim::Machine::new(Machine::new().host(), request), None);
    let first = &report.findings[0];
    assert_eq!((first.id, first.severity), ("no-set", Fatal), "{:#?}", report.findings);
    assert!(!first.remedies.is_empty());
    assert!(sound().ids().iter().all(|(id, _)| *id != "no-set"));
}
