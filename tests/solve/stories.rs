//! Set-ups people reported, as plain data; each named for its class of failure.

use cudashim::internal::resolve::solve::*;

use super::puzzle::{Puzzle, release};

const VENV: &str = "/venv/nvidia";
const TOOLKIT: &str = "/toolkit/lib64";

fn path(directory: &str, soname: &str) -> String {
    format!("{directory}/{soname}")
}

/// nvjitlink-older-wins: LD_LIBRARY_PATH holds the nvJitLink of CUDA 12.1, cusparse needs 12.4's.
fn nvjitlink(venv_has_it: bool) -> Puzzle {
    let symbol = "__nvJitLinkComplete_12_4@libnvJitLink.so.12";
    let mut lab = Puzzle::default();
    lab.goal("libcusparse.so.12");
    let cusparse = lab.file(&path(VENV, "libcusparse.so.12")).version("12.3.1.170").pin(Pin::Met).at_consumer();
    let _ = cusparse.needs("libnvJitLink.so.12", &[symbol]);
    lab.file(&path(TOOLKIT, "libnvJitLink.so.12")).version("12.1.105").lacks(symbol);
    if venv_has_it {
        lab.file(&path(VENV, "libnvJitLink.so.12")).version("12.4.127").pin(Pin::Met).at_consumer();
    }
    lab.fix_hints.insert("libnvJitLink.so.12".into(), "install `nvidia-nvjitlink-cu12>=12.4`".into());
    lab
}

#[test]
fn nvjitlink_older_wins() {
    let lab = nvjitlink(true);
    assert_eq!(lab.paths(), [path(VENV, "libcusparse.so.12"), path(VENV, "libnvJitLink.so.12")]);
    assert_eq!(
        lab.why_not(&path(TOOLKIT, "libnvJitLink.so.12")),
        "does not define `__nvJitLinkComplete_12_4@libnvJitLink.so.12`, which libcusparse.so.12 needs"
    );
}

#[test]
fn solve_fails_with_an_older_nvjitlink_alone() {
    let lab = nvjitlink(false);
    assert_eq!(
        lab.conflict(),
        [
            "torch needs libcusparse.so.12",
            "libcusparse.so.12 needs libnvJitLink.so.12",
            "libcusparse.so.12 needs `__nvJitLinkComplete_12_4@libnvJitLink.so.12` of libnvJitLink.so.12, \
             which 12.1.105 (`/toolkit/lib64/libnvJitLink.so.12`) does not define",
        ]
    );
    let none = lab.solve().unwrap_err();
    assert_eq!(none.hints(), ["install `nvidia-nvjitlink-cu12>=12.4`"]);
    assert!(none.to_string().starts_with("no compatible set of libraries: torch needs libcusparse.so.12; "));
}

const CUDNN: [&str; 4] = ["libcudnn.so.9", "libcudnn_cnn.so.9", "libcudnn_graph.so.9", "libcudnn_ops.so.9"];

/// All of a cuDNN release in a directory, but for `without`.
fn cudnn(lab: &mut Puzzle, directory: &str, version: &str, pin: Pin, without: &str) {
    for soname in CUDNN.into_iter().filter(|soname| *soname != without) {
        let mut file = lab.file(&path(directory, soname)).version(version).group("cudnn").pin(pin);
        if directory == VENV {
            file = file.at_consumer();
        }
        if soname == "libcudnn.so.9" {
            for part in &CUDNN[1..] {
                file = file.opens(part);
            }
        }
    }
}

#[test]
fn cudnn_older_than_torch() {
    // The dispatcher is found by DT_RPATH; its parts would come from LD_LIBRARY_PATH.
    let mut lab = Puzzle::default();
    lab.goal("libcudnn.so.9");
    cudnn(&mut lab, VENV, "9.10.2.21", Pin::Met, "");
    cudnn(&mut lab, TOOLKIT, "9.1.0.70", Pin::Missed, "");
    assert_eq!(lab.paths(), CUDNN.map(|soname| path(VENV, soname)));
    assert_eq!(
        lab.why_not(&path(TOOLKIT, "libcudnn_graph.so.9")),
        "of another release than libcudnn.so.9 (9.1.0.70, not 9.10.2.21)"
    );
}

#[test]
fn cudnn8_mixed_sublibs() {
    // The train part is missing beside the others: the whole older set goes before a mix.
    let symbol = "_ZTIN10cask_cudnn14BaseKernelInfoE@libcudnn_cnn_infer.so.8";
    let mut lab = Puzzle::default();
    lab.goal("libcudnn_cnn_infer.so.8").goal("libcudnn_cnn_train.so.8");
    lab.file("/venv/libcudnn_cnn_infer.so.8").version("8.9.2.26").group("cudnn").at_consumer().lacks(symbol);
    for part in ["infer", "train"] {
        let file = lab.file(&format!("/usr/lib/libcudnn_cnn_{part}.so.8")).version("8.5.0.96").group("cudnn");
        if part == "train" {
            let _ = file.needs("libcudnn_cnn_infer.so.8", &[symbol]);
        }
    }
    assert_eq!(lab.paths(), ["/usr/lib/libcudnn_cnn_infer.so.8", "/usr/lib/libcudnn_cnn_train.so.8"]);
    assert_eq!(
        lab.why_not("/venv/libcudnn_cnn_infer.so.8"),
        format!("does not define `{symbol}`, which libcudnn_cnn_train.so.8 needs")
    );
}

#[test]
fn cublas_silent_mix() {
    // Every symbol is there in every pairing; only the release differs.
    let mut lab = Puzzle::default();
    lab.goal("libcublas.so.12").goal("libcublasLt.so.12");
    lab.file("/venv/libcublas.so.12").version("12.4.5.8").group("cublas").pin(Pin::Met).at_consumer();
    lab.file("/toolkit/libcublas.so.12").version("12.8.3.14").group("cublas").pin(Pin::Missed);
    lab.file("/toolkit/libcublasLt.so.12").version("12.8.3.14").group("cublas").pin(Pin::Missed);
    assert_eq!(lab.paths(), ["/toolkit/libcublas.so.12", "/toolkit/libcublasLt.so.12"]);

    lab.policy.forbidden.insert("/toolkit/libcublas.so.12".into());
    assert_eq!(
        lab.conflict(),
        [
            "torch needs libcublasLt.so.12",
            "torch needs libcublas.so.12",
            "`/toolkit/libcublas.so.12` is forbidden",
            "the libraries of cublas are of one release; libcublas.so.12 is here as 12.4.5.8; \
             libcublasLt.so.12 is here as 12.8.3.14",
        ]
    );
    assert_eq!(lab.solve().unwrap_err().hints(), ["drop `--forbid /toolkit/libcublas.so.12`"]);
}

#[test]
fn cublaslt_older_wins() {
    let symbol = "cublasLtHSHMatmulAlgoInit@libcublasLt.so.11";
    let mut lab = Puzzle::default();
    lab.goal("libcublas.so.11");
    let cublas = lab.file("/venv/libcublas.so.11").version("11.10.3.66").group("cublas").at_consumer();
    let _ = cublas.needs("libcublasLt.so.11", &[symbol]);
    lab.file("/usr/local/cuda/lib64/libcublasLt.so.11").lacks(symbol);
    lab.file("/venv/libcublasLt.so.11").version("11.10.3.66").group("cublas").at_consumer();
    assert_eq!(lab.paths(), ["/venv/libcublas.so.11", "/venv/libcublasLt.so.11"]);
    assert_eq!(
        lab.why_not("/usr/local/cuda/lib64/libcublasLt.so.11"),
        "does not define `cublasLtHSHMatmulAlgoInit@libcublasLt.so.11`, which libcublas.so.11 needs"
    );
}

#[test]
fn cudnn9_torn_set() {
    // The wheel lacks one part, the system's cuDNN of another release has it: no mix; the whole
    // other set serves all that is asked for.
    let mut lab = Puzzle::default();
    lab.goal("libcudnn.so.9");
    cudnn(&mut lab, VENV, "9.20.0.48", Pin::Met, "libcudnn_cnn.so.9");
    cudnn(&mut lab, "/usr/lib", "9.10.2.21", Pin::Missed, "");
    assert_eq!(lab.paths(), CUDNN.map(|soname| path("/usr/lib", soname)));

    // Where a consumer is bound to the torn release, the part is left out rather than mixed in.
    let (consumer, group) = ("torch".to_owned(), "cudnn".to_owned());
    lab.releases.push(ReleaseDemand { consumer, group, least: release("9.20") });
    let solution = lab.solve().unwrap();
    assert_eq!(solution.chosen.len(), 3);
    assert_eq!(solution.unserved[0].to_string(), "of release 9.10.2.21, torch needs 9.20 or newer");

    // And where it cannot do without the part, there is no set.
    lab.goal("libcudnn_cnn.so.9");
    assert_eq!(
        lab.conflict(),
        ["torch needs libcudnn_cnn.so.9", "torch needs cudnn 9.20 or newer; libcudnn_cnn.so.9 is here as 9.10.2.21",]
    );
}

#[test]
fn solve_bundled_cudnn_takes_parts_that_are_not_older() {
    let mut lab = Puzzle::default();
    lab.goal("libcudnn_ops.so.9").goal("libcudnn_graph.so.9");
    cudnn(&mut lab, VENV, "9.0.0.312", Pin::Free, "");
    cudnn(&mut lab, "/other/nvidia", "9.28.0.42", Pin::Free, "");
    let (consumer, group) = ("ctranslate2's libcudnn-74a4c495.so.9.1.0".to_owned(), "cudnn".to_owned());
    lab.releases.push(ReleaseDemand { consumer, group, least: release("9.1.0") });
    assert_eq!(lab.paths(), ["/other/nvidia/libcudnn_graph.so.9", "/other/nvidia/libcudnn_ops.so.9"]);
}

#[test]
fn conda_pip_toolkit_mix() {
    // Three providers of one soname; linalg, loaded late, takes what only the newest has.
    let symbol = "cusolverDnXsyevBatched_bufferSize@libcusolver.so.11";
    let mut lab = Puzzle::default();
    lab.goal("libcusolver.so.11").demand("libtorch_cuda_linalg.so", "libcusolver.so.11", &[symbol]);
    lab.file("/venv/libcusolver.so.11").version("11.4.5.107").at_consumer().lacks(symbol);
    lab.file("/conda/libcusolver.so.11").version("11.6.1.9").lacks(symbol);
    lab.file("/toolkit/libcusolver.so.11").version("11.7.2.55");
    assert_eq!(lab.paths(), ["/toolkit/libcusolver.so.11"]);
    let why =
        "does not define `cusolverDnXsyevBatched_bufferSize@libcusolver.so.11`, which libtorch_cuda_linalg.so needs";
    assert_eq!(lab.why_not("/venv/libcusolver.so.11"), why);

    lab.policy.fixed.insert("libcusolver.so.11".into(), "/venv/libcusolver.so.11".into());
    assert_eq!(
        lab.conflict(),
        [
            "libcusolver.so.11 is fixed to `/venv/libcusolver.so.11`",
            "libtorch_cuda_linalg.so needs `cusolverDnXsyevBatched_bufferSize@libcusolver.so.11` of \
             libcusolver.so.11, which 11.4.5.107 (`/venv/libcusolver.so.11`) does not define",
        ]
    );
}

#[test]
fn solve_names_stubs_in_one_clause() {
    let mut lab = Puzzle::default();
    lab.goal("libcuda.so.1");
    for root in ["a", "b", "c", "d", "e"] {
        lab.file(&format!("/{root}/stubs/libcuda.so.1")).barred("a stub");
    }
    assert_eq!(
        lab.conflict(),
        [
            "torch needs libcuda.so.1",
            "`/a/stubs/libcuda.so.1`, `/b/stubs/libcuda.so.1` and 3 more cannot be used: a stub",
        ]
    );
}

#[test]
fn solve_fails_without_any_copy() {
    let mut lab = Puzzle::default();
    lab.goal("libcupti.so.12");
    lab.fix_hints.insert("libcupti.so.12".into(), "install `nvidia-cuda-cupti-cu12`".into());
    assert_eq!(lab.conflict(), ["torch needs libcupti.so.12, of which no copy was found"]);
    assert_eq!(
        lab.solve().unwrap_err().hints(),
        ["install `nvidia-cuda-cupti-cu12`", "name a directory that holds libcupti.so.12 with `--place DIR`",]
    );
}

#[test]
fn solve_fails_with_a_fixed_path_that_is_no_copy() {
    let mut lab = Puzzle::default();
    lab.goal("libcupti.so.12");
    lab.file("/a/libcupti.so.12");
    lab.policy.fixed.insert("libcupti.so.12".into(), "/b/libcupti.so.12".into());
    let none = lab.solve().unwrap_err();
    assert_eq!(none.clauses[0].rule, Rule::Fixed);
    assert_eq!(lab.conflict(), ["libcupti.so.12 is fixed to `/b/libcupti.so.12`, which holds no usable copy of it"]);
    assert_eq!(none.hints(), ["drop `--use libcupti.so.12=/b/libcupti.so.12`"]);
}

#[test]
fn solve_fails_with_another_major_alone() {
    let mut lab = Puzzle::default();
    lab.goal("libnvrtc.so.12");
    lab.file("/a/libnvrtc.so.12").cuda(13, 0);
    lab.built = Some(Built { consumer: "torch".into(), major: 12 });
    assert_eq!(
        lab.conflict(),
        ["torch needs libnvrtc.so.12", "torch is for CUDA 12; libnvrtc.so.12 is here for CUDA 13"]
    );
}
