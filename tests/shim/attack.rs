//! Plans, variables and answers under attack, and what an object that is not taken looks like.

use crate::support::*;
use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;

use super::{COMMON, GIVEN, LEFT, OPEN, Two, host, put_bytes, put_plan, with_plan};

#[test]
fn plan_in_a_writable_directory_is_refused() {
    let one = Two::new();
    let dir = one.lab.path("dir");
    fs::create_dir(&dir).unwrap();
    let plan = dir.join("plan");
    fs::rename(put_plan(&one.lab, &one.plan("redirect")), &plan).unwrap();
    // In a sticky directory no other user can exchange it.
    for (mode, open) in [(0o777, true), (0o703, true), (0o770, true), (0o1777, false), (0o755, false)] {
        one.lab.mode("dir", mode);
        let ran = one.open(&plan);
        let said = "is refused: its directory may be written by group or others\n";
        assert_eq!((ran.out.as_str(), ran.err.ends_with(said)), (if open { LEFT } else { GIVEN }, open), "{mode:o}");
    }
}

#[test]
#[ignore = "needs root"]
fn plan_of_another_user_is_refused() {
    let one = Two::new();
    let plan = put_plan(&one.lab, &one.plan("redirect"));
    chown(&plan, Some(65534), None).unwrap();
    let ran = one.open(&plan);
    assert_eq!(ran.out, LEFT);
    assert!(ran.err.ends_with("is refused: it belongs to another user\n"), "{}", ran.err);
}

/// What is checked is what is read: the plan is opened once, and never looked at by its path.
#[test]
#[ignore = "needs strace"]
fn plan_is_opened_once() {
    let one = Two::new();
    let plan = put_plan(&one.lab, &one.plan("redirect"));
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
    let ran = one.lab.ran(command.arg(&COMMON.host).args(OPEN));
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), GIVEN), "{}", ran.err);
    let trace = fs::read_to_string(trace).unwrap();
    let named = format!("\"{}\"", utf8(&plan));
    let looks: Vec<&str> = trace.lines().filter(|line| line.contains(&named)).collect();
    assert!(looks.len() == 1 && looks[0].contains("openat(") && looks[0].contains("O_NOFOLLOW"), "{looks:#?}");
}

/// It is read into memory of the host's own: nothing that happens to the file afterwards can reach it.
#[test]
fn plan_truncated_later_is_harmless() {
    let one = Two::new();
    let plan = put_plan(&one.lab, &one.plan("redirect").record(&["alias", "libone.so", "libone.so.1"]));
    let mut script = OPEN.to_vec();
    script.extend(["maps", "/plan", "cut", utf8(&plan), "open", "libone.so", "l", "call", "which"]);
    let ran = one.lab.ran(&mut one.host(&plan, &script));
    assert_eq!(ran.out, format!("{GIVEN}maps /plan: 0\nopen libone.so: ok\nwhich: 2\n"));
    assert_eq!(ran.code, Some(0));
}

#[test]
fn shim_needed_cycles_end() {
    let one = Two::new();
    // Libraries that need each other, and open each other while they are loaded.
    let asks = |other: &str| {
        format!(
            "#include <dlfcn.h>\n__attribute__((constructor)) static void f(void) {{ dlopen(\"{other}\", RTLD_NOW); }}"
        )
    };
    let beside = "-Wl,-rpath,$ORIGIN";
    one.lab.library("right/liba.so", "", &[]);
    let b = one.lab.library("right/libb.so", &asks("liba.so"), &["right/liba.so", beside, "-ldl"]);
    let a = one.lab.library("right/liba.so", &asks("libb.so"), &["right/libb.so", beside, "-ldl"]);
    let plan = PlanText::new().lib("liba.so", &a, "preload").lib("libb.so", &b, "preload");
    let ran = with_plan(&one.lab, &plan, &["open", "liba.so", "n", "maps", "liba.so", "maps", "libb.so"]);
    assert_eq!(
        ran.quiet(),
        "open liba.so: ok\nmaps liba.so: 1\n  [R]/right/liba.so\nmaps libb.so: 1\n  [R]/right/libb.so\n"
    );
}

#[test]
fn log_that_cannot_be_opened_is_reported() {
    let one = Two::new();
    let plan = put_bytes(&one.lab, b"none");
    let none = one.lab.path("none/log");
    let ran = one.lab.ran(one.host(&plan, &OPEN).env("CUDASHIM_LOG", &none));
    assert_eq!(ran.out, LEFT);
    let lines: Vec<&str> = ran.err.lines().collect();
    assert!(lines.len() == 2 && lines[0].contains("is refused"), "{}", ran.err);
    assert_eq!(lines[1], "cudashim: the file of CUDASHIM_LOG cannot be opened (or is a symbolic link)");
    // Decisions are logged only where the variable enables it.
    let ran = one.lab.ran(one.host(&put_plan(&one.lab, &one.plan("redirect")), &OPEN).env("CUDASHIM_LOG", &none));
    assert_eq!((ran.out.as_str(), ran.err.lines().count()), (GIVEN, 1), "{}", ran.err);
}

#[test]
fn log_has_a_line_per_decision() {
    let lab = Machine::new();
    let right = |name: &str| lab.copy(&format!("right/{name}"), 2);
    let (one, two, three) = (right("libone.so.1"), right("libtwo.so.2"), right("libthree.so.3"));
    let gone = right("libgone.so.4");
    let user = lab.library("libuser.so", "", &["right/libtwo.so.2", "-Wl,-rpath,$ORIGIN/right"]);
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
    lab.ran(host(&script).env("CUDASHIM_PLAN", plan).env("CUDASHIM_LOG", &log));
    let log = fs::read_to_string(&log).unwrap().replace(utf8(lab.root()), "[R]");
    let said: Vec<&str> = log.lines().map(|line| line.split_once("]: ").unwrap().1).collect();
    assert_eq!(
        said,
        [
            "plan [R]/plan: 4 libraries",
            "libone.so.1 -> [R]/right/libone.so.1 (chosen by the plan)",
            "libone.so -> [R]/right/libone.so.1 (alias of libone.so.1)",
            "libtwo.so.2 loaded from [R]/right/libtwo.so.2",
            "/usr/lib/libthree.so.3 -> [R]/right/libthree.so.3 (replaced by libthree.so.3)",
            "libgone.so.4: [R]/right/libgone.so.4 is not used: it is gone; left to the loader",
        ]
    );
}

/// An object that the loader rejects: the loader reports it, and nothing could be mistaken for the shim.
#[test]
fn shim_that_ld_so_rejects_has_no_effect() {
    let one = Two::new();
    let plan = put_plan(&one.lab, &one.plan("redirect"));
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
        let ran = one.lab.ran(command.env("LD_LIBRARY_PATH", one.lab.path("wrong")));
        assert_eq!(ran.out, LEFT, "{says}");
        assert!(ran.err.contains(says) && ran.err.ends_with("ignored.\n"), "{says}: {}", ran.err);
    }
}

/// The question has an end, and the binary ends with it, whatever signals it ignores.
#[test]
fn ask_ends_the_binary_after_two_seconds() {
    let lab = Machine::new();
    let source = "#include <signal.h>\n#include <stdio.h>\n#include <unistd.h>\nint main(void) { \
        FILE *f = fopen(\"PATH\", \"w\"); for (int i = 1; i < 64; i++) signal(i, SIG_IGN); \
        fprintf(f, \"%ld\", (long)getpid()); fclose(f); for (;;) pause(); }";
    let number = lab.path("number");
    let binary = lab.program("asked", &source.replace("PATH", utf8(&number)), &[]);
    let shim = lab.write("libshim.so", cudashim::internal::launch::shim::image_for(Some(&binary)).unwrap());
    let ran = lab.ran(host(&["open", "libc10_cuda.so", "l"]).env("LD_PRELOAD", shim));
    assert!(ran.err.contains("took more than two seconds"), "{}", ran.err);
    // Its parent is gone: whoever inherits it may leave it a zombie.
    let state = format!("/proc/{}/stat", fs::read_to_string(number).unwrap());
    while fs::read_to_string(&state).is_ok_and(|stat| !stat.contains(") Z ")) {
        std::thread::yield_now();
    }
}

/// Its path is a path, whatever a shell would make of it.
#[test]
fn ask_starts_the_binary_without_a_shell() {
    let lab = Machine::new();
    let dir: PathBuf = lab.path("a $(touch pwned) `touch pwned`; 'b'");
    let source = "#include <stdio.h>\nint main(void) { puts(\"\"); return 0; }";
    lab.program("asked", source, &[]);
    fs::create_dir(&dir).unwrap();
    let binary = dir.join("asked & more");
    fs::rename(lab.path("asked"), &binary).unwrap();
    let shim = lab.write("libshim.so", cudashim::internal::launch::shim::image_for(Some(&binary)).unwrap());
    let mut command = host(&["open", "libc10_cuda.so", "l"]);
    let ran = lab.ran(command.env("LD_PRELOAD", shim).env("CUDASHIM_LOG", "1").current_dir(lab.root()));
    assert!(ran.err.ends_with("]: the cudashim binary has no plan for this process\n"), "{}", ran.err);
    assert!(!lab.path("pwned").exists());
}
