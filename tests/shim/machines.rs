//! The object for the other machine, built by a cross compiler and run by an emulator.
//!
//! Takes `aarch64-linux-gnu-gcc` and `qemu-aarch64` with that machine's C library, as Debian's gcc-aarch64-linux-gnu and
//! qemu-user-static bring them.

use crate::support::*;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::made;
use super::object::is_as_promised;
use super::put_plan;

const COMPILER: &str = "aarch64-linux-gnu-gcc";

/// The emulator, by whichever name it has here.
fn emulator() -> &'static str {
    let runs = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    ["qemu-aarch64-static", "qemu-aarch64"].into_iter().find(runs).expect("there is no qemu-aarch64")
}

struct Aarch64 {
    lab: Machine,
    object: PathBuf,
}

impl Aarch64 {
    fn new() -> Self {
        let lab = Machine::new();
        let path = lab.path("libcudashim.so");
        let cshim = Path::new(env!("CARGO_MANIFEST_DIR")).join("cshim");
        let machine = made::of_machine("aarch64").unwrap();
        for arguments in made::runs(&made::SHIM, machine, Path::new(env!("OUT_DIR")), &cshim, &path).unwrap() {
            let output = Command::new(COMPILER).arg("-std=gnu11").args(arguments).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        Self { lab, object: path }
    }

    fn compile(&self, name: &str, source: &str, arguments: &[&str]) -> PathBuf {
        self.lab.foreign(COMPILER, name, source, arguments)
    }

    fn copy(&self, name: &str, which: u32) -> PathBuf {
        let source = format!("int which(void) {{ return {which}; }}");
        self.compile(name, &source, &["-shared", "-fPIC", "-Wl,-soname,libone.so.1"])
    }
}

#[test]
#[ignore = "needs aarch64-linux-gnu-gcc"]
fn shim_of_aarch64_keeps_the_rules_of_the_object() {
    let machine = Aarch64::new();
    let image = std::fs::read(&machine.object).unwrap();
    assert_eq!(cudashim::internal::elf::Elf::parse(&image).unwrap().ident().machine_name(), "aarch64");
    is_as_promised(&image);
}

#[test]
#[ignore = "needs qemu-aarch64"]
fn shim_of_aarch64_serves_and_keeps_the_caller() {
    let machine = Aarch64::new();
    let root = Path::new("/usr/aarch64-linux-gnu");
    let right = machine.copy("right.so", 2);
    let wrong = machine.copy("libone.so.1", 1);
    machine.copy("libbeside.so", 5);
    // A name of the plan, and one that only the caller's run path finds.
    let plugin = "#include <dlfcn.h>\nint inner(void) { void *h = dlopen(\"libbeside.so\", RTLD_NOW); \
                  return h ? ((int (*)(void))dlsym(h, \"which\"))() : -1; }";
    machine.compile("libplugin.so", plugin, &["-shared", "-fPIC", "-Wl,-rpath,$ORIGIN"]);
    let needs = ["-shared", "-fPIC", "libone.so.1", "-Wl,--disable-new-dtags,-rpath,$ORIGIN"];
    machine.compile("libuser.so", "int which(void); int user(void) { return which(); }", &needs);
    let host = machine.compile("host", include_str!("host.c"), &["-rdynamic", "-ldl", "-pthread"]);
    let plan = PlanText::new().lib("libone.so.1", &right, "redirect").record(&["alias", "libone.so", "libone.so.1"]);
    let plan = put_plan(&machine.lab, &plan.program(&host));
    let script = |name: &str, call: &str| {
        let mut command = clean_command(emulator());
        command.arg("-L").arg(root).args(["-E", &format!("LD_PRELOAD={}", utf8(&machine.object))]);
        command.args(["-E", &format!("CUDASHIM_PLAN={}", utf8(&plan))]);
        command.arg(&host).args(["open", name, "n", "errno", "call", call]);
        machine.lab.ran(&mut command)
    };
    for (name, call, gives) in [
        ("libone.so", "which", 2),
        ("libone.so.1", "which", 2),
        (utf8(&wrong), "which", 1),
        (utf8(&machine.lab.path("libuser.so")), "user", 2),
        (utf8(&machine.lab.path("libplugin.so")), "inner", 5),
    ] {
        let ran = script(name, call);
        let shown = name.replace(utf8(machine.lab.root()), "[R]");
        let said = format!("open {shown}: ok\nerrno: 42\n{call}: {gives}\n");
        assert_eq!(ran.quiet(), said, "{name}");
    }
}
