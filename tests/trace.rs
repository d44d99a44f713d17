//! `trace`: what a command really loads, and by which rule. `run --via`: by which door it gets the set.

use crate::support::*;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Opens what its arguments name; the last one's `which` is its exit code.
const OPENS: &str = "#include <dlfcn.h>\n#include <stdio.h>\n#include <string.h>\n#include <sys/wait.h>\n#include <unistd.h>\n\
    int main(int n, char **words) { void *last = 0; int status;\n\
    for (int i = 1; i < n; i++) {\n\
    if (!strcmp(words[i], \"fork\")) { if (fork()) { wait(&status); return WEXITSTATUS(status); } }\n\
    else if (!strcmp(words[i], \"close\")) dlclose(last);\n\
    else if (!strcmp(words[i], \"exec\")) { execv(words[i + 1], words + i + 1); return 9; }\n\
    else { last = dlopen(words[i], RTLD_NOW); if (!last) fprintf(stderr, \"%s\\n\", dlerror()); } }\n\
    return 0; }";

struct Bench {
    lab: Machine,
    program: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let lab = Machine::new();
        let program = lab.program("opens", OPENS, &["-ldl"]);
        Self { lab, program }
    }

    fn cudashim(&self, words: &[&str]) -> Command {
        let mut command = self.lab.cudashim(words);
        command.env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
        command
    }

    /// The report on the program with these arguments.
    fn traced(&self, env: &[(&str, &Path)], words: &[&str]) -> Value {
        let mut command = self.cudashim(&["trace", "--format", "json", "--"]);
        command.arg(&self.program).args(words).envs(env.iter().copied());
        described(&Process::of(&mut command), "trace.json")
    }

    /// A library that needs libcudart.so.12, and looks for it by `arguments`.
    fn user(&self, name: &str, arguments: &[&str]) -> String {
        let library = self.lab.copy("linked/libcudart.so.12", 0);
        let source = "extern int which(void); int through(void) { return which(); }";
        let path = self.lab.library(name, source, &[&[library.to_str().unwrap()], arguments].concat());
        fs::remove_file(library).unwrap();
        utf8(&path).to_owned()
    }
}

/// The one object that has this name, with what matters of it.
fn object<'v>(report: &'v Value, name: &str) -> [&'v str; 4] {
    let objects: Vec<&Value> = report["objects"].as_array().unwrap().iter().filter(|one| one["name"] == name).collect();
    let [one] = objects[..] else { panic!("{name}: {report:#}") };
    ["path", "rule", "needed_by", "call"].map(|field| one[field].as_str().unwrap())
}

#[test]
fn trace_names_each_rule() {
    let bench = Bench::new();
    let right = bench.lab.copy("right/libcudart.so.12", 1);
    let dir = right.parent().unwrap();
    let (right, program) = (utf8(&right), utf8(&bench.program));
    let soname = "libcudart.so.12";

    let report = bench.traced(&[("LD_LIBRARY_PATH", dir)], &[soname]);
    assert_eq!(object(&report, soname), [right, "ld_library_path", program, "dlopen"]);
    let report = bench.traced(&[], &[right]);
    assert_eq!(object(&report, right), [right, "path", program, "dlopen"]);
    let report = bench.traced(&[("LD_PRELOAD", Path::new(&right))], &[]);
    assert_eq!(object(&report, right), [right, "preload", program, "preload"]);

    for (name, tags, rule) in
        [("librpath.so", "-Wl,--disable-new-dtags", "rpath"), ("librunpath.so", "-Wl,--enable-new-dtags", "runpath")]
    {
        let user = bench.user(name, &[tags, &format!("-Wl,-rpath,{}:{}", utf8(bench.lab.root()), dir.display())]);
        let report = bench.traced(&[], &[&user]);
        assert_eq!(object(&report, soname), [right, rule, &*user, "needed"]);
        // The directory before held none, whatever of its sub-directories were tried.
        let one = report["objects"].as_array().unwrap().iter().find(|one| one["name"] == soname).unwrap();
        let first = utf8(&bench.lab.path(soname)).to_owned();
        assert!(one["tried"].as_array().unwrap().contains(&first.as_str().into()), "{report:#}");
        assert_eq!(one["tried_count"], one["tried"].as_array().unwrap().len());
        assert!(report["failed_opens"].as_u64().unwrap() >= one["tried_count"].as_u64().unwrap());
        assert_eq!(report["verdict"], "loads");
    }
}

#[test]
fn trace_marks_what_a_plan_hands_out() {
    let bench = Bench::new();
    let wrong = bench.lab.copy("wrong/libcudart.so.12", 1);
    let right = bench.lab.copy("right/libcudart.so.12", 2);
    let plan = PlanText::new().lib("libcudart.so.12", &right, "redirect");
    let file = bench.lab.write("plan", plan.text());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let report = |with_plan: bool| {
        let mut command = bench.cudashim(&["trace", "--format", "json"]);
        if with_plan {
            command.arg("--plan").arg(&file);
        }
        command.arg("--").arg(&bench.program).arg("libcudart.so.12");
        // A plan of the environment is for a shim that is preloaded.
        command.env("LD_LIBRARY_PATH", wrong.parent().unwrap()).env("CUDASHIM_PLAN", &file);
        serde_json::from_slice::<Value>(&command.output().unwrap().stdout).unwrap()
    };
    assert_eq!(object(&report(false), "libcudart.so.12")[..2], [&*utf8(&wrong).to_owned(), "ld_library_path"]);
    assert_eq!(object(&report(true), "libcudart.so.12")[..2], [&*utf8(&right).to_owned(), "audit"]);
}

#[test]
fn trace_follows_children() {
    let bench = Bench::new();
    let cudart = utf8(&bench.lab.copy("a/libcudart.so.12", 1)).to_owned();
    let nvrtc = utf8(&bench.lab.copy("a/libnvrtc.so.12", 1)).to_owned();
    let program = utf8(&bench.program).to_owned();
    let report = bench.traced(&[], &[&cudart, "fork", &nvrtc]);
    let pids: Vec<(u64, bool)> = report["processes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|process| (process["pid"].as_u64().unwrap(), process["forked"].as_bool().unwrap()))
        .collect();
    let [(parent, false), (child, true)] = pids[..] else { panic!("{report:#}") };
    assert_eq!(report["processes"][1]["parent"], parent);
    let by: Vec<(u64, &str)> = report["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["pid"].as_u64().unwrap(), one["path"].as_str().unwrap()))
        .collect();
    assert_eq!(by, [(parent, &*cudart), (child, &*nvrtc)]);
    // execve keeps the number; what was mapped is gone with the program.
    let report = bench.traced(&[], &[&cudart, "exec", &program, &nvrtc]);
    assert_eq!(report["processes"].as_array().unwrap().len(), 2, "{report:#}");
    assert_eq!(object(&report, &nvrtc)[1], "path");
    assert_eq!(report["verdict"], "loads");
}

/// execve(2) keeps the number of a process: what its last program loaded is not what its first did.
#[test]
fn trace_of_a_program_that_becomes_another_lists_each_library_once() {
    let bench = Bench::new();
    let library = bench.lab.copy("one/libcudart.so.12", 1);
    let (program, library) = (utf8(&bench.program), utf8(&library));
    let mut command = bench.cudashim(&["trace", "--", program, "exec", program, library]);
    let text = Process::of(&mut command).err;
    assert_eq!(text.lines().filter(|line| line.trim() == library).count(), 1, "{text}");
    let page =
        Process::of(&mut bench.cudashim(&["trace", "--format", "html", "--", program, "exec", program, library]));
    assert_eq!(page.out.matches("<span class=\"name\">libcudart.so.12</span>").count(), 1, "{}", page.out);
}

#[test]
fn trace_lists_failed_dlopens() {
    let bench = Bench::new();
    let report = bench.traced(&[("LD_LIBRARY_PATH", bench.lab.root())], &["libcudart.so.12", "libnothing.so"]);
    let names = report["not_found"].as_array().unwrap();
    assert_eq!(names.len(), 1, "{report:#}");
    assert_eq!(names[0]["name"], "libcudart.so.12");
    assert_eq!(names[0]["because"], "not found");
    let first = utf8(&bench.lab.path("libcudart.so.12")).to_owned();
    assert!(names[0]["tried"].as_array().unwrap().contains(&first.as_str().into()), "{report:#}");
    // A program may do without what it opens, not without what it needs.
    assert_eq!(report["verdict"], "loads");
    let user = bench.user("libuser.so", &[]);
    let report = bench.traced(&[], &[&user]);
    assert_eq!((&report["verdict"], &report["findings"][0]["id"]), (&"fails".into(), &"library-not-found".into()));
    // A failed command may have failed for a missing library it opened; for the driver that is unknown.
    let program = utf8(&bench.program).to_owned();
    for (name, verdict, id) in
        [("libnvrtc.so.12", "fails", "library-not-found"), ("libcuda.so.1", "loads", "no-driver")]
    {
        let report = bench.traced(&[], &[name, "exec", "/none"]);
        assert_eq!((&report["verdict"], &report["exit"]), (&verdict.into(), &9.into()), "{report:#}");
        let says = format!("`{program}` opened {name}, which was not found");
        assert_eq!((&report["findings"][0]["id"], &report["findings"][0]["says"]), (&id.into(), &says.into()));
    }
    // A damaged file is a finding with its error.
    bench.lab.write("damaged/libcudart.so.12", "no ELF");
    let report = bench.traced(&[("LD_LIBRARY_PATH", &bench.lab.path("damaged"))], &["libcudart.so.12"]);
    assert_eq!(
        (&report["verdict"], &report["findings"][0]["id"]),
        (&"fails".into(), &"truncated-or-foreign-elf".into())
    );
}

#[test]
fn trace_names_the_guilty_file() {
    let bench = Bench::new();
    let node = "-Wl,--version-script=";
    bench.lab.write("new.map", "libnvJitLink.so.12 { global: __nvJitLinkNew_12_4; local: *; };");
    bench.lab.write("old.map", "libnvJitLink.so.12 { global: __nvJitLinkOld_12_1; local: *; };");
    let new = "int __nvJitLinkNew_12_4(void) { return 0; }";
    let old = "int __nvJitLinkOld_12_1(void) { return 0; }";
    let right = bench.lab.library("new/libnvJitLink.so.12", new, &[&format!("{node}new.map")]);
    let wrong = bench.lab.library("old/libnvJitLink.so.12", old, &[&format!("{node}old.map")]);
    let rpath = format!("-Wl,-rpath,{}", right.parent().unwrap().display());
    let user = bench.lab.library(
        "libcusparse.so.12",
        "extern int __nvJitLinkNew_12_4(void); int (*use)(void) = __nvJitLinkNew_12_4;",
        &[right.to_str().unwrap(), &rpath, "-Wl,--enable-new-dtags"],
    );
    let (user, wrong) = (utf8(&user).to_owned(), utf8(&wrong).to_owned());
    assert_eq!(bench.traced(&[], &[&user])["verdict"], "loads");
    let report = bench.traced(&[("LD_LIBRARY_PATH", &bench.lab.path("old"))], &[&user]);
    assert_eq!(report["verdict"], "fails");
    assert_eq!(
        report["missing"],
        serde_json::json!([{
            "symbol": "__nvJitLinkNew_12_4", "node": "libnvJitLink.so.12", "wanted_by": user, "provider": wrong,
        }])
    );
    assert_eq!(object(&report, "libnvJitLink.so.12"), [&*wrong, "ld_library_path", &*user, "needed"]);
    // What failed is unmapped again.
    assert!(report["objects"].as_array().unwrap().iter().all(|one| one["mapped"] == false), "{report:#}");
}

#[test]
fn trace_reports_duplicate_sonames_of_one_process() {
    let bench = Bench::new();
    let one = utf8(&bench.lab.copy("one/libcudart.so.12", 1)).to_owned();
    let two = utf8(&bench.lab.copy("two/libcudart.so.12", 2)).to_owned();
    let report = bench.traced(&[], &[&one, &two]);
    assert_eq!(report["findings"][0]["id"], "doubled-soname");
    let says = report["findings"][0]["says"].as_str().unwrap();
    assert!(says.contains(&one) && says.contains(&two), "{says}");
    let report = bench.traced(&[], &[&one, "close", &two]);
    assert_eq!(report["findings"], serde_json::json!([]));
    // The same file by another path is no second one.
    let link = bench.lab.path("link.so.12");
    std::os::unix::fs::symlink(&one, bench.lab.path("libcudart.so")).unwrap();
    std::os::unix::fs::symlink(&one, link).unwrap();
    let alias = utf8(&bench.lab.path("libcudart.so")).to_owned();
    let report = bench.traced(&[], &[&one, &alias]);
    assert_eq!((&report["findings"], &report["not_found"]), (&serde_json::json!([]), &serde_json::json!([])));
}

#[test]
fn trace_passes_code_and_output_through() {
    let bench = Bench::new();
    let traced = |words: &[&str]| bench.lab.ran(bench.cudashim(&["trace", "--"]).args(words));
    let ran = traced(&["/bin/sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(7), "out\n"));
    assert_eq!(ran.err, "err\nverdict: loads (1 process, 0 CUDA libraries, 0 failed opens)\n");
    // As a shell has it: 128 and the number of the signal.
    assert_eq!(traced(&["/bin/sh", "-c", "kill -9 $$"]).code, Some(137));
    assert_eq!(traced(&["none"]).code, Some(127));
    assert_eq!(traced(&["./cache"]).code, Some(126));
    assert_eq!(bench.lab.ran(&mut bench.cudashim(&["trace", "--no-such"])).code, Some(125));
    let ran = bench.lab.ran(&mut bench.cudashim(&["trace", "-o", "report", "--", "/bin/sh", "-c", "echo out"]));
    assert_eq!(ran.quiet(), "out\n");
    assert!(bench.lab.read("report").starts_with("verdict: loads "));
}

#[test]
fn trace_refuses_what_cannot_be_audited() {
    let bench = Bench::new();
    let program = bench.lab.program("static", "int main(void) { return 3; }", &["-static"]);
    let ran = bench.lab.ran(bench.cudashim(&["trace", "--"]).arg(&program));
    assert_eq!((ran.code, ran.out.as_str()), (Some(125), ""));
    assert_eq!(
        ran.err,
        "error: cannot trace `[R]/static`: it is statically linked, so no LD_PRELOAD or LD_AUDIT reaches it\n"
    );
    // What it would be started by can.
    let ran =
        bench.lab.ran(bench.cudashim(&["trace", "--", "/bin/sh", "-c"]).arg(format!("{}; exit $?", program.display())));
    assert_eq!(ran.code, Some(3), "{}", ran.err);
}

/// A program that is linked against CUDA itself, through its own library.
#[test]
fn run_via_is_chosen_by_the_program() {
    let bench = Bench::new();
    let wrong = bench.lab.copy("wrong/libcudart.so.12", 1);
    let right = bench.lab.copy("right/libcudart.so.12", 2);
    let rpath = format!("-Wl,-rpath,{}", wrong.parent().unwrap().display());
    let engine = bench.lab.library(
        "libengine.so",
        "extern int which(void); int engine(void) { return which(); }",
        &[wrong.to_str().unwrap(), &rpath],
    );
    let here = format!("-Wl,-rpath,{}", bench.lab.root().display());
    let source = "extern int engine(void); int main(void) { return engine(); }";
    let program = bench.lab.program("server", source, &[engine.to_str().unwrap(), &here]);
    let plan = PlanText::new().lib("libcudart.so.12", &right, "preload").record(&["object", engine.to_str().unwrap()]);
    let file = bench.lab.write("plan", plan.text());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let run = |via: &str, program: &Path| {
        let mut command = bench.cudashim(&["run", "-v", "--via", via, "--plan"]);
        bench.lab.ran(command.arg(&file).arg("--").arg(program))
    };
    let auto = run("auto", &program);
    assert_eq!(auto.code, Some(2), "{}", auto.err);
    assert!(
        auto.err.contains(
            "by LD_AUDIT: the program is linked against libcudart.so.12, which is mapped before a preload acts"
        ),
        "{}",
        auto.err
    );
    assert_eq!(run("audit", &program).code, Some(2));
    // The plan may be made for the program itself, whose own library needs CUDA.
    let mut chosen = bench.cudashim(&["run", "--place"]);
    chosen.arg(right.parent().unwrap()).arg("--forbid").arg(wrong.parent().unwrap()).arg("--").arg(&program);
    let chosen = bench.lab.ran(&mut chosen);
    assert_eq!(chosen.code, Some(2), "{}", chosen.err);
    let preload = run("preload", &program);
    assert_eq!(preload.code, Some(1));
    assert!(preload.err.contains("use `--via audit`"), "{}", preload.err);
    let other = run("auto", &bench.program);
    assert!(other.err.contains("by LD_PRELOAD: the program itself is not linked against CUDA"), "{}", other.err);
    // The libraries of a plan are no reason to map them.
    let shell = bench.lab.ran(&mut bench.cudashim(&[
        "run",
        "--via",
        "audit",
        "--plan",
        "plan",
        "--",
        "/bin/sh",
        "-c",
        "cat /proc/self/maps",
    ]));
    assert!(!shell.out.contains("libcudart") && shell.out.contains("libcudashim"), "{}", shell.out);
}

/// A program linked against libcudart and a library with this thread-local storage, as jemalloc has it.
fn with_static_tls(bench: &Bench, storage: &str) -> (PathBuf, PathBuf) {
    let right = bench.lab.copy("right/libcudart.so.12", 2);
    let source = format!(
        "__thread char room[4096] __attribute__((tls_model(\"initial-exec\"), {storage})); char *get(void) {{ return room; }}"
    );
    let tls = bench.lab.library("libtls.so", &source, &[]);
    let dirs = [bench.lab.root(), right.parent().unwrap()].map(|dir| format!("-Wl,-rpath,{}", dir.display()));
    let source = "char *get(void); int which(void); int main(void) { return get() ? which() : 0; }";
    let libraries = [tls.to_str().unwrap(), right.to_str().unwrap()];
    let program = bench.lab.program("server", source, &[&libraries[..], &dirs.each_ref().map(String::as_str)].concat());
    let plan = PlanText::new().lib("libcudart.so.12", &right, "preload");
    let file = bench.lab.write("plan", plan.text());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    (program, file)
}

/// Under an auditor glibc takes the storage of all that is linked in out of the little that is left for dlopen.
#[test]
fn run_audit_gives_static_tls_back() {
    for (storage, door) in [("aligned(8)", "LD_AUDIT"), ("aligned(256)", "an LD_PRELOAD list")] {
        let bench = Bench::new();
        let (program, plan) = with_static_tls(&bench, storage);
        assert_eq!(bench.lab.ran(clean_command(&program).current_dir(bench.lab.root())).code, Some(2));
        let mut command = bench.cudashim(&["run", "-v", "--plan"]);
        let run =
            bench.lab.ran(command.arg(&plan).arg("--").arg(&program).env("GLIBC_TUNABLES", "glibc.malloc.check=0"));
        assert_eq!(run.code, Some(2), "{}", run.err);
        assert!(run.err.contains(&format!("by {door}")), "{}", run.err);
        let tunables = "GLIBC_TUNABLES=glibc.malloc.check=0:glibc.rtld.optional_static_tls=";
        assert_eq!(run.err.contains(tunables), door == "LD_AUDIT", "{}", run.err);
    }
}

/// What ld.so ends before it begins does not load, whatever was mapped by then.
#[test]
fn trace_reports_a_program_that_does_not_start() {
    let bench = Bench::new();
    let (program, _) = with_static_tls(&bench, "aligned(256)");
    let trace = |program: &Path, words: &[&str]| {
        let mut command = bench.cudashim(&["trace", "--format", "json", "--"]);
        let output = command.arg(program).args(words).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let ids: Vec<String> = report["findings"].as_array().unwrap().iter().map(|one| one["id"].to_string()).collect();
        (output.status.code(), report["verdict"].to_string(), ids)
    };
    assert_eq!(trace(&program, &[]), (Some(127), "\"fails\"".into(), vec!["\"not-started\"".into()]));
    // One that ran ends as it likes.
    assert_eq!(trace(Path::new("/bin/sh"), &["-c", "exit 127"]), (Some(127), "\"loads\"".into(), vec![]));
}

/// `AddressSanitizer` must come before all that is preloaded.
#[test]
fn run_preloads_a_host_with_libasan() {
    let bench = Bench::new();
    bench.lab.copy("libasan.so.8", 1);
    let here = format!("-Wl,-rpath,{}", bench.lab.root().display());
    let program = bench.lab.program("checked", "int main(void) { return 0; }", &["./libasan.so.8", &here]);
    let plan = bench.lab.write("plan", PlanText::new().text());
    fs::set_permissions(&plan, fs::Permissions::from_mode(0o600)).unwrap();
    let run = bench.lab.ran(bench.cudashim(&["run", "-v", "--plan"]).arg(&plan).arg("--").arg(&program));
    assert!(run.err.contains("by LD_AUDIT: the program needs libasan.so.8"), "{}", run.err);
    let mut command = bench.cudashim(&["run", "--plan"]);
    command.arg(&plan).args(["--", "/bin/sh", "-c", "echo $LD_PRELOAD"]);
    let run = bench.lab.ran(command.env("LD_PRELOAD", bench.lab.path("libasan.so.8")));
    assert!(run.out.starts_with("[R]/libasan.so.8:") && run.out.contains("libcudashim"), "{}", run.out);
}

#[test]
#[ignore = "needs libasan.so"]
fn run_serves_a_program_with_the_real_libasan() {
    let bench = Bench::new();
    let program = bench.lab.program("checked", "int main(void) { return 0; }", &["-fsanitize=address"]);
    let run = bench.lab.ran(bench.cudashim(&["run", "--"]).arg(&program));
    assert_eq!((run.code, run.err.contains("ASan runtime")), (Some(0), false), "{}", run.err);
}
