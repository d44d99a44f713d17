//! What the shim answers, name by name and path by path.

use crate::support::*;
use std::path::PathBuf;

use super::{COMMON, DOORS, GIVEN, OPEN, Two, host, put_plan, with_plan};

impl Two {
    fn run(&self, plan: &PlanText, script: &[&str]) -> Process {
        self.by("LD_PRELOAD", plan, script)
    }

    /// The host with the shim by that door, and the wrong copy on the search path.
    fn by(&self, door: &str, plan: &PlanText, script: &[&str]) -> Process {
        let mut command = self.host(&put_plan(&self.lab, plan), script);
        self.lab.ran(command.env_remove("LD_PRELOAD").env(door, &COMMON.shim))
    }
}

#[test]
fn shim_serves_a_bare_name() {
    let two = Two::new();
    for door in DOORS {
        for how in ["redirect", "preload"] {
            let ran = two.by(door, &two.plan(how), &[&OPEN[..], &["maps", "libone"]].concat());
            assert_eq!(ran.quiet(), format!("{GIVEN}maps libone: 1\n  [R]/right/libone.so.1\n"), "{door} {how}");
        }
    }
}

#[test]
fn shim_without_a_plan_or_off_changes_nothing() {
    let two = Two::new();
    let plan = put_plan(&two.lab, &two.plan("redirect"));
    for (name, value) in [("NOTHING", "1"), ("CUDASHIM_OFF", "1")] {
        let mut command = host(&["open", "libone.so.1", "l", "call", "which"]);
        command.env("LD_LIBRARY_PATH", two.lab.path("wrong")).env(name, value);
        if name == "CUDASHIM_OFF" {
            command.env("CUDASHIM_PLAN", &plan);
        }
        let ran = two.lab.ran(&mut command);
        assert_eq!(ran.quiet(), "open libone.so.1: ok\nwhich: 1\n");
    }
}

#[test]
fn shim_serves_after_setuid() {
    use std::os::unix::fs::PermissionsExt as _;
    let two = Two::new();
    let plan = put_plan(&two.lab, &two.plan("redirect"));
    for (path, mode) in [(two.lab.root(), 0o755), (plan.as_path(), 0o644)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut command = host(&["drop", "open", "libone.so.1", "l", "call", "which"]);
    command.env("CUDASHIM_PLAN", plan).env("LD_LIBRARY_PATH", two.lab.path("wrong"));
    assert_eq!(two.lab.ran(&mut command).out, "open libone.so.1: ok\nwhich: 2\n");
}

#[test]
fn shim_reads_the_environment_once() {
    let two = Two::new();
    let script = ["setenv", "CUDASHIM_OFF", "1", "open", "libone.so.1", "l", "call", "which"];
    assert_eq!(two.run(&two.plan("redirect"), &script).out, "open libone.so.1: ok\nwhich: 2\n");
}

#[test]
fn shim_alias_resolves_to_its_soname() {
    let two = Two::new();
    let plan = two.plan("redirect").record(&["alias", "libone.so", "libone.so.1"]).record(&[
        "alias",
        "libone.so.1.10.2",
        "libone.so.1",
    ]);
    // The first by the file's path, the second finds it mapped.
    let ran = two.run(&plan, &words("open libone.so l call which open libone.so.1.10.2 l call which maps libone"));
    assert_eq!(
        ran.out,
        "open libone.so: ok\nwhich: 2\nopen libone.so.1.10.2: ok\nwhich: 2\nmaps libone: 1\n  [R]/right/libone.so.1\n"
    );
}

#[test]
fn shim_leaves_a_kept_library_to_the_loader() {
    let two = Two::new();
    let ran = two.run(&two.plan("keep"), &["open", "libone.so.1", "l", "call", "which"]);
    assert_eq!(ran.out, "open libone.so.1: ok\nwhich: 1\n");
}

#[test]
fn shim_replaces_an_exact_path_only() {
    let two = Two::new();
    let wrong = two.lab.path("wrong/libone.so.1");
    let other = two.lab.copy("other/libone.so.1", 3);
    let plan = two.plan("redirect").record(&["replace", utf8(&wrong), "libone.so.1"]);
    let script = ["open", utf8(&wrong), "n", "call", "which", "open", utf8(&wrong), "n", "maps", "libone"];
    let given = "open [R]/wrong/libone.so.1: ok\nwhich: 2\nopen [R]/wrong/libone.so.1: ok\n\
                 maps libone: 1\n  [R]/right/libone.so.1\n";
    for door in DOORS {
        assert_eq!(two.by(door, &plan, &script).out, given, "{door}");
        // The basename of an opened file is not looked up.
        let ran = two.by(door, &plan, &["open", utf8(&other), "n", "call", "which"]);
        assert_eq!(ran.out, "open [R]/other/libone.so.1: ok\nwhich: 3\n", "{door}");
    }
}

#[test]
fn shim_noload_loads_nothing() {
    let two = Two::new();
    let plan = two.plan("redirect").record(&["alias", "libone.so", "libone.so.1"]);
    let before = "open libone.so.1 lN open libone.so lN maps libone";
    let nothing = "open libone.so.1: no\nopen libone.so: no\nmaps libone: 0\n";
    for door in DOORS {
        for [first, second] in [["libone.so", "libone.so.1"], ["libone.so.1", "libone.so"]] {
            let script = format!("{before} open {first} l open {second} lN open {first} lN call which");
            let given = format!("{nothing}open {first}: ok\nopen {second}: ok\nopen {first}: ok\nwhich: 2\n");
            assert_eq!(two.by(door, &plan, &words(&script)).out, given, "{door}");
        }
    }
}

#[test]
fn shim_noload_loads_no_needed_library() {
    let c = consumer();
    let script = ["open", "libtwo.so.2", "lN", "open", utf8(&c.consumer), "lN", "maps", "libone"];
    assert_eq!(
        with_plan(&c.lab, &c.plan, &script).out,
        "open libtwo.so.2: no\nopen [R]/wrong/libconsumer.so: no\nmaps libone: 0\n"
    );
}

#[test]
fn shim_passes_flags() {
    let two = Two::new();
    let script = |flags| ["open", "libone.so.1", flags, "default", "which"];
    assert_eq!(two.run(&two.plan("redirect"), &script("l")).out, "open libone.so.1: ok\nwhich: none\n");
    assert_eq!(two.run(&two.plan("redirect"), &script("lg")).out, "open libone.so.1: ok\nwhich: 2\n");
}

#[test]
fn shim_keeps_errno_of_the_host() {
    let two = Two::new();
    // A member that sets errno as it is loaded, before an object that needs it.
    let loud = two.lab.library(
        "loud/libloud.so.1",
        "#include <errno.h>\n__attribute__((constructor)) static void f(void) { errno = 7; }",
        &[],
    );
    let user = two.lab.library("libuser.so", "", &[utf8(&loud)]);
    let plan = two.plan("redirect").lib("libloud.so.1", &loud, "preload");
    let script =
        ["null", "errno", "open", "libone.so.1", "l", "errno", "open", utf8(&user), "l", "errno", "maps", "libloud"];
    assert_eq!(
        two.run(&plan, &script).out,
        "null: ok\nerrno: 42\nopen libone.so.1: ok\nerrno: 42\nopen [R]/libuser.so: ok\nerrno: 42\n\
         maps libloud: 1\n  [R]/loud/libloud.so.1\n"
    );
}

#[test]
fn shim_keeps_the_caller() {
    let two = Two::new();
    two.lab.copy("plugin/private/libinner.so", 5);
    let plugin = two.lab.library(
        "plugin/libplugin.so",
        "#include <dlfcn.h>\n#include <stddef.h>\n\
         int inner(void) { void *h = dlopen(\"libinner.so\", RTLD_NOW); \
         int (*f)(void) = h ? (int (*)(void))dlsym(h, \"which\") : NULL; return f ? f() : -1; }",
        &["-Wl,-rpath,$ORIGIN/private", "-Wl,--enable-new-dtags", "-ldl"],
    );
    for plan in [PlanText::new(), two.plan("redirect")] {
        for door in DOORS {
            let ran = two.by(door, &plan, &["open", utf8(&plugin), "n", "call", "inner"]);
            assert_eq!(
                ran.out,
                "open [R]/plugin/libplugin.so: ok
inner: 5
",
                "{door}"
            );
        }
    }
}

/// The set of a consumer whose DT_RPATH finds the wrong copies.
struct Consumer {
    lab: Machine,
    plan: PlanText,
    consumer: PathBuf,
}

/// `libtwo.so.2` needs `libone.so.1`; the consumer needs both, and finds both beside itself.
fn consumer() -> Consumer {
    let lab = Machine::new();
    let mut set = Vec::new();
    for (dir, which) in [("wrong", 10), ("right", 20)] {
        let one = lab.library(&format!("{dir}/libone.so.1"), &format!("int one(void) {{ return {which}; }}"), &[]);
        let two = lab.library(
            &format!("{dir}/libtwo.so.2"),
            &format!("int one(void); int two(void) {{ return one() + {which} + 1; }}"),
            &[utf8(&one), "-Wl,-rpath,$ORIGIN"],
        );
        set = vec![one, two];
    }
    let consumer = lab.library(
        "wrong/libconsumer.so",
        "int two(void); int sum(void) { return two(); }",
        &["-Lwrong", "-l:libone.so.1", "-l:libtwo.so.2", "-Wl,--disable-new-dtags,-rpath,$ORIGIN"],
    );
    let plan = PlanText::new().lib("libone.so.1", &set[0], "preload").lib("libtwo.so.2", &set[1], "preload").lib(
        "libconsumer.so",
        &consumer,
        "keep",
    );
    Consumer { lab, plan, consumer }
}

#[test]
fn shim_loads_needed_libraries_before_rpath() {
    let c = consumer();
    let script = ["open", utf8(&c.consumer), "l", "call", "sum", "maps", "libone", "maps", "libtwo"];
    // The fixture can fail: without the shim the wrong ones win.
    let bare = c.lab.ran(clean_command(&COMMON.host).args(script));
    assert_eq!(bare.out.lines().nth(1), Some("sum: 21"));
    let ran = with_plan(&c.lab, &c.plan, &script);
    assert_eq!(
        ran.out,
        "open [R]/wrong/libconsumer.so: ok\nsum: 41\nmaps libone: 1\n  [R]/right/libone.so.1\n\
         maps libtwo: 1\n  [R]/right/libtwo.so.2\n"
    );
    assert_eq!(ran.err, "");
}

#[test]
fn shim_loads_needed_libraries_through_kept_ones() {
    let c = consumer();
    // Two hops from the set: the file that is opened needs only libconsumer.so, which the loader finds.
    let outer = c.lab.library(
        "outer/libouter.so",
        "int sum(void); int all(void) { return sum(); }",
        &["wrong/libconsumer.so", "-Wl,-rpath,$ORIGIN/../wrong"],
    );
    let ran = with_plan(&c.lab, &c.plan, &["open", utf8(&outer), "l", "call", "all"]);
    assert_eq!(ran.out, "open [R]/outer/libouter.so: ok\nall: 41\n");
    // A relative path is looked at from where the process is.
    let dir = c.lab.path("outer");
    let ran = with_plan(&c.lab, &c.plan, &["chdir", utf8(&dir), "open", "./libouter.so", "l", "call", "all"]);
    assert_eq!(ran.out, "open ./libouter.so: ok\nall: 41\n");
}

#[test]
fn shim_loads_what_a_bare_name_needs_first() {
    let c = consumer();
    // The right libtwo would take the wrong libone from here.
    let log = c.lab.path("log");
    let plan = put_plan(&c.lab, &c.plan);
    let mut command = host(&["open", "libtwo.so.2", "l", "call", "two"]);
    command.env("CUDASHIM_PLAN", plan).env("CUDASHIM_LOG", &log).env("LD_LIBRARY_PATH", c.lab.path("wrong"));
    assert_eq!(c.lab.ran(&mut command).out, "open libtwo.so.2: ok\ntwo: 41\n");
    let log = std::fs::read_to_string(log).unwrap();
    let said: Vec<&str> = log.lines().map(|line| line.split_once("]: ").unwrap().1).collect();
    assert!(said[0].starts_with("plan "), "{log}");
    assert!(said[1].starts_with("libone.so.1 loaded from "), "{log}");
    assert!(said[2].starts_with("libtwo.so.2 -> ") && said[2].ends_with(" (chosen by the plan)"), "{log}");
    assert_eq!(said.len(), 3);
}

#[test]
fn shim_loads_what_a_kept_name_needs_first() {
    let c = consumer();
    // The loader takes the kept consumer from here, and what that needs from beside it.
    let path = put_plan(&c.lab, &c.plan);
    let script = ["open", "libconsumer.so", "lN", "maps", "libone", "open", "libconsumer.so", "l", "call", "sum"];
    let ran = c.lab.ran(host(&script).env("CUDASHIM_PLAN", path).env("LD_LIBRARY_PATH", c.lab.path("wrong")));
    assert_eq!(ran.out, "open libconsumer.so: no\nmaps libone: 0\nopen libconsumer.so: ok\nsum: 41\n");
}

/// What the plan names is the plan's, whatever became of its file.
#[test]
fn shim_loads_what_an_exchanged_kept_library_needs_first() {
    let c = consumer();
    let path = put_plan(&c.lab, &c.plan);
    let new = c.consumer.with_extension("new");
    std::fs::copy(&c.consumer, &new).unwrap();
    std::fs::rename(&new, &c.consumer).unwrap();
    let script = ["open", "libconsumer.so", "l", "call", "sum"];
    let ran = c.lab.ran(host(&script).env("CUDASHIM_PLAN", path).env("LD_LIBRARY_PATH", c.lab.path("wrong")));
    assert_eq!(ran.out, "open libconsumer.so: ok\nsum: 41\n");
}

#[test]
fn shim_library_survives_a_dlclose_meanwhile() {
    let c = consumer();
    let close = "void close_last(void); __attribute__((constructor)) static void start(void) { close_last(); }";
    let close = c.lab.library("right/libclose.so", close, &[]);
    let plan = PlanText::new()
        .lib("libone.so.1", &c.lab.path("right/libone.so.1"), "preload")
        .lib("libclose.so", &close, "preload")
        .lib("libconsumer.so", &c.consumer, "keep");
    let needs = ["wrong/libconsumer.so", "right/libclose.so", "-Wl,-rpath,$ORIGIN/wrong"];
    let outer = c.lab.library("outer.so", "", &needs);
    let script = ["open", "libone.so.1", "l", "open", utf8(&outer), "l", "call", "sum", "maps", "libone"];
    let ran = with_plan(&c.lab, &plan, &script);
    assert!(ran.out.ends_with("sum: 31\nmaps libone: 1\n  [R]/right/libone.so.1\n"), "{}{}", ran.out, ran.err);
}

#[test]
fn shim_maps_no_soname_twice() {
    let c = consumer();
    let early = c.lab.path("wrong/libone.so.1");
    let plan = c.plan.clone().record(&["alias", "libone.so", "libone.so.1"]);
    let script = [
        "open",
        utf8(&early),
        "l",
        "open",
        utf8(&c.consumer),
        "l",
        "call",
        "sum",
        "open",
        "libone.so.1",
        "l",
        "open",
        "libone.so",
        "l",
        "call",
        "one",
        "maps",
        "libone",
    ];
    let ran = with_plan(&c.lab, &plan, &script);
    assert_eq!(
        ran.out,
        "open [R]/wrong/libone.so.1: ok\nopen [R]/wrong/libconsumer.so: ok\nsum: 31\n\
         open libone.so.1: ok\nopen libone.so: ok\none: 10\nmaps libone: 1\n  [R]/wrong/libone.so.1\n"
    );
    // Once, with both files.
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    assert!(
        ran.err.ends_with(
            "]: libone.so.1: [R]/right/libone.so.1 is not used: [R]/wrong/libone.so.1 is already mapped (before the \
             plan could act; is it in LD_PRELOAD?)\n"
        ),
        "{}",
        ran.err
    );
}

#[test]
fn shim_knows_the_chosen_file_by_another_path() {
    let two = Two::new();
    std::os::unix::fs::symlink(&two.right, two.lab.path("link.so")).unwrap();
    let link = two.lab.path("link.so");
    let ran = two.run(&two.plan("redirect"), &["open", utf8(&link), "l", "open", "libone.so.1", "l", "call", "which"]);
    assert_eq!(ran.out, "open [R]/link.so: ok\nopen libone.so.1: ok\nwhich: 2\n");
    assert_eq!(ran.err, "");
}

#[test]
fn shim_knows_a_library_without_soname_by_its_path() {
    let lab = Machine::new();
    let bare = lab.program("libbare.so", "int which(void) { return 6; }", &["-shared", "-fPIC"]);
    // Its record's soname is its file's name, or is not.
    for soname in ["libbare.so", "libother.so"] {
        let plan = PlanText::new().lib(soname, &bare, "redirect").record(&["alias", "libbare.so.1", soname]);
        let script = [
            "open",
            soname,
            "l",
            "open",
            "libbare.so.1",
            "l",
            "call",
            "which",
            "open",
            "libbare.so.1",
            "lN",
            "maps",
            "libbare",
        ];
        let ran = with_plan(&lab, &plan, &script);
        assert_eq!(
            ran.out,
            format!(
                "open {soname}: ok\nopen libbare.so.1: ok\nwhich: 6\nopen libbare.so.1: ok\n\
                 maps libbare: 1\n  [R]/libbare.so\n"
            )
        );
    }
}

/// The loader knows it by the path that it was opened by, and by its inode.
#[test]
fn shim_knows_a_library_without_soname_by_another_path() {
    let lab = Machine::new();
    let bare = lab.program("libbare.so", "int which(void) { return 6; }", &["-shared", "-fPIC"]);
    let link = lab.mkdir("other").join("libbare.so");
    std::os::unix::fs::symlink(&bare, &link).unwrap();
    let plan = PlanText::new().lib("libbare.so", &bare, "redirect").record(&["alias", "libbare.so.1", "libbare.so"]);
    let script = ["open", utf8(&link), "l", "open", "libbare.so", "l", "open", "libbare.so.1", "l", "maps", "libbare"];
    let ran = with_plan(&lab, &plan, &script);
    let opened = ["other/libbare.so", "libbare.so", "libbare.so.1"].map(|name| format!("open {name}: ok\n")).concat();
    assert_eq!(ran.out.replace("[R]/", ""), opened + "maps libbare: 1\n  libbare.so\n");
}

/// A constructor that opens by bare name; preloaded before us, it runs before our own.
const EARLY: &str = "#include <dlfcn.h>\n\
    static void *h; __attribute__((constructor)) static void f(void) { h = dlopen(\"libone.so.1\", RTLD_NOW); }\n\
    int early(void) { int (*w)(void) = h ? (int (*)(void))dlsym(h, \"which\") : 0; return w ? w() : -1; }";

#[test]
fn shim_serves_calls_before_its_constructor() {
    let two = Two::new();
    let early = two.lab.library("libearly.so", EARLY, &["-ldl"]);
    let plan = put_plan(&two.lab, &two.plan("redirect"));
    for order in [[&COMMON.shim, &early], [&early, &COMMON.shim]] {
        let mut command = host(&["default", "early"]);
        command
            .env("LD_PRELOAD", format!("{}:{}", utf8(order[0]), utf8(order[1])))
            .env("LD_LIBRARY_PATH", two.lab.path("wrong"))
            .env("CUDASHIM_PLAN", &plan);
        assert_eq!(two.lab.ran(&mut command).out, "early: 2\n", "{order:?}");
    }
}

#[test]
fn shim_serves_a_constructor_of_what_it_loads() {
    let c = consumer();
    // The first to be loaded opens the consumer itself, for which the same libraries are being loaded.
    let first = c.lab.library(
        "right/libfirst.so.1",
        &format!(
            "#include <dlfcn.h>\n__attribute__((constructor)) static void f(void) {{ \
             dlopen(\"libone.so.1\", RTLD_NOW); dlopen(\"{}\", RTLD_NOW); }}",
            utf8(&c.consumer)
        ),
        &["-ldl"],
    );
    let outer = c.lab.library(
        "libouter.so",
        "int sum(void); int all(void) { return sum(); }",
        &[utf8(&first), "wrong/libconsumer.so", "-Wl,-rpath,$ORIGIN/wrong"],
    );
    let plan = PlanText::new()
        .lib("libfirst.so.1", &first, "preload")
        .lib("libone.so.1", &c.lab.path("right/libone.so.1"), "preload")
        .lib("libtwo.so.2", &c.lab.path("right/libtwo.so.2"), "preload")
        .lib("libconsumer.so", &c.consumer, "keep");
    let script = ["open", utf8(&outer), "l", "call", "all", "maps", "libone", "maps", "libtwo", "maps", "libfirst"];
    let ran = with_plan(&c.lab, &plan, &script);
    assert_eq!(
        ran.out,
        "open [R]/libouter.so: ok\nall: 41\nmaps libone: 1\n  [R]/right/libone.so.1\n\
         maps libtwo: 1\n  [R]/right/libtwo.so.2\nmaps libfirst: 1\n  [R]/right/libfirst.so.1\n"
    );
    assert_eq!(ran.err, "");
}

#[test]
fn shim_serves_threads_one_set() {
    let c = consumer();
    for name in [utf8(&c.consumer), "libtwo.so.2"] {
        let ran = with_plan(&c.lab, &c.plan, &["threads", name, "maps", "libone", "maps", "libtwo"]);
        assert!(ran.out.starts_with("threads: 32\nmaps libone: 1\n"), "{}", ran.out);
        assert!(ran.out.contains("maps libtwo: 1\n"), "{}", ran.out);
        assert_eq!(ran.err, "");
    }
}

#[test]
fn shim_forked_child_keeps_the_plan() {
    let c = consumer();
    for script in [
        &["fork", "open", utf8(&c.consumer), "l", "call", "sum"][..],
        &["open", "libone.so.1", "l", "fork", "open", utf8(&c.consumer), "l", "call", "sum"],
    ] {
        let ran = with_plan(&c.lab, &c.plan, script);
        assert!(ran.out.contains("sum: 41\nchild: 0\n"), "{}", ran.out);
    }
}
