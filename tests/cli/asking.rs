//! `plan-for`, as the shim asks it.

use super::run::hijack;
use super::sound;
use crate::support::*;
use std::ffi::OsStr;
use std::fs;

fn ask(world: &Machine, question: &[&OsStr]) -> Process {
    let own = std::process::id().to_string();
    let mut command = world.cudashim(["plan-for", &own]);
    Process::of(command.args(question))
}

/// The text of the plan that an answer names.
fn plan(seen: &Process) -> String {
    seen.ok();
    let path = seen.out.strip_suffix('\n').unwrap();
    fs::read_to_string(std::path::Path::new(path).with_extension("plan"))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The process is identified by its shim, not by its command line: that of this test is not a Python's.
#[test]
fn plan_for_knows_a_process_by_its_program() {
    let (world, venv) = sound();
    let text = plan(&ask(&world, &[venv.python().as_os_str()]));
    assert!(text.contains(&format!("\nprogram\t{}\n", venv.python().display())), "{text}");
    assert!(text.contains(&*venv.site.to_string_lossy()));
}

/// A program that requests a plan gets one for itself: from the active environment, too.
#[test]
fn plan_for_names_the_asker_in_the_plan() {
    let (world, venv) = sound();
    let own = std::env::current_exe().unwrap();
    let pid = std::process::id().to_string();
    let mut command = world.cudashim(["plan-for", &pid]);
    let seen = Process::of(command.arg(&own).env("VIRTUAL_ENV", &venv.dir));
    let text = plan(&seen);
    assert!(text.contains(&format!("\nprogram\t{}\n", own.display())), "{text}");
}

/// What would act on us comes under another name, and decides as it does for `run`.
#[test]
fn plan_for_reads_hidden_variables() {
    let (world, venv) = sound();
    let library_path = hijack(&world);
    let pid = std::process::id().to_string();
    let run = Process::of(world.cudashim(["run", "-v", "--"]).arg(venv.python()).env("LD_LIBRARY_PATH", &library_path));
    let answers = || {
        let kept = std::fs::read_dir(world.path("cache/plans")).unwrap().flatten();
        kept.filter(|entry| entry.path().extension().is_some_and(|end| end == "answer")).count()
    };
    let before = answers();
    let mut command = world.cudashim(["plan-for", &pid]);
    let hidden = Process::of(command.arg(venv.python()).env("CUDASHIM_HOST_LD_LIBRARY_PATH", &library_path));
    let path = hidden.out.trim_end();
    assert!(run.err.contains(&format!("CUDASHIM_PLAN={path}\n")), "{path}: {}", run.err);
    assert_eq!((before, answers()), (1, 1), "one question");
}

/// Why there is no plan is a line for the log of the process, with what to type.
#[test]
fn plan_for_gives_the_reason_of_a_refusal() {
    let (world, venv) = Machine::with_venv();
    torch(&venv);
    let seen = ask(&world, &[venv.python().as_os_str()]);
    assert_eq!((seen.code, seen.err.as_str(), seen.out.lines().count()), (Some(0), "", 1));
    assert!(
        seen.out.starts_with("!no compatible set of libraries: ") && seen.out.contains("; install `nvidia-"),
        "{}",
        seen.out
    );
    // Nothing to hand out is no fault.
    let bare = world.venv("bare");
    assert_eq!(ask(&world, &[bare.python().as_os_str()]).out, "\n");
}

/// A stranger is judged by the plan that its process has.
#[test]
fn plan_for_judges_an_object() {
    let (world, venv) = sound();
    let answer = ask(&world, &[venv.python().as_os_str()]);
    let image = answer.out.trim_end();
    let stranger = |name: &str, library: crate::support::Lib| library.build(&world.path(name));
    let wants =
        stranger("app/plug.so", super::Lib::new("plug.so").unversioned().uses("libcublas.so.12", &["cublasCreate_v2"]));
    let judged = |object: &OsStr, more: &[&OsStr]| {
        let python = venv.python();
        let question = [&[python.as_os_str(), image.as_ref(), object], more].concat();
        ask(&world, &question).out
    };
    assert_eq!(judged(wants.as_os_str(), &[]), "set\n");
    let own = super::Lib::new("own.so").unversioned().uses("libcublas.so.12", &["cublasNew"]).link("-rpath,$ORIGIN");
    let own = stranger("app/own.so", own);
    stranger("app/libcublas.so.12", super::Lib::new("libcublas.so.12").defines(&["cublasNew"]));
    assert_eq!(judged(own.as_os_str(), &[]), "own\n");
    assert_eq!(judged(own.as_os_str(), &["libcublas.so.12".as_ref()]), "own\n");
    let gone = ask(&world, &[venv.python().as_os_str(), "/none.image".as_ref(), own.as_os_str()]);
    assert!(gone.out.starts_with("!cannot read the plan of `/none.image`: "), "{}", gone.out);
}
