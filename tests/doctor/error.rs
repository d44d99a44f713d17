//! An error text, explained by what the machine would load.

use super::commands;
use crate::doctor::RUN;
use crate::support::*;
use cudashim::internal::diagnose::{Finding, Report};
use cudashim::internal::tables::Severity;

const NVJITLINK: &str =
    "ImportError: /x/libcusparse.so.12: undefined symbol: __nvJitLinkComplete_12_4, version libnvJitLink.so.12";

/// An environment with torch, cuSPARSE and nvJitLink of one release, and an older nvJitLink in `/old`.
fn machine() -> Machine {
    let machine = Machine::new();
    let new = Lib::new("libnvJitLink.so.12").defines(&["__nvJitLinkComplete_12_4"]);
    let old = Lib::new("libnvJitLink.so.12").defines(&["__nvJitLinkComplete_12_1"]);
    let cusparse = Lib::new("libcusparse.so.12")
        .defines(&["cusparseCreate"])
        .uses("libnvJitLink.so.12", &["__nvJitLinkComplete_12_4"])
        .link("--enable-new-dtags,-rpath,$ORIGIN/../../nvjitlink/lib");
    let torch = Lib::new("libtorch_global_deps.so")
        .unversioned()
        .uses("libcusparse.so.12", &["cusparseCreate"])
        .link("--disable-new-dtags,-rpath,$ORIGIN/../../nvidia/cusparse/lib");
    let venv = machine.venv("venv");
    venv.nvidia("nvjitlink", "12.4.127", new).nvidia("cusparse", "12.3.1.170", cusparse).torch(
        "2.5.1+cu124",
        Some("12.4"),
        &["nvidia-nvjitlink-cu12==12.4.127", "nvidia-cusparse-cu12==12.3.1.170"],
        &[("lib/libtorch_global_deps.so", torch)],
    );
    old.build(&machine.path("old/libnvJitLink.so.12"));
    machine
}

/// The evidence of a kind, with the paths.
fn evidence(finding: &Finding, kind: &str) -> Vec<String> {
    let of_kind = finding.evidence.iter().filter(|evidence| evidence.kind == kind);
    of_kind
        .map(|evidence| match &evidence.path {
            Some(path) => format!("{}: {}", path.to_path().display(), evidence.says),
            None => evidence.says.clone(),
        })
        .collect()
}

fn lead(report: &Report) -> &Finding {
    assert!(!report.is_fine());
    let lead = report.findings.first().unwrap();
    assert_eq!(lead.severity, Severity::Fatal);
    assert!(report.verdict.says.ends_with(&lead.cause), "{}", report.verdict.says);
    lead
}

#[test]
fn explain_names_the_guilty_copy_and_the_remedy() {
    let report = machine().set("LD_LIBRARY_PATH", "/old").explain(NVJITLINK);
    let lead = lead(&report);
    assert_eq!(lead.id, "nvjitlink-older-wins");
    assert_eq!(evidence(lead, "message"), [NVJITLINK]);
    let files = evidence(lead, "file");
    assert_eq!(files[0], "/old/libnvJitLink.so.12: found by LD_LIBRARY_PATH");
    assert!(files[1].ends_with("/nvidia/cusparse/lib/libcusparse.so.12: 12.3.1.170, found by DT_RPATH"), "{files:?}");
    assert!(files[2].ends_with("/nvidia/nvjitlink/lib/libnvJitLink.so.12: the copy of the chosen set (12.4.127)"));
    assert_eq!(evidence(lead, "symbol"), ["__nvJitLinkComplete_12_4@libnvJitLink.so.12"]);
    assert_eq!(commands(lead), [RUN, "unset LD_LIBRARY_PATH"]);
    assert_eq!(evidence(lead, "today"), [""; 0]);
}

#[test]
fn explain_says_that_the_machine_is_healthy_now() {
    let report = machine().explain(NVJITLINK);
    let lead = lead(&report);
    assert_eq!(lead.id, "nvjitlink-older-wins");
    let files = evidence(lead, "file");
    assert_eq!(files.len(), 1, "{files:?}");
    assert!(files[0].ends_with("by DT_RUNPATH: has `__nvJitLinkComplete_12_4`"), "{files:?}");
    assert_eq!(evidence(lead, "today"), ["the libraries of this machine do not show it now"]);
}

#[test]
fn explain_a_missing_library_by_its_owner() {
    let missing =
        |soname: &str| format!("OSError: {soname}: cannot open shared object file: No such file or directory");
    // Of the set: a consumer that opens it by name is to be run with the set.
    let report = machine().explain(&missing("libcusparse.so.12"));
    assert_eq!(lead(&report).id, "bare-name-dlopen-consumers");
    assert_eq!(commands(lead(&report)), [RUN]);
    assert!(evidence(lead(&report), "rule")[0].starts_with("ld.so does not find `libcusparse.so.12`"));
    // Of another major: nothing of the set can stand in for it.
    let report = machine().explain(&missing("libcudart.so.13"));
    assert_eq!(lead(&report).id, "ext-other-cuda-major");
    assert_eq!(commands(lead(&report)), ["/venv/bin/python -m pip install 'nvidia-cuda-runtime==13.*'"]);
    // A copy of it elsewhere is found with its directory, behind the set.
    let other = machine();
    let runtime = Lib::new("libcudart.so.13").defines(&["cudaMalloc"]);
    runtime.build(&other.path("usr/local/cuda-13.0/lib64/libcudart.so.13"));
    let report = other.explain(&missing("libcudart.so.13"));
    assert_eq!(commands(lead(&report)), ["export LD_LIBRARY_PATH=/usr/local/cuda-13.0/lib64"]);
}

#[test]
fn explain_completes_the_text_from_the_machine() {
    let report = machine().explain("RuntimeError: Found no NVIDIA driver on your system.");
    assert_eq!(lead(&report).id, "no-driver");
    assert_eq!(evidence(lead(&report), "message"), ["RuntimeError: Found no NVIDIA driver on your system."]);
    assert_eq!(report.findings.iter().filter(|finding| finding.id == "no-driver").count(), 1);
    // A message that identifies its class keeps it.
    let report = machine().explain("AssertionError: libcuda.so cannot found!");
    assert_eq!(lead(&report).id, "triton-libcuda-not-found");
    assert_eq!(evidence(lead(&report), "machine"), ["no NVIDIA driver on this machine"]);
}

#[test]
fn explain_a_missing_torch_symbol_as_an_abi_mismatch() {
    let report = machine().explain("ImportError: /x/flash.so: undefined symbol: _ZN3c104cuda9SetDeviceEi");
    assert_eq!(lead(&report).id, "ext-torch-abi");
    assert_eq!(commands(lead(&report)), [""; 0]);
    assert!(evidence(lead(&report), "file")[0].ends_with("torch 2.5.1+cu124: no library of it has it"));
    let report = machine().explain("RuntimeError: operator torchvision::nms does not exist");
    assert_eq!(lead(&report).id, "torchvision-torch-mismatch");
}

#[test]
fn explain_looks_at_the_file_named() {
    let machine = machine().file("lib/libnccl.so.2", "not whole").file("lib/sound", "");
    let report = machine.explain("OSError: /lib/libnccl.so.2: file too short");
    assert_eq!(lead(&report).id, "truncated-or-foreign-elf");
    let files = evidence(lead(&report), "file");
    assert_eq!(files, ["/lib/libnccl.so.2: not an ELF file"]);
    let gone = machine.without("lib/libnccl.so.2").explain("OSError: /lib/libnccl.so.2: file too short");
    assert_eq!(evidence(lead(&gone), "file"), ["/lib/libnccl.so.2: does not exist now"]);
    assert_eq!(evidence(lead(&gone), "today"), ["the libraries of this machine do not show it now"]);
}

#[test]
fn explain_ignores_an_unknown_text() {
    let machine = machine();
    let report = machine.explain("ModuleNotFoundError: No module named 'torch'\nBus error (core dumped)\n");
    assert!(report.is_fine());
    assert_eq!(report.findings, machine.report().findings);
    let says = "unknown error text, and no problem found here that explains it";
    assert_eq!((report.is_unknown(), report.verdict.says.as_str()), (true, says));
}

#[test]
fn explain_installs_no_other_cudnn_major_over_that_of_torch() {
    let text = "ImportError: libcudnn.so.8: cannot open shared object file: No such file or directory";
    let torch = |machine: Machine| {
        machine.environment(|venv| {
            let cudnn = Lib::new("libcudnn.so.9").defines(&["cudnnCreate"]);
            let deps = Lib::new("libtorch_global_deps.so").unversioned().uses("libcudnn.so.9", &["cudnnCreate"]);
            let deps = deps.link("--disable-new-dtags,-rpath,$ORIGIN/../../nvidia/cudnn/lib");
            venv.nvidia("cudnn", "9.10.2.21", cudnn);
            let pins = ["nvidia-cudnn-cu12==9.10.2.21"];
            venv.torch("2.8.0+cu128", Some("12.8"), &pins, &[("lib/libtorch_global_deps.so", deps)]);
        })
    };
    let report = torch(Machine::new()).explain(text);
    assert_eq!(lead(&report).id, "cudnn8-vs-9-major");
    assert_eq!(commands(lead(&report)), [""; 0]);
    let action = format!("{:?}", lead(&report).remedies);
    assert!(action.contains("built for `libcudnn.so.9`, which is installed here"), "{action}");
    // The package that is known to need either.
    let needing = torch(Machine::new()).environment(|venv| {
        venv.dist_info("ctranslate2", "4.4.0", "", "");
    });
    assert_eq!(commands(lead(&needing.explain(text))), ["/venv/bin/python -m pip install 'ctranslate2>=4.5'"]);
    // If nothing else is wrong: one wheel per major, and the line names the right one.
    let bare = Machine::new().torch("2.1.2+cu121", "12.1").explain(text);
    assert!(commands(lead(&bare)).contains(&"/venv/bin/python -m pip install nvidia-cudnn-cu12==8.9.2.26"), "{bare:?}");
}

#[test]
fn explain_replaces_an_unknown_torchvision() {
    let report =
        Machine::new().torch("2.8.0+cu128", "12.8").explain("RuntimeError: operator torchvision::nms does not exist");
    assert_eq!(lead(&report).id, "torchvision-torch-mismatch");
    let line = "/venv/bin/python -m pip install --force-reinstall --no-deps torchvision==0.23.0 --index-url https://download.pytorch.org/whl/cu128";
    assert_eq!(commands(lead(&report)), [line]);
}
