//! A file that others may write to is not run, in any directory that a child searches.

use super::{prober, rows};
use crate::support::*;
use cudashim::internal::launch::probe::{Answer, End};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

const CUBLAS: &str = "int lt(void); int cublasGetProperty(int t, int *v) { *v = lt(); return 0; }";

fn set(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// cuBLAS in `top/blas`, which needs a cublasLt in `top/lt`: a file beside it records whether that one ran.
struct Pair {
    lab: Machine,
    blas: PathBuf,
    lt: PathBuf,
}

impl Pair {
    fn new(link: &[&str]) -> Self {
        let lab = Machine::new();
        for dir in ["top", "top/blas", "top/lt"] {
            lab.mkdir(dir);
            set(&lab.path(dir), 0o755);
        }
        let source = format!(
            "#include <stdio.h>\n__attribute__((constructor)) static void f(void) {{ fclose(fopen(\"{}\", \"w\")); }}\n\
             int lt(void) {{ return 12; }}",
            lab.path("ran").display()
        );
        let lt = lab.library("top/lt/libcublasLt.so.12", &source, &[]);
        let arguments = [&[lt.to_str().unwrap()], link].concat();
        let blas = lab.library("top/blas/libcublas.so.12", CUBLAS, &arguments);
        Self { lab, blas, lt }
    }

    /// What came of the question, and whether the needed library ran.
    fn ask(&self) -> (End, bool) {
        let _ = fs::remove_file(self.lab.path("ran"));
        let dir = self.lt.parent().unwrap().to_owned();
        let asked = prober(&self.lab).ask(&self.blas, &rows("cublas"), &[dir]).unwrap();
        (asked.end, self.lab.path("ran").exists())
    }

    fn refused(&self, what: &Path) {
        let (end, ran) = self.ask();
        assert!(!ran, "{end:?}");
        assert!(matches!(&end, End::Untrusted(why) if why.contains(what.to_str().unwrap())), "{end:?}");
    }
}

#[test]
fn probe_trusts_no_writable_neighbour() {
    let pair = Pair::new(&[]);
    assert_eq!(pair.ask(), (End::Done, true));
    let dir = pair.lt.parent().unwrap();
    for mode in [0o777, 0o775] {
        set(dir, mode);
        let (end, ran) = pair.ask();
        assert!(matches!(&end, End::NotLoaded(says) if says.starts_with("libcublasLt.so.12: ")), "{end:?}");
        assert!(!ran);
    }
    // A library in it is enough: that one may be opened by name later.
    set(dir, 0o755);
    fs::write(dir.join("libcudnn.so.9"), "").unwrap();
    set(&dir.join("libcudnn.so.9"), 0o666);
    assert!(matches!(pair.ask(), (End::NotLoaded(_), false)));
}

#[test]
fn probe_trusts_no_writable_run_path() {
    let pair = Pair::new(&["-Wl,-rpath,$ORIGIN/../lt", "-Wl,--enable-new-dtags"]);
    assert_eq!(pair.ask(), (End::Done, true));
    for mode in [0o664, 0o646, 0o666] {
        set(&pair.lt, mode);
        pair.refused(&pair.lt);
    }
    set(&pair.lt, 0o644);
    set(pair.lt.parent().unwrap(), 0o775);
    pair.refused(pair.lt.parent().unwrap());
    // A directory that is missing from one where everybody may make it.
    let open = "/tmp/cudashim-no-such-directory/lib";
    let pair = Pair::new(&[&format!("-Wl,-rpath,{open}")]);
    pair.refused(Path::new("/tmp/cudashim-no-such-directory"));
}

#[test]
fn probe_trusts_no_writable_link_target() {
    let pair = Pair::new(&["-Wl,-rpath,$ORIGIN/../lt"]);
    let open = pair.lab.path("top/open");
    fs::create_dir(&open).unwrap();
    fs::rename(&pair.lt, open.join("lt.so")).unwrap();
    symlink("../open/lt.so", &pair.lt).unwrap();
    assert_eq!(pair.ask(), (End::Done, true));
    set(&open, 0o777);
    pair.refused(&open);
}

#[test]
fn probe_trusts_no_writable_parent() {
    let pair = Pair::new(&["-Wl,-rpath,$ORIGIN/../lt"]);
    let top = pair.lab.path("top");
    set(&top, 0o777);
    pair.refused(&top);
    // Nobody takes what is our own out of a sticky one.
    set(&top, 0o1777);
    assert_eq!(pair.ask(), (End::Done, true));
}

/// acl(5): user 65534 may write, group and others may not. The mask is what the bits of the group show.
#[test]
fn probe_trusts_no_writable_acl() {
    let pair = Pair::new(&["-Wl,-rpath,$ORIGIN/../lt"]);
    let entry = |tag: u16, mode: u16, id: u32| {
        [&tag.to_le_bytes()[..], &mode.to_le_bytes()[..], &id.to_le_bytes()[..]].concat()
    };
    let none = u32::MAX;
    let list = [
        2_u32.to_le_bytes().to_vec(),
        entry(0x01, 7, none),
        entry(0x02, 7, 65534),
        entry(0x04, 5, none),
        entry(0x10, 7, none),
        entry(0x20, 5, none),
    ];
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&pair.lt, "system.posix_acl_access", &list.concat(), flags).unwrap();
    pair.refused(&pair.lt);
    set(&pair.lt, 0o755);
    assert_eq!(pair.ask(), (End::Done, true));
}

#[test]
#[ignore = "needs root"]
fn probe_runs_nothing_of_another_user() {
    let pair = Pair::new(&["-Wl,-rpath,$ORIGIN/../lt"]);
    let dir = pair.lt.parent().unwrap();
    for path in [pair.lt.as_path(), dir, &pair.lab.path("top")] {
        std::os::unix::fs::chown(path, Some(65534), None).unwrap();
        pair.refused(path);
        std::os::unix::fs::chown(path, Some(0), None).unwrap();
    }
    assert_eq!(pair.ask(), (End::Done, true));
}

#[test]
fn probe_trusts_no_writable_driver() {
    let lab = Machine::new();
    let driver = lab.library("libcuda.so.1", "int cuInit(unsigned f) { return 0; }", &[]);
    set(&driver, 0o775);
    let devices = prober(&lab).devices(&driver, None).unwrap();
    assert!(matches!(&devices.cuda.end, End::Untrusted(why) if why.contains("is writable by its group")));
    set(&driver, 0o755);
    assert_eq!(prober(&lab).devices(&driver, None).unwrap().cuda.end, End::Done);
}

/// The model did not predict it, because the library opens it by path: the answer is void.
#[test]
fn probe_answer_is_void_after_an_unforeseen_dlopen() {
    let lab = Machine::new();
    let other = lab.library_named("other.bin", "other", "int other;", &[]);
    let source = format!(
        "#include <dlfcn.h>\nint cudaRuntimeGetVersion(int *v) {{ *v = 12040; return !dlopen(\"{}\", RTLD_NOW); }}",
        other.display()
    );
    let library = lab.library("a/libcudart.so.12", &source, &[]);
    let ask = || prober(&lab).ask(&library, &rows("cudart"), &[]).unwrap();
    assert!(matches!(ask().answers[0].1, Answer::Returned { .. }));
    set(&other, 0o777);
    assert!(matches!(&ask().answers[0].1, Answer::Failed(End::Untrusted(why)) if why.contains("other.bin")));
}

/// In a user namespace without a map, our files and everybody else's belong to the same user.
#[test]
#[ignore = "needs user namespaces"]
fn probe_trusts_no_unmapped_user() {
    let pair = Pair::new(&["-Wl,-rpath,$ORIGIN/../lt"]);
    let mut command = clean_command("unshare");
    command.args(["-U", env!("CARGO_BIN_EXE_cudashim"), "inspect", "--probe"]).arg(&pair.blas);
    let output = command.env("CUDASHIM_CACHE", pair.lab.path("cache")).output().unwrap();
    let says = String::from_utf8(output.stderr).unwrap();
    assert!(says.contains("for its version: `/") && says.contains(" belongs to user 65534"), "{says}");
    assert!(!pair.lab.path("ran").exists());
}
