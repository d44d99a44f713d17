//! Rules that hold at the edges: what is next to a name, what is loaded and what not, after a handle is closed.

use crate::support::*;

use super::{COMMON, Two, host, put_plan, with_plan};

#[test]
fn shim_matches_whole_names_only() {
    let lab = Machine::new();
    let right = lab.copy("right/libone.so.1", 2);
    let mut script = Vec::new();
    for name in [
        "libone.so",
        "libone.so.",
        "libone.so.10",
        "libone.so.1.0",
        "libone.so.1 ",
        " libone.so.1",
        "ibone.so.1",
        "LIBONE.SO.1",
        "libone.alt.so.1",
        "libone_stub.so.1",
        "libone.so.1/",
        "./libone.so.1",
        "right/../libone.so.1",
        "//libone.so.1",
    ] {
        script.extend(["open", name, "l"]);
    }
    let bare = lab.ran(clean_command(&COMMON.host).args(&script));
    script.extend(["maps", "right"]);
    let ran = with_plan(&lab, &PlanText::new().lib("libone.so.1", &right, "redirect"), &script);
    assert_eq!(ran.quiet(), format!("{}maps right: 0\n", bare.out));
}

/// The plan defines a group: a neighbour on disk is left to the loader, and is not loaded.
#[test]
fn shim_brings_no_other_part_of_the_driver() {
    let lab = Machine::new();
    for (dir, which) in [("system", 1), ("compat", 2)] {
        lab.copy(&format!("{dir}/libcuda.so.1"), which);
        lab.copy(&format!("{dir}/libnvidia-ml.so.1"), which);
    }
    let (cuda, ml) = (lab.path("compat/libcuda.so.1"), lab.path("compat/libnvidia-ml.so.1"));
    let script = ["open", "libcuda.so.1", "l", "call", "which", "open", "libnvidia-ml.so.1", "l", "call", "which"];
    let open = |plan: &PlanText| {
        let mut command = host(&script);
        command.env("CUDASHIM_PLAN", put_plan(&lab, plan)).env("LD_LIBRARY_PATH", lab.path("system"));
        lab.ran(&mut command).out
    };
    let said =
        |cuda: u32, ml: u32| format!("open libcuda.so.1: ok\nwhich: {cuda}\nopen libnvidia-ml.so.1: ok\nwhich: {ml}\n");
    assert_eq!(open(&PlanText::new()), said(1, 1));
    let whole = PlanText::new().lib("libcuda.so.1", &cuda, "redirect").lib("libnvidia-ml.so.1", &ml, "redirect");
    assert_eq!(open(&whole), said(2, 2));
    // Kept: where the loader finds it, whatever file the record names.
    let kept = PlanText::new().lib("libcuda.so.1", &cuda, "keep").lib("libnvidia-ml.so.1", &ml, "keep");
    assert_eq!(open(&kept), said(1, 1));
}

#[test]
fn shim_noload_of_a_kept_name_loads_nothing() {
    let two = Two::new();
    let (lab, consumer) = (&two.lab, two.consumer());
    let plan = two.plan("preload").lib("libconsumer.so", &consumer, "keep");
    let mut command =
        host(&["open", "libconsumer.so", "lN", "maps", "libone", "open", "libconsumer.so", "l", "call", "sum"]);
    command.env("CUDASHIM_PLAN", put_plan(lab, &plan)).env("LD_LIBRARY_PATH", consumer.parent().unwrap());
    let ran = lab.ran(&mut command);
    assert_eq!(ran.out, "open libconsumer.so: no\nmaps libone: 0\nopen libconsumer.so: ok\nsum: 20\n");
}

/// The host may close its copy: a library counts as loaded only while the shim holds it open.
#[test]
fn shim_retries_after_another_copy_is_closed() {
    let two = Two::new();
    let (lab, consumer) = (&two.lab, two.consumer());
    let wrong = lab.path("wrong/libone.so.1");
    let plan = two.plan("preload").lib("libconsumer.so", &consumer, "keep");
    let mut command = host(&words(&format!(
        "hold {} open libconsumer.so l call sum close release maps libone open libconsumer.so l \
        call sum",
        utf8(&wrong)
    )));
    command.env("CUDASHIM_PLAN", put_plan(lab, &plan)).env("LD_LIBRARY_PATH", consumer.parent().unwrap());
    let ran = lab.ran(&mut command);
    assert_eq!(
        ran.out, "open libconsumer.so: ok\nsum: 10\nmaps libone: 0\nopen libconsumer.so: ok\nsum: 20\n",
        "{}",
        ran.err
    );
}

/// The needed names lie further apart than what is read at once.
#[test]
fn shim_sees_needed_names_far_apart() {
    let lab = Machine::new();
    let right = lab.copy("right/libone.so.1", 2);
    let mut needed = Vec::new();
    for letter in ["a", "b", "c", "d", "e", "f"] {
        let soname = format!("lib{}.so", letter.repeat(230));
        lab.library(&format!("wrong/{soname}"), "", &[]);
        needed.push(format!("wrong/{soname}"));
    }
    lab.copy("wrong/libone.so.1", 1);
    // First, in the middle, last: the string table keeps no order that we could count on.
    for at in 0..=needed.len() {
        let mut needed = needed.clone();
        needed.insert(at, "wrong/libone.so.1".into());
        let arguments: Vec<&str> = needed.iter().map(String::as_str).chain(["-Wl,-rpath,$ORIGIN/wrong"]).collect();
        let far = lab.library("libfar.so", "int which(void); int far(void) { return which(); }", &arguments);
        let plan = PlanText::new().lib("libone.so.1", &right, "preload");
        let ran = with_plan(&lab, &plan, &["open", utf8(&far), "l", "call", "far"]);
        assert_eq!(ran.out, "open [R]/libfar.so: ok\nfar: 2\n", "{at}");
    }
}

/// Each flag has its effect on what the plan gives, as it has on what the loader finds.
#[test]
fn shim_flags_have_their_effect() {
    let lab = Machine::new();
    let lacks = "int nowhere(void); int which(void) { return 2; } int never(void) { return nowhere(); }";
    let lacking = lab.library("right/liblacks.so", lacks, &["-Wl,-z,lazy"]);
    let plan = PlanText::new().lib("liblacks.so", &lacking, "redirect");
    let script = ["open", "liblacks.so", "n", "open", "liblacks.so", "l", "call", "which"];
    assert_eq!(with_plan(&lab, &plan, &script).out, "open liblacks.so: no\nopen liblacks.so: ok\nwhich: 2\n");

    // What a consumer needs is as visible with us as without: local, until it is opened RTLD_GLOBAL.
    let two = Two::new();
    let consumer = two.consumer();
    for (flags, which) in [("l", "none"), ("lg", "2")] {
        let ran = with_plan(&two.lab, &two.plan("preload"), &["open", utf8(&consumer), flags, "default", "which"]);
        assert_eq!(ran.out, format!("open [R]/wrong/libconsumer.so: ok\nwhich: {which}\n"));
    }
}

/// The loader's own words about a name that is not the plan's, and about one that is.
#[test]
fn shim_keeps_dlerror_of_the_host() {
    let lab = Machine::new();
    let right = lab.copy("right/libone.so.1", 2);
    let plan = PlanText::new().lib("libone.so.1", &right, "redirect");
    let script = ["open", "libnone.so", "l", "open", "libone.so.1", "lN", "error", "open", "libone.so.1", "l", "error"];
    let ran = with_plan(&lab, &plan, &script);
    let bare = lab.ran(clean_command(&COMMON.host).args(&script[..7]));
    assert_eq!(ran.out, format!("{}open libone.so.1: ok\nerror: none\n", bare.out));
}

#[test]
fn shim_serves_paths_with_spaces_and_colons() {
    let lab = Machine::new();
    let right = lab.copy("a b:c;d/libone.so.1", 2);
    let wrong = lab.copy("e f:g/libone.so.1", 1);
    let plan = PlanText::new()
        .lib("libone.so.1", &right, "redirect")
        .record(&["replace", utf8(&wrong), "libone.so.1"])
        .program(&lab.path("h i:j/host"));
    let host = lab.path("h i:j/host");
    std::fs::create_dir(host.parent().unwrap()).unwrap();
    std::fs::copy(&COMMON.host, &host).unwrap();
    let named = lab.path("h i:j/the plan:1");
    std::fs::rename(put_plan(&lab, &plan), &named).unwrap();
    let script = ["open", utf8(&wrong), "l", "call", "which", "open", "libone.so.1", "l", "maps", "libone"];
    let mut command = clean_command(&host);
    let ran = lab.ran(command.args(script).env("LD_PRELOAD", &COMMON.shim).env("CUDASHIM_PLAN", named));
    assert_eq!(
        ran.out,
        "open [R]/e f:g/libone.so.1: ok\nwhich: 2\nopen libone.so.1: ok\nmaps libone: 1\n  [R]/a b:c;d/libone.so.1\n"
    );
}

#[test]
fn shim_unloads_nothing_of_its_own() {
    let two = Two::new();
    let (lab, consumer) = (&two.lab, two.consumer());
    let plan = PlanText::new().lib("libone.so.1", &lab.path("right/libone.so.1"), "preload");
    let script = [
        "open",
        utf8(&consumer),
        "l",
        "close",
        "maps",
        "libconsumer",
        "maps",
        "libone",
        "open",
        utf8(&COMMON.shim),
        "l",
        "close",
        "maps",
        "libcudashim",
    ];
    let ran = with_plan(lab, &plan, &script);
    let shim = COMMON.shim.display();
    assert_eq!(
        ran.out,
        format!(
            "open [R]/wrong/libconsumer.so: ok\nmaps libconsumer: 0\nmaps libone: 1\n  [R]/right/libone.so.1\n\
             open {shim}: ok\nmaps libcudashim: 1\n  {shim}\n"
        )
    );
}

/// Loaded by itself, a consumer's own library would not be bound to its user's symbols, or be refused.
#[test]
fn shim_does_not_preload_the_targets_own_libraries() {
    let lab = Machine::new();
    let right = lab.copy("right/libone.so.1", 2);
    let uses = "int mark(void) { return 10; } int which(void); int sum(void) { return mark() + which(); }";
    let inner = lab.library("own/libinner.so", uses, &[utf8(&right)]);
    let brings = "int mark(void) { return 40; }";
    let outer = lab.library("own/libouter.so", brings, &[utf8(&inner), "-Wl,-rpath,$ORIGIN"]);
    let plan = PlanText::new().lib("libone.so.1", &right, "preload").lib("libinner.so", &inner, "keep");
    let ran = with_plan(&lab, &plan, &["open", utf8(&outer), "n", "call", "sum", "maps", "libone"]);
    assert_eq!(ran.quiet(), "open [R]/own/libouter.so: ok\nsum: 42\nmaps libone: 1\n  [R]/right/libone.so.1\n");
}

/// A library that is asked for by name is the host's own load, with the host's flags.
#[test]
fn shim_passes_deepbind() {
    let lab = Machine::new();
    let one = lab.copy("right/libone.so.1", 2);
    let source = "int mark(void) { return 1; } int marked(void) { return mark(); }";
    let user = lab.library("right/libuser.so", source, &[utf8(&one), "-Wl,-z,lazy"]);
    let mark = lab.library("libmark.so", "int mark(void) { return 2; }", &[]);
    let plan = PlanText::new().lib("libone.so.1", &one, "preload").lib("libuser.so", &user, "redirect");
    // The program's own scope comes first, but not with RTLD_DEEPBIND; so it is without us.
    for (flags, marked) in [("l", 2), ("ld", 1)] {
        let ran = with_plan(&lab, &plan, &["open", utf8(&mark), "ng", "open", "libuser.so", flags, "call", "marked"]);
        let out = format!("open [R]/libmark.so: ok\nopen libuser.so: ok\nmarked: {marked}\n");
        assert_eq!(ran.quiet(), out);
    }
}
