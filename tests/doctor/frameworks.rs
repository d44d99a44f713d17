//! Every finding about what uses CUDA.

use super::{RUN, commands};
use crate::support::*;
use cudashim::internal::diagnose::{Finding, Remedy};
use cudashim::internal::driver::{Compute, Device};
use cudashim::internal::tables::Severity::{Fact, Fatal, Warning};

pub(super) const SET_DEVICE: &str = "_ZN3c104cuda9SetDeviceEab";
const OLD_SET_DEVICE: &str = "_ZN3c104cuda9SetDeviceEi";

/// A machine with a driver for CUDA 13, on which libraries load.
pub(super) fn machine() -> Machine {
    with_driver("580.95.05").glibc()
}

/// One without a GPU and without a driver.
pub(super) fn without_gpu() -> Machine {
    Machine::new().glibc()
}

/// The runtime of a CUDA major.
pub(super) fn cudart(major: u32) -> Lib {
    Lib::new(&format!("libcudart.so.{major}")).defines(&["cudaMalloc"])
}

/// Installs torch as its wheels are: `_C` needs `libc10_cuda.so`, which needs the runtime of a wheel.
pub(super) fn install_torch(venv: &Venv, version: &str, cuda: &str, pins: &[&str]) {
    let major: u32 = cuda.split('.').next().unwrap().parse().unwrap();
    let dir = if major < 13 { "nvidia/cuda_runtime/lib".to_owned() } else { format!("nvidia/cu{major}/lib") };
    let c10 = Lib::new("libc10_cuda.so").unversioned().defines(&[SET_DEVICE]);
    let c10 = c10.uses(&format!("libcudart.so.{major}"), &["cudaMalloc"]).link(&format!("-rpath,$ORIGIN/../../{dir}"));
    let extension = Lib::new("_C.so").unversioned().takes("libc10_cuda.so", &[SET_DEVICE]).link("-rpath,$ORIGIN/lib");
    venv.torch(
        version,
        Some(cuda),
        pins,
        &[("lib/libc10_cuda.so", c10.link("--disable-new-dtags")), ("_C.cpython-311.so", extension)],
    );
    let (wheel, release) = if major < 13 {
        (format!("nvidia-cuda-runtime-cu{major}"), format!("{cuda}.99"))
    } else {
        ("nvidia-cuda-runtime".into(), format!("{cuda}.48"))
    };
    venv.wheel(&wheel, &release, &[(&format!("{dir}/libcudart.so.{major}"), cudart(major))]);
}

/// An extension of torch that needs these symbols of it.
fn extension(symbols: &[&str]) -> Lib {
    Lib::new("_C.so").unversioned().takes("libc10_cuda.so", symbols)
}

fn actions(found: &Finding) -> Vec<&str> {
    found.remedies.iter().filter_map(Remedy::as_action).collect()
}

#[test]
fn ext_torch_abi() {
    let flash = |symbol: &'static str| {
        without_gpu().environment(move |venv| {
            install_torch(venv, "2.8.0+cu128", "12.8", &[]);
            venv.wheel(
                "flash-attn",
                "2.5.9+cu12torch2.3cxx11abiFALSE",
                &[("flash_attn_2_cuda.cpython-311.so", extension(&[symbol]))],
            );
        })
    };
    let found = flash(OLD_SET_DEVICE).first();
    assert_eq!((found.id, found.severity), ("ext-torch-abi", Fatal));
    assert_eq!(
        found.cause,
        "flash-attn 2.5.9+cu12torch2.3cxx11abiFALSE was built for torch 2.3, but torch 2.8.0+cu128 is installed"
    );
    assert!(found.evidence.iter().any(|seen| seen.kind == "symbol" && seen.says.contains(OLD_SET_DEVICE)));
    assert!(commands(&found)[0].contains("--no-build-isolation"), "{:?}", found.remedies);
    flash(SET_DEVICE).is_healthy();
    // What its maker builds for each torch is named with the release.
    let audio = without_gpu().environment(|venv| {
        install_torch(venv, "2.8.0+cu128", "12.8", &[]);
        venv.wheel("torchaudio", "2.5.1", &[("torchaudio/lib/libtorchaudio.so", extension(&[OLD_SET_DEVICE]))]);
        venv.wheel(
            "torch-scatter",
            "2.1.2+pt25cu124",
            &[("torch_scatter/_scatter_cuda.so", extension(&[OLD_SET_DEVICE]))],
        );
    });
    let found = audio.first();
    assert_eq!(
        found.cause,
        "torch-scatter 2.1.2+pt25cu124 was built for torch 2.5, but torch 2.8.0+cu128 is installed"
    );
    assert!(
        commands(&found)[0].ends_with("torch-scatter --find-links https://data.pyg.org/whl/torch-2.8.0+cu128.html")
    );
    let found = audio.without("venv/lib/python3.11/site-packages/torch_scatter").first();
    assert_eq!(
        commands(&found)[0],
        "/venv/bin/python -m pip install --force-reinstall --no-deps torchaudio==2.8.0 --index-url https://download.pytorch.org/whl/cu128"
    );
    // That another of its files lacks a library explains nothing of this one.
    let both = without_gpu().environment(|venv| {
        install_torch(venv, "2.8.0+cu128", "12.8", &[]);
        let sox = extension(&[SET_DEVICE]).takes("libsox.so", &["sox_open_read"]);
        let files = [
            ("torchaudio/lib/libtorchaudio.so", extension(&[OLD_SET_DEVICE])),
            ("torchaudio/lib/libtorchaudio_sox.so", sox),
        ];
        venv.wheel("torchaudio", "2.5.1", &files);
    });
    assert_eq!(both.first().id, "ext-torch-abi");
    // What is not torch's is not taken for it: a variant for another FFmpeg.
    without_gpu()
        .environment(|venv| {
            install_torch(venv, "2.8.0+cu128", "12.8", &[]);
            let ffmpeg = extension(&[SET_DEVICE]).takes("libavutil.so.56", &["av_frame_alloc"]);
            venv.wheel("torchaudio", "2.8.0", &[("torchaudio/lib/_torchaudio_ffmpeg4.so", ffmpeg)]);
        })
        .is_healthy();
}

#[test]
fn torchvision_torch_mismatch() {
    let vision = |version: &'static str, torch: &'static str, symbol: &'static str, cuda: &'static str| {
        let machine = without_gpu().environment(move |venv| {
            install_torch(venv, "2.5.1+cu124", "12.4", &[]);
            extension(&[symbol]).build(&venv.site.join("torchvision/_C.so"));
            venv.dist_info("torchvision", version, &format!("Requires-Dist: torch (=={torch})\n"), "");
        });
        machine.file(
            "venv/lib/python3.11/site-packages/torchvision/version.py",
            &format!("__version__ = '{version}'\ncuda = '{cuda}'\n"),
        )
    };
    let found = vision("0.16.2", "2.1.2", OLD_SET_DEVICE, "12.1").first();
    assert_eq!((found.id, found.severity), ("torchvision-torch-mismatch", Fatal));
    assert_eq!(found.cause, "torchvision 0.16.2 is for torch 2.1.2, but torch 2.5.1+cu124 is installed");
    assert_eq!(
        commands(&found),
        [
            "/venv/bin/python -m pip install --force-reinstall --no-deps torchvision==0.20.1 --index-url https://download.pytorch.org/whl/cu124"
        ]
    );
    assert_eq!(actions(&found), ["or keep it, and install torch 2.1.2"]);
    vision("0.20.1", "2.5.1", SET_DEVICE, "12.4").is_healthy();
    // The release its metadata names is another, but all it needs is defined.
    let found = vision("0.20.0", "2.5.0", SET_DEVICE, "12.4").first();
    assert_eq!((found.id, found.severity), ("torchvision-torch-mismatch", Warning));
    // The same release for another CUDA major, which it refuses by itself.
    let found = vision("0.20.1", "2.5.1", SET_DEVICE, "11.8").first();
    assert_eq!((found.id, found.severity), ("torchvision-torch-mismatch", Fatal));
    assert_eq!(found.cause, "torchvision 0.20.1 is built for CUDA 11.8, torch 2.5.1+cu124 for CUDA 12.4");
}

#[test]
fn ext_other_cuda_major() {
    let vllm = |major: u32| {
        without_gpu().environment(move |venv| {
            install_torch(venv, "2.15.0+cu132", "13.2", &[]);
            let kernels = extension(&[SET_DEVICE]).uses(&format!("libcudart.so.{major}"), &["cudaMalloc"]);
            venv.wheel("vllm", "0.11.0", &[("vllm/_C.abi3.so", kernels)]);
        })
    };
    let machine = vllm(12);
    let found = machine.first();
    assert_eq!((found.id, found.severity), ("ext-other-cuda-major", Fatal));
    assert_eq!(
        found.cause,
        "vllm 0.11.0 is built for CUDA 12 (`libcudart.so.12`), but torch 2.15.0+cu132 for CUDA 13.2"
    );
    assert_eq!(actions(&found)[0], "install the build of vllm 0.11.0 for CUDA 13.2, the one of torch");
    assert!(commands(&found)[0].contains("pip install nvidia-cuda-runtime-cu12 && eval \"$(cudashim env --for /venv/"));
    vllm(13).is_healthy();
    // Where a copy is on the machine, the line that hands it out.
    let found = machine.with("usr/local/cuda-12.8/lib64/libcudart.so.12", &cudart(12)).first();
    assert!(
        commands(&found)[0]
            .starts_with("eval \"$(cudashim env --for /venv/lib/python3.11/site-packages/vllm/_C.abi3.so")
    );
    // Two frameworks of one environment, each with its own major, are no extension of each other.
    without_gpu()
        .environment(|venv| {
            install_torch(venv, "2.15.0+cu132", "13.2", &[]);
            let other = Lib::new("_core.so").unversioned().uses("libcudart.so.12", &["cudaMalloc"]);
            let other = other.link("-rpath,$ORIGIN/../nvidia/cuda_runtime/lib");
            venv.wheel("another", "1.0", &[("another/_core.so", other)]);
            venv.nvidia("cuda_runtime", "12.8.90", cudart(12));
        })
        .is_healthy();
}

#[test]
fn torchcodec_npp_nvrtc() {
    let codec = |torch: &'static str, cuda: &'static str, major: u32| {
        without_gpu().environment(move |venv| {
            install_torch(venv, torch, cuda, &[]);
            let core = extension(&[SET_DEVICE]).uses(&format!("libnppicc.so.{major}"), &["nppiYUVToRGB"]);
            let core = core.takes("libavutil.so.58", &["av_frame_alloc"]);
            venv.wheel("torchcodec", "0.9.1", &[("torchcodec/libtorchcodec_core6.so", core)]);
        })
    };
    let found = codec("2.9.1+cu128", "12.8", 12).first();
    assert_eq!((found.id, found.severity), ("torchcodec-npp-nvrtc", Fatal));
    assert_eq!(found.cause, "torchcodec 0.9.1 finds no `libnppicc.so.12`: torch does not include what it needs");
    assert!(commands(&found)[0].contains("pip install nvidia-npp-cu12 && eval"), "{:?}", found.remedies);
    // That of another CUDA is installed anew.
    let found = codec("2.9.1+cu128", "12.8", 13).first();
    assert!(found.cause.ends_with("it is built for CUDA 13, but torch for CUDA 12.8"), "{}", found.cause);
    assert!(commands(&found)[0].ends_with("torchcodec --index-url https://download.pytorch.org/whl/cu128"));
    // With NPP on the path nothing is wrong; a missing FFmpeg is not a CUDA finding.
    let healed = codec("2.9.1+cu128", "12.8", 12).set("LD_LIBRARY_PATH", "/opt/npp");
    healed.with("opt/npp/libnppicc.so.12", &Lib::new("libnppicc.so.12").defines(&["nppiYUVToRGB"])).is_healthy();
}

/// ONNX Runtime for GPUs.
fn install_onnxruntime(venv: &Venv) {
    let provider = Lib::new("libonnxruntime_providers_cuda.so").unversioned();
    let provider = provider.uses("libcublasLt.so.12", &["cublasLtCreate"]).uses("libcudart.so.12", &["cudaMalloc"]);
    let file = "onnxruntime/capi/libonnxruntime_providers_cuda.so";
    venv.wheel("onnxruntime-gpu", "1.20.1", &[(file, provider)]);
}

fn cublas_lt() -> Lib {
    Lib::new("libcublasLt.so.12").defines(&["cublasLtCreate"])
}

#[test]
fn ort_cuda_ep_missing_lib() {
    let bare = machine().environment(install_onnxruntime);
    let found = bare.first();
    assert_eq!((found.id, found.severity), ("ort-cuda-ep-missing-lib", Fatal));
    assert_eq!(found.cause, "the CUDA provider of ONNX Runtime 1.20.1 finds no `libcublasLt.so.12`, `libcudart.so.12`");
    assert_eq!(
        commands(&found),
        [
            "/venv/bin/python -m pip install nvidia-cublas-cu12 nvidia-cuda-runtime-cu12 && eval \"$(cudashim env --python /venv)\""
        ]
    );
    // Where its maker binds it to wheels, these first, for they hold what it opens later.
    let bound = machine().environment(|venv| {
        install_onnxruntime(venv);
        let extras = "Requires-Dist: numpy\nRequires-Dist: nvidia-cuda-runtime-cu12~=12.0; extra == \"cuda\"\n\
                      Requires-Dist: nvidia-cudnn-cu12~=9.0; extra == \"cudnn\"\n";
        venv.dist_info("onnxruntime-gpu", "1.20.1", extras, "");
    });
    assert_eq!(
        commands(&bound.first()),
        [
            "/venv/bin/python -m pip install 'onnxruntime-gpu[cuda,cudnn]==1.20.1' && eval \"$(cudashim env --python /venv)\"",
            "/venv/bin/python -m pip install nvidia-cublas-cu12 nvidia-cuda-runtime-cu12 && eval \"$(cudashim env --python /venv)\""
        ]
    );
    // In the wheels that it has no run path to: the set heals.
    let wheels = bare.environment(|venv| {
        venv.nvidia("cublas", "12.8.4.1", cublas_lt());
        venv.nvidia("cuda_runtime", "12.8.90", cudart(12));
    });
    let found = wheels.first();
    assert_eq!(found.id, "ort-cuda-ep-missing-lib");
    assert_eq!(commands(&found), [RUN]);
    // On the search path: nothing is wrong.
    let site = "/venv/lib/python3.11/site-packages/nvidia";
    wheels.set("LD_LIBRARY_PATH", &format!("{site}/cublas/lib:{site}/cuda_runtime/lib")).is_healthy();
    // A machine without a GPU shows the same: it waits for one.
    let later = [("ort-cuda-ep-missing-lib", Fatal), ("silent-cpu-fallback", Warning), ("no-driver", Fact)];
    assert_eq!(without_gpu().environment(install_onnxruntime).ids(), later);
}

#[test]
fn silent_cpu_fallback() {
    // What is not found is swallowed.
    let ids = machine().environment(install_onnxruntime).ids();
    assert_eq!(ids, [("ort-cuda-ep-missing-lib", Fatal), ("silent-cpu-fallback", Warning)]);
    // Two packages that write one directory.
    let both = machine().environment(|venv| {
        venv.dist_info("onnxruntime", "1.20.1", "", "");
        venv.dist_info("onnxruntime-gpu", "1.20.1", "", "");
    });
    let found = both.first();
    assert_eq!((found.id, found.severity), ("silent-cpu-fallback", Warning));
    assert!(commands(&found)[0].contains("pip uninstall -y onnxruntime onnxruntime-gpu &&"), "{:?}", found.remedies);
    both.without("venv/lib/python3.11/site-packages/onnxruntime-1.20.1.dist-info").is_healthy();
    // A torch without CUDA, beside a GPU.
    let cpu = |machine: Machine| {
        machine.environment(|venv| {
            venv.torch("2.8.0+cpu", None, &[], &[]);
        })
    };
    let found = cpu(machine()).first();
    assert_eq!((found.id, found.severity), ("silent-cpu-fallback", Warning));
    assert!(
        commands(&found)[0].ends_with("torch==2.8.0 --index-url https://download.pytorch.org/whl/cu129"),
        "{:?}",
        found.remedies
    );
    assert_eq!(cpu(without_gpu()).ids(), [("no-driver", Fact)]);
    machine().environment(|venv| install_torch(venv, "2.8.0+cu128", "12.8", &[])).is_healthy();
    // JAX without its plugin.
    let jax = machine().environment(|venv| venv.dist_info("jax", "0.7.2", "", ""));
    let found = jax.first();
    assert_eq!(commands(&found), ["/venv/bin/python -m pip install 'jax[cuda13]==0.7.2'"]);
    jax.environment(|venv| venv.dist_info("jax-cuda12-plugin", "0.7.2", "", "")).is_healthy();
}

#[test]
fn bare_name_dlopen_consumers() {
    let ctranslate = |machine: Machine| {
        machine.environment(|venv| {
            let bundled = Lib::new("libctranslate2-bc15bf3f.so.4.5.0").unversioned().defines(&["translate"]);
            let extension = Lib::new("_ext.so").unversioned().takes("libctranslate2-bc15bf3f.so.4.5.0", &["translate"]);
            let extension =
                extension.takes("libcudart-c3a75b33.so.12", &["cudaMalloc"]).link("-rpath,$ORIGIN/../ctranslate2.libs");
            let runtime = Lib::new("libcudart-c3a75b33.so.12").unversioned().defines(&["cudaMalloc"]);
            let files = [
                ("ctranslate2/_ext.cpython-311.so", extension),
                ("ctranslate2.libs/libctranslate2-bc15bf3f.so.4.5.0", bundled),
                ("ctranslate2.libs/libcudart-c3a75b33.so.12", runtime),
            ];
            venv.wheel("ctranslate2", "4.5.0", &files);
            let cublas = Lib::new("libcublas.so.12").defines(&["cublasCreate"]);
            venv.nvidia("cublas", "12.8.4.1", cublas);
        })
    };
    let found = ctranslate(machine()).first();
    assert_eq!((found.id, found.severity), ("bare-name-dlopen-consumers", Fatal));
    assert_eq!(
        found.cause,
        "`libctranslate2-bc15bf3f.so.4.5.0` opens `libcublas.so.12`: installed, but not in any search path"
    );
    assert_eq!(commands(&found), [RUN]);
    ctranslate(machine()).set("LD_LIBRARY_PATH", "/venv/lib/python3.11/site-packages/nvidia/cublas/lib").is_healthy();
    assert_eq!(ctranslate(without_gpu()).ids(), [("bare-name-dlopen-consumers", Fatal), ("no-driver", Fact)]);
    // A package known only by its row of the table.
    let paddle = machine().environment(|venv| venv.dist_info("paddlepaddle-gpu", "2.6.2", "", ""));
    let found = paddle.first();
    assert_eq!(found.cause, "paddlepaddle-gpu 2.6.2 opens `libcudnn.so` by name, not found by ld.so");
    let path = "opt/cudnn/libcudnn.so";
    paddle.with(path, &Lib::new("libcudnn.so.7")).set("LD_LIBRARY_PATH", "/opt/cudnn").is_healthy();
}

#[test]
fn bnb_cudart_search() {
    let bnb = |version: &'static str, files: &'static [&'static str]| {
        machine().environment(move |venv| {
            install_torch(venv, "2.1.2+cu121", "12.1", &[]);
            let variant = |name: &&str| {
                let major = name.trim_start_matches("libbitsandbytes_cuda").get(..2).unwrap();
                let soname = format!("libcudart.so.{}", if major == "11" { "11.0" } else { major });
                (format!("bitsandbytes/{name}"), Lib::new(name).unversioned().uses(&soname, &["cudaMalloc"]))
            };
            let files: Vec<(String, Lib)> = files.iter().map(variant).collect();
            venv.wheel("bitsandbytes", version, &files);
        })
    };
    const ALL: &[&str] = &["libbitsandbytes_cuda117.so", "libbitsandbytes_cuda121.so"];
    let old = bnb("0.41.1", ALL);
    let found = old.first();
    assert_eq!((found.id, found.severity), ("bnb-cudart-search", Fatal));
    assert_eq!(
        found.cause,
        "bitsandbytes 0.41.1 searches the directories of variables for libcudart, and does not find it"
    );
    assert!(commands(&found)[0].ends_with("pip install --upgrade 'bitsandbytes>=0.43'"), "{:?}", found.remedies);
    let dir = "/venv/lib/python3.11/site-packages/nvidia/cuda_runtime/lib";
    assert_eq!(actions(&found), [format!("set LD_LIBRARY_PATH={dir} for this program alone")]);
    old.set("LD_LIBRARY_PATH", dir).is_healthy();
    // Later releases go by torch; the variants for another CUDA are never opened.
    bnb("0.45.0", ALL).is_healthy();
    let found = bnb("0.45.0", &["libbitsandbytes_cuda117.so", "libbitsandbytes_cuda124.so"]).first();
    assert_eq!(found.cause, "bitsandbytes 0.45.0 has no library for the CUDA 12.1 of torch 2.1.2+cu121");
    assert_eq!(actions(&found), ["set BNB_CUDA_VERSION=124: the nearest that is installed"]);
}

/// The devices do not change the findings of frameworks.
#[test]
fn frameworks_are_judged_the_same_with_devices() {
    let device = Device::new("NVIDIA H100 80GB HBM3", Compute { major: 9, minor: 0 });
    let machine = machine().answers(answering(vec![device])).environment(install_onnxruntime);
    assert_eq!(machine.first().id, "ort-cuda-ep-missing-lib");
}
