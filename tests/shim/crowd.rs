//! Many at once, and others in the same `LD_PRELOAD`.

use crate::support::*;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{COMMON, Two, host, put_plan, with_plan};

/// A wrong and a right copy, and a consumer that finds the wrong one by its DT_RPATH.
struct Set {
    lab: Machine,
    plan: PlanText,
    consumer: PathBuf,
}

fn set() -> Set {
    let two = Two::new();
    let consumer = two.consumer();
    let plan = two.plan("preload").record(&["alias", "libone.so", "libone.so.1"]);
    Set { plan: plan.lib("libconsumer.so", &consumer, "keep"), lab: two.lab, consumer }
}

const ONE_RIGHT: &str = "maps libone: 1\n  [R]/right/libone.so.1\n";

/// The plan is long to read, so that all are at it together: whoever is not the first to publish it acts by it all the same.
#[test]
fn shim_threads_that_read_the_plan_together() {
    let s = set();
    let alias = |plan: PlanText, i: i32| plan.record(&["alias", &format!("libnick{i}.so"), "libone.so.1"]);
    let plan = (0..8000).fold(s.plan.clone(), alias);
    let ran = with_plan(&s.lab, &plan, &["threads", "libnick7999.so", "maps", "libone"]);
    assert_eq!(ran.quiet(), format!("threads: 32\n{ONE_RIGHT}"));
}

#[test]
fn shim_constructors_in_64_threads() {
    let s = set();
    let source = format!(
        "#include <dlfcn.h>\n#include <stdlib.h>\n#include <unistd.h>\n\
         __attribute__((constructor)) static void start(void) {{\n usleep(5000);\n\
         if (!dlopen(\"libone.so\", RTLD_NOW) || !dlopen(\"{}\", RTLD_NOW) || !dlopen(\"libone.so.1\", RTLD_NOW))\n\
         abort(); }}",
        utf8(&s.consumer)
    );
    // Without a soname each copy of the file is a separate library.
    let again = s.lab.program("again.so", &source, &["-shared", "-fPIC", "-ldl"]);
    // Half of them come by the loader, which is theirs while their constructors run; half come to wait for it.
    let needs = ["-shared", "-fPIC", "wrong/libone.so.1", "-Wl,-rpath,$ORIGIN/../wrong"];
    let uses = "int which(void); int sum(void) { return which(); }";
    let direct = s.lab.program("direct.so", uses, &needs);
    s.lab.mkdir("crowd");
    for number in 0..64 {
        let from = if number % 2 == 0 { &again } else { &direct };
        fs::copy(from, s.lab.path(&format!("crowd/lib{number}.so"))).unwrap();
    }
    let ran = with_plan(&s.lab, &s.plan, &["crowd", utf8(&s.lab.path("crowd")), "maps", "libone"]);
    assert_eq!(ran.quiet(), format!("crowd: 64\n{ONE_RIGHT}"));
}

#[test]
fn shim_fork_and_vfork_from_many_threads() {
    let s = set();
    let ran = with_plan(&s.lab, &s.plan, &["storm", utf8(&s.consumer), "maps", "libone"]);
    let own = format!("storm: 8 opened, 64 children\n{ONE_RIGHT}");
    let children = ran.out.strip_suffix(&own).unwrap_or_else(|| panic!("{}{}", ran.out, ran.err));
    let (opened, summed) = ("open [R]/wrong/libconsumer.so: ok", "sum: 20");
    let count = |said: &str| children.lines().filter(|line| *line == said).count();
    assert_eq!((count(opened), count(summed), children.lines().count()), (64, 64, 128), "{children}");
    assert_eq!(ran.err, "");
}

/// Where the C compiler finds a library of that name.
fn of_this_machine(name: &str) -> PathBuf {
    let output = Command::new("cc").arg(format!("-print-file-name={name}")).output().unwrap();
    let path = String::from_utf8(output.stdout).unwrap();
    fs::canonicalize(path.trim()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn beside(s: &Set, preload: &str, script: &[&str]) -> Process {
    let mut command = host(script);
    command.env("CUDASHIM_PLAN", put_plan(&s.lab, &s.plan)).env("LD_PRELOAD", preload);
    // Said by ASan where it is not the first; that is the order under test.
    s.lab.ran(command.env("ASAN_OPTIONS", "verify_asan_link_order=0:detect_leaks=0"))
}

/// Both act, whichever comes first.
fn goes_with(name: &str) {
    let s = set();
    let script = ["open", utf8(&s.consumer), "n", "call", "sum", "open", "libone.so", "n", "errno", "maps", "libone"];
    let said = format!("open [R]/wrong/libconsumer.so: ok\nsum: 20\nopen libone.so: ok\nerrno: 42\n{ONE_RIGHT}");
    let other = of_this_machine(name);
    {
        // A sanitizer calls dlopen for the host; the plan decides whether it is served.
        std::os::unix::fs::symlink(&other, s.lab.path(name)).unwrap();
        for order in [[&COMMON.shim, &other], [&other, &COMMON.shim]] {
            let preload = format!("{}:{}", utf8(order[0]), utf8(order[1]));
            let ran = beside(&s, &preload, &script);
            assert_eq!(ran.quiet(), said.as_str(), "{preload}");
            // Threads allocate while the first of them reads the plan.
            let ran = beside(&s, &preload, &["threads", "libone.so", "maps", "libone"]);
            assert_eq!(ran.quiet(), format!("threads: 32\n{ONE_RIGHT}"), "{preload}");
        }
    }
}

#[test]
#[ignore = "needs libjemalloc.so.2"]
fn shim_beside_jemalloc() {
    goes_with("libjemalloc.so.2");
}

#[test]
#[ignore = "needs libtcmalloc_minimal.so.4"]
fn shim_beside_tcmalloc() {
    goes_with("libtcmalloc_minimal.so.4");
}

#[test]
#[ignore = "needs libasan.so"]
fn shim_beside_libasan() {
    goes_with("libasan.so");
}

#[test]
#[ignore = "needs libasan.so"]
fn shim_in_a_host_with_sanitizers() {
    let s = set();
    let arguments = ["-fsanitize=address,undefined", "-rdynamic", "-ldl", "-pthread"];
    let host = s.lab.program("host", include_str!("host.c"), &arguments);
    let script = ["open", utf8(&s.consumer), "n", "call", "sum", "threads", "libone.so", "maps", "libone"];
    let mut command = clean_command(&host);
    command
        .args(script)
        .env("LD_PRELOAD", &COMMON.shim)
        .env("CUDASHIM_PLAN", put_plan(&s.lab, &s.plan.clone().program(&host)));
    let ran = s.lab.ran(command.env("ASAN_OPTIONS", "verify_asan_link_order=0:detect_leaks=0"));
    let said = format!("open [R]/wrong/libconsumer.so: ok\nsum: 20\nthreads: 32\n{ONE_RIGHT}");
    assert_eq!(ran.quiet(), said);
}
