//! Which nodes and symbols are missing, in ld.so's words.

use super::{agree, agree_on_opening};
use crate::support::*;

/// A library that needs `symbols` of `from`; the copy in the directory above may define fewer.
fn user(lab: &Machine, path: &str, symbols: &[&str], from: &str, args: &[&str]) {
    let declared: String = symbols.iter().map(|name| format!("extern int {name}(void);\n")).collect();
    let called: String = symbols.iter().map(|name| format!(" + {name}()")).collect();
    let source = format!("{declared}int use_{}(void) {{ return 0{called}; }}\n", path.replace(['.', '/'], "_"));
    lab.library(path, &source, &[&[from, "-Wl,-rpath,$ORIGIN"], args].concat());
}

fn versioned(lab: &Machine, path: &str, nodes: &[(&str, &str)]) {
    let script: String = nodes.iter().map(|(node, symbol)| format!("{node} {{ global: {symbol}; }};\n")).collect();
    lab.write("nodes.map", script);
    let source: String = nodes.iter().map(|(_, symbol)| format!("int {symbol}(void) {{ return 1; }}\n")).collect();
    lab.library_named(path, "libp.so", &source, &["-Wl,--version-script=nodes.map"]);
}

#[test]
fn loader_missing_node() {
    let lab = Machine::new();
    versioned(&lab, "new.so", &[("P_1", "one"), ("P_2", "two"), ("P_3", "three")]);
    user(&lab, "user.so", &["one", "two", "three"], "new.so", &[]);
    user(&lab, "second.so", &["two"], "new.so", &["user.so"]);
    versioned(&lab, "libp.so", &[("P_1", "one")]);
    let said = agree(&lab, &lab.path("user.so"), &[]);
    assert!(said.contains(&"[R]/libp.so: version `P_2' not found (required by [R]/user.so)".into()), "{said:?}");
    agree(&lab, &lab.path("second.so"), &[]);
    agree_on_opening(&lab, &["now:./user.so", "now:./second.so", "lazy:./user.so", "now:./libp.so"], &[], &[]);
    agree_on_opening(
        &lab,
        &["now:./user.so"],
        &[],
        &["user.so", "-Wl,-rpath,$ORIGIN", "-Wl,--unresolved-symbols=ignore-all"],
    );
    // Without any node the symbols are taken as they are, and ld.so insists that there must be some.
    lab.library("libp.so", "int one(void) { return 1; }\n", &[]);
    agree(&lab, &lab.path("second.so"), &[]);
    agree_on_opening(&lab, &["now:./second.so", "now:./user.so"], &[], &[]);
}

#[test]
fn loader_missing_symbol() {
    let lab = Machine::new();
    versioned(&lab, "libp.so", &[("P_1", "one"), ("P_2", "two")]);
    user(&lab, "user.so", &["one", "two"], "libp.so", &["-Wl,-z,lazy"]);
    user(&lab, "now.so", &["two", "one"], "libp.so", &["-Wl,-z,now"]);
    user(&lab, "gone.so", &["gone", "lost"], "libp.so", &["-Wl,-z,lazy"]);
    versioned(&lab, "libp.so", &[("P_1", "one"), ("P_2", "other")]);
    for file in ["user.so", "now.so", "gone.so"] {
        agree(&lab, &lab.path(file), &[]);
        agree_on_opening(&lab, &[&format!("lazy:./{file}"), &format!("now:./{file}")], &[], &[]);
    }
    let said = agree(&lab, &lab.path("now.so"), &[]);
    assert!(said.contains(&"undefined symbol: two, version P_2\t([R]/now.so)".into()), "{said:?}");
}

#[test]
fn loader_dlopen_scope() {
    let lab = Machine::new();
    lab.library("libdef.so", "int shared(void) { return 1; }\n", &[]);
    lab.library("libuse.so", "extern int shared(void); int (*held)(void) = shared;\n", &[]);
    lab.library("libboth.so", "", &["./libuse.so", "./libdef.so", "-Wl,-rpath,$ORIGIN"]);
    for order in [
        &["now:./libuse.so", "now:./libdef.so", "now:./libuse.so"][..],
        &["now:./libdef.so", "now:./libuse.so"],
        &["global:./libdef.so", "now:./libuse.so"],
        &["now:./libdef.so", "global:./libdef.so", "now:./libuse.so"],
        &["now:./libboth.so", "now:./libuse.so"],
        &["global:./libuse.so", "global:./libboth.so", "now:./libuse.so"],
        &["deep:./libuse.so", "deep:./libboth.so"],
    ] {
        agree_on_opening(&lab, order, &[], &[]);
    }
    agree_on_opening(&lab, &["now:./libuse.so"], &[("LD_PRELOAD", "./libdef.so")], &[]);
    agree_on_opening(&lab, &["now:./libuse.so"], &[("LD_PRELOAD", "./libuse.so")], &[]);
}

#[test]
fn loader_kinds_of_references() {
    let lab = Machine::new();
    for (name, source) in [
        ("weak", "extern int w(void) __attribute__((weak)); int use(void) { return w ? w() : 0; }"),
        ("data", "extern int d; int *use(void) { return &d; }"),
        ("call", "extern int c(void); int use(void) { return c(); }"),
        ("address", "extern int a(void); int (*use)(void) = a;"),
        ("both", "extern int a(void); int (*held)(void) = a; int use(void) { return a(); }"),
        ("hidden", "__attribute__((visibility(\"hidden\"))) int h(void) { return 1; } int use(void) { return h(); }"),
        ("local", "extern __thread int t; int use(void) { return t; }"),
        ("many", "extern int c(void), b(void), a(void), d; int use(void) { return a() + d + b() + c(); }"),
    ] {
        lab.library_named(&format!("{name}.so"), "k.so", source, &["-Wl,-z,lazy"]);
        agree(&lab, &lab.path(&format!("{name}.so")), &[]);
        let (lazy, now) = (format!("lazy:./{name}.so"), format!("now:./{name}.so"));
        agree_on_opening(&lab, &[&lazy], &[], &[]);
        agree_on_opening(&lab, &[&now], &[], &[]);
    }
}

/// A program that takes the address of a function has a stub for it, which answers addresses and no calls.
#[test]
fn loader_plt_stub_is_no_definition() {
    let lab = Machine::new();
    lab.library("libdef.so", "int f(void) { return 1; }\n", &[]);
    lab.library("call.so", "extern int f(void); int use(void) { return f(); }", &["-Wl,-z,lazy"]);
    lab.library("address.so", "extern int f(void); int (*use)(void) = f;", &[]);
    let source = format!(
        "extern int f(void); int (*volatile held)(void); static void hold(void) {{ held = f; }}\n{}",
        super::OPENER
    );
    let source = source
        .replace("int main(int argc, char **argv)\n{", "int main(int argc, char **argv)\n{ if (argc < 0) hold();");
    let program =
        lab.program("opener-stub", &source, &["-no-pie", "-fno-pie", "libdef.so", "-Wl,-rpath,$ORIGIN", "-Wl,-z,lazy"]);
    lab.library("libdef.so", "int g(void) { return 1; }\n", &[]);
    agree(&lab, &program, &[]);
    let start = super::Start::of(&lab, &[]);
    let output = start.command(&program).args(["now:./address.so", "now:./call.so"]).output().unwrap();
    let theirs = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = start.host();
    let objects = cudashim::internal::loader::Objects::new(&host);
    let loader = cudashim::internal::loader::Loader::new(&objects);
    let mut map = cudashim::internal::loader::LinkMap::new(&loader);
    map.start(&program).unwrap();
    let mut ours = String::new();
    for name in ["./address.so", "./call.so"] {
        let opened = map.dlopen(name.as_ref(), Some(0), Default::default(), cudashim::internal::loader::Symbols::Now);
        ours += &opened.map_or_else(|error| format!("{error}\n"), |_| "ok\n".into());
    }
    assert_eq!(ours, theirs);
    assert!(theirs.starts_with("ok\n./call.so: undefined symbol: f"), "{theirs}");
}

/// A program that copies a variable has its own definition, which the copy relocation must not use.
#[test]
fn loader_copy_relocations() {
    let lab = Machine::new();
    lab.library("libdef.so", "int d = 7;", &[]);
    let source = "extern int d; int main(void) { return d; }";
    let program = lab.program("program", source, &["-no-pie", "-fno-pie", "libdef.so", "-Wl,-rpath,$ORIGIN"]);
    assert_eq!(agree(&lab, &program, &[]), ["[R]/libdef.so"]);
    lab.library("libdef.so", "int e = 7;", &[]);
    let said = agree(&lab, &program, &[]);
    assert!(said.contains(&"undefined symbol: d\t([R]/program)".into()), "{said:?}");
}

#[test]
fn loader_symbolic_binding() {
    let lab = Machine::new();
    lab.library("libdef.so", "int f(void) { return 1; }\n", &[]);
    lab.library("own.so", "int f(void) { return 2; } int (*held)(void) = f;", &["-Wl,-Bsymbolic"]);
    lab.library(
        "user.so",
        "extern int f(void); int (*use)(void) = f;",
        &["./libdef.so", "./own.so", "-Wl,-rpath,$ORIGIN"],
    );
    agree(&lab, &lab.path("user.so"), &[]);
    let start = super::Start::of(&lab, &[]);
    let host = start.host();
    let objects = cudashim::internal::loader::Objects::new(&host);
    let loader = cudashim::internal::loader::Loader::new(&objects);
    let mut map = cudashim::internal::loader::LinkMap::new(&loader);
    map.list(&lab.path("user.so")).unwrap();
    let index = |name: &str| map.objects().iter().position(|mapped| mapped.path.ends_with(name)).unwrap();
    assert_eq!(map.binding(index("own.so"), b"f", None), Some(index("own.so")));
    assert_eq!(map.binding(index("user.so"), b"f", None), Some(index("libdef.so")));
    assert_eq!(map.binding(index("user.so"), b"nothing", None), None);
}
