//! The audit door: the same object in `LD_AUDIT`, where the loader asks it for each name.

use crate::support::*;
use std::path::PathBuf;
use std::process::Command;

use super::{COMMON, Two, put_plan};

/// Links against `libone.so.1`, and prints which copy it got.
const LINKED: &str =
    "#include <stdio.h>\nextern int which(void);\nint main(void) { printf(\"%d\\n\", which()); return 0; }";

impl Two {
    /// Any program under the auditor, with the wrong copy on the search path.
    fn audited(&self, plan: &PlanText, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = clean_command(&program);
        let plan = plan.clone().record(&["program", program.as_ref().to_str().unwrap()]);
        command.env("LD_AUDIT", &COMMON.shim).env("CUDASHIM_PLAN", put_plan(&self.lab, &plan));
        command.env("LD_LIBRARY_PATH", self.lab.path("wrong"));
        command
    }

    fn listen(&self, plan: &PlanText, script: &[&str]) -> Process {
        self.lab.ran(self.audited(plan, &COMMON.host).args(script))
    }

    /// A program that is linked against `libone.so.1`, and looks into `wrong` first by a DT_RPATH.
    fn linked(&self) -> PathBuf {
        let rpath = format!("-Wl,-rpath,{}", utf8(&self.lab.path("wrong")));
        let library = utf8(&self.lab.path("wrong/libone.so.1")).to_owned();
        self.lab.program("linked", LINKED, &[&library, &rpath, "-Wl,--disable-new-dtags"])
    }
}

#[test]
fn audit_serves_a_linked_program() {
    let two = Two::new();
    let program = two.linked();
    let plan = two.plan("preload");
    assert_eq!(two.lab.ran(&mut two.audited(&plan, &program)).out, "2\n");
    // A hook of dlopen comes too late for that.
    let mut preloaded = two.audited(&plan, &program);
    let preloaded = two.lab.ran(preloaded.env_remove("LD_AUDIT").env("LD_PRELOAD", &COMMON.shim));
    assert_eq!(preloaded.out, "1\n");
}

/// What an opened library needs is asked for by that library.
#[test]
fn audit_serves_needed_entries_against_rpath() {
    let two = Two::new();
    let rpath = format!("-Wl,-rpath,{}", utf8(&two.lab.path("wrong")));
    let user = two.lab.library(
        "user/libuser.so",
        "extern int which(void); int through(void) { return which(); }",
        &[utf8(&two.lab.path("wrong/libone.so.1")), &rpath, "-Wl,--disable-new-dtags"],
    );
    let ran = two.listen(&two.plan("preload"), &["open", utf8(&user), "n", "call", "through", "maps", "libone"]);
    assert_eq!(ran.out, "open [R]/user/libuser.so: ok\nthrough: 2\nmaps libone: 1\n  [R]/right/libone.so.1\n");
}

#[test]
fn audit_alias_resolves_to_the_mapped_file() {
    let two = Two::new();
    let plan = two.plan("redirect").record(&["alias", "libone.so", "libone.so.1"]);
    let ran = two.listen(&plan, &["open", "libone.so", "l", "call", "which", "maps", "libone"]);
    assert_eq!(ran.out, "open libone.so: ok\nwhich: 2\nmaps libone: 1\n  [R]/right/libone.so.1\n");
    // Another copy came first, by its path: there is no second one, and that is logged.
    let wrong = two.lab.path("wrong/libone.so.1");
    let ran =
        two.listen(&plan, &["open", utf8(&wrong), "l", "open", "libone.so", "l", "call", "which", "maps", "libone"]);
    assert_eq!(
        ran.out,
        "open [R]/wrong/libone.so.1: ok\nopen libone.so: ok\nwhich: 1\nmaps libone: 1\n  [R]/wrong/libone.so.1\n"
    );
    assert!(ran.err.contains("libone.so.1 is not used: [R]/wrong/libone.so.1 is already mapped"), "{}", ran.err);
}

/// The loader maps the object twice then, and neither instance sees the other.
#[test]
fn audit_and_preload_act_once() {
    let two = Two::new();
    let plan = two.plan("redirect").record(&["alias", "libone.so", "libone.so.1"]);
    let script = ["open", "libone.so", "l", "call", "which", "errno", "error", "maps", "libone"];
    let mut command = two.audited(&plan, &COMMON.host);
    command.env("LD_PRELOAD", &COMMON.shim).env("CUDASHIM_LOG", "1").args(script);
    let ran = two.lab.ran(&mut command);
    // The dlopen door stays out.
    assert_eq!(
        ran.out,
        "open libone.so: ok\nwhich: 2\nerrno: 42\nerror: none\nmaps libone: 1\n  [R]/right/libone.so.1\n"
    );
    assert_eq!(ran.err.matches("alias of libone.so.1").count(), 1, "{}", ran.err);
    // The question is the audit door's alone.
    let binary = two.lab.write("asked", format!("#!/bin/sh\necho >>{}/log\n", utf8(two.lab.root())));
    std::fs::set_permissions(&binary, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let shim = two.lab.write("libasks.so", cudashim::internal::launch::shim::image_for(Some(&binary)).unwrap());
    let mut command = clean_command(&COMMON.host);
    command.env("LD_PRELOAD", &shim).env("LD_AUDIT", &shim).args(["open", "libc10_cuda.so", "l"]);
    assert_eq!(two.lab.ran(&mut command).out, "open libc10_cuda.so: no\n");
    assert_eq!(std::fs::read(two.lab.path("log")).unwrap(), b"\n");
    // An auditor that the loader rejects, or that has nothing to hand out, has no effect.
    let shown = ["open", "libone.so", "l", "call", "which"];
    let mut command = two.audited(&plan, &COMMON.host);
    command.env("LD_PRELOAD", &COMMON.shim).env("LD_AUDIT", "/no/such/libcudashim-0.so").args(shown);
    assert_eq!(two.lab.ran(&mut command).out, "open libone.so: ok\nwhich: 2\n");
}

/// It cannot be refused: the loader would take it out again, and end a process in which it is not to be unloaded.
#[test]
fn audit_without_a_plan_changes_nothing() {
    let two = Two::new();
    for (name, value) in [("CUDASHIM_PLAN", ""), ("CUDASHIM_OFF", "1")] {
        let mut command = two.audited(&two.plan("redirect"), &COMMON.host);
        command.args(["open", "libone.so.1", "l", "call", "which"]).current_dir(two.lab.root()).env(name, value);
        let ran = two.lab.ran(&mut command);
        assert_eq!(ran.quiet(), "open libone.so.1: ok\nwhich: 1\n", "{name}");
    }
}

#[test]
fn audit_serves_every_kind_of_child() {
    let two = Two::new();
    let plan = two.plan("redirect");
    let ran = two.listen(&plan, &["fork", "open", "libone.so.1", "l", "call", "which"]);
    assert_eq!(ran.out, "open libone.so.1: ok\nwhich: 2\nchild: 0\n");
    // A program without a loader starts as ever.
    let still = two.lab.program(
        "static",
        "#include <unistd.h>\nint main(void) { return write(1, \"still\\n\", 6) != 6; }",
        &["-static"],
    );
    let starts = two.lab.program(
        "starts",
        "#include <unistd.h>\nint main(int n, char **words) { execv(words[1], words + 1); return n; }",
        &[],
    );
    let ran = two.lab.ran(two.audited(&plan, starts).arg(still));
    assert_eq!((ran.out.as_str(), ran.err.as_str(), ran.code), ("still\n", "", Some(0)));
}

#[test]
fn audit_serves_threads_one_set() {
    let two = Two::new();
    let ran = two.listen(&two.plan("redirect"), &["threads", "libone.so.1", "maps", "libone"]);
    assert_eq!(ran.out, "threads: 32\nmaps libone: 1\n  [R]/right/libone.so.1\n");
}

/// An object opened into another namespace finds its libraries as without the shim.
#[test]
fn audit_leaves_other_namespaces_alone() {
    let two = Two::new();
    let user = two.lab.library(
        "user/libuser.so",
        "extern int which(void); int through(void) { return which(); }",
        &[utf8(&two.lab.path("wrong/libone.so.1"))],
    );
    let source = "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <stdio.h>\n\
                  static int ask(void *in, const char *name) { int (*f)(void) = in ? (int (*)(void))dlsym(in, name) : 0; return f ? f() : -1; }\n\
                  int main(int n, char **words) {\n\
                  int other = ask(dlmopen(LM_ID_NEWLM, words[1], RTLD_NOW), \"through\");\n\
                  int own = ask(dlopen(\"libone.so.1\", RTLD_NOW), \"which\");\n\
                  int late = ask(dlmopen(LM_ID_NEWLM, \"libone.so.1\", RTLD_NOW), \"which\");\n\
                  printf(\"%d %d %d\\n\", other, own, late); return n; }";
    let program = two.lab.program("spaces", source, &["-ldl"]);
    let ran = two.lab.ran(two.audited(&two.plan("redirect"), program).arg(user));
    assert_eq!(ran.quiet(), "1 2 1\n");
}

/// The list for one program: its children are not to map that too.
#[test]
fn audit_removes_one_programs_preload_from_the_environment() {
    let two = Two::new();
    let other = two.lab.copy("other/libtwo.so.2", 4);
    let (shim, right) = (utf8(&COMMON.shim), utf8(&two.right));
    for (list, left) in [
        (format!("{shim}:{right}"), shim.to_owned()),
        (format!("{shim}:{right}:{}", utf8(&other)), format!("{shim}:{}", utf8(&other))),
        // An entry that only begins alike is another, and what is twice there is not ours twice.
        (format!("{shim}:{right}.5:{right}"), format!("{shim}:{right}.5")),
        (format!("{shim}:{right}:{right}"), format!("{shim}:{right}")),
    ] {
        let mut command = two.audited(&two.plan("preload"), two.linked());
        command.env_remove("LD_AUDIT").env("LD_PRELOAD", &list).env("CUDASHIM_ONCE", right);
        assert_eq!(two.lab.ran(&mut command).out, "2\n");
        let mut shell = two.audited(&two.plan("preload"), "/bin/sh");
        shell.env_remove("LD_AUDIT").env("LD_PRELOAD", &list).env("CUDASHIM_ONCE", right);
        let seen = shell.args(["-c", "echo \"$LD_PRELOAD ${CUDASHIM_ONCE-none} $LD_LIBRARY_PATH\""]).output().unwrap();
        let expected = format!("{left} none {}\n", utf8(&two.lab.path("wrong")));
        assert_eq!(String::from_utf8(seen.stdout).unwrap(), expected);
    }
}

#[test]
fn audit_keeps_the_rest_of_ld_preload() {
    let lab = Machine::new();
    let list = format!("{}:/lib/none.so", utf8(&COMMON.shim));
    let mut shell = clean_command("/bin/sh");
    shell.env("LD_PRELOAD", &list).env("CUDASHIM_ONCE", "");
    let seen = lab.ran(shell.args(["-c", "echo \"$LD_PRELOAD ${CUDASHIM_ONCE-none}\""]));
    assert_eq!(seen.out, format!("{list} none\n"));
}

/// One line for each thing seen, in the file that is named; nothing in any other.
#[test]
fn audit_tracer_writes_a_record() {
    let lab = Machine::new();
    let tracer = lab.write("libcudashim-trace.so", cudashim::internal::launch::shim::TRACER);
    let library = lab.copy("here/libcudart.so.12", 1);
    let record = lab.path("record");
    let script = ["open", "libcudart.so.12", "l", "open", "libcurl-none.so", "l", "errno"];
    let traced = |value: &str| {
        let mut command = clean_command(&COMMON.host);
        command.env("LD_AUDIT", &tracer).env("CUDASHIM_TRACE", value).env("LD_LIBRARY_PATH", library.parent().unwrap());
        let ran = lab.ran(command.args(script).current_dir(lab.root()));
        assert_eq!(ran.out, "open libcudart.so.12: ok\nopen libcurl-none.so: no\nerrno: 42\n");
    };
    traced(utf8(&record));
    let bytes = std::fs::read(&record).unwrap();
    let times = |fields: &str| bytes.windows(fields.len()).filter(|window| *window == fields.as_bytes()).count();
    assert_eq!((times("search\0libcudart.so.12\0dlopen\0"), times("search\0")), (1, 1));
    assert_eq!(times(&format!("open\x000\0{}\0", utf8(&library))), 1);
    traced("relative");
    assert!(!lab.path("relative").exists());
}

/// With a plan it sees what that gives.
#[test]
fn audit_tracer_records_what_a_plan_gives() {
    let two = Two::new();
    let tracer = two.lab.write("libcudashim-trace.so", cudashim::internal::launch::shim::TRACER);
    let record = two.lab.path("record");
    for (acts, which) in [("1", 2), ("0", 1)] {
        let mut command = two.audited(&two.plan("redirect"), &COMMON.host);
        command.env("LD_AUDIT", &tracer).env("CUDASHIM_TRACE", &record).env("CUDASHIM_TRACE_ACTS", acts);
        let ran = two.lab.ran(command.args(["open", "libone.so.1", "l", "call", "which"]));
        assert_eq!(ran.quiet(), format!("open libone.so.1: ok\nwhich: {which}\n"));
    }
    let bytes = std::fs::read(&record).unwrap();
    let given = format!("search\0libone.so.1\0dlopen\0\0rpath\0{}\0", utf8(&two.right));
    assert_eq!(bytes.windows(given.len()).filter(|window| *window == given.as_bytes()).count(), 1);
}
