//! Every finding about the libraries: a machine that has it first, and the same machine healed.

mod found;
mod majors;
mod missing;

use super::{RUN, commands};
use crate::support::*;
use cudashim::internal::diagnose::Finding;
use cudashim::internal::tables::Severity;

/// The same of another environment.
pub(super) const OTHER: &str = "/other/lib/python3.11/site-packages";

/// What torch's own libraries are linked with: a path that comes before `LD_LIBRARY_PATH`.
const RPATH: &str = "--disable-new-dtags,-rpath,$ORIGIN:$ORIGIN/../../nvidia/cublas/lib:$ORIGIN/../../nvidia/cudnn/lib:\
$ORIGIN/../../nvidia/cuda_runtime/lib:$ORIGIN/../../nvidia/cusparse/lib:$ORIGIN/../../nvidia/nccl/lib:\
$ORIGIN/../../nvidia/cuda_nvrtc/lib:$ORIGIN/../../nvidia/nvtx/lib:$ORIGIN/../../nvidia/cusparselt/lib";

/// A torch 2.8.0 for CUDA 12.8, with the libraries of NVIDIA's that distinguish these findings.
pub(super) struct Torch {
    /// `libtorch_cuda.so`.
    cuda: Lib,
    /// The release of its cuDNN.
    cudnn: &'static str,
}

impl Torch {
    pub(super) fn new() -> Self {
        let cuda = Lib::new("libtorch_cuda.so").unversioned().link(RPATH);
        let cuda = cuda.uses("libcusparse.so.12", &["cusparseCreate"]).uses("libcublas.so.12", &["cublasCreate_v2"]);
        let cuda = cuda.uses("libcudart.so.12", &["cudaMalloc", "cudaGetDriverEntryPointByVersion"]);
        let cuda = cuda.uses("libcudnn.so.9", &["cudnnCreate"]).uses_of("libnccl.so.2", None, &["ncclMemFree"]);
        Self { cuda, cudnn: "9.10.2.21" }
    }

    /// Whose `libtorch_cuda.so` is as it is made.
    pub(super) fn with(mut self, change: impl FnOnce(Lib) -> Lib) -> Self {
        self.cuda = change(self.cuda);
        self
    }

    /// In the environment of a machine.
    pub(super) fn on(self, machine: Machine) -> Machine {
        let venv = machine.venv("venv");
        let own = "-rpath,$ORIGIN";
        let pins = ["nvidia-cusparselt-cu12==0.7.1", "nvidia-nvjitlink-cu12==12.8.93", "nvidia-nccl-cu12==2.27.3"];
        let libraries = [extension(), ("lib/libtorch_cuda.so", self.cuda)];
        venv.torch("2.8.0+cu128", Some("12.8"), &pins, &libraries);
        venv.dist_info("nvidia-cusparselt-cu12", "0.7.1", "", "");
        let runtime = Lib::new("libcudart.so.12").defines(&["cudaMalloc", "cudaGetDriverEntryPointByVersion"]);
        venv.nvidia("cuda_runtime", "12.8.90", runtime);
        let sparse = Lib::new("libcusparse.so.12").defines(&["cusparseCreate"]);
        let sparse = sparse.uses("libnvJitLink.so.12", &["__nvJitLinkCreate_12_8"]);
        let sparse = sparse.link("-rpath,$ORIGIN/../../nvjitlink/lib");
        venv.nvidia("cusparse", "12.5.8.93", sparse);
        let linker = Lib::new("libnvJitLink.so.12").defines(&["__nvJitLinkCreate_12_8"]);
        venv.nvidia("nvjitlink", "12.8.93", linker);
        let blas = Lib::new("libcublas.so.12").defines(&["cublasCreate_v2"]).link(own);
        venv.wheel(
            "nvidia-cublas-cu12",
            "12.8.4.1",
            &[
                ("nvidia/cublas/lib/libcublas.so.12", blas.uses("libcublasLt.so.12", &["cublasLtCreate"])),
                ("nvidia/cublas/lib/libcublasLt.so.12", Lib::new("libcublasLt.so.12").defines(&["cublasLtCreate"])),
            ],
        );
        let nccl = Lib::new("libnccl.so.2").unversioned().defines(&["ncclMemFree"]);
        venv.nvidia("nccl", "2.27.3", nccl);
        cudnn_wheel(&machine, "venv", "nvidia-cudnn-cu12", self.cudnn);
        machine
    }
}

/// torch's extension module, which needs the rest.
pub(super) fn extension() -> (&'static str, Lib) {
    let library = Lib::new("_C.so").unversioned().link("--disable-new-dtags,-rpath,$ORIGIN/lib");
    ("_C.cpython-311-x86_64-linux-gnu.so", library.uses_of("libtorch_cuda.so", None, &[]))
}

/// The wheel of a cuDNN 8 in an environment.
pub(super) fn cudnn8_wheel(machine: &Machine, venv: &str, name: &str, version: &str) {
    let own = "-rpath,$ORIGIN";
    let parts = ["ops_infer", "ops_train", "cnn_infer", "cnn_train", "adv_infer", "adv_train"];
    let mut libraries =
        vec![("nvidia/cudnn/lib/libcudnn.so.8".to_owned(), Lib::new("libcudnn.so.8").defines(&["cudnnCreate"]))];
    libraries.extend(parts.iter().map(|part| {
        let soname = format!("libcudnn_{part}.so.8");
        (format!("nvidia/cudnn/lib/{soname}"), Lib::new(&soname))
    }));
    let libraries: Vec<(&str, Lib)> =
        libraries.iter().map(|(path, library)| (path.as_str(), library.clone().link(own))).collect();
    machine.venv(venv).wheel(name, version, &libraries);
}

/// The wheel of a cuDNN 9 in an environment.
pub(super) fn cudnn_wheel(machine: &Machine, venv: &str, name: &str, version: &str) {
    let own = "-rpath,$ORIGIN";
    let mut libraries = vec![(
        "nvidia/cudnn/lib/libcudnn.so.9".to_owned(),
        Lib::new("libcudnn.so.9").defines(&["cudnnCreate"]).link(own),
    )];
    for part in CUDNN_PARTS {
        let library = Lib::new(&format!("lib{part}.so.9")).defines(&[&format!("{part}VersionCheck")]).link(own);
        libraries.push((format!("nvidia/cudnn/lib/lib{part}.so.9"), library));
    }
    machine.venv(venv).wheel(name, version, &libraries);
}

/// A machine without a driver and a GPU, with a torch that is as it should be.
pub(super) fn sound() -> Machine {
    Torch::new().on(Machine::new())
}

/// The same with a driver that is as it should be.
pub(super) fn driven() -> Machine {
    Torch::new().on(with_driver("570.86.15"))
}

/// The finding is the first on one machine, has a readable line, and is missing on the other.
pub(super) fn seen(id: &str, sick: &Machine, healthy: &Machine) -> Finding {
    let found = sick.first();
    let all = || sick.report().findings;
    assert_eq!(found.id, id, "{:#?}", all());
    assert!(found.cause.chars().count() <= 160 && !found.cause.contains('\n'), "{}", found.cause);
    assert!(!found.evidence.is_empty() && found.source.starts_with("https://"), "{found:#?}");
    assert!(healthy.ids().iter().all(|(other, _)| *other != id), "{:#?}", healthy.report().findings);
    found
}

/// The line that hands out the set comes first; `doctor_sees_what_env_healed` types it.
pub(super) fn suggests_run(found: &Finding) {
    assert_eq!(commands(found).first(), Some(&RUN), "{found:#?}");
}

/// A sound machine has no findings, with and without a driver.
#[test]
fn libraries_sound_machine_has_no_finding() {
    assert_eq!(sound().ids(), [("no-driver", Severity::Fact)]);
    assert_eq!(driven().ids(), [], "{:#?}", driven().report().findings);
}
