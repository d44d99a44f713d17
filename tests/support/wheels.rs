//! Wheels that many tests install, of the releases that torch 2.5.1+cu124 pins.

use super::{Lib, Machine, Venv};

/// cuBLAS in two parts, of which the first takes a symbol from the second.
pub(crate) fn cublas() -> [(&'static str, Lib); 2] {
    cublas_with(&["cublasLtCreate"])
}

/// The same with these functions in the second.
pub(crate) fn cublas_with(lt: &[&str]) -> [(&'static str, Lib); 2] {
    let first =
        Lib::new("libcublas.so.12").defines(&["cublasCreate_v2"]).uses("libcublasLt.so.12", &["cublasLtCreate"]);
    let second = Lib::new("libcublasLt.so.12").defines(lt);
    [
        ("nvidia/cublas/lib/libcublas.so.12", first.link("-rpath,$ORIGIN")),
        ("nvidia/cublas/lib/libcublasLt.so.12", second),
    ]
}

/// The first part alone, which takes nothing from the second.
pub(crate) fn cublas_alone() -> Lib {
    Lib::new("libcublas.so.12").defines(&["cublasCreate_v2"])
}

/// The parts that every cuDNN 9 has beside its dispatcher.
pub(crate) const CUDNN_PARTS: [&str; 7] = [
    "cudnn_graph",
    "cudnn_ops",
    "cudnn_cnn",
    "cudnn_adv",
    "cudnn_heuristic",
    "cudnn_engines_precompiled",
    "cudnn_engines_runtime_compiled",
];

/// cuDNN's dispatcher and two of its parts.
pub(crate) fn cudnn() -> [(&'static str, Lib); 3] {
    let dispatcher = Lib::new("libcudnn.so.9").defines(&["cudnnCreate"]).link("-rpath,$ORIGIN");
    let graph = Lib::new("libcudnn_graph.so.9").defines(&["cudnnBackendCreateDescriptor"]).link("-rpath,$ORIGIN");
    let ops = Lib::new("libcudnn_ops.so.9")
        .defines(&["cudnnAddTensor"])
        .uses("libcudnn_graph.so.9", &["cudnnBackendCreateDescriptor"]);
    [
        ("nvidia/cudnn/lib/libcudnn.so.9", dispatcher),
        ("nvidia/cudnn/lib/libcudnn_graph.so.9", graph),
        ("nvidia/cudnn/lib/libcudnn_ops.so.9", ops.link("-rpath,$ORIGIN")),
    ]
}

/// The wheels of CUDA 12 that JAX does not do without, beside cuBLAS and cuDNN: package, release, directory, soname.
pub(crate) const JAX_WHEELS: [(&str, &str, &str, &str); 4] = [
    ("nvidia-cuda-cupti-cu12", "12.8.90", "cuda_cupti", "libcupti.so.12"),
    ("nvidia-cuda-runtime-cu12", "12.8.90", "cuda_runtime", "libcudart.so.12"),
    ("nvidia-cufft-cu12", "11.3.3.83", "cufft", "libcufft.so.11"),
    ("nvidia-cusparse-cu12", "12.5.8.93", "cusparse", "libcusparse.so.12"),
];

/// Installs them.
pub(crate) fn jax_wheels(venv: &Venv) {
    for (package, version, dir, soname) in JAX_WHEELS {
        venv.wheel(package, version, &[(&format!("nvidia/{dir}/lib/{soname}"), Lib::new(soname))]);
    }
}

/// The same with all that its parts open.
pub(crate) fn whole_cudnn() -> Vec<(String, Lib)> {
    let named = cudnn().map(|(path, library)| (path.to_owned(), library));
    let more = CUDNN_PARTS[2..].iter().map(|part| format!("lib{part}.so.9"));
    named.into_iter().chain(more.map(|soname| (format!("nvidia/cudnn/lib/{soname}"), Lib::new(&soname)))).collect()
}

/// The same with a dispatcher that finds its parts, all of which load.
pub(crate) fn cudnn_that_loads() -> Vec<(String, Lib)> {
    let mut all = vec![("nvidia/cudnn/lib/libcudnn.so.9".to_owned(), Lib::new("libcudnn.so.9").link("-rpath,$ORIGIN"))];
    all.extend(CUDNN_PARTS.map(|part| {
        let soname = format!("lib{part}.so.9");
        (format!("nvidia/cudnn/lib/{soname}"), Lib::new(&soname).link("-rpath,$ORIGIN"))
    }));
    all
}

/// A torch that needs cuBLAS and cuDNN, and finds them in the wheels beside it.
pub(crate) fn torch(venv: &Venv) {
    let library = Lib::new("libtorch_global_deps.so")
        .unversioned()
        .uses("libcublas.so.12", &["cublasCreate_v2"])
        .uses("libcudnn.so.9", &["cudnnCreate"])
        .link("-rpath,$ORIGIN/../../nvidia/cublas/lib:$ORIGIN/../../nvidia/cudnn/lib")
        .link("--disable-new-dtags");
    let pins = ["nvidia-cublas-cu12 (==12.4.5.8)", "nvidia-cudnn-cu12 (==9.1.0.70)"];
    venv.torch("2.5.1+cu124", Some("12.4"), &pins, &[("lib/libtorch_global_deps.so", library)]);
}

/// A torch that needs cuBLAS alone, and finds it in the wheel beside it.
pub(crate) fn torch_with_cublas(venv: &Venv) {
    let library = Lib::new("libtorch_global_deps.so").unversioned().uses("libcublas.so.12", &["cublasCreate_v2"]);
    let library = library.link("-rpath,$ORIGIN/../../nvidia/cublas/lib").link("--disable-new-dtags");
    let pins = ["nvidia-cublas-cu12 (==12.4.5.8)"];
    venv.torch("2.5.1+cu124", Some("12.4"), &pins, &[("lib/libtorch_global_deps.so", library)]);
}

/// A machine with that torch and its cuBLAS in `/venv`.
pub(crate) fn torch_machine() -> (Machine, Venv) {
    let (machine, venv) = Machine::with_venv();
    torch_with_cublas(&venv);
    venv.wheel("nvidia-cublas-cu12", "12.4.5.8", &cublas());
    (machine, venv)
}
