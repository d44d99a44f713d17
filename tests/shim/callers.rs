//! The caller stays the caller: the loader's answer with the shim equals its answer without.

use super::{COMMON, host, put_plan, with_plan};
use crate::support::*;

/// Opens by each name, and returns the sum of the libraries' values; a call in the last place of `open_it` may become a
/// jump.
const PLUGIN: &str = "#include <dlfcn.h>\n#include <stddef.h>\n\
    static void *open_it(const char *name) { return dlopen(name, RTLD_NOW); }\n\
    static int ask(const char *name) { void *h = open_it(name); \
    int (*f)(void) = h ? (int (*)(void))dlsym(h, \"which\") : NULL; return f ? f() : 0; }\n\
    int inner(void) { return ask(\"libinner.so\") + 10 * ask(\"$ORIGIN/libbeside.so\") + 100 * ask(\"libnone.so\"); }";

#[test]
fn shim_caller_is_kept_at_every_optimisation() {
    let lab = Machine::new();
    lab.copy("plugin/private/libinner.so", 5);
    lab.copy("plugin/libbeside.so", 3);
    let other = lab.copy("other/libother.so", 1);
    let plan = PlanText::new().lib("libother.so", &other, "redirect");
    for optimised in ["-O0", "-O1", "-O2", "-Os"] {
        for tags in ["-Wl,--enable-new-dtags", "-Wl,--disable-new-dtags"] {
            let arguments = [optimised, "-Wl,-rpath,$ORIGIN/private", tags, "-ldl"];
            let plugin = lab.library("plugin/libplugin.so", PLUGIN, &arguments);
            let script = ["open", utf8(&plugin), "n", "call", "inner"];
            let bare = lab.ran(clean_command(&COMMON.host).args(script));
            assert_eq!(bare.out, "open [R]/plugin/libplugin.so: ok\ninner: 35\n", "{arguments:?}");
            let ran = with_plan(&lab, &plan, &script);
            assert_eq!(ran.quiet(), bare.out, "{arguments:?}");
        }
    }
}

/// What is loaded first must not have become the caller.
#[test]
fn shim_caller_is_kept_after_needed_loads() {
    let lab = Machine::new();
    let member = lab.copy("right/libmember.so.1", 1);
    let source = "int which(void) { return 5; }";
    let inner = lab.library("plugin/private/libinner.so", source, &[utf8(&member)]);
    lab.copy("plugin/libbeside.so", 0);
    let plugin = lab.library("plugin/libplugin.so", PLUGIN, &["-Wl,-rpath,$ORIGIN/private", "-ldl"]);
    let plan = PlanText::new().lib("libmember.so.1", &member, "preload").lib("libinner.so", &inner, "keep");
    let ran = with_plan(&lab, &plan, &["open", utf8(&plugin), "n", "call", "inner", "maps", "libmember"]);
    assert_eq!(ran.out, "open [R]/plugin/libplugin.so: ok\ninner: 5\nmaps libmember: 1\n  [R]/right/libmember.so.1\n");
}

/// In a constructor, while the loader holds its lock for the library that is being opened.
#[test]
fn shim_serves_a_constructor_that_dlopens() {
    let lab = Machine::new();
    let right = lab.copy("right/libone.so.1", 2);
    lab.copy("wrong/libone.so.1", 1);
    let source = "#include <dlfcn.h>\nstatic void *h;\n\
        __attribute__((constructor)) static void start(void) { h = dlopen(\"libone.so.1\", RTLD_NOW); }\n\
        int asked(void) { return h ? ((int (*)(void))dlsym(h, \"which\"))() : -1; }";
    let asks = lab.library("libasks.so", source, &["-ldl"]);
    let plan = put_plan(&lab, &PlanText::new().lib("libone.so.1", &right, "redirect"));
    let mut command = host(&["open", utf8(&asks), "n", "call", "asked"]);
    command.env("CUDASHIM_PLAN", plan).env("LD_LIBRARY_PATH", lab.path("wrong"));
    assert_eq!(lab.ran(&mut command).out, "open [R]/libasks.so: ok\nasked: 2\n");
}
