//! The programs of a plan: identified by start directory and file. By both doors.

use crate::support::*;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{COMMON, DOORS, OPEN, Two, put_plan};

fn loaded(which: u32) -> String {
    format!("open libone.so.1: ok\nwhich: {which}\n")
}

impl Two {
    /// A place that the host can be started from: the file itself, or a link to it.
    fn place(&self, name: &str, link: bool) -> PathBuf {
        let path = self.lab.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let made = if link { symlink(&COMMON.host, &path) } else { fs::copy(&COMMON.host, &path).map(drop) };
        made.unwrap();
        path
    }

    /// The plan for one program.
    fn plan_for(&self, program: &Path) -> PathBuf {
        put_plan(&self.lab, &self.plan("redirect").program(program))
    }

    fn under(&self, door: &str, plan: &Path, command: &mut Command) -> Process {
        command.env(door, &COMMON.shim).env("CUDASHIM_PLAN", plan).env("LD_LIBRARY_PATH", self.lab.path("wrong"));
        self.lab.ran(command.current_dir(self.lab.root()))
    }
}

#[test]
fn plan_is_for_the_programs_it_names() {
    let two = Two::new();
    let here = two.place("a/bin/python", true);
    two.place("a/bin/python3", true);
    // The same file, started from elsewhere: below it, beside it, and itself.
    let others = ["a/bin/below/python", "b/bin/python"].map(|name| two.place(name, true));
    symlink("a", two.lab.path("link")).unwrap();
    let plan = two.plan_for(&here);
    for door in DOORS {
        for (program, which) in [
            (utf8(&here), 2),
            ("a/bin/python", 2),
            ("./a/bin/python", 2),
            ("b/../a/bin/python", 2),
            ("link/bin/python", 2),
            (utf8(&two.lab.path("a/bin/python3")), 2),
            (utf8(&others[0]), 1),
            (utf8(&others[1]), 1),
            ("b/bin/python", 1),
            ("a/../b/bin/python", 1),
            (utf8(&COMMON.host), 1),
        ] {
            let mut command = clean_command("/bin/sh");
            command.args(["-c", "exec \"$0\" \"$@\"", program]).args(OPEN);
            let ran = two.under(door, &plan, &mut command);
            assert_eq!(ran.quiet(), loaded(which), "{door} {program}");
        }
    }
}

/// Another file at the same place is another program.
#[test]
fn plan_is_not_for_an_exchanged_program() {
    let two = Two::new();
    let here = two.place("a/bin/python", false);
    let plan = two.plan_for(&here);
    let new = two.place("new", false);
    fs::rename(new, &here).unwrap();
    for door in DOORS {
        let ran = two.under(door, &plan, clean_command(&here).args(OPEN));
        assert_eq!(ran.quiet(), loaded(1), "{door}");
    }
}

#[test]
fn plan_for_an_interpreter_serves_its_scripts() {
    let two = Two::new();
    let source = "#include <dlfcn.h>\n#include <stdio.h>\nint main(void) { void *in = dlopen(\"libone.so.1\", RTLD_NOW); \
                  return in ? ((int (*)(void))dlsym(in, \"which\"))() : 9; }";
    let python = two.lab.program("env/bin/python", source, &["-ldl"]);
    let linked = two.lab.path("other/bin/python");
    fs::create_dir_all(linked.parent().unwrap()).unwrap();
    symlink(&python, &linked).unwrap();
    let script = two.lab.write("elsewhere/tool", format!("#!{}\n", utf8(&python)));
    fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    for door in DOORS {
        for (program, which) in [(&python, 2), (&linked, 1), (&COMMON.host, 1)] {
            let ran = two.under(door, &two.plan_for(program), &mut clean_command(&script));
            assert_eq!(ran.code, Some(which), "{door} {program:?}: {}", ran.err);
        }
    }
}

/// A program that starts itself again through /proc is identified by its first argument, or by the kernel.
#[test]
fn plan_holds_for_a_program_that_execs_itself() {
    let two = Two::new();
    let here = two.place("a/bin/python", false);
    let plan = two.plan_for(&here);
    let again = "#include <unistd.h>\nint main(int n, char **words) { (void)n; return execv(words[1], words + 2); }";
    let again = two.lab.program("again", again, &[]);
    let at = format!("/proc/self/fd/{}", 9);
    for door in DOORS {
        let shell = format!("exec 9<\"$0\"; exec \"$1\" {at} \"$2\" open libone.so.1 l call which");
        for name in [utf8(&here), "python"] {
            let mut command = clean_command("/bin/sh");
            command.args(["-c", &shell, utf8(&here), utf8(&again), name]);
            let ran = two.under(door, &plan, &mut command);
            assert_eq!(ran.quiet(), loaded(2), "{door} {name}");
        }
    }
}

/// Changes of the process before its first question have no effect: it counts as started.
#[test]
fn plan_knows_a_program_as_it_was_started() {
    let two = Two::new();
    let plan = two.plan_for(&COMMON.host);
    for path in [two.lab.root(), plan.as_path()] {
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    for door in DOORS {
        for before in [&["chdir", "/"][..], &["drop"], &["title"]] {
            let ran = two.under(door, &plan, clean_command(&COMMON.host).args(before).args(OPEN));
            assert_eq!(ran.quiet(), loaded(2), "{door} {before:?}");
        }
    }
}
