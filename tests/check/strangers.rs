//! Who provides the libraries of a file that a plan was not made for: the plan, or the loader.

use crate::support::*;
use cudashim::internal::check::{Standing, stranger};
use cudashim::internal::host::Host;
use cudashim::internal::loader::Loader;
use cudashim::internal::loader::Objects;
use cudashim::internal::plan::{How, Plan, PlanLibrary};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

const CUDART: &str = "libcudart.so.12";

/// An environment whose set is an older runtime, a program, and a newer runtime of others in `app/lib`.
struct Case {
    world: Machine,
    set: PathBuf,
    program: PathBuf,
    library_path: PathBuf,
}

fn runtime(symbols: &[&str]) -> Lib {
    Lib::new(CUDART).defines(symbols)
}

impl Case {
    fn new() -> Self {
        let (world, venv) = Machine::with_venv();
        let set = runtime(&["cudaOld", "cudaBoth"]).build(&venv.site.join("nvidia/cuda_runtime/lib").join(CUDART));
        runtime(&["cudaNew", "cudaBoth"]).build(&world.path("app/lib").join(CUDART));
        world.mkdir("work");
        let program = cc(&world.path("work"), "program", "int main(void) { return 0; }", &[]);
        Self { world, set, program, library_path: PathBuf::new() }
    }

    /// A file that takes `symbol` from the runtime.
    fn file(&self, path: &str, symbol: &str, link: &[&str]) -> PathBuf {
        let file = link.iter().fold(Lib::new("libplug.so").unversioned(), |file, argument| file.link(argument));
        file.uses(CUDART, &[symbol]).build(&self.world.path(path))
    }

    fn under(mut self, library_path: &str) -> Self {
        self.library_path = self.world.path(library_path);
        self
    }

    fn standing(&self, object: &Path, name: Option<&str>) -> Standing {
        let path = self.library_path.clone().into_os_string();
        let env: BTreeMap<_, _> =
            [("LD_LIBRARY_PATH".into(), path)].into_iter().filter(|(_, it)| !it.is_empty()).collect();
        let host = Host::new("/".into(), env, self.world.root().to_owned());
        let stat = host.stat(&self.set).unwrap();
        let library = PlanLibrary {
            soname: CUDART.into(),
            path: self.set.clone(),
            id: stat.id,
            size: stat.size,
            mtime: stat.mtime,
            identity: None,
            version: None,
            how: How::Preload,
        };
        let aliases = vec![("libcudart.so".into(), CUDART.into())];
        let plan = Plan { libraries: vec![library], aliases, ..Plan::default() };
        let objects = Objects::new(&host);
        stranger(&Loader::new(&objects), &plan, &self.program, object, name.map(OsStr::new))
    }
}

#[test]
fn stranger_keeps_the_copy_of_its_run_path() {
    let case = Case::new();
    for (path, symbol, link) in [
        ("app/lib/a.so", "cudaNew", &["-rpath,$ORIGIN"][..]),
        ("app/lib/b.so", "cudaBoth", &["-rpath,$ORIGIN"]),
        ("app/lib/c.so", "cudaBoth", &["-rpath,$ORIGIN", "--disable-new-dtags"]),
        // A PyInstaller bundle, and what auditwheel makes.
        ("app/_internal/d.so", "cudaBoth", &["-rpath,$ORIGIN/../lib"]),
        ("venv/lib/python3.11/site-packages/foo/e.so", "cudaBoth", &["-rpath,$ORIGIN/../foo.libs"]),
    ] {
        if path.contains("/foo/") {
            runtime(&["cudaBoth"]).build(&case.world.path("venv/lib/python3.11/site-packages/foo.libs").join(CUDART));
        }
        assert_eq!(case.standing(&case.file(path, symbol, link), None), Standing::Own, "{path}");
    }
}

#[test]
fn stranger_without_a_fitting_copy_gets_the_set() {
    let case = Case::new();
    assert_eq!(case.standing(&case.file("work/a.so", "cudaBoth", &[]), None), Standing::Set);
    // Its own copy lacks what it takes.
    let torn = case.file("app/lib/b.so", "cudaOld", &["-rpath,$ORIGIN"]);
    assert_eq!(case.standing(&torn, None), Standing::Set);
    // The set lacks it, too: no worse than without us.
    let neither = case.file("app/lib/c.so", "cudaNowhere", &["-rpath,$ORIGIN"]);
    assert_eq!(case.standing(&neither, None), Standing::Own);
    // What is missing is another matter: an extension of Python, whose symbols are the interpreter's.
    let extension = Lib::new("_c.so").unversioned().source("int PyInit(void); int (*init)(void) = PyInit;");
    let extension = extension.uses(CUDART, &["cudaBoth"]).build(&case.world.path("work/d.so"));
    assert_eq!(case.standing(&extension, None), Standing::Set);
    // Its run path finds the file of the set.
    let same = case.file(
        "venv/lib/python3.11/site-packages/foo/e.so",
        "cudaBoth",
        &["-rpath,$ORIGIN/../nvidia/cuda_runtime/lib"],
    );
    assert_eq!(case.standing(&same, None), Standing::Set);
}

#[test]
fn stranger_keeps_ld_library_path_copies_of_its_application_only() {
    let case = Case::new().under("app/lib");
    let (foreign, newer) = (case.file("work/a.so", "cudaBoth", &[]), case.file("work/b.so", "cudaNew", &[]));
    assert_eq!(case.standing(&foreign, None), Standing::Set);
    assert_eq!(case.standing(&newer, None), Standing::Own);
    assert_eq!(case.standing(&foreign, Some("libcudart.so.12")), Standing::Set);
    // A start script that sets LD_LIBRARY_PATH to the application's own directory.
    let own = case.file("app/plugins/a.so", "cudaBoth", &[]);
    assert_eq!(case.standing(&own, None), Standing::Own);
    assert_eq!(case.standing(&own, Some("libcudart.so.12")), Standing::Own);
}

/// Kin of another release belong together, found or not.
#[test]
fn stranger_copy_of_a_set_member_keeps_its_own() {
    let case = Case::new();
    assert_eq!(case.standing(&case.world.path("app/lib").join(CUDART), None), Standing::Own);
}

#[test]
fn stranger_bare_name_is_its_own_where_its_run_path_has_it() {
    let case = Case::new();
    let plain = Lib::new("plain.so").unversioned();
    let with = |path: &str, link: &[&str]| {
        link.iter().fold(plain.clone(), |file, argument| file.link(argument)).build(&case.world.path(path))
    };
    for (path, link, name, standing) in [
        ("app/lib/a.so", &["-rpath,$ORIGIN"][..], CUDART, Standing::Own),
        ("app/lib/b.so", &["-rpath,$ORIGIN"], "libcudart.so", Standing::Set),
        ("app/lib/c.so", &["-rpath,$ORIGIN", "--disable-new-dtags"], CUDART, Standing::Own),
        ("app/lib/d.so", &[], CUDART, Standing::Set),
    ] {
        assert_eq!(case.standing(&with(path, link), Some(name)), standing, "{path}");
    }
    // The program itself, and what a program's DT_RPATH does for all it opens.
    let rpath = format!("-Wl,-rpath,{},--disable-new-dtags", case.world.path("app/lib").display());
    let program = cc(&case.world.path("work"), "with", "int main(void) { return 0; }", &[&rpath]);
    assert_eq!(case.standing(&case.program, Some(CUDART)), Standing::Set);
    let plug = with("work/plug.so", &[]);
    let case = Case { program: program.clone(), ..case };
    assert_eq!(case.standing(&program, Some(CUDART)), Standing::Own);
    assert_eq!(case.standing(&plug, Some(CUDART)), Standing::Own);
    // Behind LD_LIBRARY_PATH as well: without us it would be no other.
    let case = case.under("work");
    assert_eq!(case.standing(&plug, Some(CUDART)), Standing::Own);
}

/// What cannot be opened is no matter of ours.
#[test]
fn stranger_that_is_missing_is_left_to_the_loader() {
    let case = Case::new();
    assert_eq!(case.standing(&case.world.path("gone.so"), None), Standing::Own);
    assert_eq!(case.standing(&case.world.path("gone.so"), Some(CUDART)), Standing::Own);
}
