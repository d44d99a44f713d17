//! A process without a plan: which binary it asks, when, and what it does with the answer.

use crate::support::*;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use cudashim::internal::launch::shim::image_for;

use super::{COMMON, host, put_plan};

/// A lab with a plan, a shim that asks `[R]/asked`, and that program.
struct Asked {
    lab: Machine,
    shim: PathBuf,
}

/// `libc10_cuda.so` is a name of the catalogue, whatever the tables hold.
fn asked(script: &str) -> Asked {
    let lab = Machine::new();
    let right = lab.copy("right/libc10_cuda.so", 2);
    lab.copy("wrong/libc10_cuda.so", 1);
    put_plan(&lab, &PlanText::new().lib("libc10_cuda.so", &right, "redirect"));
    let root = lab.root().to_str().unwrap().to_owned();
    let binary = lab.write("asked", format!("#!/bin/sh\nroot={root}\necho \"$@\" >>$root/asked.log\n{script}\n"));
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    let shim = lab.write("libshim.so", image_for(Some(&binary)).unwrap());
    Asked { lab, shim }
}

impl Asked {
    fn host(&self, script: &[&str], env: &[(&str, &str)]) -> Process {
        let mut command = host(script);
        command.env("LD_PRELOAD", &self.shim).env("LD_LIBRARY_PATH", self.lab.path("wrong"));
        command.envs(env.iter().copied());
        self.lab.ran(&mut command)
    }

    /// The arguments of each time that the binary ran.
    fn times(&self) -> Vec<String> {
        let log = fs::read_to_string(self.lab.path("asked.log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

const OPEN: [&str; 5] = ["open", "libc10_cuda.so", "l", "call", "which"];
const ANSWERS: &str = "echo $root/plan";

#[test]
fn ask_once_at_the_first_cuda_name() {
    let a = asked(ANSWERS);
    let script = [&OPEN[..], &OPEN].concat();
    let ran = a.host(&script, &[]);
    assert_eq!(ran.out, "open libc10_cuda.so: ok\nwhich: 2\nopen libc10_cuda.so: ok\nwhich: 2\n");
    assert_eq!(ran.err, "");
    let times = a.times();
    assert_eq!(times.len(), 1);
    let words: Vec<&str> = times[0].split(' ').collect();
    assert!(words[0] == "plan-for" && words[1].parse::<u32>().is_ok(), "{times:?}");
    assert_eq!(words[2..], [COMMON.host.to_str().unwrap()]);
}

#[test]
fn ask_nobody_for_other_names() {
    let a = asked(ANSWERS);
    let mut script = vec!["null"];
    for name in words(
        "libm.so.6 libc10_cuda.alt.so libc10_cuda_more.so libc10_cud.so c10_cuda.so \
        libc10_cuda.so.x libc10_cuda.so.1. libc10_cuda-0123456.so libc10_cuda-0123456g.so \
        libc10_cuda-012345678.so libc10_cuda.sox /usr/lib/libm.so.6",
    ) {
        script.extend(["open", name, "l"]);
    }
    script.extend(["open", "libc10_cuda.so", "lN"]);
    assert_eq!(a.host(&script, &[]).code, Some(0));
    assert_eq!(a.times(), [""; 0]);
}

#[test]
fn ask_for_every_form_of_a_cuda_name() {
    for name in words(
        "libc10_cuda.so libc10_cuda.so.1 libc10_cuda.so.11.2.0 libc10_cuda-0a1b2c3d.so.1 \
        /no/where/libc10_cuda.so ./libtorch_global_deps.so",
    ) {
        let a = asked(ANSWERS);
        a.host(&["open", name, "l"], &[]);
        assert_eq!(a.times().len(), 1, "{name}");
    }
}

#[test]
fn ask_for_a_file_that_needs_a_cuda_name() {
    let a = asked(ANSWERS);
    let user = a.lab.library(
        "wrong/plugin.so",
        "int which(void); int w(void) { return which(); }",
        &["-Lwrong", "-l:libc10_cuda.so"],
    );
    let right = a.lab.path("right/libc10_cuda.so");
    put_plan(&a.lab, &PlanText::new().lib("libc10_cuda.so", &right, "redirect"));
    let ran = a.host(&["open", user.to_str().unwrap(), "l", "call", "w"], &[]);
    assert_eq!(ran.out, "open [R]/wrong/plugin.so: ok\nw: 2\n");
    assert_eq!(a.times().len(), 1);
}

/// Where the needed name stands: in the file that a bare name leads to by whichever path, or behind others that it needs.
#[test]
fn ask_for_a_bare_name_that_leads_to_a_cuda_name() {
    for (flags, variable, needs) in [
        ("-Wl,--enable-new-dtags,-rpath,$ORIGIN/own", false, true),
        ("-Wl,--enable-new-dtags,-rpath,/no/where:${ORIGIN}/../wrong/own", false, true),
        ("-Wl,--disable-new-dtags,-rpath,$ORIGIN/own", false, true),
        ("-Wl,--disable-new-dtags", true, true),
        ("-Wl,--enable-new-dtags,-rpath,$ORIGIN/own", false, false),
        ("-Wl,--enable-new-dtags,-rpath,$ORIGIN/none", false, true),
    ] {
        let a = asked(ANSWERS);
        let right = a.lab.path("right/libc10_cuda.so");
        let cuda = ["-Lwrong", "-l:libc10_cuda.so"];
        let source = "int which(void); int w(void) { return which(); }";
        let plain = "int which(void) { return 7; } int w(void) { return which(); }";
        a.lab.library("wrong/own/libprovider.so", if needs { source } else { plain }, if needs { &cuda } else { &[] });
        let opens = "#include <dlfcn.h>\nint opened(void) { void *h = dlopen(\"libprovider.so\", RTLD_NOW); \
                     return h ? ((int (*)(void))dlsym(h, \"w\"))() : -1; }";
        let opener = a.lab.library("wrong/libopener.so", opens, &[flags, "-ldl"]);
        put_plan(&a.lab, &PlanText::new().lib("libc10_cuda.so", &right, "redirect"));
        let own = utf8(&a.lab.path("wrong/own")).to_owned() + ":" + utf8(&a.lab.path("wrong"));
        let search = if variable { own } else { utf8(&a.lab.path("wrong")).to_owned() };
        let script = ["open", utf8(&opener), "l", "call", "opened", "call", "opened"];
        let ran = a.host(&script, &[("LD_LIBRARY_PATH", &search)]);
        let opened = if flags.ends_with("none") {
            -1
        } else if needs {
            2
        } else {
            7
        };
        assert_eq!(
            ran.out,
            format!("open [R]/wrong/libopener.so: ok\nopened: {opened}\nopened: {opened}\n"),
            "{flags}"
        );
        assert_eq!(a.times().len(), usize::from(opened == 2), "{flags}");
    }
}

#[test]
fn ask_for_a_file_whose_needed_files_need_a_cuda_name() {
    let a = asked(ANSWERS);
    let cuda = ["-Lwrong", "-l:libc10_cuda.so"];
    let rpath = "-Wl,-rpath,$ORIGIN";
    let third = a.lab.library("wrong/libthird.so", "int which(void); int w(void) { return which(); }", &cuda);
    let second =
        a.lab.library("wrong/libsecond.so", "int w(void); int v(void) { return w(); }", &[utf8(&third), rpath]);
    let first = a.lab.library("wrong/libfirst.so", "int v(void); int u(void) { return v(); }", &[utf8(&second), rpath]);
    let right = a.lab.path("right/libc10_cuda.so");
    let plan = PlanText::new().lib("libc10_cuda.so", &right, "preload");
    put_plan(&a.lab, &plan.lib("libthird.so", &third, "keep").lib("libsecond.so", &second, "keep"));
    let ran = a.host(&["open", utf8(&first), "l", "call", "u"], &[]);
    assert_eq!((&*ran.out, a.times().len()), ("open [R]/wrong/libfirst.so: ok\nu: 2\n", 1));
}

/// An answer that gives no plan: the loader does as it would, and the binary is not asked again.
fn no_plan(script: &str, says: Option<&str>) {
    let a = asked(script);
    let ran = a.host(&[&OPEN[..], &OPEN].concat(), &[]);
    assert_eq!(ran.out, "open libc10_cuda.so: ok\nwhich: 1\n".repeat(2), "{script}");
    assert_eq!(ran.err.lines().count(), usize::from(says.is_some()), "{script}: {}", ran.err);
    assert!(ran.err.contains(says.unwrap_or_default()), "{script}: {}", ran.err);
    assert_eq!(a.times().len(), 1, "{script}");
}

#[test]
fn ask_empty_answer_is_no_plan() {
    no_plan("exit 0", None);
    no_plan("echo", None);
    no_plan("exec >&-", None);
}

#[test]
fn ask_failure_is_no_plan_and_is_logged() {
    no_plan("echo $root/plan; exit 1", Some("failed: run `cudashim resolve` to see why"));
    no_plan("kill -9 $$", Some("failed: run"));
    no_plan("exec >&-; exit 3", Some("failed: run"));
}

#[test]
fn ask_answer_must_be_one_path() {
    no_plan("echo plan", Some("is not a path"));
    no_plan("echo $root/plan; echo $root/plan", Some("did not answer with a line"));
    no_plan("printf %s $root/plan", Some("did not answer with a line"));
    no_plan("printf '/a\\0b\\n'", Some("did not answer with a line"));
    no_plan("head -c 100000 /dev/zero", Some("answered too much"));
    no_plan("echo $root/none", Some("is refused: it does not exist"));
}

#[test]
fn ask_missing_binary_is_no_plan() {
    let a = asked("");
    fs::remove_file(a.lab.path("asked")).unwrap();
    let ran = a.host(&OPEN, &[]);
    assert_eq!(ran.out, "open libc10_cuda.so: ok\nwhich: 1\n");
    assert!(ran.err.contains("cannot be run: install it there again") && ran.err.lines().count() == 1, "{}", ran.err);
}

#[test]
fn ask_nobody_with_a_plan_or_when_off() {
    let a = asked(ANSWERS);
    let plan = a.lab.path("plan");
    assert_eq!(a.host(&OPEN, &[("CUDASHIM_OFF", "1")]).out, "open libc10_cuda.so: ok\nwhich: 1\n");
    assert_eq!(a.host(&OPEN, &[("CUDASHIM_PLAN", plan.to_str().unwrap())]).out, "open libc10_cuda.so: ok\nwhich: 2\n");
    assert_eq!(a.times(), [""; 0]);
    // An empty answer is not a plan.
    a.host(&OPEN, &[("CUDASHIM_PLAN", "")]);
    assert_eq!(a.times().len(), 1);
}

#[test]
fn ask_passes_a_small_environment() {
    let a = asked("env | sort >$root/env; echo $root/plan");
    let preload = a.shim.to_str().unwrap();
    a.host(
        &OPEN,
        &[
            ("HOME", "/home/x"),
            ("SECRET", "y"),
            ("CUDASHIM_PLACE", "z"),
            ("CUDASHIM_SOME", "1"),
            ("UV_PYTHON", "3.11"),
            ("GLIBC_TUNABLES", "t"),
            ("CUDASHIM_HOST_LD_PRELOAD", "old"),
            ("HOMELESS", "1"),
        ],
    );
    let env = a.lab.read("env");
    let of_shell = ["PWD=", "OLDPWD=", "SHLVL=", "_="];
    let env: Vec<&str> = env.lines().filter(|line| !of_shell.iter().any(|name| line.starts_with(name))).collect();
    let wrong = a.lab.path("wrong");
    assert_eq!(
        env,
        [
            "CUDASHIM_HOST_CUDASHIM_PLACE=z",
            "CUDASHIM_HOST_GLIBC_TUNABLES=t",
            "CUDASHIM_HOST_HOME=/home/x",
            &format!("CUDASHIM_HOST_LD_LIBRARY_PATH={}", wrong.to_str().unwrap()),
            &format!("CUDASHIM_HOST_LD_PRELOAD={preload}"),
            "CUDASHIM_HOST_PATH=/usr/bin:/bin",
            "CUDASHIM_HOST_UV_PYTHON=3.11",
        ]
    );
}

#[test]
fn ask_passes_three_descriptors() {
    let a = asked("for fd in 0 1 2 3 4 5 6 7 8 9; do readlink /proc/$$/fd/$fd; done >>$root/fds; echo $root/plan");
    let leaked = a.lab.path("leaked");
    let ran = a.host(&[&["leak", leaked.to_str().unwrap()], &OPEN[..]].concat(), &[]);
    assert_eq!(ran.out, "leaked: 3\nopen libc10_cuda.so: ok\nwhich: 2\n");
    let fds = a.lab.read("fds");
    let fds: Vec<&str> = fds.lines().collect();
    // 1 is where the shell writes this list to.
    assert_eq!((fds[0], fds[2], fds.len()), ("/dev/null", "/dev/null", 3), "{fds:?}");
}

#[test]
fn ask_leaves_children_signals_and_descriptors_alone() {
    let a = asked(ANSWERS);
    let ran = a.host(&[&["sigchld", "fds"][..], &OPEN, &["fds", "sigchlds"]].concat(), &[]);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines[1..3], ["open libc10_cuda.so: ok", "which: 2"]);
    assert_eq!(lines[0], lines[3]);
    assert_eq!(lines[4], "sigchlds: 0, children: none");
}

/// Process 1 of a container, or a subreaper: what takes too long is not left to it.
#[test]
fn ask_leaves_no_child_to_a_host_that_inherits_them() {
    let a = asked("exec sleep 60");
    let ran = a.host(&[&["subreaper", "sigchld"][..], &OPEN, &["sigchlds"]].concat(), &[]);
    assert_eq!(ran.out, "open libc10_cuda.so: ok\nwhich: 1\nsigchlds: 0, children: none\n", "{}", ran.err);
    assert!(ran.err.contains("took more than two seconds"), "{}", ran.err);
}

#[test]
fn ask_once_for_many_threads() {
    let a = asked(ANSWERS);
    let ran = a.host(&["threads", "libc10_cuda.so"], &[]);
    assert_eq!(ran.out, "threads: 32\n");
    assert_eq!(a.times().len(), 1);
}

#[test]
fn ask_where_the_plan_is_for_another_program() {
    let a = asked(ANSWERS);
    let other = Machine::new();
    let right = a.lab.path("right/libc10_cuda.so");
    let plan = PlanText::new().lib("libc10_cuda.so", &right, "redirect").record(&["program", "/bin/sh"]);
    let plan = put_plan(&other, &plan);
    let ran = a.host(&OPEN, &[("CUDASHIM_PLAN", plan.to_str().unwrap())]);
    assert_eq!(ran.quiet(), "open libc10_cuda.so: ok\nwhich: 2\n");
    assert_eq!(a.times().len(), 1);
    // An answer that is not a plan is logged, and then counts as none.
    let text = a.lab.write("text", "cudashim-plan\t1\nend\t1\n");
    fs::set_permissions(&text, fs::Permissions::from_mode(0o600)).unwrap();
    let ran = a.host(&OPEN, &[("CUDASHIM_PLAN", text.to_str().unwrap())]);
    assert_eq!(ran.out, "open libc10_cuda.so: ok\nwhich: 2\n");
    assert!(ran.err.ends_with("it is text, which `cudashim run --plan FILE` compiles for a program\n"), "{}", ran.err);
}

#[test]
fn ask_answer_for_another_program_is_refused() {
    let a = asked(ANSWERS);
    let right = a.lab.path("right/libc10_cuda.so");
    put_plan(&a.lab, &PlanText::new().lib("libc10_cuda.so", &right, "redirect").record(&["program", "/bin/sh"]));
    let ran = a.host(&OPEN, &[]);
    assert_eq!(ran.out, "open libc10_cuda.so: ok\nwhich: 1\n");
    assert!(ran.err.lines().count() == 1 && ran.err.contains("[R]/plan is not for /"), "{}", ran.err);
}

#[test]
fn ask_reason_is_logged_in_one_line() {
    no_plan("echo '!no set fits: run `cudashim doctor`'", Some("]: no plan: no set fits: run `cudashim doctor`\n"));
}

/// What the process was started with, whatever it did to itself since.
#[test]
fn ask_passes_how_the_process_was_started() {
    let script = "env | grep -E 'VIRTUAL_ENV|HOST_LD_LIB' | sort >>$root/env; echo $root/plan";
    for before in [&["title"][..], &["setenv", "VIRTUAL_ENV", "/new"], &["chdir", "/"]] {
        let a = asked(script);
        let ran = a.host(&[before, &OPEN].concat(), &[("VIRTUAL_ENV", "/old")]);
        assert_eq!(ran.out, "open libc10_cuda.so: ok\nwhich: 2\n", "{before:?} {}", ran.err);
        let host = COMMON.host.to_str().unwrap();
        assert!(a.times()[0].ends_with(host), "{:?}", a.times());
        let env = a.lab.read("env");
        let wrong = a.lab.path("wrong");
        assert_eq!(
            env,
            format!("CUDASHIM_HOST_LD_LIBRARY_PATH={}\nCUDASHIM_HOST_VIRTUAL_ENV=/old\n", wrong.to_str().unwrap())
        );
    }
}

#[test]
fn ask_works_after_setuid() {
    let a = asked(ANSWERS);
    for (path, mode) in [("", 0o755), ("plan", 0o644), ("asked", 0o755)] {
        a.lab.mode(path, mode);
    }
    a.lab.write("asked.log", "");
    a.lab.mode("asked.log", 0o666);
    let ran = a.host(&[&["drop"], &OPEN[..]].concat(), &[]);
    assert_eq!(ran.quiet(), "open libc10_cuda.so: ok\nwhich: 2\n");
}

/// Threads that call during the question wait for the answer: none gets the wrong copy.
#[test]
fn ask_makes_other_threads_wait() {
    let a = asked("i=0; while test $i -lt 100000; do i=$((i+1)); done; echo $root/plan");
    let ran = a.host(&["threads", "libc10_cuda.so", "maps", "libc10_cuda"], &[]);
    assert_eq!(ran.out, "threads: 32\nmaps libc10_cuda: 1\n  [R]/right/libc10_cuda.so\n");
    assert_eq!(a.times().len(), 1);
}

/// A signal that comes to the asking thread, and opens a library itself, and a child that is forked off meanwhile.
#[test]
fn ask_does_not_wait_for_itself() {
    let a = asked("kill -USR1 $2; echo $root/plan");
    let start = std::time::Instant::now();
    let ran = a.host(&[&["signal", "libc10_cuda.so"], &OPEN[..]].concat(), &[]);
    assert!(start.elapsed() < std::time::Duration::from_secs(2), "{:?}", start.elapsed());
    // The handler's call passed as it came; where the wrong copy is mapped by then, it stays.
    assert_eq!(ran.out, "open libc10_cuda.so: ok\nwhich: 1\n", "{}", ran.err);
    // The first waits for the second, who is asked by the child.
    let wait =
        "if mkdir $root/first 2>/dev/null; then until test -e $root/second; do :; done; else touch $root/second; fi";
    let a = asked(&format!("{wait}; echo $root/plan"));
    let ran = a.host(&["fork-while", "libc10_cuda.so", a.lab.path("first").to_str().unwrap()], &[]);
    assert_eq!(ran.out, "which: 2\nchild: 0\nwhich: 2\n", "{}", ran.err);
    assert_eq!(a.times().len(), 2);
}

/// Neither what the host ignores nor what it blocks, which is everything while the question is put.
#[test]
fn ask_passes_no_signal_state() {
    let a = asked("grep -E 'Sig(Blk|Ign)' /proc/self/status >$root/signals");
    let mut command = crate::support::clean_command("/bin/sh");
    command.args(["-c", "trap '' USR1; exec \"$0\" \"$@\""]).arg(&COMMON.host).args(OPEN).env("LD_PRELOAD", &a.shim);
    assert_eq!(a.lab.ran(&mut command).code, Some(0));
    let signals = a.lab.read("signals");
    assert_eq!(signals, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

#[test]
fn ask_gives_up_after_two_seconds() {
    let a = asked("sleep 60");
    let ran = a.host(&OPEN, &[]);
    assert_eq!(ran.out, "open libc10_cuda.so: ok\nwhich: 1\n");
    let says = "took more than two seconds, or answered too much: run `cudashim resolve` once";
    assert!(ran.err.lines().count() == 1 && ran.err.contains(says), "{}", ran.err);
}
