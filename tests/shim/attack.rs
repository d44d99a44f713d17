//! Plans, variables and answers under attack, and what an object that is not taken looks like.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{COMMON, Two, host, put_bytes, put_plan, run, utf8, with_plan};
use crate::support::lab::{Lab, PlanText, Ran, clean_command};

struct One {
    lab: Lab,
    plan: PlanText,
}

fn one() -> One {
    let two = Two::new();
    One { plan: two.plan("redirect"), lab: two.lab }
}

const OPEN: [&str; 5] = ["open", "libone.so.1", "l", "call", "which"];
const GIVEN: &str = "open libone.so.1: ok\nwhich: 2\n";
const LEFT: &str = "open libone.so.1: ok\nwhich: 1\n";

impl One {
    fn run(&self, plan: &Path, env: &[(&str, &str)]) -> Ran {
        let mut command = host(&OPEN);
        command.env("CUDASHIM_PLAN", plan).env("LD_LIBRARY_PATH", self.lab.path("wrong"));
        run(&self.lab, command.envs(env.iter().copied()))
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_plan_in_a_directory_of_everybody_is_refused() {
    let one = one();
    let dir = one.lab.path("dir");
    fs::create_dir(&dir).unwrap();
    let plan = dir.join("plan");
    fs::rename(put_plan(&one.lab, &one.plan), &plan).unwrap();
    // In a sticky directory nobody else can exchange it.
    for (mode, open) in [(0o777, true), (0o703, true), (0o770, true), (0o1777, false), (0o755, false)] {
        set_mode(&dir, mode);
        let ran = one.run(&plan, &[]);
        let said = "is refused: its directory may be written by group or others\n";
        assert_eq!((ran.out.as_str(), ran.err.ends_with(said)), (if open { LEFT } else { GIVEN }, open), "{mode:o}");
    }
}

#[test]
fn a_plan_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give a file to somebody else");
        return;
    }
    let one = one();
    let plan = put_plan(&one.lab, &one.plan);
    chown(&plan, Some(65534), None).unwrap();
    let ran = one.run(&plan, &[]);
    assert_eq!(ran.out, LEFT);
    assert!(ran.err.ends_with("is refused: it belongs to another user\n"), "{}", ran.err);
}

/// What is checked is what is read: the plan is opened once, and never looked at by its path.
#[test]
fn a_plan_cannot_be_exchanged_between_check_and_use() {
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("skipped: there is no strace");
        return;
    }
    let one = one();
    let plan = put_plan(&one.lab, &one.plan);
    let trace = one.lab.path("trace");
    let mut command = clean_command("strace");
    command.args(["-f", "-e", "trace=file", "-o", utf8(&trace)]);
    for (name, value) in [
        ("LD_PRELOAD", utf8(&COMMON.shim)),
        ("CUDASHIM_PLAN", utf8(&plan)),
        ("LD_LIBRARY_PATH", utf8(&one.lab.path("wrong"))),
    ] {
        command.args(["-E", &format!("{name}={value}")]);
    }
    let ran = run(&one.lab, command.arg(&COMMON.host).args(OPEN));
    if ran.code != Some(0) {
        eprintln!("skipped: strace cannot trace here: {}", ran.err);
        return;
    }
    assert_eq!(ran.out, GIVEN);
    let trace = fs::read_to_string(trace).unwrap();
    let named = format!("\"{}\"", utf8(&plan));
    let looks: Vec<&str> = trace.lines().filter(|line| line.contains(&named)).collect();
    assert!(looks.len() == 1 && looks[0].contains("openat(") && looks[0].contains("O_NOFOLLOW"), "{looks:#?}");
}

/// It is read into memory of the host's own: nothing that happens to the file afterwards can reach it.
#[test]
fn a_plan_that_is_cut_short_later_ends_nobody() {
    let one = one();
    let plan = put_plan(&one.lab, &one.plan.clone().record(&["alias", "libone.so", "libone.so.1"]));
    let mut script = OPEN.to_vec();
    script.extend(["maps", "/plan", "cut", utf8(&plan), "open", "libone.so", "l", "call", "which"]);
    let mut command = host(&script);
    command.env("CUDASHIM_PLAN", &plan).env("LD_LIBRARY_PATH", one.lab.path("wrong"));
    let ran = run(&one.lab, &mut command);
    assert_eq!(ran.out, format!("{GIVEN}maps /plan: 0\nopen libone.so: ok\nwhich: 2\n"));
    assert_eq!(ran.code, Some(0));
}

#[test]
fn circles_end() {
    let one = one();
    // Libraries that need each other, and open each other while they are loaded.
    let asks = |other: &str| {
        format!(
            "#include <dlfcn.h>\n__attribute__((constructor)) static void f(void) {{ dlopen(\"{other}\", RTLD_NOW); }}"
        )
    };
    let beside = "-Wl,-rpath,$ORIGIN";
    one.lab.library("right/liba.so", "liba.so", "", &[]);
    let b = one.lab.library("right/libb.so", "libb.so", &asks("liba.so"), &["right/liba.so", beside, "-ldl"]);
    let a = one.lab.library("right/liba.so", "liba.so", &asks("libb.so"), &["right/libb.so", beside, "-ldl"]);
    let plan = PlanText::new().lib("liba.so", &a, "preload").lib("libb.so", &b, "preload");
    let ran = with_plan(&one.lab, &plan, &["open", "liba.so", "n", "maps", "liba.so", "maps", "libb.so"]);
    assert_eq!(
        (ran.out.as_str(), ran.err.as_str()),
        ("open liba.so: ok\nmaps liba.so: 1\n  [R]/right/liba.so\nmaps libb.so: 1\n  [R]/right/libb.so\n", "")
    );
}

#[test]
fn a_log_that_cannot_be_opened_is_said_and_warnings_are_not_lost() {
    let one = one();
    let plan = put_bytes(&one.lab, b"none");
    let none = one.lab.path("none/log");
    let ran = one.run(&plan, &[("CUDASHIM_LOG", utf8(&none))]);
    assert_eq!(ran.out, LEFT);
    let lines: Vec<&str> = ran.err.lines().collect();
    assert!(lines.len() == 2 && lines[0].contains("is refused"), "{}", ran.err);
    assert_eq!(lines[1], "cudashim: the file of CUDASHIM_LOG cannot be opened (or is a symbolic link)");
    // Decisions do not go to where nobody asked for them.
    let ran = one.run(&put_plan(&one.lab, &one.plan), &[("CUDASHIM_LOG", utf8(&none))]);
    assert_eq!((ran.out.as_str(), ran.err.lines().count()), (GIVEN, 1), "{}", ran.err);
}

#[test]
fn each_decision_is_one_line_with_its_rule() {
    let lab = Lab::new();
    let right = |name: &str| lab.copy(&format!("right/{name}"), name, 2);
    let (one, two, three) = (right("libone.so.1"), right("libtwo.so.2"), right("libthree.so.3"));
    let gone = right("libgone.so.4");
    let user = lab.library("libuser.so", "libuser.so", "", &["right/libtwo.so.2", "-Wl,-rpath,$ORIGIN/right"]);
    let plan = PlanText::new()
        .lib("libone.so.1", &one, "redirect")
        .lib("libtwo.so.2", &two, "preload")
        .lib("libthree.so.3", &three, "redirect")
        .lib("libgone.so.4", &gone, "redirect")
        .record(&["alias", "libone.so", "libone.so.1"])
        .record(&["replace", "/usr/lib/libthree.so.3", "libthree.so.3"]);
    let plan = put_plan(&lab, &plan);
    fs::remove_file(gone).unwrap();
    let mut script = Vec::new();
    for name in ["libone.so.1", "libone.so", utf8(&user), "/usr/lib/libthree.so.3", "libgone.so.4", "libm.so.6"] {
        script.extend(["open", name, "l"]);
    }
    let log = lab.path("log");
    run(&lab, host(&script).env("CUDASHIM_PLAN", plan).env("CUDASHIM_LOG", &log));
    let log = fs::read_to_string(&log).unwrap().replace(utf8(lab.root()), "[R]");
    let said: Vec<&str> = log.lines().map(|line| line.split_once("]: ").unwrap().1).collect();
    assert_eq!(
        said,
        [
            "plan [R]/plan: 4 libraries",
            "libone.so.1 -> [R]/right/libone.so.1 (chosen by the plan)",
            "libone.so -> libone.so.1 (alias of libone.so.1)",
            "libtwo.so.2 loaded from [R]/right/libtwo.so.2",
            "/usr/lib/libthree.so.3 -> [R]/right/libthree.so.3 (replaced by libthree.so.3)",
            "libgone.so.4: [R]/right/libgone.so.4 is not used: it is gone; left to the loader",
        ]
    );
}

/// An object that the loader does not take: it says so itself, and there is nothing of ours that could be mistaken.
#[test]
fn an_object_that_is_not_taken_is_not_there() {
    let one = one();
    let plan = put_plan(&one.lab, &one.plan);
    let image = fs::read(&COMMON.shim).unwrap();
    let with = |name: &str, at: usize, byte: u8| {
        let mut image = image.clone();
        image[at] = byte;
        one.lab.write(name, image)
    };
    let none = one.lab.path("none.so");
    for (shim, says) in [
        (none, "cannot open shared object file"),
        (with("class.so", 4, 1), "wrong ELF class: ELFCLASS32"),
        (with("machine.so", 18, 183), "cannot open shared object file"),
        (one.lab.write("cut.so", &image[..100]), "cannot read file data"),
    ] {
        let mut command = clean_command(&COMMON.host);
        command.args(OPEN).env("LD_PRELOAD", &shim).env("CUDASHIM_PLAN", &plan);
        let ran = run(&one.lab, command.env("LD_LIBRARY_PATH", one.lab.path("wrong")));
        assert_eq!(ran.out, LEFT, "{says}");
        assert!(ran.err.contains(says) && ran.err.ends_with("ignored.\n"), "{says}: {}", ran.err);
    }
}

/// The question has an end: the alarm is set before the binary begins.
#[test]
fn the_binary_has_two_seconds() {
    let lab = Lab::new();
    let source = "#include <stdio.h>\n#include <sys/time.h>\nint main(void) { struct itimerval t; \
        FILE *f = fopen(\"PATH\", \"w\"); getitimer(ITIMER_REAL, &t); \
        fprintf(f, \"%ld\", (long)t.it_value.tv_sec); fclose(f); return 0; }";
    let timer = lab.path("timer");
    let binary = lab.program("asked", &source.replace("PATH", utf8(&timer)), &[]);
    let shim = lab.write("libshim.so", cudashim::internal::launch::shim::image_for(Some(&binary)).unwrap());
    run(&lab, host(&["open", "libc10_cuda.so", "l"]).env("LD_PRELOAD", shim));
    let left: u64 = fs::read_to_string(timer).unwrap().parse().unwrap();
    assert!((1..=2).contains(&left), "{left}");
}

/// Its path is a path, whatever a shell would make of it.
#[test]
fn the_binary_is_started_without_a_shell() {
    let lab = Lab::new();
    let dir: PathBuf = lab.path("a $(touch pwned) `touch pwned`; 'b'");
    let source = "#include <stdio.h>\nint main(void) { puts(\"\"); return 0; }";
    lab.program("asked", source, &[]);
    fs::create_dir(&dir).unwrap();
    let binary = dir.join("asked & more");
    fs::rename(lab.path("asked"), &binary).unwrap();
    let shim = lab.write("libshim.so", cudashim::internal::launch::shim::image_for(Some(&binary)).unwrap());
    let mut command = host(&["open", "libc10_cuda.so", "l"]);
    let ran = run(&lab, command.env("LD_PRELOAD", shim).env("CUDASHIM_LOG", "1").current_dir(lab.root()));
    assert!(ran.err.ends_with("]: the cudashim binary has no plan for this process\n"), "{}", ran.err);
    assert!(!lab.path("pwned").exists());
}
