//! Lists that are loaded in one go.

use std::fs;
use std::path::PathBuf;

use super::{host, put_plan, run, utf8};
use crate::support::lab::{Lab, PlanText, Ran};

/// `libuser.so` uses what it does not need: only a bundle has it find `one` of `libone.so.1`.
struct Bundled {
    lab: Lab,
    plan: PlanText,
    files: [PathBuf; 2],
}

fn bundled() -> Bundled {
    let lab = Lab::new();
    let one = lab.library("right/libone.so.1", "libone.so.1", "int one(void) { return 7; }", &[]);
    lab.library("wrong/libone.so.1", "libone.so.1", "int one(void) { return 1; }", &[]);
    let source = "__attribute__((weak)) int one(void); int mark(void) { return 1; } \
                  int use(void) { return one ? one() : -1; } int marked(void) { return mark(); }";
    let user = lab.library("right/libuser.so", "libuser.so", source, &["-Wl,-z,lazy"]);
    let files = [user, one];
    let plan = PlanText::new()
        .lib("libuser.so", &files[0], "redirect")
        .lib("libone.so.1", &files[1], "preload")
        .record(&["trigger", "libuser.so", "libone.so.1"])
        .bundle("libuser.so", &lab.path("bundle.so"), &files);
    Bundled { lab, plan, files }
}

impl Bundled {
    fn run(&self, plan: &PlanText, script: &[&str]) -> Ran {
        put_plan(&self.lab, plan);
        self.run_as_it_was(script)
    }

    /// With the plan that was put last, whatever became of the files since.
    fn run_as_it_was(&self, script: &[&str]) -> Ran {
        let mut command = host(script);
        command.env("CUDASHIM_PLAN", self.lab.path("plan")).env("LD_LIBRARY_PATH", self.lab.path("wrong"));
        run(&self.lab, &mut command)
    }
}

const USE: [&str; 9] = ["open", "libuser.so", "n", "call", "use", "maps", "libone", "maps", "bundle.so"];

#[test]
fn a_bundle_is_one_scope() {
    let b = bundled();
    let ran = b.run(&b.plan, &USE);
    assert_eq!(
        ran.out,
        "open libuser.so: ok\nuse: 7\nmaps libone: 1\n  [R]/right/libone.so.1\nmaps bundle.so: 1\n  [R]/bundle.so\n"
    );
    assert_eq!(ran.err, "");
}

#[test]
fn a_bundle_brings_no_second_copy() {
    let b = bundled();
    let wrong = b.lab.path("wrong/libone.so.1");
    // Two are missing, so that the bundle would be worth its while.
    let two = b.lab.library("right/libtwo.so.2", "libtwo.so.2", "", &[]);
    let plan = PlanText::new()
        .lib("libuser.so", &b.files[0], "redirect")
        .lib("libone.so.1", &b.files[1], "preload")
        .lib("libtwo.so.2", &two, "preload")
        .record(&["trigger", "libuser.so", "libone.so.1", "libtwo.so.2"])
        .bundle("libuser.so", &b.lab.path("bundle.so"), &[b.files[0].clone(), b.files[1].clone(), two]);
    let ran = b.run(&plan, &[&["open", utf8(&wrong), "l"], &USE[..]].concat());
    assert_eq!(
        ran.out,
        "open [R]/wrong/libone.so.1: ok\nopen libuser.so: ok\nuse: -1\nmaps libone: 1\n  [R]/wrong/libone.so.1\n\
         maps bundle.so: 0\n"
    );
}

#[test]
fn a_bundle_of_a_changed_library_is_not_opened() {
    let b = bundled();
    put_plan(&b.lab, &b.plan);
    fs::write(&b.files[1], [fs::read(&b.files[1]).unwrap(), vec![0]].concat()).unwrap();
    let ran = b.run_as_it_was(&USE);
    assert_eq!(ran.out, "open libuser.so: ok\nuse: -1\nmaps libone: 0\nmaps bundle.so: 0\n");
    assert!(ran.err.contains("libone.so.1: [R]/right/libone.so.1 is not used: its size is another"), "{}", ran.err);
}

#[test]
fn a_bundle_that_cannot_be_used_leaves_the_list() {
    let b = bundled();
    let bundle = b.lab.path("bundle.so");
    let one_by_one = "open libuser.so: ok\nuse: -1\nmaps libone: 1\n  [R]/right/libone.so.1\nmaps bundle.so: 0\n";
    let bytes = fs::read(&bundle).unwrap();
    put_plan(&b.lab, &b.plan);
    // Of the right size and time, but no ELF object; then another size; then gone.
    let time = fs::metadata(&bundle).unwrap().modified().unwrap();
    fs::write(&bundle, vec![0; bytes.len()]).unwrap();
    fs::File::options().write(true).open(&bundle).unwrap().set_modified(time).unwrap();
    assert_eq!(b.run_as_it_was(&USE).out, one_by_one);
    fs::write(&bundle, [bytes, vec![0]].concat()).unwrap();
    assert_eq!(b.run_as_it_was(&USE).out, one_by_one);
    fs::remove_file(&bundle).unwrap();
    let ran = b.run_as_it_was(&USE);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), (one_by_one, ""));
}

#[test]
fn deep_binding_is_the_hosts_choice() {
    let b = bundled();
    let mark = b.lab.library("libmark.so", "libmark.so", "int mark(void) { return 2; }", &[]);
    let script = |flags| ["open", utf8(&mark), "ng", "open", "libuser.so", flags, "call", "marked"];
    // The program's own scope comes first, but not with RTLD_DEEPBIND; so it is without us.
    assert!(b.run(&b.plan, &script("l")).out.ends_with("marked: 2\n"));
    assert!(b.run(&b.plan, &script("ld")).out.ends_with("marked: 1\n"));
}
