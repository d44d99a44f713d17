//! Many at once, and others in the same `LD_PRELOAD`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{COMMON, host, put_plan, run, utf8, with_plan};
use crate::support::lab::{Lab, PlanText, Ran, clean_command};

/// A wrong and a right copy, and a consumer that finds the wrong one by its DT_RPATH.
struct Set {
    lab: Lab,
    plan: PlanText,
    consumer: PathBuf,
}

fn set() -> Set {
    let lab = Lab::new();
    let right = lab.copy("right/libone.so.1", "libone.so.1", 2);
    let wrong = lab.copy("wrong/libone.so.1", "libone.so.1", 1);
    let source = "int which(void); int sum(void) { return 10 * which(); }";
    let rpath = "-Wl,--disable-new-dtags,-rpath,$ORIGIN";
    let consumer = lab.library("wrong/libconsumer.so", "libconsumer.so", source, &[utf8(&wrong), rpath]);
    let plan = PlanText::new()
        .lib("libone.so.1", &right, "preload")
        .record(&["alias", "libone.so", "libone.so.1"])
        .lib("libconsumer.so", &consumer, "keep");
    Set { lab, plan, consumer }
}

const ONE_RIGHT: &str = "maps libone: 1\n  [R]/right/libone.so.1\n";

/// The plan is long to read, so that all are at it together: whoever is not the first to publish it acts by it all the same.
#[test]
fn threads_that_read_the_plan_together_act_by_it() {
    let s = set();
    let alias = |plan: PlanText, i: i32| plan.record(&["alias", &format!("libnick{i}.so"), "libone.so.1"]);
    let plan = (0..8000).fold(s.plan.clone(), alias);
    let ran = with_plan(&s.lab, &plan, &["threads", "libnick7999.so", "maps", "libone"]);
    assert_eq!((ran.out, ran.err.as_str()), (format!("threads: 32\n{ONE_RIGHT}"), ""));
}

#[test]
fn constructors_in_64_threads_open_again() {
    let s = set();
    let source = format!(
        "#include <dlfcn.h>\n#include <stdlib.h>\n#include <unistd.h>\n\
         __attribute__((constructor)) static void start(void) {{\n usleep(5000);\n\
         if (!dlopen(\"libone.so\", RTLD_NOW) || !dlopen(\"{}\", RTLD_NOW) || !dlopen(\"libone.so.1\", RTLD_NOW))\n\
         abort(); }}",
        utf8(&s.consumer)
    );
    // Without a soname each copy of the file is a library of its own.
    let again = s.lab.program("again.so", &source, &["-shared", "-fPIC", "-ldl"]);
    // Half of them come by the loader, which is theirs while their constructors run; half come to wait for it.
    let needs = ["-shared", "-fPIC", "wrong/libone.so.1", "-Wl,-rpath,$ORIGIN/../wrong"];
    let uses = "int which(void); int sum(void) { return which(); }";
    let direct = s.lab.program("direct.so", uses, &needs);
    fs::create_dir(s.lab.path("crowd")).unwrap();
    for number in 0..64 {
        let from = if number % 2 == 0 { &again } else { &direct };
        fs::copy(from, s.lab.path(&format!("crowd/lib{number}.so"))).unwrap();
    }
    let ran = with_plan(&s.lab, &s.plan, &["crowd", utf8(&s.lab.path("crowd")), "maps", "libone"]);
    assert_eq!((ran.out, ran.err.as_str()), (format!("crowd: 64\n{ONE_RIGHT}"), ""));
}

#[test]
fn children_by_fork_and_vfork_from_all_sides() {
    let s = set();
    let ran = with_plan(&s.lab, &s.plan, &["storm", utf8(&s.consumer), "maps", "libone"]);
    let own = format!("storm: 8 opened, 64 children\n{ONE_RIGHT}");
    let children = ran.out.strip_suffix(&own).unwrap_or_else(|| panic!("{}{}", ran.out, ran.err));
    let (opened, summed) = ("open [R]/wrong/libconsumer.so: ok", "sum: 20");
    let count = |said: &str| children.lines().filter(|line| *line == said).count();
    assert_eq!((count(opened), count(summed), children.lines().count()), (64, 64, 128), "{children}");
    assert_eq!(ran.err, "");
}

/// Where the C compiler finds a library of that name; `None`, and said, where it has none.
fn of_this_machine(name: &str) -> Option<PathBuf> {
    let output = Command::new("cc").arg(format!("-print-file-name={name}")).output().unwrap();
    let path = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    let there = path.is_absolute().then(|| fs::canonicalize(path).ok()).flatten();
    if there.is_none() {
        eprintln!("skipped: {name} is not installed");
    }
    there
}

fn beside(s: &Set, preload: &str, script: &[&str]) -> Ran {
    let mut command = host(script);
    command.env("CUDASHIM_PLAN", put_plan(&s.lab, &s.plan)).env("LD_PRELOAD", preload);
    // Said by ASan where it is not the first; that is the order under test.
    run(&s.lab, command.env("ASAN_OPTIONS", "verify_asan_link_order=0:detect_leaks=0"))
}

#[test]
fn allocators_and_sanitizers_in_the_same_preload() {
    let s = set();
    let script = ["open", utf8(&s.consumer), "n", "call", "sum", "open", "libone.so", "n", "errno", "maps", "libone"];
    let said = format!("open [R]/wrong/libconsumer.so: ok\nsum: 20\nopen libone.so: ok\nerrno: 42\n{ONE_RIGHT}");
    for name in ["libjemalloc.so.2", "libtcmalloc_minimal.so.4", "libasan.so"] {
        let Some(other) = of_this_machine(name) else { continue };
        // A sanitizer calls dlopen for the host; what such a one may have is the plan's to say.
        let _ = std::os::unix::fs::symlink(&other, s.lab.path(name));
        for order in [[&COMMON.shim, &other], [&other, &COMMON.shim]] {
            let preload = format!("{}:{}", utf8(order[0]), utf8(order[1]));
            let ran = beside(&s, &preload, &script);
            assert_eq!((ran.out.as_str(), ran.err.as_str()), (said.as_str(), ""), "{preload}");
            // Threads allocate while the first of them reads the plan.
            let ran = beside(&s, &preload, &["threads", "libone.so", "maps", "libone"]);
            assert_eq!((ran.out, ran.err.as_str()), (format!("threads: 32\n{ONE_RIGHT}"), ""), "{preload}");
        }
    }
}

#[test]
fn a_host_built_with_sanitizers() {
    let s = set();
    let arguments = ["-fsanitize=address,undefined", "-rdynamic", "-ldl", "-pthread"];
    if of_this_machine("libasan.so").is_none() || of_this_machine("libubsan.so").is_none() {
        return;
    }
    let host = s.lab.program("host", include_str!("host.c"), &arguments);
    let script = ["open", utf8(&s.consumer), "n", "call", "sum", "threads", "libone.so", "maps", "libone"];
    let mut command = clean_command(&host);
    command
        .args(script)
        .env("LD_PRELOAD", &COMMON.shim)
        .env("CUDASHIM_PLAN", put_plan(&s.lab, &s.plan.clone().program(&host)));
    let ran = run(&s.lab, command.env("ASAN_OPTIONS", "verify_asan_link_order=0:detect_leaks=0"));
    let said = format!("open [R]/wrong/libconsumer.so: ok\nsum: 20\nthreads: 32\n{ONE_RIGHT}");
    assert_eq!((ran.out, ran.err.as_str()), (said, ""));
}
