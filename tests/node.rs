//! `cudashim node`: the gate before a job.

use crate::support::*;
use cudashim::internal::diagnose::{NodeAsked, NodeReport, judge_node, node_metrics};
use cudashim::internal::driver::{Devices, DriverResponse, End};
use std::fs;
use yaml_rust2::YamlLoader;

const CUBLAS: &str = "venv/lib/python3.11/site-packages/nvidia/cublas/lib/libcublas.so.12";

/// What the gate says of a machine whose driver gives these answers.
fn judged(machine: &Machine, devices: Devices, gpus: usize) -> NodeReport {
    judge_node(&machine.host(), &NodeAsked { devices, gpus, ..NodeAsked::default() })
}

fn h100s(count: usize) -> Devices {
    answering(vec![device("NVIDIA H100 80GB HBM3", 9, 0); count])
}

/// A machine with an environment and a lock of it, both below its directory.
fn locked() -> (Machine, Venv) {
    let (world, venv) = torch_machine();
    assert_eq!(world.run(["lock", "--python", "venv"]).code, Some(0));
    (world, venv)
}

#[test]
fn a_node_without_a_gpu_is_fit_unless_one_is_required() {
    let machine = Machine::new().file("etc/hostname", "n01\n");
    let fit = machine.run_rooted(["node"]);
    assert_eq!(fit.ok(), "ok: no driver; no GPU\n");
    let none = machine.run_rooted(["node", "--gpus", "1"]);
    assert_eq!((none.code, none.quiet()), (Some(1), "fail: no GPU answers, 1 required\n"));
    assert_eq!(machine.run_rooted(["-q", "node", "--gpus", "1"]).out, "");
    let (code, report) = answer(&mut machine.rooted(["node", "--gpus", "2"]), "node.json");
    assert_eq!((code, report["host"].as_str(), report["required"].as_u64()), (1, Some("n01"), Some(2)));
    assert_eq!(report["findings"][0]["id"], "too-few-gpus");
}

#[test]
fn a_driver_of_one_release_with_its_gpus_is_fit() {
    let machine = with_driver("550.54.15");
    let report = judged(&machine, h100s(8), 8);
    assert_eq!(report.line(), "ok: driver 550.54.15 (CUDA 12.4); 8 GPUs (NVIDIA H100 80GB HBM3)");
    let report = judged(&machine, h100s(7), 8);
    assert_eq!(report.line(), "fail: 7 GPUs answer, 8 required");
    let ok: Vec<_> = report.checks.iter().map(|check| (check.check, check.ok)).collect();
    assert_eq!(ok, [("driver", true), ("libraries", true), ("devices", false)]);
}

#[test]
fn a_driver_of_two_releases_is_not_fit() {
    // The package was upgraded, and the module is still the old one.
    let machine = with_driver("570.124.06").module("550.54.15");
    let line = judged(&machine, Devices::default(), 0).line();
    let says = "fail: the libraries of the driver are of 570.124.06, its loaded kernel module is of 550.54.15";
    assert_eq!(line, says);
}

#[test]
fn a_driver_that_hangs_is_not_fit() {
    let mut devices = h100s(0);
    devices.cuda.as_mut().unwrap().end = End::Hangs;
    let mut nvml = DriverResponse::default();
    nvml.devices = h100s(8).cuda.unwrap().devices;
    devices.nvml = Some(nvml);
    let report = judged(&with_driver("550.54.15"), devices, 8);
    assert_eq!(report.line(), "fail: the driver does not answer: libcuda does not answer");
    assert_eq!(report.gpus, 8);
}

#[test]
fn a_driver_that_was_not_asked_is_not_fit() {
    let unasked = vec!["cannot ask `/x/libcuda.so.1` for its devices: others may write to it".to_owned()];
    let asked = NodeAsked { devices: h100s(1), unasked, ..NodeAsked::default() };
    let report = judge_node(&with_driver("550.54.15").host(), &asked);
    assert_eq!(report.line(), "fail: cannot ask `/x/libcuda.so.1` for its devices: others may write to it");
}

#[test]
fn empty_cut_and_foreign_libraries_of_the_driver_are_found() {
    let nvml = format!("{SYSTEM}/libnvidia-ml.so.550.54.15");
    let whole = with_driver("550.54.15");
    let bytes = fs::read(whole.path(&nvml)).unwrap();
    let mut foreign = bytes.clone();
    // e_machine: 40 is 32-bit ARM, which no machine here is.
    foreign[18] = 40;
    for bytes in [&[][..], &bytes[..bytes.len() / 2], &foreign] {
        let machine = with_driver("550.54.15");
        machine.write(&nvml, bytes);
        let report = judged(&machine, h100s(1), 1);
        let broken = report.checks.iter().find(|check| check.check == "libraries").unwrap();
        assert!(!report.ok && !broken.ok, "{report:#?}");
        assert!(broken.says.starts_with(&format!("`/{SYSTEM}/libnvidia-ml.so")), "{}", broken.says);
    }
    // The 32-bit driver, as a distribution installs it: EI_CLASS is 1, e_machine that of the 386.
    let mut small = bytes;
    (small[4], small[18]) = (1, 3);
    whole.write("usr/lib32/libnvidia-ml.so.1", small);
    let report = judged(&whole, h100s(1), 1);
    assert!(report.ok, "{report:#?}");
}

#[test]
fn a_broken_library_on_the_default_search_counts_without_a_plan() {
    let machine = Machine::new().file(&format!("{SYSTEM}/libnccl.so.2"), "");
    let found = machine.run_rooted(["node"]);
    assert_eq!(found.code, Some(1));
    assert!(found.out.starts_with(&format!("fail: `/{SYSTEM}/libnccl.so.2`: ")), "{}", found.out);
    assert_eq!(found.out.lines().count(), 1);
}

#[test]
fn a_lock_that_holds_is_fit() {
    let (world, _venv) = locked();
    let fit = world.run(["node", "--plan", "cudashim.lock"]);
    assert!(fit.ok().starts_with("ok: `cudashim.lock` holds: 2 libraries for torch 2.5.1+cu124; "), "{}", fit.out);
    let (code, report) = answer(&mut world.cudashim(["node", "--plan", "cudashim.lock"]), "node.json");
    assert_eq!((code, report["checks"][0]["check"].as_str()), (0, Some("plan")));
}

#[test]
fn with_a_plan_other_libraries_are_none_of_it() {
    let (world, _venv) = torch_machine();
    let lock = utf8(&world.path("app.lock")).to_owned();
    assert_eq!(world.run_rooted(["lock", "--python", "/venv", "-o", &lock]).code, Some(0));
    world.write(&format!("{SYSTEM}/libnccl.so.2"), "");
    assert_eq!(world.run_rooted(["node"]).code, Some(1));
    let found = world.run_rooted(["node", "--plan", &lock, "--python", "/venv"]);
    assert_eq!(found.code, Some(0), "{}{}", found.out, found.err);
    // A library of the driver is.
    world.write(&format!("{SYSTEM}/libnvidia-ml.so.1"), "");
    assert_eq!(world.run_rooted(["node", "--plan", &lock, "--python", "/venv"]).code, Some(1));
}

#[test]
fn a_lock_that_does_not_hold_is_a_reason() {
    let (world, _venv) = locked();
    world.write(CUBLAS, "");
    let found = world.run(["node", "--plan", "cudashim.lock"]);
    assert_eq!((found.code, found.out.lines().count()), (Some(1), 1), "{}{}", found.out, found.err);
    assert!(found.out.starts_with("fail: `cudashim.lock` does not hold: libcublas.so.12: "), "{}", found.out);
    fs::remove_file(world.path(CUBLAS)).unwrap();
    let found = world.run(["node", "--plan", "cudashim.lock"]);
    assert!(found.out.ends_with("is gone\n"), "{}", found.out);
    fs::remove_file(world.path(CUBLAS).with_file_name("libcublasLt.so.12")).unwrap();
    let found = world.run(["node", "--plan", "cudashim.lock"]);
    assert!(found.out.ends_with("is gone, and 1 more change\n"), "{}", found.out);
}

/// A file system that lost the content of a file keeps its inode, its size and its times.
#[test]
fn a_library_of_zeros_is_found_though_its_stat_is_that_of_the_plan() {
    let (world, _venv) = torch_machine();
    assert_eq!(world.run(["resolve", "venv", "-o", "job.plan"]).code, Some(0));
    assert_eq!(world.run(["node", "--plan", "job.plan"]).code, Some(0));
    let path = world.path(CUBLAS);
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![0; fs::metadata(&path).unwrap().len() as usize], 0).unwrap();
    file.set_modified(time).unwrap();
    let found = world.run(["node", "--plan", "job.plan"]);
    assert_eq!(found.code, Some(1), "{}", found.out);
    assert!(world.hidden(&found.out).starts_with("fail: `[R]/venv/"), "{}", found.out);
}

#[test]
fn a_lock_that_cannot_be_used_is_a_reason_not_a_pass() {
    let world = Machine::new();
    for (content, says) in [
        (None, "cannot find the lock `a\\nb.lock`"),
        (Some(""), "cannot use the lock `a\\nb.lock`"),
        (Some("cudashim-lock\t9\n"), "cannot use the lock `a\\nb.lock`"),
    ] {
        if let Some(content) = content {
            world.write("a\nb.lock", content);
        }
        let found = world.run(["node", "--plan", "a\nb.lock", "--textfile", "node.prom"]);
        assert_eq!((found.code, found.out.lines().count()), (Some(1), 1), "{}{}", found.out, found.err);
        assert!(found.out.starts_with(&format!("fail: {says}")), "{}", found.out);
        assert!(world.read("node.prom").contains("\ncudashim_node_ok 0\n"));
    }
}

#[test]
fn the_measurements_are_whole_and_the_same_for_the_same_node() {
    let machine = Machine::new();
    let run = || machine.run_rooted(["node", "--textfile", machine.path("home/node.prom").to_str().unwrap()]);
    assert_eq!(run().ok(), "ok: no driver; no GPU\n");
    let text = machine.read("home/node.prom");
    for line in [
        "cudashim_node_ok 1",
        "cudashim_node_check_ok{check=\"driver\"} 1",
        "cudashim_node_gpus 0",
        "# TYPE cudashim_node_info gauge",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}:\n{text}");
    }
    run();
    assert_eq!(machine.read("home/node.prom"), text);
    // Nothing but the file: what was written on the way is gone.
    assert_eq!(fs::read_dir(machine.path("home")).unwrap().count(), 1);
    let report = judged(&with_driver("550.54.15"), h100s(8), 0);
    assert!(node_metrics(&report).contains("driver=\"550.54.15\",cuda=\"12.4\""));
}

#[test]
fn measurements_that_cannot_be_written_are_an_error() {
    let machine = Machine::new();
    let failed = machine.run_rooted(["node", "--textfile", "/no/such/node.prom"]);
    assert_eq!((failed.code, failed.out.as_str()), (Some(2), "ok: no driver; no GPU\n"));
    assert!(failed.err.contains("cannot write the measurements to `/no/such/node.prom`"), "{}", failed.err);
}

/// The whole way: libcuda never returns, and what queried it is killed.
#[test]
#[ignore = "needs user namespaces"]
fn a_driver_that_hangs_is_killed_at_the_limit() {
    let machine = Machine::new();
    let hangs = "#include <unistd.h>\nint cuInit(unsigned f) { for (;;) pause(); }\nint cuDriverGetVersion(int *v) { *v = 12040; return 0; }";
    machine.library("driver/libcuda.so.1", hangs, &[]);
    machine.library("driver/libnvidia-ml.so.1", "int nvmlInit_v2(void) { return 0; }", &[]);
    let mut node = machine.cudashim(["node", "--timeout", "1", "--gpus", "1"]);
    node.env("LD_LIBRARY_PATH", machine.path("driver"));
    // A /dev with the files of a driver, for this process and its children.
    let devices = "mount -t tmpfs none /dev && for name in null nvidiactl nvidia0 nvidia-uvm; do : >/dev/$name; done";
    let seen = Process::of(&mut in_namespaces(&["-rm"], devices, &node));
    assert_eq!(seen.code, Some(1), "{}", seen.err);
    assert!(seen.out.starts_with("fail: the driver does not answer: libcuda does not answer; "), "{}", seen.out);
}

/// Every line of docs/RECIPES.md that starts `cudashim node`, with this machine's lock and no GPU required.
#[test]
fn lines_of_the_recipes_run() {
    let (world, _venv) = locked();
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/RECIPES.md")).unwrap();
    let blocks: Vec<&str> = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let pod = blocks.iter().find(|block| block.starts_with("initContainers:")).unwrap();
    let pod = &YamlLoader::load_from_str(pod).unwrap()[0]["initContainers"][0];
    let of_pod: Vec<&str> = pod["command"].as_vec().unwrap().iter().filter_map(|word| word.as_str()).collect();
    assert_eq!(pod["resources"]["limits"]["nvidia.com/gpu"].as_i64(), Some(1));
    let after = |before: &str| page.split(before).nth(1).unwrap().split(['`', '\n']).next().unwrap();
    let of_prolog = after("\nexec /usr/local/bin/").split(">>").next().unwrap();
    let of_check = after("check_cmd_status -t 25 -r 0 /usr/local/bin/");
    for line in [of_pod.join(" "), of_prolog.to_owned(), of_check.to_owned()] {
        let mut words = line.split_whitespace();
        assert_eq!((words.next(), words.next()), (Some("cudashim"), Some("node")), "{line}");
        let mut arguments = vec!["node"];
        while let Some(word) = words.next() {
            arguments.push(word);
            match (word, words.next().unwrap()) {
                ("--plan", path) if path.ends_with("/cudashim.lock") => arguments.push("cudashim.lock"),
                ("--gpus", number) if number.parse::<u32>().is_ok() => arguments.push("0"),
                other => panic!("{other:?} in {line}"),
            }
        }
        let found = world.run(&arguments);
        assert_eq!(found.code, Some(0), "{line}: {}{}", found.out, found.err);
    }
}
