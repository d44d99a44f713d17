//! What a machine shows of a text that no rule looks for by itself, and what it does not: then the causes that are
//! possible, and how they are distinguished.

use super::commands;
use crate::support::*;
use cudashim::Finding;
use cudashim::internal::diagnose::Report;
use cudashim::internal::tables::Severity;

fn lead(report: &Report) -> &Finding {
    report.findings.first().unwrap()
}

/// The evidence of a kind.
fn said<'f>(finding: &'f Finding, kind: &str) -> Vec<&'f str> {
    finding.evidence.iter().filter(|seen| seen.kind == kind).map(|seen| seen.says.as_str()).collect()
}

/// Everything that is to be done, in one text.
fn remedies(finding: &Finding) -> String {
    format!("{:?}", finding.remedies)
}

const NVCC: &str = "RuntimeError: Could not find nvcc and default cuda_home='/usr/local/cuda' doesn't exist";

#[test]
fn no_nvcc() {
    let report = Machine::new().explain(NVCC);
    assert_eq!(lead(&report).id, "no-nvcc");
    assert!(said(lead(&report), "rule")[0].starts_with("no `nvcc` on PATH"));
    let there = Machine::new().file("usr/local/cuda-12.4/bin/nvcc", "").explain(NVCC);
    let line = "export CUDA_HOME=/usr/local/cuda-12.4 PATH=/usr/local/cuda-12.4/bin:\"$PATH\"";
    assert_eq!(commands(lead(&there)), [line]);
    let found = Machine::new().file("opt/bin/nvcc", "").set("PATH", "/opt/bin").explain(NVCC);
    assert!(!said(lead(&found), "today").is_empty());
}

#[test]
fn toolkit_headers_missing() {
    let text = "x.cu(1): catastrophic error: cannot open source file \"vector_types.h\"";
    let report = Machine::new().torch("2.5.1+cu124", "12.4").explain(text);
    assert_eq!(lead(&report).id, "toolkit-headers-missing");
    assert_eq!(commands(lead(&report)), ["/venv/bin/python -m pip install nvidia-cuda-runtime-cu12==12.4.127"]);
    let there = Machine::new().file("usr/local/cuda/include/vector_types.h", "").explain(text);
    assert_eq!(commands(lead(&there)), ["export CUDA_PATH=/usr/local/cuda"]);
}

#[test]
fn toolkit_other_than_torch() {
    let text = "RuntimeError: The detected CUDA version (11.8) mismatches the version that was used to compile\nPyTorch (12.4).";
    let report = Machine::new().torch("2.5.1+cu124", "12.4").explain(text);
    assert_eq!(lead(&report).id, "toolkit-other-than-torch");
    assert_eq!(said(lead(&report), "version"), ["torch 2.5.1+cu124 is built with CUDA 12.4"]);
    assert!(remedies(lead(&report)).contains("CUDA_HOME=/usr/local/cuda-12.4"), "{report:?}");
}

#[test]
fn jax_plugin_mismatch() {
    let text = "RuntimeWarning: JAX plugin jax_cuda12_plugin version 0.9.2 is installed, but it is not compatible with the installed jaxlib version 0.9.0.1";
    let patient = Machine::new().environment(|venv| {
        venv.dist_info("jaxlib", "0.9.0.1", "", "");
        venv.dist_info("jax-cuda12-plugin", "0.9.2", "", "");
        venv.dist_info("jax-cuda12-pjrt", "0.9.0.1", "", "");
    });
    let report = patient.explain(text);
    assert_eq!(lead(&report).id, "jax-plugin-mismatch");
    assert_eq!(said(lead(&report), "version"), ["jaxlib 0.9.0.1", "jax-cuda12-plugin 0.9.2"]);
    assert_eq!(commands(lead(&report)), ["/venv/bin/python -m pip install jax-cuda12-plugin==0.9.0.1"]);
}

#[test]
fn a_wheel_that_jax_requires() {
    let patient = Machine::new().environment(|venv| {
        let requires = "Requires-Dist: nvidia-cudnn-cu12<10.0,>=9.8; extra == \"with-cuda\"\n";
        venv.dist_info("jax-cuda12-plugin", "0.9.2", requires, "");
    });
    let report = patient.explain("RuntimeError: Unable to load cuDNN. Is it installed?");
    assert_eq!(lead(&report).id, "jax-library-unloadable");
    let lines = commands(lead(&report)).join("\n");
    assert!(lines.contains("pip install 'nvidia-cudnn-cu12") && !lines.contains("cudashim"), "{lines}");
}

#[test]
fn ext_other_release() {
    let text = "ImportError: /v/libcudf.so: undefined symbol: _ZN6kvikio10FileHandleC1ERKNSt7__cxx11";
    let patient = Machine::new().environment(|venv| {
        for (name, version) in [("cudf-cu12", "26.10.2"), ("libcudf-cu12", "26.10.2"), ("libkvikio-cu12", "26.8.0")] {
            venv.dist_info(name, version, "", "");
        }
    });
    let report = patient.explain(text);
    assert_eq!(lead(&report).id, "ext-other-release");
    assert_eq!(commands(lead(&report)), ["/venv/bin/python -m pip install 'libkvikio-cu12==26.10.*'"]);
}

#[test]
fn ext_not_linked_to_libcuda() {
    let text = |symbol: &str| format!("ImportError: /v/_C.so: undefined symbol: {symbol}");
    // The driver that is there has it, or has it not.
    let libcuda = Lib::new("libcuda.so.1").defines(&["cuInit"]).unversioned();
    let machine = with_driver("535.261.03");
    let path = format!("{}/libcuda.so.535.261.03", SYSTEM);
    let machine = machine.without(&path).with(&path, &libcuda);
    let machine = machine.with("v/_C.so", &Lib::new("_C.so").defines(&["x"]).unversioned());
    let report = machine.explain(&text("cuInit"));
    assert_eq!(lead(&report).id, "ext-not-linked-to-libcuda");
    assert!(said(lead(&report), "file").contains(&"does not name `libcuda.so.1`"), "{report:?}");
    assert_eq!(lead(&machine.explain(&text("cuOfLater"))).id, "driver-too-old");
    // Nothing distinguishes them.
    let report = Machine::new().explain(&text("cuTensorMapEncodeTiled"));
    assert_eq!(lead(&report).id, "ext-not-linked-to-libcuda");
    assert_eq!(said(lead(&report), "possible").len(), 3);
}

#[test]
fn container_toolkit() {
    let text = "docker: Error response from daemon: could not select device driver \"\" with capabilities: [[gpu]].";
    let report = Machine::new().explain(text);
    assert_eq!(lead(&report).id, "container-toolkit");
    assert!(said(lead(&report), "rule")[0].contains("has no `nvidia-ctk`"));
    let installed = Machine::new().file("usr/bin/nvidia-ctk", "").file("etc/docker/daemon.json", "{}");
    let configure = "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker";
    assert_eq!(commands(lead(&installed.explain(text))), [configure]);
    let cdi = installed.explain("Error: setting up CDI devices: unresolvable CDI devices nvidia.com/gpu=all");
    assert_eq!(commands(lead(&cdi)), ["sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"]);
}

#[test]
fn fabric_manager() {
    let text = "Error 802: system not yet initialized";
    let report = Machine::new().file("dev/nvidia-nvswitchctl", "").explain(text);
    assert_eq!(lead(&report).id, "fabric-manager");
    assert_eq!(said(lead(&report), "rule"), ["`nv-fabricmanager` is not installed here"]);
    assert_eq!(commands(lead(&report)), ["sudo systemctl enable --now nvidia-fabricmanager"]);
}

#[test]
fn driver_in_image() {
    let text = "nvidia-container-cli: mount error: file creation failed: /merged/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1: file exists: unknown.";
    let report = Machine::new().explain(text);
    assert_eq!(lead(&report).id, "driver-in-image");
    assert!(!remedies(lead(&report)).contains("cudashim"));
    assert_eq!(said(lead(&report), "possible").len(), 1);
}

#[test]
fn a_set_that_lacks_the_symbol_is_not_handed_out() {
    let text =
        "ImportError: /venv/lib/python3.11/site-packages/torch/lib/libtorch_cuda.so: undefined symbol: ncclCommResume";
    let old = Lib::new("libnccl.so.2").defines(&["ncclCommInitAll"]).unversioned();
    let torch = Lib::new("libtorch_cuda.so").unversioned().uses("libnccl.so.2", &["ncclCommInitAll"]);
    let torch = torch.link("--disable-new-dtags,-rpath,$ORIGIN/../../nvidia/nccl/lib");
    let patient = Machine::new().environment(|venv| {
        venv.wheel("nvidia-nccl-cu12", "2.18.1", &[("nvidia/nccl/lib/libnccl.so.2", old)]);
        let pins = ["nvidia-nccl-cu12==2.27.3"];
        venv.torch("2.8.0+cu128", Some("12.8"), &pins, &[("lib/libtorch_cuda.so", torch)]);
    });
    let report = patient.explain(text);
    assert_eq!(lead(&report).id, "nccl-older-wins");
    let lines = commands(lead(&report));
    assert!(lines.iter().any(|line| line.ends_with("nvidia-nccl-cu12==2.27.3")), "{report:?}");
    assert!(!lines.iter().any(|line| line.contains("cudashim")), "{lines:?}");
}

#[test]
fn harmless() {
    let report = Machine::new().explain("/sbin/ldconfig.real: /usr/lib/wsl/lib/libcuda.so.1 is not a symbolic link");
    assert_eq!((lead(&report).id, lead(&report).severity), ("harmless", Severity::Fact));
    assert!(report.is_fine() && !report.is_unknown());
}

#[test]
fn what_nothing_shows_is_told_apart() {
    let report = Machine::new().explain("Could not create cudnn handle: CUDNN_STATUS_INTERNAL_ERROR");
    assert_eq!(lead(&report).id, "cudnn-not-started");
    let possible = said(lead(&report), "possible");
    assert_eq!(possible.len(), 3);
    assert!(possible[0].starts_with("GPU memory is used up: `nvidia-smi`"), "{possible:?}");
    // The page is about what was pasted.
    assert_eq!(lead(&report).source, "https://github.com/tensorflow/tensorflow/issues/46309");
}
