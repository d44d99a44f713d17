//! Strangers: objects that open or need a name of the plan without being one of its objects.

use crate::support::*;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use cudashim::internal::launch::shim::image_for;

use super::{COMMON, DOORS, host, put_plan};

/// The right copy is the plan's; a plugin has the wrong one beside itself, needs it, and opens it by name.
struct Plugin {
    lab: Machine,
    shim: PathBuf,
    plugin: PathBuf,
    opener: PathBuf,
    plan: PathBuf,
}

/// `says`: the binary's answer, a line of sh. The plugin is an object of the plan where `proven`.
fn plugin(says: &str, proven: bool) -> Plugin {
    let lab = Machine::new();
    let right = lab.copy("right/libone.so.1", 2);
    let wrong = lab.copy("wrong/libone.so.1", 1);
    let rpath = "-Wl,-rpath,$ORIGIN";
    let needs = "int which(void); int sum(void) { return 10 * which(); }";
    let plugin = lab.library("wrong/libplugin.so", needs, &[utf8(&wrong), rpath]);
    let opens = "#include <dlfcn.h>\nint opened(void) { void *h = dlopen(\"libone.so.1\", RTLD_NOW); \
                 return h ? 10 * ((int (*)(void))dlsym(h, \"which\"))() : -1; }";
    let opener = lab.library("wrong/libopener.so", opens, &[rpath, "-ldl"]);
    let binary = lab.write("asked", format!("#!/bin/sh\necho \"$@\" >>{}/log\n{says}\n", utf8(lab.root())));
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    let shim = lab.write("libshim.so", image_for(Some(&binary)).unwrap());
    let plan = PlanText::new().lib("libone.so.1", &right, "preload").record(&["object", utf8(&COMMON.host)]);
    let objects = if proven { vec![&plugin, &opener] } else { Vec::new() };
    let plan = objects.iter().fold(plan, |plan, path| plan.record(&["object", utf8(path)]));
    let plan = put_plan(&lab, &plan);
    Plugin { lab, shim, plugin, opener, plan }
}

impl Plugin {
    fn run(&self, door: &str, script: &[&str]) -> Process {
        let mut command = clean_command(&COMMON.host);
        command.args(script).env(door, &self.shim).env("CUDASHIM_PLAN", &self.plan);
        self.lab.ran(&mut command)
    }

    /// What the plugin makes of the library that it needs, and of the one that it opens by name.
    fn both(&self, door: &str) -> [String; 2] {
        let needs = self.run(door, &["open", utf8(&self.plugin), "l", "call", "sum"]);
        let opens = self.run(door, &["open", utf8(&self.opener), "l", "call", "opened"]);
        [needs, opens].map(|ran| {
            assert_eq!(ran.code, Some(0), "{}", ran.err);
            ran.out.lines().last().unwrap().to_owned()
        })
    }

    /// The questions, without the number of the process.
    fn questions(&self) -> Vec<String> {
        let log = fs::read_to_string(self.lab.path("log")).unwrap_or_default();
        let _ = fs::remove_file(self.lab.path("log"));
        let clean =
            |line: &str| line.split(' ').skip(2).collect::<Vec<_>>().join(" ").replace(utf8(self.lab.root()), "[R]");
        log.lines().map(clean).collect()
    }
}

const OWN: [&str; 2] = ["sum: 10", "opened: 10"];
const SET: [&str; 2] = ["sum: 20", "opened: 20"];

#[test]
fn stranger_question_is_not_put_for_objects_of_the_plan() {
    let p = plugin("echo own", true);
    for door in DOORS {
        assert_eq!((p.both(door), p.questions()), (SET.map(str::to_owned), vec![]), "{door}");
    }
}

#[test]
fn stranger_question_is_put_to_the_binary() {
    let host = utf8(&COMMON.host);
    for (says, served) in [("echo own", OWN), ("echo set", SET), ("echo", OWN), ("exit 3", OWN), ("echo !no", OWN)] {
        let p = plugin(says, false);
        for door in DOORS {
            assert_eq!(p.both(door), served, "{door} {says}");
            let object = format!("{host} [R]/plan [R]/wrong/libplugin.so");
            let name = format!("{host} [R]/plan [R]/wrong/libopener.so libone.so.1");
            assert_eq!(p.questions(), [object, name], "{door} {says}");
        }
    }
}

/// The loader would not find it by that name.
#[test]
fn stranger_does_not_get_a_mapped_library_without_soname() {
    let lab = Machine::new();
    let bare = |path: &str, which: u32| {
        lab.mkdir(path.rsplit_once('/').unwrap().0);
        lab.program(path, &format!("int which(void) {{ return {which}; }}"), &["-shared", "-fPIC"])
    };
    let (right, _) = (bare("right/libbare.so", 6), bare("wrong/libbare.so", 9));
    let opens = "#include <dlfcn.h>\nint opened(void) { void *h = dlopen(\"libbare.so\", RTLD_NOW); \
                 return h ? ((int (*)(void))dlsym(h, \"which\"))() : -1; }";
    let opener = lab.library("wrong/libopener.so", opens, &["-Wl,-rpath,$ORIGIN", "-ldl"]);
    let plan = PlanText::new().lib("libbare.so", &right, "redirect").record(&["object", utf8(&COMMON.host)]);
    let script = ["open", utf8(&right), "l", "open", utf8(&opener), "l", "call", "opened"];
    let ran = lab.ran(host(&script).env("CUDASHIM_PLAN", put_plan(&lab, &plan)));
    assert!(ran.out.ends_with("opened: 9\n"), "{}{}", ran.out, ran.err);
}

/// What was looked for in vain takes no room of theirs.
#[test]
fn stranger_question_is_put_after_many_names() {
    let p = plugin("echo set", false);
    let names: Vec<String> = (0..600).map(|number| format!("libnone{number}.so")).collect();
    let mut script: Vec<&str> = names.iter().flat_map(|name| ["open", name, "l"]).collect();
    script.extend(["open", utf8(&p.opener), "l", "call", "opened"]);
    let ran = p.run("LD_PRELOAD", &script);
    assert!(ran.out.ends_with("opened: 20\n"), "{}{}", ran.out, ran.err);
}

#[test]
fn stranger_is_left_to_the_loader_without_a_binary() {
    let mut p = plugin("echo set", false);
    p.shim.clone_from(&COMMON.shim);
    for door in DOORS {
        assert_eq!((p.both(door), p.questions()), (OWN.map(str::to_owned), vec![]), "{door}");
    }
}

#[test]
fn stranger_question_is_put_once() {
    let p = plugin("echo own", false);
    let plugin = utf8(&p.plugin);
    let script = ["open", plugin, "l", "close", "open", plugin, "l", "close", "threads", plugin];
    for door in DOORS {
        assert!(p.run(door, &script).out.ends_with("threads: 32\n"), "{door}");
        assert_eq!(p.questions().len(), 1, "{door}");
    }
}

#[test]
fn stranger_that_needs_nothing_of_the_plan_costs_nothing() {
    let p = plugin("echo set", false);
    let other = p.lab.copy("wrong/libother.so", 5);
    for door in DOORS {
        let ran = p.run(door, &["open", utf8(&other), "l", "call", "which", "open", "libm.so.6", "l"]);
        assert_eq!((ran.code, p.questions()), (Some(0), vec![]), "{door}");
    }
}

/// Opened by a bare name that only the run path of its opener leads to, kept by the plan or unknown to it: judged as the
/// file that it is.
#[test]
fn stranger_opens_a_consumer_by_a_bare_name() {
    for (kept, proven) in [(true, true), (false, true), (true, false), (false, false)] {
        let p = plugin("echo own", proven);
        let opens = "#include <dlfcn.h>\nint opened(void) { void *h = dlopen(\"libplugin.so\", RTLD_NOW); \
                     return h ? ((int (*)(void))dlsym(h, \"sum\"))() : -1; }";
        let opener = p.lab.library("wrong/libother.so", opens, &["-Wl,-rpath,$ORIGIN", "-ldl"]);
        let mut plan = PlanText::new().lib("libone.so.1", &p.lab.path("right/libone.so.1"), "preload");
        if kept {
            plan = plan.lib("libplugin.so", &p.plugin, "keep");
        }
        let object = if proven { utf8(&p.plugin) } else { utf8(&COMMON.host) };
        put_plan(&p.lab, &plan.record(&["object", object]));
        let script = ["open", utf8(&opener), "l", "call", "opened"];
        for door in DOORS {
            let ran = p.run(door, &script);
            let sum = if kept || proven { 20 } else { 10 };
            assert_eq!(ran.out, format!("open [R]/wrong/libother.so: ok\nopened: {sum}\n"), "{door} {kept} {proven}");
            assert_eq!(p.questions().len(), usize::from(!kept && !proven), "{door} {kept} {proven}");
        }
    }
}

/// A kept name, opened by a stranger whose run path leads to another file: what the plan's file needs is not brought along.
#[test]
fn stranger_opens_its_own_file_by_a_kept_name() {
    let p = plugin("echo own", true);
    p.lab.library("own/libplugin.so", "int sum(void) { return 3; }", &[]);
    let opens = "#include <dlfcn.h>\nint opened(void) { void *h = dlopen(\"libplugin.so\", RTLD_NOW); \
                 return h ? ((int (*)(void))dlsym(h, \"sum\"))() : -1; }";
    let opener = p.lab.library("own/libother.so", opens, &["-Wl,-rpath,$ORIGIN", "-ldl"]);
    let plan = PlanText::new().lib("libone.so.1", &p.lab.path("right/libone.so.1"), "preload").lib(
        "libplugin.so",
        &p.plugin,
        "keep",
    );
    put_plan(&p.lab, &plan.record(&["object", utf8(&COMMON.host)]));
    for door in DOORS {
        let ran = p.run(door, &["open", utf8(&opener), "l", "call", "opened", "maps", "libone"]);
        assert_eq!(ran.out, "open [R]/own/libother.so: ok\nopened: 3\nmaps libone: 0\n", "{door}");
        assert_eq!(p.questions().len(), 0, "{door}");
    }
}

/// A mapped soname resolves for every consumer: there is nothing to ask.
#[test]
fn stranger_question_is_not_put_for_what_is_mapped() {
    let p = plugin("echo own", false);
    for door in DOORS {
        for (object, call) in [(&p.plugin, "sum"), (&p.opener, "opened")] {
            let ran = p.run(door, &["open", "libone.so.1", "l", "open", utf8(object), "l", "call", call]);
            assert_eq!((ran.out.lines().last(), p.questions()), (Some(&*format!("{call}: 20")), vec![]), "{door}");
        }
    }
}

/// A question that fails is the last one: the next stranger shall not wait for the same failure.
#[test]
fn stranger_question_is_not_put_after_a_failure() {
    let p = plugin("exit 3", false);
    let script = ["open", utf8(&p.plugin), "l", "open", utf8(&p.opener), "l", "call", "opened"];
    let second = p.lab.path("wrong/libsecond.so");
    fs::copy(&p.plugin, &second).unwrap();
    for door in DOORS {
        let ran = p.run(door, &[&["open", utf8(&second), "l", "close"], &script[..]].concat());
        assert_eq!((p.questions().len(), ran.err.lines().count()), (1, 1), "{door}: {}", ran.err);
        assert!(ran.err.contains("no plan: ") && ran.err.contains("run `cudashim resolve`"), "{door}: {}", ran.err);
    }
}

/// Kept libraries are for the plan's own objects: a stranger uses its run path, whatever the binary answers.
#[test]
fn stranger_does_not_get_kept_libraries() {
    let lab = Machine::new();
    let kept = lab.copy("kept/libone.so.1", 2);
    let own = lab.copy("other/libone.so.1", 3);
    let uses = "int which(void); int sum(void) { return 10 * which(); }";
    let user = lab.library("other/libuser.so", uses, &[utf8(&own), "-Wl,-rpath,$ORIGIN"]);
    let plan = |object| PlanText::new().lib("libone.so.1", &kept, "keep").record(&["object", object]);
    for door in DOORS {
        for (object, sum) in [(utf8(&user), 20), (utf8(&COMMON.host), 30)] {
            let mut command = host(&["open", utf8(&user), "l", "call", "sum"]);
            command
                .env_remove("LD_PRELOAD")
                .env(door, &COMMON.shim)
                .env("CUDASHIM_PLAN", put_plan(&lab, &plan(object)));
            assert_eq!(lab.ran(&mut command).out, format!("open [R]/other/libuser.so: ok\nsum: {sum}\n"), "{door}");
        }
    }
}
