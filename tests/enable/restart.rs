//! Where mapping the set early is not enough: the interpreter is started anew, once, or it is said why not.

use super::{Lib, Machine, Process, Venv, enabled, environment, hijack, start};
use std::fs;
use std::process::Stdio;

/// cuDNN 8.5 opens `libnvrtc.so`, which no soname answers to: another release's stands on the search path.
fn by_a_bare_name(world: &Machine) -> Venv {
    let venv = environment(world, "venv");
    let library = Lib::new("libtorch_global_deps.so")
        .unversioned()
        .uses("libcudnn_cnn_infer.so.8", &["cudnnConvolutionForward"])
        .link("-rpath,$ORIGIN/../../nvidia/cudnn/lib:$ORIGIN/../../nvidia/cuda_nvrtc/lib")
        .link("--disable-new-dtags");
    let pins = ["nvidia-cudnn-cu11 (==8.5.0.96)", "nvidia-cuda-nvrtc-cu11 (==11.7.99)"];
    venv.torch("1.13.1+cu117", Some("11.7"), &pins, &[("lib/libtorch_global_deps.so", library)]);
    let cnn = Lib::new("libcudnn_cnn_infer.so.8").defines(&["cudnnConvolutionForward"]).link("-rpath,$ORIGIN");
    venv.wheel("nvidia-cudnn-cu11", "8.5.0.96", &[("nvidia/cudnn/lib/libcudnn_cnn_infer.so.8", cnn)]);
    let nvrtc = |release: &str| {
        Lib::new("libnvrtc.so.11.2").defines(&["nvrtcVersion"]).source(&format!("const char *v = \"{release}\";\n"))
    };
    venv.wheel("nvidia-cuda-nvrtc-cu11", "11.7.99", &[("nvidia/cuda_nvrtc/lib/libnvrtc.so.11.2", nvrtc("11.7"))]);
    nvrtc("11.4").build(&hijack(world).join("libnvrtc.so"));
    // What is opened by name is opened when torch is.
    let opens = "import ctypes, os\n\
        here = os.path.dirname(__file__)\n\
        ctypes.CDLL(os.path.join(here, 'lib', 'libtorch_global_deps.so'))\n\
        ctypes.CDLL('libnvrtc.so')\n";
    fs::write(venv.site.join("torch/__init__.py"), opens).unwrap();
    venv
}

const SAY: &str = "import torch, os, sys\nprint([l.split()[-1] for l in open('/proc/self/maps') if 'libnvrtc' in l][0])\n\
    print(sys.argv, sys.flags.isolated, list(sys._xoptions), sys.warnoptions, 'CUDASHIM_RESTARTED' in os.environ)";

#[test]
fn the_interpreter_is_started_anew_as_it_was() {
    let world = Machine::new();
    let venv = by_a_bare_name(&world);
    enabled(&world, &venv);
    let ours = venv.site.join("nvidia/cuda_nvrtc/lib/libnvrtc.so.11.2");
    fs::write(world.path("script.py"), SAY).unwrap();
    for (way, argv, flags) in [
        (vec!["-B", "-c", SAY, "a b", "-I"], "['-c', 'a b', '-I']", "0 [] []"),
        (
            vec!["-B", "-I", "-X", "mine", "-W", "ignore", "script.py", "x"],
            "['script.py', 'x']",
            "1 ['mine'] ['ignore']",
        ),
        (vec!["-B", "-m", "script"], "", "0 [] []"),
    ] {
        let seen = Process::of(start(&world, &venv).args(&way));
        let (first, second) = seen.out.trim().split_once('\n').unwrap_or((&seen.out, ""));
        assert_eq!((first, seen.err.as_str()), (ours.to_str().unwrap(), ""), "{way:?}");
        assert!(second.starts_with(argv) && second.ends_with(&format!(" {flags} False")), "{way:?} {second}");
    }
}

#[test]
fn standard_input_and_descriptors_are_kept() {
    use std::os::fd::AsRawFd;
    let world = Machine::new();
    let venv = by_a_bare_name(&world);
    enabled(&world, &venv);
    fs::write(world.path("input"), "line\n").unwrap();
    let extra = fs::File::open(world.path("input")).unwrap();
    rustix::io::fcntl_setfd(&extra, rustix::io::FdFlags::empty()).unwrap();
    let code = format!("import torch, os, sys; print(sys.stdin.read(), os.read({}, 9))", extra.as_raw_fd());
    let mut command = start(&world, &venv);
    command.args(["-B", "-c", &code]).stdin(Stdio::from(fs::File::open(world.path("input")).unwrap()));
    let seen = command.output().unwrap();
    assert_eq!(String::from_utf8(seen.stdout).unwrap(), "line\n b'line\\n'\n");
    assert!(seen.stderr.is_empty(), "{}", String::from_utf8_lossy(&seen.stderr));
}

/// What was done already would be done twice.
#[test]
fn it_is_said_why_it_is_not_started_anew() {
    let world = Machine::new();
    let venv = by_a_bare_name(&world);
    enabled(&world, &venv);
    for (before, says) in [
        ("print('once', flush=True)", "it has written something"),
        (
            "import threading, time; e = threading.Event(); threading.Thread(target=e.wait, daemon=True).start()",
            "it has threads",
        ),
        ("f = open('/etc/passwd')", "it has opened files"),
        ("import sys; sys.settrace(lambda *a: None)", "a debugger watches it"),
        ("import os; p = os.fork(); p and (os.waitpid(p, 0), os._exit(0))", "it is a forked child"),
        ("import os; os.environ; import sys; sys.flags", ""),
    ] {
        let seen =
            Process::of(start(&world, &venv).args(["-B", "-c", &format!("{before}\nimport torch\nprint('end')")]));
        assert!(seen.code == Some(0) && seen.out.ends_with("end\n"), "{before}: {}", seen.err);
        assert_eq!(seen.out.matches("once").count(), usize::from(before.contains("once")));
        if says.is_empty() {
            assert_eq!(seen.err, "");
        } else {
            assert!(seen.err.contains(says) && seen.err.lines().count() == 1, "{before}: {}", seen.err);
            assert!(seen.err.contains("cudashim run -- "), "{}", seen.err);
        }
    }
}

#[test]
fn a_program_from_standard_input_is_not_started_anew() {
    let world = Machine::new();
    let venv = by_a_bare_name(&world);
    enabled(&world, &venv);
    fs::write(world.path("script.py"), "import torch\nprint('end')\n").unwrap();
    let mut command = start(&world, &venv);
    command.arg("-B").stdin(Stdio::from(fs::File::open(world.path("script.py")).unwrap()));
    let seen = command.output().unwrap();
    assert_eq!(String::from_utf8(seen.stdout).unwrap(), "end\n");
    assert!(String::from_utf8(seen.stderr).unwrap().contains("its program comes from standard input"));
}

/// Bytecode that Python keeps is no output.
#[test]
fn bytecode_that_is_written_is_nothing_that_would_be_done_twice() {
    let world = Machine::new();
    let venv = by_a_bare_name(&world);
    enabled(&world, &venv);
    fs::write(world.path("mine.py"), "x = 1\n").unwrap();
    let seen = Process::of(start(&world, &venv).args(["-c", "import mine, torch; print('end')"]));
    assert_eq!((seen.out.as_str(), seen.err.as_str()), ("end\n", ""));
}
