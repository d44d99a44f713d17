//! What an enabled environment does however its Python is started.

use super::{Machine, Process, enabled, environment, hijack, start, tree, with_torch};
use std::fs;
use std::process::{Command, Stdio};

const BROKEN: &str = "undefined symbol: cublasLtCreate, version libcublasLt.so.12";
const SAY: &str = "import torch; print('imported')";

#[test]
fn every_way_of_starting_python_is_healed_and_disable_leaves_nothing() {
    let world = Machine::new();
    let venv = with_torch(&world, "venv");
    let before = tree(&venv.dir);
    let bare = Process::of(start(&world, &venv).args(["-B", "-c", SAY]));
    assert!(bare.code == Some(1) && bare.err.contains(BROKEN), "{}", bare.err);
    enabled(&world, &venv);
    fs::write(world.path("script.py"), SAY).unwrap();
    fs::create_dir(world.path("package")).unwrap();
    fs::write(world.path("package/__main__.py"), SAY).unwrap();
    let ways: [&[&str]; 7] = [
        &["-B", "-c", SAY],
        &["-B", "script.py"],
        &["-B", "package"],
        &["-B", "-m", "package"],
        &["-B", "-I", "-c", SAY],
        &["-B", "-E", "-s", "-W", "error", "-X", "utf8", "-c", SAY],
        &["-B", "-O", "-c", SAY],
    ];
    for way in ways {
        let seen = Process::of(start(&world, &venv).args(way));
        assert_eq!((seen.code, seen.out.as_str(), seen.err.as_str()), (Some(0), "imported\n", ""), "{way:?}");
    }
    let file = fs::File::open(world.path("script.py")).unwrap();
    let by_stdin = start(&world, &venv).arg("-B").stdin(Stdio::from(file)).output().unwrap();
    assert_eq!((by_stdin.status.code(), &*by_stdin.stdout), (Some(0), &b"imported\n"[..]));
    // Without `site` there is neither hook nor torch.
    assert_eq!(Process::of(start(&world, &venv).args(["-B", "-S", "-c", "print(1)"])).out, "1\n");
    let seen = Process::of(&mut world.cudashim(["disable", "venv"]));
    assert_eq!(seen.code, Some(0), "{}", seen.err);
    assert_eq!(tree(&venv.dir), before);
}

/// What the environment heals is said to be healed, and is not once it is disabled.
#[test]
fn doctor_and_check_know_an_enabled_environment() {
    let world = Machine::new();
    let venv = with_torch(&world, "venv");
    let fatal = || {
        let ask = |command: &str| {
            let mut command = world.cudashim([command, "--format", "json", "--python", "venv"]);
            Process::of(command.env("LD_LIBRARY_PATH", hijack(&world)))
        };
        let (doctor, check) = (ask("doctor").json(), ask("check"));
        let ids = doctor["findings"].as_array().unwrap().iter().map(|found| found["id"].to_string());
        (ids.collect::<String>().contains("cublaslt-older-wins"), doctor.to_string().contains("healed by"), check.code)
    };
    assert_eq!(fatal(), (true, false, Some(1)));
    enabled(&world, &venv);
    assert_eq!(fatal(), (false, true, Some(0)));
    assert_eq!(Process::of(&mut world.cudashim(["disable", "venv"])).code, Some(0));
    assert_eq!(fatal(), (true, false, Some(1)));
}

#[test]
fn bytecode_of_the_hook_goes_too() {
    let world = Machine::new();
    let venv = with_torch(&world, "venv");
    // What the environment's own modules leave is there before.
    let mut sound = Command::new(venv.python());
    assert_eq!(Process::of(sound.args(["-c", SAY]).env_clear()).out, "imported\n");
    let before = tree(&venv.dir);
    enabled(&world, &venv);
    assert_eq!(Process::of(start(&world, &venv).args(["-c", SAY])).out, "imported\n");
    assert!(venv.site.join("__pycache__").is_dir());
    assert_eq!(Process::of(&mut world.cudashim(["disable", "venv"])).code, Some(0));
    assert_eq!(tree(&venv.dir), before);
}

#[test]
fn processes_that_it_starts_are_healed_each_in_its_own_environment() {
    let world = Machine::new();
    let (venv, other) = (with_torch(&world, "venv"), with_torch(&world, "other"));
    enabled(&world, &venv);
    let script = format!(
        "import multiprocessing, subprocess, sys\n\
         def child(q):\n    import torch\n    q.put('imported')\n\
         if __name__ == '__main__':\n\
         \x20   for way in ('spawn', 'fork', 'forkserver'):\n\
         \x20       context = multiprocessing.get_context(way)\n\
         \x20       queue = context.SimpleQueue()\n\
         \x20       process = context.Process(target=child, args=(queue,))\n\
         \x20       process.start(); process.join()\n\
         \x20       print(way, process.exitcode)\n\
         \x20   print('itself', subprocess.run([sys.executable, '-c', 'import torch']).returncode)\n\
         \x20   print('other', subprocess.run(['{}', '-c', 'import torch'], stderr=subprocess.DEVNULL).returncode)\n",
        other.python().display()
    );
    fs::write(world.path("script.py"), script).unwrap();
    let seen = Process::of(start(&world, &venv).args(["-B", "script.py"]));
    assert_eq!(seen.out, "spawn 0\nfork 0\nforkserver 0\nitself 0\nother 1\n", "{}", seen.err);
}

/// Python 3.15 and later read `cudashim.start`, an entry point a line, and leave the lines of a `.pth` beside it alone (PEP 829).
#[test]
fn the_entry_point_does_what_the_line_does() {
    let world = Machine::new();
    let venv = with_torch(&world, "venv");
    enabled(&world, &venv);
    fs::remove_file(venv.site.join("cudashim.pth")).unwrap();
    assert!(Process::of(start(&world, &venv).args(["-B", "-c", SAY])).err.contains(BROKEN));
    let line = fs::read_to_string(venv.site.join("cudashim.start")).unwrap();
    let code = format!("import pkgutil; pkgutil.resolve_name('{}')(); {SAY}", line.trim());
    let seen = Process::of(start(&world, &venv).args(["-B", "-c", &code]));
    assert_eq!((seen.out.as_str(), seen.err.as_str()), ("imported\n", ""));
}

#[test]
fn without_a_home_it_is_healed_all_the_same() {
    let world = Machine::new();
    let venv = with_torch(&world, "venv");
    enabled(&world, &venv);
    fs::create_dir(world.path("tmp")).unwrap();
    let mut python = start(&world, &venv);
    python.env_remove("HOME").env_remove("CUDASHIM_CACHE").env("TMPDIR", world.path("tmp"));
    let seen = Process::of(python.args(["-B", "-c", SAY]));
    assert_eq!((seen.out.as_str(), seen.err.as_str()), ("imported\n", ""));
}

/// What is read-only is written to by nobody, at no start.
#[test]
fn an_environment_that_cannot_be_written_to_is_healed() {
    let world = Machine::new();
    let venv = with_torch(&world, "venv");
    enabled(&world, &venv);
    let before = tree(&venv.dir);
    // A directory in the place of the one for bytecode stands for a disk that takes no file.
    fs::write(venv.site.join("__pycache__"), "").unwrap();
    let seen = Process::of(start(&world, &venv).args(["-c", SAY]));
    assert_eq!((seen.out.as_str(), seen.err.as_str()), ("imported\n", ""));
    fs::remove_file(venv.site.join("__pycache__")).unwrap();
    let _ = fs::remove_dir_all(venv.site.join("torch/__pycache__"));
    assert_eq!(tree(&venv.dir), before);
}

/// Another set is chosen as soon as the environment is another.
#[test]
fn a_rebuilt_environment_gets_the_set_of_what_it_has_now() {
    let world = Machine::new();
    let venv = with_torch(&world, "venv");
    enabled(&world, &venv);
    let maps = "import torch; print([l.split()[-1] for l in open('/proc/self/maps') if 'libcublasLt' in l][0])";
    let seen = Process::of(start(&world, &venv).args(["-B", "-c", maps]));
    let old = venv.site.join("nvidia/cublas/lib/libcublasLt.so.12");
    assert_eq!(seen.out.trim(), old.display().to_string(), "{}", seen.err);
    let fresh = fs::read(&old).unwrap();
    fs::remove_file(&old).unwrap();
    fs::write(&old, fresh).unwrap();
    let again = Process::of(start(&world, &venv).args(["-B", "-c", maps]));
    assert_eq!((again.out, again.err.as_str()), (seen.out, ""));
}

/// What is there is sound: nothing is opened early, and nothing is said.
#[test]
fn a_sound_environment_is_left_alone() {
    let world = Machine::new();
    let venv = with_torch(&world, "venv");
    enabled(&world, &venv);
    let opened = "import sys, torch; import _cudashim_hook as hook; print(len(hook.handles))";
    let seen = Process::of(start(&world, &venv).args(["-B", "-c", opened]).env_remove("LD_LIBRARY_PATH"));
    assert_eq!((seen.out.as_str(), seen.err.as_str()), ("0\n", ""));
}

/// A module that is asked for and not there is nothing to ask about.
#[test]
fn what_is_not_installed_is_not_asked_about() {
    let world = Machine::new();
    let venv = environment(&world, "venv");
    enabled(&world, &venv);
    fs::remove_file(venv.dir.join("pyvenv.cfg")).unwrap();
    let code = "\ntry:\n    import cupy\nexcept ImportError as error:\n    print(error)";
    fs::write(venv.dir.join("pyvenv.cfg"), format!("home = {}\n", super::python().2.display())).unwrap();
    let seen = Process::of(start(&world, &venv).args(["-B", "-c", code]));
    assert_eq!((seen.out.as_str(), seen.err.as_str()), ("No module named 'cupy'\n", ""));
    assert!(!world.path("cache/plans").exists());
}

#[test]
fn a_binary_that_is_gone_is_one_line_and_the_import_goes_on() {
    let world = Machine::new();
    let venv = with_torch(&world, "venv");
    let binary = world.path("bin/cudashim");
    super::copied(env!("CARGO_BIN_EXE_cudashim").as_ref(), &binary);
    let enable =
        Process::of(Command::new(&binary).args(["-q", "enable", "venv"]).current_dir(world.root()).env_clear());
    assert_eq!(enable.code, Some(0), "{}", enable.err);
    fs::remove_file(&binary).unwrap();
    let seen = Process::of(start(&world, &venv).args(["-B", "-c", SAY]).env_remove("LD_LIBRARY_PATH"));
    assert_eq!((seen.code, seen.out.as_str()), (Some(0), "imported\n"));
    assert_eq!(seen.err.lines().count(), 1, "{}", seen.err);
    assert!(seen.err.starts_with(&format!("cudashim: `{}` is gone", binary.display())), "{}", seen.err);
    let status = Process::of(&mut world.cudashim(["status", "venv"]));
    assert_eq!(status.code, Some(1));
    assert!(status.out.starts_with("broken") && status.out.contains("is gone"), "{}", status.out);
}

#[test]
fn an_environment_that_is_moved_with_its_binary_goes_on() {
    let world = Machine::new();
    let venv = with_torch(&world, "venv");
    let binary = venv.dir.join("bin/cudashim");
    super::copied(env!("CARGO_BIN_EXE_cudashim").as_ref(), &binary);
    let enable =
        Process::of(Command::new(&binary).args(["-q", "enable", "venv"]).current_dir(world.root()).env_clear());
    assert_eq!(enable.code, Some(0), "{}", enable.err);
    fs::rename(&venv.dir, world.path("moved")).unwrap();
    let moved = super::Venv { dir: world.path("moved"), site: venv.site };
    let seen = Process::of(start(&world, &moved).args(["-B", "-c", SAY]));
    assert_eq!((seen.out.as_str(), seen.err.as_str()), ("imported\n", ""));
    assert_eq!(Process::of(&mut world.cudashim(["status", "moved"])).code, Some(0));
}

/// An answer that is none, or never comes whole, is one line.
#[test]
fn a_binary_that_says_nonsense_is_one_line() {
    let world = Machine::new();
    let venv = with_torch(&world, "venv");
    enabled(&world, &venv);
    let hook = venv.site.join("_cudashim_hook.py");
    let text = fs::read_to_string(&hook).unwrap();
    for (script, says) in
        [("exit 3", "is cut"), ("printf 'open\\0'", "is cut"), ("printf 'x\\0end\\0'", "of another version")]
    {
        let (text_file, binary) = (world.path("odd.sh"), world.path("bin/odd"));
        fs::write(&text_file, format!("#!/bin/sh\n{script}\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&text_file, mode).unwrap();
        super::copied(&text_file, &binary);
        let line = text.lines().find(|line| line.starts_with("BINARY = ")).unwrap();
        fs::write(&hook, text.replace(line, &format!("BINARY = '{}'", binary.display()))).unwrap();
        let seen = Process::of(start(&world, &venv).args(["-B", "-c", SAY]).env_remove("LD_LIBRARY_PATH"));
        assert_eq!(
            (seen.code, seen.out.as_str(), seen.err.lines().count()),
            (Some(0), "imported\n", 1),
            "{}",
            seen.err
        );
        assert!(seen.err.contains(says), "{}", seen.err);
    }
}

/// Under `run`, or switched off, it is as if it were not there.
#[test]
fn where_the_shim_is_in_force_nothing_is_asked() {
    let world = Machine::new();
    let venv = with_torch(&world, "venv");
    enabled(&world, &venv);
    fs::write(venv.site.join("_cudashim_hook.py"), "BINARY = '/nowhere'\n".to_owned() + hook_source(&venv).as_str())
        .unwrap();
    let off = Process::of(
        start(&world, &venv).args(["-B", "-c", SAY]).env("CUDASHIM_OFF", "1").env_remove("LD_LIBRARY_PATH"),
    );
    assert_eq!((off.out.as_str(), off.err.as_str()), ("imported\n", ""));
    let mut run = world.cudashim(["run", "--"]);
    run.arg(venv.python()).args(["-B", "-c", SAY]).env("LD_LIBRARY_PATH", hijack(&world));
    let seen = Process::of(&mut run);
    assert_eq!((seen.out.as_str(), seen.err.as_str()), ("imported\n", ""));
}

fn hook_source(venv: &super::Venv) -> String {
    fs::read_to_string(venv.site.join("_cudashim_hook.py")).unwrap().replace("\nBINARY = ", "\nWAS = ")
}

/// A library of the set that is mapped from elsewhere already is said, and no second copy is mapped.
#[test]
fn what_is_mapped_already_is_said() {
    let world = Machine::new();
    let venv = with_torch(&world, "venv");
    enabled(&world, &venv);
    let code = format!(
        "import ctypes; ctypes.CDLL('{}/libcublasLt.so.12')\ntry:\n    import torch\nexcept OSError as e: print('failed')",
        hijack(&world).display()
    );
    let seen = Process::of(start(&world, &venv).args(["-B", "-c", &code]));
    assert_eq!(seen.out, "failed\n");
    let ours = venv.site.join("nvidia/cublas/lib/libcublasLt.so.12");
    let says = format!(
        "cudashim: libcublasLt.so.12 is mapped from `{}/libcublasLt.so.12` already, and the set has `{}`: import torch first\n",
        hijack(&world).display(),
        ours.display()
    );
    assert_eq!(seen.err, says);
}

/// A second interpreter in the process has a hook of its own.
#[test]
fn a_subinterpreter_is_healed() {
    let world = Machine::new();
    let venv = with_torch(&world, "venv");
    enabled(&world, &venv);
    let code = "import sys\n\
        module = '_interpreters' if sys.version_info >= (3, 13) else '_xxsubinterpreters'\n\
        subs = __import__(module)\n\
        one = subs.create()\n\
        found = subs.run_string(one, \"import torch; print('imported', flush=True)\")\n\
        print(found)";
    let seen = Process::of(start(&world, &venv).args(["-B", "-c", code]));
    // `_ctypes` refuses to be imported twice in some releases; what matters is that nothing of ours ends the import.
    assert!(seen.out.starts_with("imported") || !seen.err.contains("_cudashim_hook"), "{}{}", seen.out, seen.err);
}
