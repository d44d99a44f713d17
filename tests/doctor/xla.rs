//! Findings about `TensorFlow` and JAX.

use super::frameworks::{cudart, install_torch, machine, without_gpu};
use super::{RUN, commands};
use crate::support::*;
use cudashim::internal::tables::Severity::{Fact, Fatal, Warning};

/// TensorFlow with the extra that names its libraries.
fn install_tensorflow(venv: &Venv, run_path: Option<&str>) {
    let lib = Lib::new("libtensorflow_framework.so.2").unversioned();
    let lib = run_path.into_iter().fold(lib, |lib, path| lib.link(&format!("-rpath,{path}")));
    lib.build(&venv.site.join("tensorflow/libtensorflow_framework.so.2"));
    let extra = "Requires-Dist: nvidia-cudnn-cu12 (==9.3.0.75) ; extra == 'and-cuda'\n\
                 Requires-Dist: nvidia-cuda-runtime-cu12 (==12.5.82) ; extra == 'and-cuda'\n";
    venv.dist_info("tensorflow", "2.18.0", extra, "");
}

/// cuDNN's dispatcher with the part that answers for its version.
fn install_cudnn(venv: &Venv, version: &str) {
    let parts = CUDNN_PARTS.iter().chain(&["cudnn_ext", "cudnn_engines_tensor_ir"]);
    let part = |&name: &&str| {
        let soname = format!("lib{name}.so.9");
        (format!("nvidia/cudnn/lib/{soname}"), Lib::new(&soname).defines(&[name]).link("-rpath,$ORIGIN"))
    };
    let mut files: Vec<(String, Lib)> = parts.map(part).collect();
    let dispatcher = Lib::new("libcudnn.so.9").defines(&["cudnnCreate"]).link("-rpath,$ORIGIN");
    files.push(("nvidia/cudnn/lib/libcudnn.so.9".into(), dispatcher.uses("libcudnn_graph.so.9", &["cudnn_graph"])));
    venv.wheel("nvidia-cudnn-cu12", version, &files);
}

fn install_cudart(venv: &Venv) {
    venv.nvidia("cuda_runtime", "12.5.82", cudart(12));
}

const WHEELS: &str = "$ORIGIN/../nvidia/cudnn/lib:$ORIGIN/../nvidia/cuda_runtime/lib";

#[test]
fn tf_cannot_dlopen() {
    let found = machine().environment(|venv| install_tensorflow(venv, None)).first();
    assert_eq!((found.id, found.severity), ("tf-cannot-dlopen", Fatal));
    assert_eq!(found.cause, "TensorFlow 2.18.0 opens `libcudart.so.12`, `libcudnn.so.9` by name, not found by ld.so");
    assert!(
        commands(&found)[0].contains("pip install nvidia-cuda-runtime-cu12 'nvidia-cudnn-cu12==9.*' && eval"),
        "{:?}",
        found.remedies
    );
    // Installed, but on no search path: what the wheels of 2.16 and 2.17 did.
    let found = machine()
        .environment(|venv| {
            install_tensorflow(venv, None);
            install_cudnn(venv, "9.3.0.75");
            install_cudart(venv);
        })
        .first();
    assert_eq!(found.id, "tf-cannot-dlopen");
    assert_eq!(commands(&found), [RUN], "{found:#?}");
    // With run paths to them nothing is wrong; without, a machine that has no GPU shows it, too.
    machine()
        .environment(|venv| {
            install_tensorflow(venv, Some(WHEELS));
            install_cudnn(venv, "9.3.0.75");
            install_cudart(venv);
        })
        .is_healthy();
    let later = [("tf-cannot-dlopen", Fatal), ("silent-cpu-fallback", Warning), ("no-driver", Fact)];
    assert_eq!(without_gpu().environment(|venv| install_tensorflow(venv, None)).ids(), later);
}

/// A library that needs a function which the driver came without is the driver's finding.
#[test]
fn tf_opens_what_an_older_driver_lacks() {
    let machine = Machine::new().glibc().environment(|venv| {
        install_tensorflow(venv, Some(WHEELS));
        install_cudnn(venv, "9.3.0.75");
        let cudart = cudart(12).uses("libcuda.so.1", &["cuTensorMapEncodeTiled"]).link("-z,now");
        venv.nvidia("cuda_runtime", "12.5.82", cudart);
    });
    let ids = |driver: &str| -> Vec<String> {
        let (_, report) = answer(&mut machine.rooted(["doctor", "/venv", "--driver", driver]), "doctor.json");
        report["findings"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids("470"), ["driver-too-old"]);
    assert_eq!(ids("580"), [""; 0]);
}

#[test]
fn xla_built_against_newer() {
    let tensorflow = |cudnn: &'static str| {
        machine().environment(move |venv| {
            install_tensorflow(venv, Some(WHEELS));
            install_cudnn(venv, cudnn);
            install_cudart(venv);
        })
    };
    let found = tensorflow("9.1.0.70").first();
    assert_eq!((found.id, found.severity), ("xla-built-against-newer", Fatal));
    assert_eq!(found.cause, "TensorFlow 2.18.0 was built with cuDNN 9.3.0.75, but finds 9.1.0.70");
    assert!(commands(&found)[0].contains("pip install --no-deps nvidia-cudnn-cu12==9."), "{:?}", found.remedies);
    tensorflow("9.3.0.75").is_healthy();
    tensorflow("9.10.2.21").is_healthy();
    // JAX has a lower bound.
    let jax = |cudnn: &'static str| {
        machine().environment(move |venv| {
            install_jax(venv);
            install_cudnn(venv, cudnn);
        })
    };
    let found = jax("9.1.0.70").first();
    assert_eq!(found.cause, "JAX 0.5.3 was built with cuDNN 9.8, but finds 9.1.0.70");
    jax("9.8.0.87").is_healthy();
}

#[test]
fn jax_cudnn_for_another_cuda_major() {
    let jax = |wheel: &'static str| {
        without_gpu().environment(move |venv| {
            install_jax(venv);
            install_cudnn(venv, "9.10.2.21");
            let dir = |name: &str| venv.site.join(format!("{}-9.10.2.21.dist-info", name.replace('-', "_")));
            if wheel != "nvidia-cudnn-cu12" {
                std::fs::rename(dir("nvidia-cudnn-cu12"), dir(wheel)).unwrap();
                let metadata = format!("Metadata-Version: 2.1\nName: {wheel}\nVersion: 9.10.2.21\n\n");
                std::fs::write(dir(wheel).join("METADATA"), metadata).unwrap();
            }
        })
    };
    assert_eq!(jax("nvidia-cudnn-cu12").ids(), [("no-driver", Fact)]);
    let found = jax("nvidia-cudnn-cu13").first();
    assert_eq!((found.id, found.severity), ("two-cuda-majors", Fatal));
    assert_eq!(found.cause, "`libcudnn.so.9` 9.10.2.21 is for CUDA 13, and JAX 0.5.3 for CUDA 12");
    assert!(
        commands(&found)[0].starts_with("/venv/bin/python -m pip uninstall -y nvidia-cudnn-cu13 && "),
        "{:?}",
        found.remedies
    );
}

#[test]
fn jax_cudnn_part_missing() {
    let jax = without_gpu().environment(|venv| {
        install_jax(venv);
        install_cudnn(venv, "9.10.2.21");
    });
    let found = jax.without("venv/lib/python3.11/site-packages/nvidia/cudnn/lib/libcudnn_ops.so.9").first();
    assert_eq!((found.id, found.severity), ("cudnn9-sublib-not-found", Fatal));
    assert_eq!(found.cause, "`libcudnn.so.9` opens `libcudnn_ops.so.9`: not found");
    let line = "pip install --force-reinstall --no-deps nvidia-cudnn-cu12==9.10.2.21";
    assert!(commands(&found)[0].ends_with(line), "{:?}", found.remedies);
}

/// The plugin of JAX, with its requirement of cuDNN.
fn install_jax(venv: &Venv) {
    let extra = "Requires-Dist: nvidia-cudnn-cu12<10.0,>=9.8; extra == \"with-cuda\"\n";
    venv.dist_info("jax-cuda12-plugin", "0.5.3", extra, "");
    let plugin = Lib::new("xla_cuda_plugin.so")
        .unversioned()
        .link("--disable-new-dtags")
        .link("-rpath,$ORIGIN/../../nvidia/cudnn/lib");
    plugin.build(&venv.site.join("jax_plugins/xla_cuda12/xla_cuda_plugin.so"));
    let sparse = Lib::new("libcusparse.so.12").defines(&["cusparseGetProperty"]);
    venv.nvidia("cusparse", "12.5.1.3", sparse);
    let runtime = "nvidia/cuda_runtime/lib/libcudart.so.12";
    if !venv.site.join(runtime).exists() {
        venv.wheel("nvidia-cuda-runtime-cu12", "12.8.90", &[(runtime, cudart(12))]);
    }
    for (package, version, dir, soname) in [
        ("nvidia-cufft-cu12", "11.3.3.83", "cufft", "libcufft.so.11"),
        ("nvidia-cuda-cupti-cu12", "12.8.90", "cuda_cupti", "libcupti.so.12"),
        ("nvidia-cublas-cu12", "12.8.4.1", "cublas", "libcublas.so.12"),
    ] {
        venv.wheel(package, version, &[(&format!("nvidia/{dir}/lib/{soname}"), Lib::new(soname))]);
    }
}

#[test]
fn two_frameworks_one_cudnn() {
    let both = |cudnn: &'static str| {
        machine().environment(move |venv| {
            install_torch(venv, "2.5.1+cu124", "12.4", &["nvidia-cudnn-cu12==9.1.0.70"]);
            install_jax(venv);
            install_cudnn(venv, cudnn);
        })
    };
    let found = both("9.1.0.70").first();
    assert_eq!((found.id, found.severity), ("two-frameworks-one-cudnn", Fatal));
    assert_eq!(found.cause, "torch 2.5.1+cu124 includes cuDNN 9.1.0.70, but JAX 0.5.3 requires 9.8 or newer");
    assert!(
        commands(&found).last().unwrap().contains("pip install --no-deps nvidia-cudnn-cu12==9."),
        "{:?}",
        found.remedies
    );
    // A newer minor serves both; that torch's metadata names another is worth a word.
    assert_eq!(both("9.10.2.21").ids(), [("pin-not-met", Warning)]);
}

#[test]
fn jax_library_unloadable() {
    let old = Lib::new("libnvJitLink.so.12").defines(&["__nvJitLinkCreate_12_1"]);
    let jax = machine().with("opt/cuda-12.1/lib64/libnvJitLink.so.12", &old).environment(|venv| {
        install_jax(venv);
        install_cudnn(venv, "9.8.0.87");
        let sparse = Lib::new("libcusparse.so.12").defines(&["cusparseGetProperty"]);
        let sparse =
            sparse.uses("libnvJitLink.so.12", &["__nvJitLinkCreate_12_4"]).link("-rpath,$ORIGIN/../../nvjitlink/lib");
        let new = Lib::new("libnvJitLink.so.12").defines(&["__nvJitLinkCreate_12_1", "__nvJitLinkCreate_12_4"]);
        std::fs::remove_dir_all(venv.site.join("nvidia_cusparse_cu12-12.5.1.3.dist-info")).unwrap();
        venv.nvidia("cusparse", "12.3.1.170", sparse);
        venv.nvidia("nvjitlink", "12.4.127", new);
    });
    jax.is_healthy();
    let found = jax.set("LD_LIBRARY_PATH", "/opt/cuda-12.1/lib64").first();
    assert_eq!((found.id, found.severity), ("jax-library-unloadable", Fatal));
    assert!(found.cause.starts_with("JAX cannot open cuSPARSE: `libnvJitLink.so.12`"), "{}", found.cause);
    assert!(found.cause.ends_with("is older than it requires, found by LD_LIBRARY_PATH"), "{}", found.cause);
    let message = "undefined symbol: __nvJitLinkCreate_12_4, version libnvJitLink.so.12";
    assert!(found.evidence.iter().any(|seen| seen.kind == "message" && seen.says.contains(message)), "{found:#?}");
    assert_eq!(commands(&found)[0], RUN);
    // And if it is missing.
    let none = machine().environment(install_jax).without("venv/lib/python3.11/site-packages/nvidia");
    let found = none.first();
    assert_eq!(
        found.cause,
        "JAX 0.5.3 opens `libcublas.so.12`, `libcudart.so.12`, `libcudnn.so.9` and 3 more by name, not found by ld.so"
    );
    let line = &commands(&found)[0];
    assert!(line.contains("pip install --force-reinstall --no-deps nvidia-cublas-cu12==12.8.4.1 "), "{line}");
    assert!(line.contains(" nvidia-cusparse-cu12==12.5.1.3"), "{line}");
    // One of them, which only the extra of the plugin requires.
    let one = machine().environment(|venv| {
        install_jax(venv);
        install_cudnn(venv, "9.8.0.87");
    });
    let found = one.without("venv/lib/python3.11/site-packages/nvidia/cudnn").first();
    assert_eq!(found.cause, "JAX 0.5.3 opens `libcudnn.so.9` by name, not found by ld.so");
}
