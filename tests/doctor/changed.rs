//! Machines that contradict themselves, that change while they are read, and changes of what is not there.

use super::commands;
use super::libraries::sound;
use crate::support::*;
use cudashim::internal::diagnose::in_the_way;
use cudashim::internal::host::Change as File;
use cudashim::internal::machine::Wheel;
use cudashim::internal::tables::Severity::{Fatal, Warning};
use cudashim::{Change, Request, Version};
use std::fs;

fn judged(machine: &Machine) -> cudashim::Machine {
    let request = Request { python: Some("/venv".into()), ..Request::default() };
    cudashim::Machine::new(machine.host(), request)
}

fn fatal(machine: &cudashim::Machine) -> Vec<&'static str> {
    in_the_way(machine).into_iter().filter(|found| found.severity == Fatal).map(|found| found.id).collect()
}

/// What one package requires another forbids: neither line heals, and none is printed.
#[test]
fn doctor_conflicting_pins_have_no_remedy() {
    let machine = sound();
    let requires = "Requires-Dist: nvidia-nccl-cu12==2.26.2\n";
    machine.venv("venv").dist_info("other", "1.0", requires, "");
    let report = machine.report();
    let found = report.findings.iter().find(|found| found.id == "pin-not-met").unwrap();
    assert_eq!(found.severity, Warning);
    assert_eq!(found.cause, "other 1.0 requires nvidia-nccl-cu12==2.26.2, but 2.27.3 is installed");
    assert_eq!(commands(found), [""; 0], "{found:#?}");
    assert!(
        found.evidence.iter().any(|seen| {
            seen.says == "torch 2.8.0+cu128 requires nvidia-nccl-cu12==2.27.3: no release satisfies both"
        })
    );
    let line = "install releases of other 1.0 and torch 2.8.0+cu128 that accept the same nvidia-nccl-cu12";
    assert_eq!(found.remedies[0].as_action(), Some(line));
}

#[test]
fn machine_change_of_a_missing_file_changes_nothing() {
    let machine = sound();
    let before = judged(&machine);
    let nowhere = |change| Change::Files(vec![("/nowhere/libcudart.so.12".into(), change)]);
    let gone = Change::Wheels { remove: vec!["nvidia-nothing-cu12".into()], install: Vec::new() };
    let unknown = Wheel::new("nvidia-nothing-cu12", Version::parse("1.0").unwrap());
    let unknown = Change::Wheels { remove: Vec::new(), install: vec![unknown] };
    for change in [nowhere(File::Gone), gone, unknown, Change::Variable("LD_NOTHING".into(), None), Change::Set] {
        let after = before.with(&change);
        assert_eq!(fatal(&after), fatal(&before), "{change:?}");
        assert_eq!(after.inventory().libraries.len(), before.inventory().libraries.len(), "{change:?}");
    }
    assert_eq!(fatal(&before), [""; 0]);
    // A file put where none was is found like any other.
    let runtime = machine.path(&format!(".{SITE}/nvidia/cuda_runtime/lib/libcudart.so.12"));
    let bytes = fs::read(&runtime).unwrap();
    let put = Change::Files(vec![("/opt/cuda/lib64/libcudart.so.12".into(), File::File { bytes: bytes.into() })]);
    let there = Change::Then(vec![put, Change::Variable("LD_LIBRARY_PATH".into(), Some("/opt/cuda/lib64".into()))]);
    let found = before.with(&there);
    assert!(found.inventory().libraries.iter().any(|library| library.path.starts_with("/opt/cuda")));
}

/// What was listed is gone when it is to be judged.
#[test]
fn machine_changes_while_it_is_read() {
    let machine = sound();
    let judged = judged(&machine);
    assert!(judged.environment().torch.is_some());
    let listed = judged.inventory().libraries.len();
    assert!(listed > 0);
    fs::remove_dir_all(machine.path(&format!(".{SITE}/nvidia/nccl"))).unwrap();
    machine.write(&format!(".{SITE}/nvidia/cublas/lib/libcublas.so.12"), "other");
    let found = fatal(&judged);
    assert!(!found.is_empty(), "a library that is gone cannot be loaded");
    assert_eq!(judged.inventory().libraries.len(), listed, "what was listed once stays listed");
}
