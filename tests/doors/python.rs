//! A real Python, started in the ways that people and tools start it.

use super::Consumer;
use crate::support::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

/// Asks for cuBLAS, and writes which files of it are mapped.
const ASK: &str = r#"
import ctypes
ctypes.CDLL("libcublas.so.12")
print("\n".join(sorted({line.split()[-1] for line in open("/proc/self/maps") if "/libcublas" in line})), flush=True)
"#;

/// Activates an environment and becomes a command of it, as poetry does: `#!` of another Python.
const LAUNCH: &str = r#"
import os, sys
venv, *command = sys.argv[1:]
os.environ.update(VIRTUAL_ENV=venv, PATH=venv + "/bin:" + os.environ["PATH"])
os.execvp(command[0], command)
"#;

/// Starts a command in an environment of a few variables, as tox does with `pass_env`, and waits.
const PASS: &str = r#"
import os, subprocess, sys
passed = {name: value for name, value in os.environ.items() if name.startswith(("LD_", "CUDASHIM_"))}
venv, *command = sys.argv[1:]
sys.exit(subprocess.run(command, env={**passed, "VIRTUAL_ENV": venv, "PATH": venv + "/bin"}).returncode)
"#;

/// Starts two workers by its own name, as torchrun does.
const WORKERS: &str = r#"
import subprocess, sys
workers = [subprocess.Popen([sys.executable, "ask.py"], stdout=subprocess.PIPE, text=True) for _ in range(2)]
for worker in workers:
    sys.stdout.write(worker.communicate()[0])
sys.exit(max(worker.returncode for worker in workers))
"#;

/// A virtual environment of the tester's Python.
fn venv(world: &Machine, name: &str) -> Venv {
    let ask =
        "import os, sys; print(os.path.realpath(sys.executable), 'python%d.%d' % sys.version_info[:2], sep='\\n')";
    let output = Command::new("python3").args(["-c", ask]).output().unwrap();
    let answer = String::from_utf8(output.stdout).unwrap();
    let (program, release) = answer.trim().split_once('\n').unwrap();
    let (program, dir) = (PathBuf::from(program), world.path(name));
    let site = dir.join("lib").join(release).join("site-packages");
    fs::create_dir_all(&site).unwrap();
    fs::create_dir_all(dir.join("bin")).unwrap();
    let (home, release) = (program.parent().unwrap(), &release["python".len()..]);
    fs::write(dir.join("pyvenv.cfg"), format!("home = {}\nversion = {release}\n", home.display())).unwrap();
    symlink(&program, dir.join("bin/python")).unwrap();
    Venv { dir, site }
}

/// A world with a script that prints what it maps, and the Python of its environment.
fn python() -> (Consumer, Venv) {
    let world = Machine::new();
    let venv = venv(&world, "venv");
    world.write("ask.py", ASK);
    (Consumer::new(world, &venv), venv)
}

/// Another environment, without torch, in which a script is installed.
fn launcher(consumer: &Consumer, script: &str) -> PathBuf {
    let tool = venv(&consumer.world, "tool");

    consumer.world.script("tool/bin/launch", &format!("#!{}{script}", tool.python().display()))
}

#[test]
#[cfg_attr(not(has_python3), ignore = "needs python3")]
fn doors_serve_python_c() {
    let (consumer, venv) = python();
    consumer.words([venv.python().as_os_str(), "-c".as_ref(), ASK.as_ref()]).is_served();
}

#[test]
#[cfg_attr(not(has_python3), ignore = "needs python3")]
fn doors_serve_python_m() {
    let (consumer, venv) = python();
    fs::rename(consumer.world.path("ask.py"), venv.site.join("ask.py")).unwrap();
    consumer.words([venv.python().as_os_str(), "-m".as_ref(), "ask".as_ref()]).is_served();
}

#[test]
#[cfg_attr(not(has_python3), ignore = "needs python3")]
fn doors_serve_a_relative_python() {
    let (consumer, _) = python();
    consumer.words(["venv/bin/python", "ask.py"]).is_served();
}

#[test]
#[cfg_attr(not(has_python3), ignore = "needs python3")]
fn doors_serve_a_shebang_script() {
    let (consumer, venv) = python();
    let script = consumer.world.script("home/ask", &format!("#!{}{ASK}", venv.python().display()));
    consumer.words([script]).is_served();
}

#[test]
#[cfg_attr(not(has_python3), ignore = "needs python3")]
fn doors_serve_a_launcher_of_another_environment() {
    let (consumer, venv) = python();
    let launch = launcher(&consumer, LAUNCH);
    consumer.words([launch.as_os_str(), venv.dir.as_os_str(), "python".as_ref(), "ask.py".as_ref()]).is_served();
}

#[test]
#[cfg_attr(not(has_python3), ignore = "needs python3")]
fn doors_serve_a_launcher_that_passes_few_variables() {
    let (consumer, venv) = python();
    let launch = launcher(&consumer, PASS);
    consumer.words([launch.as_os_str(), venv.dir.as_os_str(), "python".as_ref(), "ask.py".as_ref()]).is_served();
}

#[test]
#[cfg_attr(not(has_python3), ignore = "needs python3")]
fn doors_serve_workers_of_python() {
    let (mut consumer, venv) = python();
    consumer.world.write("workers.py", WORKERS);
    consumer.askers = 2;
    consumer.words([venv.python().as_os_str(), "workers.py".as_ref()]).is_served();
}

#[test]
#[cfg_attr(not(has_python3), ignore = "needs python3")]
fn doors_serve_a_shell() {
    let (consumer, _) = python();
    consumer.words(["/bin/sh", "-c", "venv/bin/python ask.py; true"]).is_served();
}

#[test]
#[cfg_attr(not(all(has_python3, has_make)), ignore = "needs python3 and make")]
fn doors_serve_make() {
    let (consumer, venv) = python();
    let rule = format!("ask:\n\t@{} ask.py\n", venv.python().display());
    consumer.world.write("Makefile", rule);
    consumer.words(["make", "-s", "ask"]).is_served();
}
