//! `run --prewarm`: a reader beside the command, which the command does not notice.

use super::run::hijack;
use super::sound;
use crate::support::*;

/// The command has no child, none that ended, and waits for none.
#[test]
fn prewarm_leaves_the_command_no_child() {
    let (world, venv) = sound();
    world.tools(&["sh", "cat"]);
    let script = venv.python().with_file_name("start");
    let line = "#!/bin/sh\nread line </proc/$$/task/$$/children; echo \"[$line]\"\n";
    std::fs::write(&script, line).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    world.run(["resolve", "--python", "venv", "-o", "kept.plan"]);
    for options in [&["--prewarm"][..], &[]] {
        let mut command = world.cudashim(["run", "--plan", "kept.plan"]);
        command.args(options).arg("--").arg(&script).env("CUDASHIM_PREWARM", "1");
        let ran = Process::of(&mut command);
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "[]\n"), "{}", ran.err);
    }
}

/// A pipe that the command inherits is closed where the command closes it, or ends.
#[test]
fn prewarm_holds_no_descriptor_of_the_command() {
    let (world, venv) = sound();
    let mut command = world.load(&["--prewarm"], &venv);
    // stdout and stderr are pipes, whose ends are waited for.
    let healed = Process::of(command.env("LD_LIBRARY_PATH", hijack(&world)));
    assert_eq!(healed.ok(), "ok\n");
}

/// The process with number 1, and one that takes in orphans, would get the reader for a child.
#[test]
#[ignore = "needs root"]
fn prewarm_of_the_first_process_is_left_out() {
    let (world, venv) = sound();
    let healed =
        Process::of(&mut in_namespaces(&["-p", "-f", "--mount-proc"], "true", &world.load(&["--prewarm"], &venv)));
    assert!(healed.out == "ok\n" && healed.err.contains("nothing is read ahead"), "{}{}", healed.out, healed.err);
}
