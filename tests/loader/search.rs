//! Which file ld.so takes for a name.

use super::{Start, agree, agree_from, agree_on_opening, needing};
use crate::support::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Copies of `libx.so` in these directories.
fn copies(lab: &Machine, dirs: &[&str]) {
    let built = fs::read(lab.library_named("built.so", "libx.so", "", &["-nostdlib"])).unwrap();
    for dir in dirs {
        lab.write(&format!("{dir}/libx.so"), &built);
    }
}

fn path_of(lab: &Machine, dirs: &[&str]) -> String {
    dirs.iter().map(|dir| lab.path(dir).display().to_string()).collect::<Vec<_>>().join(":")
}

const RPATH: &str = "-Wl,--disable-new-dtags";

#[test]
fn loader_rpath_ld_library_path_runpath_order() {
    let lab = Machine::new();
    copies(&lab, &["own", "variable"]);
    let variable = path_of(&lab, &["variable"]);
    let rpath = needing(&lab, "a.so", "a.so", &["libx.so"], &["-Wl,-rpath,$ORIGIN/own", RPATH]);
    let runpath = needing(&lab, "b.so", "b.so", &["libx.so"], &["-Wl,-rpath,$ORIGIN/own"]);
    let variables = [("LD_LIBRARY_PATH", variable.as_str())];
    assert_eq!(agree(&lab, &rpath, &variables), ["[R]/own/libx.so"]);
    assert_eq!(agree(&lab, &runpath, &variables), ["[R]/variable/libx.so"]);
    assert_eq!(agree(&lab, &runpath, &[]), ["[R]/own/libx.so"]);
}

#[test]
fn loader_rpath_is_inherited_and_runpath_is_not() {
    let lab = Machine::new();
    copies(&lab, &["far"]);
    lab.mkdir("mid");
    needing(&lab, "mid/libmid.so", "libmid.so", &["libx.so"], &[]);
    needing(&lab, "mid/librun.so", "librun.so", &["libx.so"], &["-Wl,-rpath,/nowhere"]);
    let both = "-Wl,-rpath,$ORIGIN/mid:$ORIGIN/far";
    let inherited = needing(&lab, "a.so", "a.so", &["libmid.so"], &[both, RPATH]);
    let own_only = needing(&lab, "b.so", "b.so", &["libmid.so"], &[both]);
    let hidden = needing(&lab, "c.so", "c.so", &["librun.so"], &[both, RPATH]);
    assert_eq!(agree(&lab, &inherited, &[]), ["[R]/mid/libmid.so", "[R]/far/libx.so"]);
    assert_eq!(agree(&lab, &own_only, &[]), ["[R]/mid/libmid.so", "libx.so => not found"]);
    assert_eq!(agree(&lab, &hidden, &[]), ["[R]/mid/librun.so", "libx.so => not found"]);
}

#[test]
fn loader_ld_library_path_elements() {
    let lab = Machine::new();
    copies(&lab, &["one", "two", "."]);
    let a = needing(&lab, "a.so", "a.so", &["libx.so"], &[]);
    let one = lab.path("one");
    for (list, expected) in [
        (":/nowhere", "libx.so"),
        ("/nowhere::/else", "libx.so"),
        ("/nowhere;two", "two/libx.so"),
        ("two//", "two/libx.so"),
        ("./two/../one", "./two/../one/libx.so"),
        ("$ORIGIN/two", "[R]/two/libx.so"),
        ("${ORIGIN}/one", "[R]/one/libx.so"),
        ("$ORIGINAL:$X:one", "one/libx.so"),
        (":", "libx.so"),
        ("/etc/passwd:one", "one/libx.so"),
    ] {
        assert_eq!(agree(&lab, &a, &[("LD_LIBRARY_PATH", list)]), [expected], "{list}");
    }
    assert_eq!(agree(&lab, &a, &[("LD_LIBRARY_PATH", "")]), ["libx.so => not found"]);
    let there = Start { variables: &[("LD_LIBRARY_PATH", ".")], directory: &one };
    assert_eq!(agree_from(&lab, &a, there), ["./libx.so"]);
}

#[test]
fn loader_dynamic_string_tokens() {
    let lab = Machine::new();
    copies(&lab, &["sub"]);
    let by_name = needing(&lab, "a.so", "a.so", &["$ORIGIN/sub/libx.so"], &[]);
    let by_list = needing(&lab, "b.so", "b.so", &["libx.so"], &["-Wl,-rpath,/$LIB/$PLATFORM:$ORIGIN/sub"]);
    assert_eq!(agree(&lab, &by_name, &[]), ["[R]/sub/libx.so"]);
    assert_eq!(agree(&lab, &by_list, &[]), ["[R]/sub/libx.so"]);
    // Through a symbolic link, the link's own directory is the origin.
    lab.mkdir("farm");
    symlink("../a.so", lab.path("farm/a.so")).unwrap();
    let said = agree(&lab, &lab.path("farm/a.so"), &[]);
    assert_eq!(said, ["[R]/farm/sub/libx.so => not found"]);
}

#[test]
fn loader_hwcaps_subdirectories() {
    let lab = Machine::new();
    let subs = ["glibc-hwcaps/x86-64-v4", "glibc-hwcaps/x86-64-v3", "glibc-hwcaps/x86-64-v2", "tls/x86_64/x86_64"];
    let more = ["tls/x86_64", "tls/haswell", "tls", "haswell", "x86_64", "x86_64/x86_64", "avx512_1", "aarch64", "."];
    let all: Vec<&str> = subs.into_iter().chain(more).collect();
    let a = needing(&lab, "a.so", "a.so", &["libx.so"], &[]);
    for at in 0..all.len() {
        let dir = format!("from-{at}");
        copies(&lab, &all[at..].iter().map(|sub| format!("{dir}/{sub}")).collect::<Vec<_>>().each_str());
        agree(&lab, &a, &[("LD_LIBRARY_PATH", lab.path(&dir).to_str().unwrap())]);
    }
}

#[test]
fn loader_hwcaps_masked_by_a_tunable() {
    let lab = Machine::new();
    let a = needing(&lab, "a.so", "a.so", &["libx.so"], &[]);
    copies(&lab, &["x/glibc-hwcaps/x86-64-v4", "x/glibc-hwcaps/x86-64-v3", "x/glibc-hwcaps/x86-64-v2", "x"]);
    copies(&lab, &["old/haswell", "old/x86_64", "old"]);
    for mask in [
        "-AVX2",
        "-AVX",
        "-AVX512F",
        "-AVX512VL,-AVX2",
        "-SSSE3",
        "-SSE4_2",
        "-BMI2",
        "-MOVBE",
        "-LZCNT",
        "-FMA",
        "-F16C",
        "-POPCNT",
        "-SSE3",
        "-XSAVE",
        "-XSAVEC",
        "-XSAVE,-XSAVEC",
        "-OSXSAVE",
        "AVX2",
        "-avx2",
        "-AVX2_Usable",
        "-none,-AVX2",
        "",
    ] {
        let tunables = format!("glibc.malloc.check=0:glibc.cpu.hwcaps={mask}");
        for dir in ["x", "old"] {
            let dir = lab.path(dir);
            agree(&lab, &a, &[("LD_LIBRARY_PATH", dir.to_str().unwrap()), ("GLIBC_TUNABLES", &tunables)]);
            agree(&lab, &a, &[("LD_LIBRARY_PATH", dir.to_str().unwrap()), ("LD_HWCAP_MASK", "0")]);
        }
    }
}

/// `&[&str]` of owned texts.
trait EachStr {
    fn each_str(&self) -> Vec<&str>;
}

impl EachStr for Vec<String> {
    fn each_str(&self) -> Vec<&str> {
        self.iter().map(String::as_str).collect()
    }
}

#[test]
fn loader_mapped_soname_is_not_searched() {
    let lab = Machine::new();
    copies(&lab, &["one", "two"]);
    // By soname, whatever the file is called.
    lab.library_named("one/other-name.so", "liby.so", "", &["-nostdlib"]);
    let list = "-Wl,-rpath,$ORIGIN/one:$ORIGIN/two";
    let by_soname = needing(&lab, "a.so", "a.so", &["other-name.so", "liby.so"], &[list]);
    assert_eq!(agree(&lab, &by_soname, &[]), ["[R]/one/other-name.so"]);
    // A path is another copy, even of a soname that is there; a name is not.
    let two = lab.path("two/libx.so").display().to_string();
    let by_path = needing(&lab, "b.so", "b.so", &["libx.so", &two, "libx.so"], &[list]);
    assert_eq!(agree(&lab, &by_path, &[]), ["[R]/one/libx.so", "[R]/two/libx.so"]);
    let path_first = needing(&lab, "c.so", "c.so", &[&two, "libx.so"], &[list]);
    assert_eq!(agree(&lab, &path_first, &[]), ["[R]/two/libx.so"]);
    // By inode.
    symlink("libx.so", lab.path("one/link.so")).unwrap();
    let by_file = needing(&lab, "d.so", "d.so", &["libx.so", "link.so", "one/link.so"], &[list]);
    assert_eq!(agree(&lab, &by_file, &[]), ["[R]/one/libx.so"]);
}

#[test]
fn loader_program_is_known_by_its_soname() {
    let lab = Machine::new();
    let own = lab.path("self.so").display().to_string();
    let by_soname = needing(&lab, "self.so", "self.so", &["self.so"], &[]);
    assert_eq!(agree(&lab, &by_soname, &[]), [""; 0]);
    let by_path = needing(&lab, "self.so", "self.so", &[&own], &[]);
    assert_eq!(agree(&lab, &by_path, &[]), ["[R]/self.so"]);
}

#[test]
fn loader_files_in_the_way() {
    let lab = Machine::new();
    copies(&lab, &["good", "class", "machine"]);
    let patch = |path: &str, at: usize, byte: u8| {
        let mut bytes = fs::read(lab.path(path)).unwrap();
        bytes[at] = byte;
        lab.write(path, bytes);
    };
    // Passed over.
    patch("class/libx.so", 4, 1);
    patch("machine/libx.so", 18, 0x28);
    let a = needing(&lab, "a.so", "a.so", &["libx.so"], &[]);
    for dir in ["class", "machine", "nowhere"] {
        let list = path_of(&lab, &[dir, "good"]);
        assert_eq!(agree(&lab, &a, &[("LD_LIBRARY_PATH", &list)]), ["[R]/good/libx.so"], "{dir}");
        agree_on_opening(&lab, &["now:libx.so"], &[("LD_LIBRARY_PATH", &path_of(&lab, &[dir]))], &[]);
    }
    // The end of the search.
    for (dir, at, byte) in [("data", 5, 2), ("version", 6, 9), ("abi", 7, 9), ("padding", 12, 1), ("type", 16, 1)] {
        copies(&lab, &[dir]);
        patch(&format!("{dir}/libx.so"), at, byte);
    }
    for (dir, at, byte) in [("version2", 20, 2), ("entry", 54, 1), ("magic", 0, 0)] {
        copies(&lab, &[dir]);
        patch(&format!("{dir}/libx.so"), at, byte);
    }
    lab.mkdir("directory/libx.so");
    lab.write("empty/libx.so", "");
    lab.write("short/libx.so", &fs::read(lab.path("good/libx.so")).unwrap()[..63]);
    lab.write("text/libx.so", format!("GROUP ( libx.so.1 ){}", " ".repeat(80)));
    let fatal = ["data", "version", "abi", "padding", "type", "version2", "entry", "magic"];
    for dir in fatal.into_iter().chain(["directory", "empty", "short", "text"]) {
        let list = path_of(&lab, &[dir, "good"]);
        let said = agree(&lab, &a, &[("LD_LIBRARY_PATH", &list)]);
        assert!(said[0].starts_with(&format!("[R]/{dir}/libx.so: ")), "{said:?}");
        agree_on_opening(&lab, &["now:libx.so"], &[("LD_LIBRARY_PATH", &list)], &[]);
    }
}

/// "The file exists and is readable, but something went wrong": the rest of that list is not searched, the next list is.
#[test]
fn loader_link_loop_ends_a_path() {
    let lab = Machine::new();
    copies(&lab, &["good"]);
    lab.mkdir("loop");
    symlink("libx.so", lab.path("loop/libx.so")).unwrap();
    let list = path_of(&lab, &["loop", "good"]);
    let a = needing(&lab, "a.so", "a.so", &["libx.so"], &[]);
    let b = needing(&lab, "b.so", "b.so", &["libx.so"], &["-Wl,-rpath,$ORIGIN/good"]);
    assert_eq!(agree(&lab, &a, &[("LD_LIBRARY_PATH", &list)]), ["libx.so => not found"]);
    assert_eq!(agree(&lab, &b, &[("LD_LIBRARY_PATH", &list)]), ["[R]/good/libx.so"]);
    let looped = format!("now:{}/loop/libx.so", lab.root().display());
    agree_on_opening(&lab, &[&looped, "now:/etc/passwd/libx.so", "now:./nowhere.so", "now:nowhere.so"], &[], &[]);
}

#[test]
fn loader_nodeflib() {
    let lab = Machine::new();
    let a = needing(&lab, "a.so", "a.so", &["libz.so.1", "libc.so.6"], &["-Wl,-z,nodefaultlib"]);
    agree(&lab, &a, &[]);
    assert!(super::theirs(&a, Start::of(&lab, &[])).iter().any(|line| line == "libc.so.6 => not found"));
}

#[test]
fn loader_filter_order() {
    let lab = Machine::new();
    lab.library("libauxiliary.so", "", &["-nostdlib"]);
    lab.library("libneeded.so", "", &["-nostdlib"]);
    let here = "-Wl,-rpath,$ORIGIN";
    for (name, options) in [
        ("aux", &["-Wl,-f,libauxiliary.so"][..]),
        ("gone", &["-Wl,-f,libgone.so"][..]),
        ("filter", &["-Wl,-F,libauxiliary.so"][..]),
        ("token", &["-Wl,-f,$ORIGIN/libauxiliary.so"][..]),
        ("two", &["-Wl,-f,libneeded.so", "-Wl,-f,libauxiliary.so"][..]),
        ("lost", &["-Wl,-F,libgone.so"][..]),
    ] {
        let path = format!("lib{name}.so");
        needing(&lab, &path, &path, &["libneeded.so"], &[options, &[here]].concat());
        let user = needing(&lab, &format!("{name}-user.so"), "user.so", &["libneeded.so", &path], &[here]);
        agree(&lab, &user, &[]);
        // ld.so loses count when it traces a program whose filter is missing, and reports that it has no memory.
        if name != "lost" {
            agree(&lab, &lab.path(&path), &[]);
        }
        agree_on_opening(&lab, &[&format!("now:./{path}")], &[], &[]);
    }
}

#[test]
fn loader_ld_preload() {
    let lab = Machine::new();
    copies(&lab, &["one", "two"]);
    lab.library("libz.so.1", "", &["-nostdlib"]);
    let a = needing(&lab, "a.so", "a.so", &["libz.so.1", "libx.so"], &[]);
    let one = lab.path("one/libx.so").display().to_string();
    let two = lab.path("two/libx.so").display().to_string();
    let directory = lab.path("one").display().to_string();
    for list in [
        one.clone(),
        format!("{one}:{two}"),
        format!("  {two} :{one}:: {two}"),
        format!("nowhere.so {one}"),
        "./libz.so.1:$ORIGIN/one/libx.so".to_owned(),
        "./libz.so.1 libz.so.1".to_owned(),
        format!("/etc/passwd {directory} {one}"),
        "a.so ./a.so".to_owned(),
    ] {
        agree(&lab, &a, &[("LD_PRELOAD", &list)]);
        agree_on_opening(&lab, &["now:libx.so"], &[("LD_PRELOAD", &list)], &[]);
    }
}

#[test]
fn loader_dlopen_search() {
    let lab = Machine::new();
    copies(&lab, &["own", "lib"]);
    needing(&lab, "lib/libmid.so", "libmid.so", &["libx.so"], &[]);
    needing(&lab, "lib/librun.so", "librun.so", &["libx.so"], &["-Wl,-rpath,$ORIGIN/nothing"]);
    let names = ["now:libmid.so", "now:librun.so", "now:lib/libmid.so", "now:$ORIGIN/own/libx.so", "now:libx.so"];
    let program = ["-Wl,-rpath,$ORIGIN/own"];
    let rpath = [program[0], RPATH];
    for (link, variables) in [
        (&[][..], &[][..]),
        (&program[..], &[]),
        (&rpath[..], &[]),
        (&rpath[..], &[("LD_LIBRARY_PATH", "lib")]),
        (&program[..], &[("LD_LIBRARY_PATH", "lib")]),
    ] {
        agree_on_opening(&lab, &names, variables, link);
    }
}

#[test]
fn loader_dlopen_refuses_programs() {
    let lab = Machine::new();
    lab.program("pie", "int main(void) { return 0; }", &["-pie", "-fPIE"]);
    lab.program("fixed", "int main(void) { return 0; }", &["-no-pie"]);
    lab.library("noopen.so", "", &["-Wl,-z,nodlopen"]);
    needing(&lab, "user.so", "user.so", &["noopen.so"], &["-Wl,-rpath,$ORIGIN"]);
    agree_on_opening(&lab, &["now:./pie", "now:./fixed", "now:./noopen.so", "now:./user.so"], &[], &[]);
    agree_on_opening(&lab, &["now:./opener"], &[("LD_PRELOAD", "./pie:./fixed:./noopen.so")], &[]);
}

#[test]
fn loader_interpreter_is_mapped_first() {
    let lab = Machine::new();
    let name = super::ld_so().file_name().unwrap().to_str().unwrap().to_owned();
    let path = super::ld_so().display().to_string();
    let real = fs::canonicalize(&path).unwrap().display().to_string();
    for (at, needed) in
        [&[name.as_str()][..], &["libc.so.6", &name], &[&path, &name], &[&real, "libc.so.6"]].iter().enumerate()
    {
        let a = needing(&lab, &format!("{at}.so"), "a.so", needed, &[]);
        let start = Start::of(&lab, &[]);
        assert_eq!(super::ours(&a, start), super::theirs(&a, start), "{needed:?}");
    }
    assert!(Path::new(&path).is_absolute());
}
