//! Damaged environments: one line reports the fault and its remedy, and the command is started.

use super::{json, sound};
use crate::support::*;
use std::path::Path;

/// The part of cuDNN that another release put into the wheel's directory takes what the rest lacks.
#[test]
fn run_warns_of_a_mismatched_part_and_hands_out_the_rest() {
    let (world, venv) = sound();
    let ops = venv.site.join("nvidia/cudnn/lib/libcudnn_ops.so.9");
    let newer = Lib::new("libcudnn_ops.so.9").defines(&["cudnnAddTensor"]);
    newer.uses("libcudnn_graph.so.9", &["cudnnNewer"]).link("-rpath,$ORIGIN").build(&ops);
    let warning = format!(
        "warning: `libcudnn_ops.so.9` needs `cudnnNewer`, which `libcudnn_graph.so.9` 9.1.0.70 does not define \
         [cudnn9-torn-set]; type: {} -m pip install --force-reinstall --no-deps nvidia-cudnn-cu12==9.1.0.70",
        venv.python().display()
    );
    // Made, and kept.
    for _ in 0..2 {
        let seen = Process::of(&mut world.load(&[], &venv));
        assert_eq!((seen.code, &*seen.out, &*seen.err), (Some(0), "ok\n", &*format!("cudashim: {warning}\n")));
    }
    let (code, answer) = json(&mut world.cudashim(["resolve", "--python", "venv"]));
    let torn: Vec<_> = answer["problems"].as_array().unwrap().iter().collect();
    assert_eq!((code, torn.len(), torn[0]["id"].as_str()), (Some(0), 1, Some("cudnn9-torn-set")), "{answer:#}");
    assert_eq!(torn[0]["path"].as_str().map(Path::new), Some(&*ops));
    let page = world.run(["resolve", "--python", "venv"]);
    assert!(page.out.contains("of another release than their group"), "{}", page.out);
}

/// The loader expands `$ORIGIN` in a path; such a library is not handed out, with a note.
#[test]
fn run_warns_of_an_environment_with_dollar_in_its_path() {
    let world = Machine::new();
    let venv = world.venv("a$b/venv");
    super::torch(&venv);
    venv.wheel("nvidia-cublas-cu12", "12.4.5.8", &super::cublas());
    venv.wheel("nvidia-cudnn-cu12", "9.1.0.70", &super::whole_cudnn());
    let mut command = world.cudashim(["run", "--"]);
    let seen = Process::of(command.arg(venv.python()));
    assert!(seen.err.contains("has a `$` in its path: 10 libraries are left to the loader; move"), "{}", seen.err);
    assert_eq!((seen.code, seen.err.lines().count()), (Some(0), 1), "{}", seen.err);
    let page = Process::of(world.cudashim(["resolve", "--python", "a$b/venv"]).env("COLUMNS", "300"));
    assert!(page.out.contains("has a `$` in its path"), "{}", page.out);
}
