//! Kernels of Jupyter, conda, and the lines that a person writes.

use super::{Machine, Process, environment, hijack, tree, with_torch};
use std::fs;
use std::path::Path;
use std::process::Command;

const KERNEL: &str = "{\n \"argv\": [\"python\", \"-m\", \"ipykernel_launcher\", \"-f\", \"{connection_file}\"],\n \"display_name\": \"Python 3\",\n \"env\": {\"A\": \"1\"}\n}\n";

fn kernel(venv: &super::Venv) -> std::path::PathBuf {
    let dir = venv.dir.join("share/jupyter/kernels/python3");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("kernel.json"), KERNEL).unwrap();
    dir
}

#[test]
fn a_kernel_starts_with_the_shim_and_is_put_back_byte_for_byte() {
    let world = Machine::new();
    let venv = environment(&world, "venv");
    let dir = kernel(&venv);
    let before = tree(&venv.dir);
    // Twice: what it was before is not forgotten.
    for _ in 0..2 {
        let seen = Process::of(&mut world.cudashim(["enable", "venv", "--jupyter"]));
        assert_eq!(seen.code, Some(0), "{}", seen.err);
        let spec: serde_json::Value = serde_json::from_slice(&fs::read(dir.join("kernel.json")).unwrap()).unwrap();
        assert_eq!(spec["env"]["LD_PRELOAD"], dir.join("libcudashim.so").to_str().unwrap());
        assert_eq!((&spec["env"]["A"], &spec["display_name"]), (&"1".into(), &"Python 3".into()));
    }
    let status = Process::of(&mut world.cudashim(["status", "venv"]));
    assert!(status.code == Some(0) && status.out.contains("jupyter"), "{}", status.out);
    let seen = Process::of(&mut world.cudashim(["disable", "venv", "--jupyter", "python3"]));
    assert_eq!(seen.code, Some(0), "{}", seen.err);
    assert_eq!(tree(&venv.dir), before);
}

#[test]
fn a_kernel_that_was_changed_since_keeps_the_change() {
    let world = Machine::new();
    let venv = environment(&world, "venv");
    let dir = kernel(&venv);
    assert_eq!(Process::of(&mut world.cudashim(["enable", "venv", "--jupyter"])).code, Some(0));
    let text = fs::read_to_string(dir.join("kernel.json")).unwrap().replace("Python 3", "Mine");
    fs::write(dir.join("kernel.json"), text).unwrap();
    assert_eq!(Process::of(&mut world.cudashim(["disable", "venv", "--jupyter"])).code, Some(0));
    let spec: serde_json::Value = serde_json::from_slice(&fs::read(dir.join("kernel.json")).unwrap()).unwrap();
    assert_eq!((&spec["display_name"], &spec["env"]), (&"Mine".into(), &serde_json::json!({"A": "1"})));
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
}

#[test]
fn a_kernel_that_is_not_there_is_said_to() {
    let world = Machine::new();
    let venv = environment(&world, "venv");
    let none = Process::of(&mut world.cudashim(["enable", "venv", "--jupyter"]));
    assert!(none.code == Some(2) && none.err.contains("cannot find a kernel"), "{}", none.err);
    kernel(&venv);
    let other = Process::of(&mut world.cudashim(["enable", "venv", "--jupyter", "r"]));
    assert!(other.code == Some(2) && other.err.contains("there are `python3`"), "{}", other.err);
    fs::write(venv.dir.join("share/jupyter/kernels/python3/kernel.json"), "[]").unwrap();
    let odd = Process::of(&mut world.cudashim(["enable", "venv", "--jupyter"]));
    assert!(odd.code == Some(2) && odd.err.contains("is no description of a kernel"), "{}", odd.err);
}

#[test]
fn conda_hands_the_set_to_what_is_started_between_activate_and_deactivate() {
    let world = Machine::new();
    let venv = with_torch(&world, "venv");
    fs::create_dir(venv.dir.join("conda-meta")).unwrap();
    let before = tree(&venv.dir);
    let seen = Process::of(&mut world.cudashim(["enable", "venv", "--conda"]));
    assert_eq!(seen.code, Some(0), "{}", seen.err);
    let script = ". etc/conda/activate.d/cudashim.sh; bin/python -B -c 'import torch; print(1)'; echo \"$LD_PRELOAD\"; \
         . etc/conda/deactivate.d/cudashim.sh; echo \"${LD_PRELOAD-none}\"";
    for (set, left) in [(None, "none"), (Some("/nowhere/libx.so"), "/nowhere/libx.so")] {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script]).env_clear().env("CONDA_PREFIX", &venv.dir).env("PATH", "/usr/bin:/bin");
        shell.env("CUDASHIM_CACHE", world.path("cache")).env("LD_LIBRARY_PATH", hijack(&world)).current_dir(&venv.dir);
        set.map(|set| shell.env("LD_PRELOAD", set));
        let seen = Process::of(&mut shell);
        let shim = venv.dir.join("lib/cudashim/libcudashim.so").display().to_string();
        let listed = set.map_or(shim.clone(), |set| format!("{shim}:{set}"));
        assert_eq!(seen.out, format!("1\n{listed}\n{left}\n"), "{}", seen.err);
    }
    assert_eq!(Process::of(&mut world.cudashim(["disable", "venv", "--conda"])).code, Some(0));
    assert_eq!(tree(&venv.dir), before);
}

/// The lines of a kind.
fn lines(world: &Machine, kind: &str) -> String {
    let seen = Process::of(&mut world.cudashim(["enable", "--print", kind]));
    assert_eq!((seen.code, seen.err.as_str()), (Some(0), ""), "{kind}");
    seen.out
}

fn has(program: &str) -> Option<std::path::PathBuf> {
    let dirs = ["/bin", "/usr/bin", "/usr/local/bin", "/usr/share/lmod/lmod/libexec"];
    dirs.iter().map(|dir| Path::new(dir).join(program)).find(|path| path.is_file())
}

#[test]
fn shells_read_the_lines() {
    let world = Machine::new();
    let shim = Process::of(&mut world.cudashim(["shim"])).out;
    for shell in ["bash", "zsh", "fish"] {
        let text = lines(&world, shell);
        let Some(program) = has(shell) else {
            eprintln!("{shell} is not there: its lines are not tried");
            continue;
        };
        let seen = Process::of(Command::new(program).args(["-c", &format!("{text}/usr/bin/env")]).env_clear());
        assert!(seen.out.contains(&format!("LD_PRELOAD={}", shim.trim())), "{shell}: {}{}", seen.out, seen.err);
    }
}

#[test]
fn tools_read_the_lines() {
    let world = Machine::new();
    let shim = Process::of(&mut world.cudashim(["shim"])).out;
    let vscode: serde_json::Value = serde_json::from_str(&lines(&world, "vscode")).unwrap();
    assert_eq!(vscode["terminal.integrated.env.linux"]["LD_PRELOAD"], shim.trim());
    let unit = format!("{}ExecStart=/bin/true\n", lines(&world, "systemd"));
    let file = world.path("cudashim-test.service");
    fs::write(&file, unit).unwrap();
    match has("systemd-analyze") {
        Some(program) => {
            let seen = Process::of(Command::new(program).arg("verify").arg(&file).env("SYSTEMD_LOG_LEVEL", "warning"));
            assert!(!seen.err.contains("cudashim-test.service:"), "{}", seen.err);
        }
        None => eprintln!("systemd-analyze is not there: its lines are not tried"),
    }
    let envrc = lines(&world, "direnv");
    match has("direnv") {
        Some(program) => {
            fs::write(world.path("home/.envrc"), &envrc).unwrap();
            let run = |arguments: &[&str]| {
                let mut command = Command::new(&program);
                command.args(arguments).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", world.path("home"));
                Process::of(command.current_dir(world.path("home")))
            };
            assert_eq!(run(&["allow"]).code, Some(0));
            let seen = run(&["exec", ".", "env"]);
            assert!(seen.out.contains(&format!("LD_PRELOAD={}", shim.trim())), "{}{}", seen.out, seen.err);
        }
        None => eprintln!("direnv is not there: its lines are not tried"),
    }
    let module = lines(&world, "modulefile");
    match has("lmod") {
        Some(program) => {
            fs::create_dir(world.path("modules")).unwrap();
            fs::write(world.path("modules/cudashim"), &module).unwrap();
            let mut command = Command::new(program);
            command.args(["bash", "load", "cudashim"]).env_clear().env("PATH", "/usr/bin:/bin");
            let seen = Process::of(command.env("HOME", world.path("home")).env("MODULEPATH", world.path("modules")));
            assert!(seen.out.contains(&format!("LD_PRELOAD={}", shim.trim())), "{}{}", seen.out, seen.err);
        }
        None => eprintln!("lmod is not there: its lines are not tried"),
    }
    assert!(lines(&world, "slurm").starts_with("#SBATCH "));
}

/// The lines for a Dockerfile: a file at a place that stays, and the variable that names it.
#[test]
fn the_shim_is_written_to_a_file_of_ones_own() {
    let world = Machine::new();
    let venv = with_torch(&world, "venv");
    let file = world.path("opt/libcudashim.so");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    assert!(lines(&world, "docker").contains("RUN cudashim shim --output "));
    let seen = Process::of(world.cudashim(["shim", "--output"]).arg(&file));
    assert_eq!((seen.code, seen.out.as_str(), seen.err.as_str()), (Some(0), "", ""));
    let mut python = super::start(&world, &venv);
    let seen = Process::of(python.args(["-B", "-c", "import torch; print(1)"]).env("LD_PRELOAD", &file));
    assert_eq!((seen.out.as_str(), seen.err.as_str()), ("1\n", ""));
}
