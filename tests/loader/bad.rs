//! Malformed input: loops, thousands of needed entries, run paths without end, files cut short, caches of another
//! machine.

use super::{Start, agree, agree_from, needing, ours, theirs};
use crate::support::*;
use cudashim::Host;
use cudashim::internal::loader::Objects;
use cudashim::internal::loader::{LinkMap, Loader, ProgramKind};
use std::fs;
use std::path::Path;

#[test]
fn loader_needed_cycles() {
    let lab = Machine::new();
    let here = "-Wl,-rpath,$ORIGIN";
    needing(&lab, "a.so", "a.so", &["b.so", "a.so"], &[here]);
    needing(&lab, "b.so", "b.so", &["c.so", "a.so"], &[here]);
    needing(&lab, "c.so", "c.so", &["a.so", "b.so", "c.so"], &[here]);
    for name in ["a.so", "b.so", "c.so"] {
        assert_eq!(agree(&lab, &lab.path(name), &[]).len(), 2);
    }
    super::agree_on_opening(&lab, &["now:./b.so", "now:./a.so", "now:./c.so"], &[], &[]);
}

/// Each pair: a library, and what it filters: `F` must be there, `f` need not.
fn filtering(lab: &Machine, pairs: &[(&str, &[&str])]) {
    for (name, filters) in pairs {
        let arguments: Vec<String> = filters.iter().map(|filter| format!("-Wl,-{filter}")).collect();
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        arguments.extend(["-nostdlib", "-Wl,-rpath,$ORIGIN"]);
        lab.library(name, "", &arguments);
    }
}

/// glibc moves each before the other until its stack is used up.
#[test]
fn loader_filter_cycles() {
    for pairs in [
        &[("a.so", &["F,b.so"][..]), ("b.so", &["F,a.so"])][..],
        &[("a.so", &["f,b.so"]), ("b.so", &["f,a.so"])],
        &[("a.so", &["F,b.so"]), ("b.so", &["f,c.so"]), ("c.so", &["F,a.so"])],
        // A library outside the cycle filters one in it, and one is filtered by it.
        &[("a.so", &["F,b.so"]), ("b.so", &["F,c.so"]), ("c.so", &["F,b.so"])],
        // What the one filters besides may get the two apart.
        &[("a.so", &["F,b.so", "F,c.so"]), ("b.so", &["F,a.so"]), ("c.so", &[])],
        &[("a.so", &["F,b.so"]), ("b.so", &["F,c.so", "F,a.so"]), ("c.so", &[])],
    ] {
        let lab = Machine::new();
        filtering(&lab, pairs);
        let user = needing(&lab, "user.so", "user.so", &["a.so"], &["-Wl,-rpath,$ORIGIN"]);
        let killed = agree(&lab, &user, &[]) == ["killed by 11"];
        assert!(killed || pairs.iter().any(|(_, filters)| filters.len() > 1), "{pairs:?}");
        agree(&lab, &lab.path("b.so"), &[]);
    }
}

#[test]
fn loader_filters_that_end() {
    let lab = Machine::new();
    filtering(&lab, &[("self.so", &["F,self.so", "f,self.so"]), ("one.so", &["f,self.so"])]);
    filtering(&lab, &[("two.so", &["F,self.so", "f,one.so", "F,self.so"]), ("three.so", &["F,two.so", "F,self.so"])]);
    // A long chain, each a filter of the next; and one that filters all of it, nearest and farthest first.
    let names: Vec<String> = (0..300).map(|at| format!("l{at}.so")).collect();
    for (at, name) in names.iter().enumerate() {
        let next = names.get(at + 1).map(|next| format!("F,{next}"));
        let all: Vec<String> = names.iter().skip(1).map(|name| format!("F,{name}")).collect();
        let filters: Vec<&str> =
            if at == 0 { all.iter().map(String::as_str).collect() } else { next.iter().map(String::as_str).collect() };
        filtering(&lab, &[(name, &filters)]);
    }
    for (at, needed) in [
        &["self.so"][..],
        &["one.so", "two.so"],
        &["self.so", "one.so", "three.so"],
        &["three.so", "two.so", "self.so"],
        &["l0.so"],
        &["l299.so", "l0.so"],
        &["l150.so", "three.so", "l1.so", "l0.so"],
    ]
    .into_iter()
    .enumerate()
    {
        let user = needing(&lab, &format!("user{at}.so"), "user.so", needed, &["-Wl,-rpath,$ORIGIN"]);
        agree(&lab, &user, &[]);
    }
    super::agree_on_opening(&lab, &["now:./two.so", "now:./three.so", "now:./l0.so"], &[], &[]);
}

#[test]
fn loader_ten_thousand_needed_entries() {
    let lab = Machine::new();
    lab.library("x.so", "", &["-nostdlib"]);
    // All but the first are new names of one file.
    let paths: Vec<_> = (0..10_000).map(|at| lab.path(&format!("{}x.so", "./".repeat(at % 90)))).collect();
    lab.write("many.so", elf::needing("many.so", &paths));
    assert_eq!(agree(&lab, &lab.path("many.so"), &[]), ["[R]/x.so"]);
    let missing: Vec<_> = (0..10_000).map(|at| lab.path(&format!("none-{at}.so"))).collect();
    lab.write("none.so", elf::needing("none.so", &missing));
    assert_eq!(agree(&lab, &lab.path("none.so"), &[]).len(), 10_000);
}

#[test]
fn loader_absurd_run_paths() {
    let lab = Machine::new();
    lab.library("sub/libx.so", "", &["-nostdlib"]);
    let long =
        format!("-Wl,-rpath,{}/sub:{}:/{}:$ORIGIN/sub", "/nowhere".repeat(900), ":".repeat(500), "x".repeat(300));
    let deep = format!("-Wl,-rpath,$ORIGIN/{}sub", "sub/../".repeat(300));
    let tokens = format!("-Wl,-rpath,{}", "$ORIGIN${ORIGIN}$LIB$:".repeat(100) + "$ORIGIN/sub");
    for path in [long, deep, tokens, "-Wl,-rpath,".to_owned(), "-Wl,-rpath,:".to_owned()] {
        let a = needing(&lab, "a.so", "a.so", &["libx.so"], &[&path]);
        agree(&lab, &a, &[]);
        agree_from(&lab, &a, Start { variables: &[], directory: &lab.path("sub") });
    }
}

/// Cut at every page and between: either ld.so maps the rest, or the process dies, or there are words.
#[test]
fn loader_truncated_files() {
    let lab = Machine::new();
    let source = "int zero[3000]; int data[3000] = {1}; const int text[3000] = {2}; int f(void) { return data[7]; }";
    let whole = fs::read(lab.library("whole/libx.so", source, &["-nostdlib"])).unwrap();
    let a = needing(&lab, "a.so", "a.so", &["libx.so"], &["-Wl,-rpath,$ORIGIN/cut"]);
    let sections = u64::from_le_bytes(whole[40..48].try_into().unwrap());
    for cut in (0..sections as usize).step_by(1000).chain([1, 63, 64, 65]) {
        lab.write("cut/libx.so", &whole[..cut]);
        let start = Start::of(&lab, &[]);
        assert_eq!(ours(&a, start), theirs(&a, start), "cut at {cut} of {}", whole.len());
    }
}

/// A host whose cache is this one, with nothing else of the system.
fn lookups(cache: &[u8]) -> Vec<Option<std::path::PathBuf>> {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("etc")).unwrap();
    fs::write(dir.path().join("etc/ld.so.cache"), cache).unwrap();
    let host = Host::new(dir.path().to_owned(), [].into(), "/".into());
    let objects = Objects::new(&host);
    let loader = Loader::new(&objects);
    let names = ["libc.so.6", "libz.so.1", "liba.so", "zzz"];
    names.map(|name| loader.cache().lookup(name.as_ref()).map(Path::to_owned)).into()
}

#[test]
fn loader_damaged_caches() {
    let real = fs::read("/etc/ld.so.cache").unwrap();
    assert!(lookups(&real)[0].is_some());
    assert_eq!(lookups(&[]), [None, None, None, None]);
    assert_eq!(lookups(&vec![0; real.len()]), [None, None, None, None]);
    // The count no longer fits the file.
    assert_eq!(lookups(&real[..200]), [None, None, None, None]);
    // Of the other byte order.
    let mut other = real.clone();
    other[28] = 3;
    assert_eq!(lookups(&other), [None, None, None, None]);
    for cut in (0..real.len()).step_by(997) {
        let _ = lookups(&real[..cut]);
        let mut holed = real.clone();
        holed[cut..].iter_mut().take(64).for_each(|byte| *byte = 0xff);
        let _ = lookups(&holed);
    }
}

#[test]
fn loader_programs_not_of_glibc() {
    let lab = Machine::new();
    lab.write("empty", "");
    lab.write("script", "#!/usr/bin/env  python3 -u\nimport torch\n");
    lab.write("bare-script", "#!/bin/sh");
    lab.write("text", "hello");
    lab.write("cut", &fs::read(lab.copy("x.so", 1)).unwrap()[..5000]);
    let program = lab.program("program", "int main(void) { return 0; }", &[]);
    lab.program("static", "int main(void) { return 0; }", &["-static"]);
    lab.program("static-pie", "int main(void) { return 0; }", &["-static-pie"]);
    let mut musl = fs::read(&program).unwrap();
    let interpreter = super::ld_so().display().to_string();
    let at = musl.windows(interpreter.len()).position(|window| window == interpreter.as_bytes()).unwrap();
    musl[at..at + 9].copy_from_slice(b"/ld-musl-");
    lab.write("musl", &musl);
    musl[at..at + 9].copy_from_slice(b"/lib/else");
    lab.write("other", &musl);

    let host = Host::new("/".into(), [].into(), lab.root().to_owned());
    let objects = Objects::new(&host);
    let loader = Loader::new(&objects);
    let kinds: Vec<String> = [
        "empty",
        "script",
        "bare-script",
        "text",
        "cut",
        "x.so",
        "static",
        "static-pie",
        "musl",
        "other",
        "program",
        ".",
    ]
    .iter()
    .map(|name| {
        let kind = format!("{:?}", ProgramKind::of(&loader, &lab.path(name)));
        format!("{name}: {}", kind.split([' ', '(']).next().unwrap())
    })
    .collect();
    assert_eq!(
        kinds,
        [
            "empty: Empty",
            "script: Script",
            "bare-script: Script",
            "text: Unreadable",
            "cut: Unreadable",
            "x.so: Library",
            "static: Static",
            "static-pie: Static",
            "musl: Musl",
            "other: OtherLoader",
            "program: Dynamic",
            ".: Directory"
        ]
    );
    for alone in ["static", "static-pie", "musl", "other"] {
        let mut map = LinkMap::new(&loader);
        map.start(&lab.path(alone)).unwrap();
        assert_eq!((map.objects().len(), map.missing().len()), (1, 0), "{alone}");
    }
    for none in ["empty", "script", "text", "cut", "."] {
        assert!(LinkMap::new(&loader).start(&lab.path(none)).is_err(), "{none}");
    }
    let ProgramKind::Script { interpreter, argument } = ProgramKind::of(&loader, &lab.path("script")) else { panic!() };
    assert_eq!((interpreter.as_path(), argument.unwrap()), (Path::new("/usr/bin/env"), "python3 -u".into()));
}

/// A program that needs `libx.so`, and the variables that name its directory and a library to preload.
fn with_variables() -> (Machine, String) {
    let lab = Machine::new();
    for name in ["libx.so", "libpre.so"] {
        lab.library(&format!("lib/{name}"), "", &["-nostdlib"]);
    }
    lab.program("program", "int main(void) { return 0; }", &[utf8(&lab.path("lib/libx.so"))]);
    let path = utf8(&lab.path("lib")).to_owned();
    (lab, path)
}

/// Whether a set-user-ID program of that owner is secure, what it maps, and ld.so's message.
fn started(lab: &Machine, path: &str, owner: Option<u32>) -> (bool, Vec<String>, String) {
    let preload = format!("{path}/libpre.so libpre.so");
    let variables = [("LD_LIBRARY_PATH", path), ("LD_PRELOAD", preload.as_str())];
    let (program, start) = (lab.path("program"), Start::of(lab, &variables));
    std::os::unix::fs::chown(&program, owner, None).unwrap();
    lab.mode("program", 0o4755);
    let host = start.host();
    let objects = Objects::new(&host);
    let loader = Loader::new(&objects);
    let mut map = LinkMap::new(&loader);
    map.start(&program).unwrap();
    let names =
        map.objects().iter().filter_map(|mapped| mapped.path.file_name()).map(|name| name.display().to_string());
    let names = names.filter(|name| name.starts_with("lib") && name != "libc.so.6").collect();
    (map.is_secure(), names, Process::of(&mut start.command(&program)).err)
}

/// One's own file gives no rights that are not there.
#[test]
fn loader_set_user_id_program_of_ones_own_is_not_secure() {
    let (lab, path) = with_variables();
    let (secure, names, _) = started(&lab, &path, None);
    assert_eq!((secure, names), (false, vec!["libpre.so".into(), "libx.so".into()]));
}

/// Who starts a set-user-ID program of another user's is not asked where its libraries are.
#[test]
#[ignore = "needs root"]
fn loader_secure_programs_ignore_variables() {
    let (lab, path) = with_variables();
    let (secure, names, err) = started(&lab, &path, Some(65534));
    assert_eq!((secure, names), (true, Vec::new()));
    assert!(err.contains("libx.so: cannot open shared object file"), "{err}");
}
