//! Libraries asked what they are: tiny ones that answer, lie, crash, hang, flood and leave things behind.
#![allow(clippy::unwrap_used)]

mod command;
mod devices;
mod trust;

use crate::support::*;
use cudashim::internal::launch::probe::{Answer, End, ProbeError, ProbeResult, Prober};
use cudashim::internal::tables::{ProbeRow, probes_of};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Less than the default, for those that never answer.
const SHORT: Duration = Duration::from_millis(500);

fn prober(lab: &Machine) -> Prober {
    Prober::new(&lab.path("cache")).unwrap()
}

fn rows(stem: &str) -> Vec<&'static ProbeRow> {
    probes_of(stem).collect()
}

/// Builds `lib<stem>.so.1` from a source and calls all its functions in the table.
fn ask(lab: &Machine, stem: &str, source: &str) -> ProbeResult {
    let library = lab.library(&format!("lib{stem}.so.1"), source, &[]);
    prober(lab).ask(&library, &rows(stem), &[]).unwrap()
}

fn says(asked: &ProbeResult) -> Vec<String> {
    asked.answers.iter().map(|(row, answer)| format!("{} {answer}", row.function)).collect()
}

#[test]
fn probe_calls_each_kind_of_function() {
    let lab = Machine::new();
    for (stem, source, answer) in [
        (
            "cudnn",
            "unsigned long cudnnGetVersion(void) { return 91002; } unsigned long cudnnGetCudartVersion(void) { return 12090; }",
            &["cudnnGetVersion returned 91002, which is 9.10.2", "cudnnGetCudartVersion returned 12090, which is 12.9"]
                [..],
        ),
        (
            "cudart",
            "int cudaRuntimeGetVersion(int *v) { *v = 12040; return 0; }",
            &["cudaRuntimeGetVersion returned 12040, which is 12.4"],
        ),
        ("nvrtc", "int nvrtcVersion(int *a, int *b) { *a = 12; *b = 8; return 0; }", &["nvrtcVersion returned 12.8"]),
        (
            "nvshmem_host",
            // Its result register is not a version.
            "int nvshmemx_vendor_get_version_info(int *a, int *b, int *c) { *a = 3; *b = 7; *c = 2; return 9; }",
            &["nvshmemx_vendor_get_version_info returned 3.7.2"],
        ),
        (
            "cublas",
            "int cublasGetProperty(int t, int *v) { *v = t == 0 ? 12 : t == 1 ? 4 : 5; return 0; }",
            &["cublasGetProperty returned 12.4.5"],
        ),
        (
            "nppc",
            "static const int v[3] = { 12, 4, 1 }; const int *nppGetLibVersion(void) { return v; }",
            &["nppGetLibVersion returned 12.4.1"],
        ),
        (
            // Two numbers in one register: success, and a number of CUDA's.
            "cufile",
            "struct e { int a, b; }; struct e cuFileGetVersion(int *v) { *v = 1130; return (struct e){ 0, 0 }; }",
            &["cuFileGetVersion returned 1130, which is 1.13"],
        ),
    ] {
        let asked = ask(&lab, stem, source);
        assert_eq!(
            (says(&asked), &asked.end),
            (answer.iter().map(|s| (*s).to_owned()).collect(), &End::Done),
            "{stem}"
        );
    }
}

#[test]
fn probe_of_a_function_that_fails() {
    let lab = Machine::new();
    let asked = ask(&lab, "cudart", "int cudaRuntimeGetVersion(int *v) { return 35; }");
    assert_eq!(asked.answers[0].1, Answer::Refused { status: 35 });
    // Success, and nothing written.
    let asked = ask(&lab, "nvrtc", "int nvrtcVersion(int *a, int *b) { return 0; }");
    assert_eq!(asked.answers[0].1, Answer::Returned { raw: vec![-1, -1], version: None });
    let asked = ask(&lab, "cublas", "int cublasGetProperty(int t, int *v) { *v = 12; return t == 2 ? 7 : 0; }");
    assert_eq!(asked.answers[0].1, Answer::Refused { status: 7 });
    let asked = ask(&lab, "nppc", "const int *nppGetLibVersion(void) { return 0; }");
    assert_eq!(asked.answers[0].1, Answer::Refused { status: 1 });
}

#[test]
fn probe_keeps_answers_before_a_crash() {
    let lab = Machine::new();
    let source = "#include <stdlib.h>\nunsigned long cudnnGetVersion(void) { return 8500; }\n\
                  unsigned long cudnnGetCudartVersion(void) { abort(); }";
    let asked = ask(&lab, "cudnn", source);
    assert_eq!(
        says(&asked),
        ["cudnnGetVersion returned 8500, which is 8.5.0", "cudnnGetCudartVersion crashed with SIGABRT"]
    );
    let initialiser = "__attribute__((constructor)) static void f(void) { *(volatile int *)0 = 1; }";
    let asked = ask(&lab, "cudart", initialiser);
    assert_eq!(asked.answers[0].1, Answer::Failed(End::Crashed { signal: 11 }));
}

/// As CUPTI 13.2 does without a driver.
#[test]
fn probe_of_endless_recursion() {
    let lab = Machine::new();
    let source = "int cuptiGetVersion(int *v) { volatile int a[99] = { 1 }; return cuptiGetVersion(v) + a[1]; }";
    assert_eq!(ask(&lab, "cupti", source).end, End::Crashed { signal: 11 });
}

#[test]
fn probe_of_a_library_that_hangs() {
    let lab = Machine::new();
    for (stem, source) in [
        ("cudart", "#include <unistd.h>\nint cudaRuntimeGetVersion(int *v) { for (;;) pause(); }"),
        ("nvrtc", "#include <unistd.h>\n__attribute__((constructor)) static void f(void) { for (;;) pause(); }"),
        // It asks to be left alone, too.
        (
            "cupti",
            "#include <signal.h>\nint cuptiGetVersion(int *v) { for (int s = 1; s < 32; s++) signal(s, SIG_IGN); for (;;); }",
        ),
    ] {
        let library = lab.library_named(&format!("lib{stem}.so"), "x", source, &[]);
        let asked = prober(&lab).limit(SHORT).ask(&library, &rows(stem), &[]).unwrap();
        assert_eq!(asked.answers[0].1, Answer::Failed(End::TimedOut), "{stem}");
    }
}

#[test]
fn probe_of_a_library_that_exits() {
    let lab = Machine::new();
    for (code, end) in [("exit(0)", 0), ("_Exit(7)", 7)] {
        let source = format!("#include <stdlib.h>\n__attribute__((constructor)) static void f(void) {{ {code}; }}");
        assert_eq!(ask(&lab, "cudart", &source).answers[0].1, Answer::Failed(End::Ended { code: end }));
    }
}

#[test]
fn probe_ignores_printed_text() {
    let lab = Machine::new();
    let flood = "#include <stdio.h>\nint cudaRuntimeGetVersion(int *v) { *v = 12040; \
                 for (int i = 0; i < 400000; i++) { puts(\"said\\t0\\t0\\t9990\"); fputs(\"end\\n\", stderr); } return 0; }";
    assert_eq!(says(&ask(&lab, "cudart", flood)), ["cudaRuntimeGetVersion returned 12040, which is 12.4"]);
    // One that writes to every file it finds open.
    let hostile = "#include <unistd.h>\nint nvrtcVersion(int *a, int *b) { static char c[65536] = \"\\xff\"; for (;;) for (int f = 3; f < 99; f++) write(f, c, sizeof c); }";
    assert_eq!(ask(&lab, "nvrtc", hostile).answers[0].1, Answer::Failed(End::Garbled));
}

#[test]
fn probe_of_an_unloadable_library() {
    let lab = Machine::new();
    lab.mkdir("a");
    let other = lab.library("a/libnvJitLink.so.12", "int nvJitLinkVersion(int *a, int *b) { return 0; }", &[]);
    let source = "int cusparseGetProperty(int t, int *v) { *v = 12 + t; return 0; }";
    let library = lab.library("libcusparse.so.12", source, &[other.to_str().unwrap()]);
    let prober = prober(&lab);
    let alone = prober.ask(&library, &rows("cusparse"), &[]).unwrap();
    let Answer::Failed(End::NotLoaded(says)) = &alone.answers[0].1 else { panic!("{alone:?}") };
    assert!(says.starts_with("libnvJitLink.so.12: "), "{says}");

    // Its neighbours are where it looks, and it has no function of theirs.
    let mut questions = rows("cusparse");
    questions.extend(rows("nvJitLink"));
    let asked = prober.ask(&library, &questions, &[lab.path("a")]).unwrap();
    assert_eq!(asked.answers[0].1.to_string(), "returned 12.13.14");
    assert_eq!(asked.answers[1].1, Answer::NoFunction);
    assert!(asked.mapped.contains(&other), "{:?}", asked.mapped);
    // Neighbours in the same directory need no argument.
    fs::copy(&other, lab.path("libnvJitLink.so.12")).unwrap();
    assert_eq!(prober.ask(&library, &questions, &[]).unwrap().end, End::Done);

    for (name, content) in [("libcudart.so.1", "no library"), ("libnvrtc.so.1", "")] {
        let asked = prober.ask(&lab.write(name, content), &rows("cudart"), &[]).unwrap();
        assert!(matches!(asked.end, End::NotLoaded(_)), "{asked:?}");
    }
}

/// A name that is hostile to lines, terminals and lists of directories.
#[test]
fn probe_of_a_hostile_name() {
    let lab = Machine::new();
    // Not `$ORIGIN`: dlopen(3) would put something else there.
    let dir = "a\tb\n\u{1b}[31m:c;$X\\";
    let source = "int cudaRuntimeGetVersion(int *v) { *v = 12040; return 0; }";
    let library = lab.library("libcudart.so.12", source, &[]);
    lab.mkdir(dir);
    let moved = lab.path(dir).join("libcudart.so.12");
    fs::rename(&library, &moved).unwrap();
    let asked = prober(&lab).ask(&moved, &rows("cudart"), &[]).unwrap();
    assert_eq!((asked.end, asked.mapped.contains(&moved)), (End::Done, true));
    let gone = lab.path(dir).join("gone");
    let asked = prober(&lab).ask(&gone, &rows("cudart"), &[]).unwrap();
    assert!(matches!(&asked.end, End::NotLoaded(says) if says.contains(gone.to_str().unwrap())), "{asked:?}");
}

#[test]
fn probe_child_is_isolated() {
    let lab = Machine::new();
    let source = r#"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
extern char **environ;
int cublasGetProperty(int what, int *value)
{
    struct rlimit core;
    switch (what) {
    case 0: /* Variables, and how many of them are no search path. */
        *value = 0;
        for (char **at = environ; *at; at++)
            *value += !strncmp(*at, "LD_LIBRARY_PATH=", 16) ? 1 : 100;
        return 0;
    case 1: /* The size of a core dump that would be written. */
        getrlimit(RLIMIT_CORE, &core);
        *value = (int)core.rlim_cur;
        return 0;
    default: /* A log where it stands; and nothing to read. */
        *value = open("cufile.log", O_CREAT | O_WRONLY, 0600) >= 0 && read(0, &core, 1) == 0 && getpgrp() == getpid();
        return 0;
    }
}"#;
    let library = lab.library("libcublas.so.12", source, &[]);
    let prober = prober(&lab);
    let asked = prober.ask(&library, &rows("cublas"), &[]).unwrap();
    let Answer::Returned { raw, .. } = &asked.answers[0].1 else { panic!("{asked:?}") };
    assert!(matches!(raw[..], [1, 0..=1, 1]), "{raw:?}");
    let given = prober.variable("CUDA_VISIBLE_DEVICES", "0".as_ref());
    let asked = given.ask(&library, &rows("cublas"), &[]).unwrap();
    assert!(matches!(&asked.answers[0].1, Answer::Returned { raw, .. } if raw[0] == 101), "{asked:?}");
    assert!(!Path::new("cufile.log").exists() && !Path::new("/cufile.log").exists());
}

/// A library that starts a process which would outlive it, with all its files open.
#[test]
fn probe_ends_what_the_library_started() {
    let lab = Machine::new();
    let lock = lab.write("lock", "");
    let source = format!(
        "#include <fcntl.h>\n#include <sys/file.h>\n#include <unistd.h>\n\
         int cudaRuntimeGetVersion(int *v) {{ int lock = open(\"{}\", O_RDWR), ready[2]; char c; pipe(ready); \
         if (!fork()) {{ flock(lock, LOCK_EX); write(ready[1], \"\", 1); for (;;) pause(); }} \
         read(ready[0], &c, 1); *v = 12040; return 0; }}",
        lock.display()
    );
    let asked = ask(&lab, "cudart", &source);
    assert_eq!(asked.end, End::Done);
    // Waits for whoever has it: for ever, were that process still there.
    let file = fs::File::open(&lock).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
}

#[test]
fn probe_is_not_installed_where_others_may_write() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Machine::new();
    let dir: PathBuf = lab.path("cache");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(Prober::new(&dir), Err(ProbeError::Install(_))));
}
