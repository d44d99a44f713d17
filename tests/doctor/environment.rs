//! Every finding about the environment.

use super::commands;
use super::frameworks::{SET_DEVICE, cudart, install_torch, without_gpu};
use crate::doctor::RUN;
use crate::support::*;
use cudashim::internal::diagnose::Finding;
use cudashim::internal::tables::Severity::{Fact, Fatal, Warning};

const SITE: &str = "venv/lib/python3.11/site-packages";

fn torch(machine: Machine) -> Machine {
    machine.environment(|venv| install_torch(venv, "2.8.0+cu128", "12.8", &[]))
}

fn proof<'f>(found: &'f Finding, kind: &str) -> Vec<&'f str> {
    found.evidence.iter().filter(|seen| seen.kind == kind).map(|seen| seen.says.as_str()).collect()
}

#[test]
fn current_directory_on_path() {
    // The working directory of a machine is `/`.
    let machine = torch(without_gpu()).with("libnccl.so.2", &Lib::new("libnccl.so.2").unversioned());
    machine.is_healthy();
    let machine = machine.set("LD_LIBRARY_PATH", "/opt/x:");
    let found = machine.first();
    assert_eq!((found.id, found.severity), ("current-directory-on-path", Warning));
    assert_eq!(
        found.cause,
        "LD_LIBRARY_PATH has an empty element, which is the working directory, and libraries are found there"
    );
    assert_eq!(commands(&found), ["export LD_LIBRARY_PATH=/opt/x"]);
    assert_eq!(proof(&found, "variable"), ["LD_LIBRARY_PATH=/opt/x:"]);
    machine.set("LD_LIBRARY_PATH", "/opt/x").is_healthy();
}

#[test]
fn env_wrong_place() {
    let plain = || torch(without_gpu()).set("HOME", "/home/ann");
    // Directories that do not exist are how images are made.
    plain().set("LD_LIBRARY_PATH", "/usr/local/nvidia/lib:/usr/local/nvidia/lib64:$ORIGIN/x").is_healthy();
    let first = |machine: &Machine| {
        let found = machine.first();
        assert_eq!((found.id, found.severity), ("env-wrong-place", Warning), "{found:#?}");
        found
    };
    let found = first(&plain().set("LD_LIBRARY_PATH", "/opt/x:~/cuda/lib64"));
    assert_eq!(found.cause, "`~/cuda/lib64` in LD_LIBRARY_PATH is taken literally: ld.so expands nothing");
    assert_eq!(commands(&found), ["export LD_LIBRARY_PATH=/opt/x:/home/ann/cuda/lib64"]);
    let found = first(&plain().set("LD_LIBRARY_PATH", "$HOME/lib"));
    assert_eq!(commands(&found), ["export LD_LIBRARY_PATH=/home/ann/lib"]);
    let found =
        first(&plain().with("opt/x/libcudart.so.12", &cudart(12)).set("LD_LIBRARY_PATH", "/opt/x/libcudart.so.12"));
    assert_eq!(found.cause, "`/opt/x/libcudart.so.12` in LD_LIBRARY_PATH is a file, not a directory");
    assert_eq!(commands(&found), ["export LD_LIBRARY_PATH=/opt/x"]);
    let found = first(&plain().set("LD_LIBARY_PATH", "/opt/x"));
    assert_eq!(commands(&found), ["export LD_LIBRARY_PATH=/opt/x; unset LD_LIBARY_PATH"]);
    // What cannot be preloaded is passed over.
    let found = first(&plain().set("LD_PRELOAD", "/opt/gone.so"));
    assert_eq!(found.cause, "ld.so ignores `/opt/gone.so` in LD_PRELOAD: it cannot open it");
    assert_eq!(commands(&found), ["unset LD_PRELOAD"]);
    // Inside Python it is too late.
    let late =
        plain().file(&format!("{SITE}/sitecustomize.py"), "import os\nos.environ[\"LD_LIBRARY_PATH\"] = \"/opt/x\"\n");
    let found = first(&late);
    assert_eq!(found.cause, "`sitecustomize.py` sets LD_LIBRARY_PATH inside Python: that is too late");
    plain()
        .file(&format!("{SITE}/sitecustomize.py"), "import os\nprint(os.environ[\"LD_LIBRARY_PATH\"])\n")
        .is_healthy();
    // It is set by activation, and nothing is activated.
    let hook = "export LD_LIBRARY_PATH=$CONDA_PREFIX/lib/cuda\n";
    let conda = || plain().file("venv/etc/conda/activate.d/cuda.sh", hook);
    let found = first(&conda());
    assert_eq!(commands(&found), ["conda activate /venv"]);
    conda().set("CONDA_PREFIX", "/venv").is_healthy();
}

/// Rights of the program's file end it.
#[test]
#[ignore = "needs root"]
fn env_wrong_place_for_a_set_user_id_python() {
    let machine = torch(without_gpu()).set("LD_LIBRARY_PATH", "/opt/x");
    machine.is_healthy();
    std::os::unix::fs::chown(machine.path("venv/bin/python"), Some(65534), None).unwrap();
    machine.mode("venv/bin/python", 0o4755);
    let found = machine.first();
    assert_eq!(found.id, "env-wrong-place");
    assert!(found.cause.starts_with("LD_LIBRARY_PATH is ignored for `python`"), "{}", found.cause);
}

#[test]
fn preload_needs_unresolvable() {
    let hook = Lib::new("libhook.so").unversioned().uses("libcudart.so.13", &["cudaMalloc"]);
    let machine = torch(without_gpu()).with("opt/hook/libhook.so", &hook).set("LD_PRELOAD", "/opt/hook/libhook.so");
    let found = machine.first();
    assert_eq!((found.id, found.severity), ("preload-needs-unresolvable", Fatal));
    assert_eq!(
        found.cause,
        "`libhook.so` of LD_PRELOAD needs `libcudart.so.13`, which is not found: no program starts"
    );
    assert_eq!(commands(&found), ["unset LD_PRELOAD"]);
    assert!(proof(&found, "message")[0].contains("libcudart.so.13: cannot open shared object file"), "{found:#?}");
    let machine = machine.with("opt/lib/libcudart.so.13", &cudart(13));
    let machine = machine.set("LD_LIBRARY_PATH", "/opt/lib");
    assert!(machine.ids().iter().all(|(id, _)| *id != "preload-needs-unresolvable"), "{:?}", machine.ids());
    machine.set("LD_PRELOAD", "").is_healthy();
}

#[test]
fn split_site_packages() {
    let split = torch(without_gpu()).set("PYTHONPATH", "/b");
    split.is_healthy();
    let split =
        split.without(&format!("{SITE}/nvidia")).without(&format!("{SITE}/nvidia_cuda_runtime_cu12-12.8.99.dist-info"));
    let split = split.with("b/nvidia/cuda_runtime/lib/libcudart.so.12", &cudart(12));
    let found = split.first();
    assert_eq!((found.id, found.severity), ("split-site-packages", Fatal));
    assert_eq!(found.cause, "torch does not find `libcudart.so.12`: it is in another directory of sys.path");
    assert!(proof(&found, "message")[0].contains("libcudart.so.12: cannot open shared object file"), "{found:#?}");
    assert_eq!(commands(&found), [RUN]);
    split.set("LD_LIBRARY_PATH", "/b/nvidia/cuda_runtime/lib").is_healthy();
}

/// torch that binds a function of cuSOLVER.
fn with_solver(venv: &Venv) {
    install_torch(venv, "2.8.0+cu128", "12.8", &[]);
    let extension = Lib::new("_C.so").unversioned().uses("libcusolver.so.11", &["cusolverDnXsyevBatched"]);
    extension.link("-rpath,$ORIGIN/../nvidia/cusolver/lib").build(&venv.site.join("torch/_C.cpython-311.so"));
    let solver = Lib::new("libcusolver.so.11").defines(&["cusolverDnCreate", "cusolverDnXsyevBatched"]);
    venv.nvidia("cusolver", "11.7.3.90", solver);
}

#[test]
fn conda_pip_toolkit_mix() {
    // An older copy of the same soname comes first: it lacks what torch binds to.
    let old = Lib::new("libcusolver.so.11").defines(&["cusolverDnCreate"]);
    let machine = without_gpu().environment(with_solver).with("opt/conda/lib/libcusolver.so.11", &old);
    machine.is_healthy();
    let found = machine.set("LD_LIBRARY_PATH", "/opt/conda/lib").first();
    assert_eq!((found.id, found.severity), ("conda-pip-toolkit-mix", Fatal));
    assert_eq!(
        found.cause,
        "`_C.cpython-311.so` needs `cusolverDnXsyevBatched`, which `libcusolver.so.11` (LD_LIBRARY_PATH) does not define"
    );
    assert_eq!(commands(&found), [RUN, "unset LD_LIBRARY_PATH"]);
    // Nothing is missing, but a process gets conda's copy where pip has another release.
    let new = Lib::new("libcusolver.so.11").defines(&["cusolverDnCreate", "cusolverDnXsyevBatched", "cusolverDnNew"]);
    let record = r#"{"name": "libcusolver", "version": "11.6.1.9", "files": ["lib/libcusolver.so.11", "lib/libcusolver.so.11.6.1.9"]}"#;
    let mixed = without_gpu()
        .environment(with_solver)
        .with("venv/lib/libcusolver.so.11.6.1.9", &new)
        .link("venv/lib/libcusolver.so.11", "libcusolver.so.11.6.1.9")
        .file("venv/conda-meta/libcusolver-11.6.1.9-0.json", record)
        .file("venv/conda-meta/history", "");
    mixed.is_healthy();
    let mixed = mixed.set("LD_LIBRARY_PATH", "/venv/lib").set("CONDA_PREFIX", "/venv");
    let found = mixed.first();
    assert_eq!((found.id, found.severity), ("conda-pip-toolkit-mix", Warning), "{found:#?}");
    assert!(found.cause.contains("comes from conda (11.6.1.9) and from pip (11.7.3.90)"), "{}", found.cause);
}

#[test]
fn import_order_crash() {
    let bundler = |release: &'static str| {
        without_gpu().environment(move |venv| {
            install_torch(venv, "2.8.0+cu128", "12.8", &[]);
            let core =
                Lib::new("core.so").unversioned().uses("libcudart.so.12", &["cudaMalloc"]).link("-rpath,$ORIGIN/libs");
            let own = cudart(12).defines(&["cudaOther"]);
            let file = format!("framework/libs/libcudart.so.{release}");
            venv.wheel("framework", "1.0", &[("framework/core.so", core), (&file, own)]);
            std::os::unix::fs::symlink(
                format!("libcudart.so.{release}"),
                venv.site.join("framework/libs/libcudart.so.12"),
            )
            .unwrap();
        })
    };
    let found = bundler("12.1.105").first();
    assert_eq!((found.id, found.severity), ("import-order-crash", Warning));
    assert_eq!(
        found.cause,
        "torch has `libcudart.so.12` 12.8.99, framework has 12.1.105: whichever is imported first decides for both"
    );
    // One release in two places is the same for both.
    bundler("12.8.99").is_healthy();
}

#[test]
fn two_torches() {
    let two = || torch(without_gpu()).environment(|_| {});
    let other = |machine: &Machine, dir: &str| {
        let other = machine.venv(dir);
        install_torch(&other, "2.6.0+cu124", "12.4", &[]);
        // An extension of the torch beside it: where another torch is imported, so is what stands beside that.
        const NEW: &str = "_ZN3c1010newIn28OnlyEv";
        let c10 = Lib::new("libc10_cuda.so").unversioned().defines(&[SET_DEVICE, NEW]);
        let c10 = c10.uses("libcudart.so.12", &["cudaMalloc"]).link("--disable-new-dtags");
        let c10 = c10.link("-rpath,$ORIGIN/../../nvidia/cuda_runtime/lib");
        c10.build(&machine.path(SITE).join("torch/lib/libc10_cuda.so"));
        let own = Lib::new("_C.so").unversioned().takes("libc10_cuda.so", &[NEW]);
        for site in [&machine.path(SITE), &other.site] {
            std::fs::create_dir_all(site.join("functorch")).unwrap();
            std::fs::write(site.join("functorch/__init__.py"), "").unwrap();
        }
        own.build(&machine.path(SITE).join("functorch/_C.cpython-311-x86_64-linux-gnu.so"));
    };
    let machine = two();
    other(&machine, "other");
    let site = "/other/lib/python3.11/site-packages";
    let machine = machine.set("PYTHONPATH", &format!("/opt/mine:{site}"));
    let found: Vec<_> = machine.report().findings.into_iter().filter(|found| found.severity != Fact).collect();
    assert_eq!(found.iter().map(|found| found.id).collect::<Vec<_>>(), ["two-torches"], "{found:#?}");
    assert_eq!(found[0].cause, "python imports torch 2.6.0+cu124 from PYTHONPATH; the environment has 2.8.0+cu128");
    assert_eq!(commands(&found[0]), ["export PYTHONPATH=/opt/mine"], "{found:#?}");
    assert_eq!(proof(&found[0], "variable"), [format!("PYTHONPATH=/opt/mine:{site}")]);
    assert_eq!(proof(&found[0], "file").len(), 2);
    assert_eq!(commands(&machine.set("PYTHONPATH", site).first()), ["unset PYTHONPATH"]);
    // The environment's own directory by another path, and the same release, are no finding.
    torch(without_gpu()).set("PYTHONPATH", "/venv/lib/python3.11/site-packages").is_healthy();
}
