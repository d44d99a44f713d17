//! `cudashim doctor -- CMD`: the command as it would be without us, then its failure explained.

use crate::support::*;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};

const NCCL: &str = "ImportError: /x/libtorch_cuda.so: undefined symbol: ncclMemFree";

fn attend(world: &Machine, script: &str) -> Command {
    let mut command = world.cudashim(["doctor", "--", "/bin/sh", "-c", script]);
    command.env("PATH", "/usr/bin:/bin");
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn done(world: &Machine, script: &str) -> Output {
    attend(world, script).output().unwrap()
}

#[test]
fn doctor_command_keeps_output_and_exit_code() {
    let world = Machine::new();
    let output = done(&world, "printf 'a\\0b\\377'; printf 'e\\r' >&2; exit 0");
    assert_eq!(output.stdout, b"a\0b\xff");
    assert_eq!(output.stderr, b"e\r");
    assert_eq!(output.status.code(), Some(0));
    let output = done(&world, &format!("echo out; echo '{NCCL}' >&2; exit 3"));
    assert_eq!(text(&output.stdout), "out\n");
    assert_eq!(output.status.code(), Some(3));
    let said = text(&output.stderr);
    let explained = said.strip_prefix(&format!("{NCCL}\n\ncudashim doctor:\n")).unwrap();
    assert!(explained.contains("[nccl-older-wins]"), "{explained}");
    assert!(explained.contains(NCCL), "{explained}");
    // stdout is read, too.
    let output = done(&world, &format!("echo '{NCCL}'; exit 1"));
    assert!(text(&output.stderr).contains("[nccl-older-wins]"));
}

#[test]
fn doctor_command_that_succeeds_is_explained_only_after_a_fallback() {
    let world = Machine::new();
    assert_eq!(done(&world, "echo fine >&2").stderr, b"fine\n");
    let fell_back = "Failed to create CUDAExecutionProvider. Require cuDNN 9.* and CUDA 12.*";
    let output = done(&world, &format!("echo '{fell_back}' >&2"));
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("[ort-cuda-ep-missing-lib]"), "{}", text(&output.stderr));
}

#[test]
fn doctor_command_exit_codes_are_those_of_env() {
    let world = Machine::new();
    assert_eq!(world.cudashim(["doctor", "--", "no-such-command"]).output().unwrap().status.code(), Some(127));
    assert_eq!(world.cudashim(["doctor", "--", "/"]).output().unwrap().status.code(), Some(126));
    assert_eq!(world.rooted(["doctor", "--", "/bin/sh"]).output().unwrap().status.code(), Some(125));
}

#[test]
fn doctor_command_signal_becomes_128_plus_n() {
    let world = Machine::new();
    // SIGABRT is a failure; one that somebody ended needs no explanation.
    let output = done(&world, "kill -ABRT $$");
    assert_eq!(output.status.code(), Some(128 + 6));
    assert!(text(&output.stderr).contains("cudashim doctor:\n"), "{}", text(&output.stderr));
    let output = done(&world, "kill -TERM $$");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(128 + 15), ""));
}

#[test]
fn doctor_command_gets_signals() {
    let world = Machine::new();
    let mut command = attend(&world, "trap 'echo caught; exit 7' TERM; echo ready; while :; do read line; done");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut ready = [0; 6];
    output.read_exact(&mut ready).unwrap();
    assert_eq!(&ready, b"ready\n");
    let pid = child.id().to_string();
    assert!(Command::new("/bin/kill").args(["-TERM", &pid]).status().unwrap().success());
    // The shell acts on a signal once its `read` returns.
    let mut said = String::new();
    let writer = std::thread::spawn(move || while input.write_all(b"\n").is_ok() {});
    output.read_to_string(&mut said).unwrap();
    writer.join().unwrap();
    let status = child.wait().unwrap();
    assert_eq!((status.code(), status.signal(), said.as_str()), (Some(7), None, "caught\n"));
}

#[test]
fn doctor_command_passes_input_and_much_output() {
    let world = Machine::new();
    let mut command = attend(&world, "cat; cat /dev/zero | head -c 20000000");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"typed").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.stdout.starts_with(b"typed\0") && output.stdout.len() == 20_000_005, "{}", output.stdout.len());
    assert!(output.status.success());
    // Who no longer listens ends the command, as a pipe does.
    let mut child = attend(&world, "while :; do echo more || exit 9; done").stdout(Stdio::piped()).spawn().unwrap();
    let mut some = [0; 5];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let status = child.wait().unwrap();
    assert_eq!((&some, status.code()), (b"more\n", Some(128 + 13)));
}

#[test]
fn doctor_command_background_process_is_not_awaited() {
    let world = Machine::new();
    // It holds the channels until this test has seen the end of the command.
    let script = format!("cat <&3 & echo out; echo '{NCCL}' >&2; exit 3");
    let mut command = attend(&world, &format!("exec 3<&0; {script}"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let held = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    assert_eq!((text(&output.stdout), output.status.code()), ("out\n", Some(3)));
    let said = text(&output.stderr);
    assert!(said.starts_with(NCCL) && said.contains("background processes are still running"), "{said}");
    assert!(said.contains("[nccl-older-wins]"), "{said}");
    drop(held);
}

#[test]
#[ignore = "needs script"]
fn doctor_command_stop_works_with_job_control() {
    let world = Machine::new();
    let doctor = env!("CARGO_BIN_EXE_cudashim");
    let stops = world.path("stops");
    std::fs::write(&stops, "kill -STOP $$; echo on; exit 5\n").unwrap();
    // A shell with job control sees the stop, and continues both.
    let shell = world.path("shell");
    let lines =
        format!("set -m\n{doctor} doctor -- /bin/sh {}\necho stopped: $?\nfg\necho ended: $?\n", stops.display());
    std::fs::write(&shell, lines).unwrap();
    let mut command = Command::new("/usr/bin/script");
    command.args(["-qec", &format!("/bin/bash {}", shell.display()), "/dev/null"]);
    let output = command.env("CUDASHIM_CACHE", world.path("cache")).stdin(Stdio::null()).output().unwrap();
    let said = text(&output.stdout);
    let at = |words: &str| said.find(words).unwrap_or_else(|| panic!("{words}: {said}"));
    assert!(at("stopped: 147") < at("on\r\n") && at("on\r\n") < at("ended: 5"), "{said}");
}

/// A line of sh that writes down which of its outputs are terminals.
const ISATTY: &str =
    ": >\"$OUT\"; for fd in 1 2; do if [ -t $fd ]; then echo $fd >>\"$OUT\"; fi; done; printf 'a\\nb' >&2";

#[test]
fn doctor_command_gets_no_terminal_without_one() {
    let world = Machine::new();
    let output = attend(&world, ISATTY).env("OUT", world.path("isatty")).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(world.read("isatty"), "");
}

/// script(1) gives it a terminal for all three.
#[test]
#[ignore = "needs script"]
fn doctor_command_keeps_the_terminal() {
    let world = Machine::new();
    let line = format!("{} doctor -- /bin/sh -c '{}'", env!("CARGO_BIN_EXE_cudashim"), ISATTY.replace('\'', "'\\''"));
    let mut command = Command::new("/usr/bin/script");
    command.args(["-qec", &line, "/dev/null"]).env("CUDASHIM_CACHE", world.path("cache"));
    let seen = Process::of(command.env("OUT", world.path("isatty")));
    assert_eq!((seen.code, world.read("isatty").as_str()), (Some(0), "1\n2\n"), "{}", seen.err);
    // One terminal's line ends, not those of two.
    assert_eq!(seen.out, "a\r\nb");
}

#[test]
fn doctor_error_reads_both_ends_of_a_long_file() {
    let world = Machine::new();
    let path = world.path("log");
    let file = std::fs::File::create(&path).unwrap();
    // Sparse: the middle is not read.
    file.set_len(1 << 33).unwrap();
    use std::os::unix::fs::FileExt;
    file.write_all_at(format!("\n{NCCL}\n").as_bytes(), (1 << 33) - 1000).unwrap();
    let output = world.cudashim(["doctor", "--error"]).arg(&path).output().unwrap();
    assert!(text(&output.stdout).contains("[nccl-older-wins]"), "{}", text(&output.stdout));
    let mut child =
        world.cudashim(["doctor", "--error", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(NCCL.as_bytes()).unwrap();
    assert!(text(&child.wait_with_output().unwrap().stdout).contains("[nccl-older-wins]"));
    for (arguments, says) in
        [(["--error", "/no/such"], "cannot read the text"), (["--error", "/dev/null"], "no text to explain")]
    {
        let output = world.cudashim(["doctor"]).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(says), "{}", text(&output.stderr));
    }
}

#[test]
fn doctor_error_escapes_the_text() {
    let world = Machine::new();
    let path = world.path("log");
    let hostile = "ImportError: /x/\u{9b}31m\u{202e}\u{2028}a`b<img src=x>|.so: undefined symbol: ncclMemFree\n";
    std::fs::write(&path, hostile).unwrap();
    for format in ["human", "markdown", "json"] {
        let output = world.cudashim(["doctor", "--format", format, "--error"]).arg(&path).output().unwrap();
        let said = text(&output.stdout);
        assert!(said.contains("ncclMemFree"), "{format}: {said}");
        let acts = |c: char| c.is_control() && c != '\n' || matches!(c, '\u{202e}' | '\u{2028}');
        assert!(!said.contains(acts), "{format}: {}", said.escape_debug());
        if format == "markdown" {
            assert!(said.contains("- message: `` ImportError: /x/"), "{said}");
        }
    }
}

#[test]
fn doctor_rejects_endless_and_missing_files() {
    let world = Machine::new();
    let refused = |arguments: &[&str], says: &str| {
        let output = world.cudashim(arguments).output().unwrap();
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), ""));
        assert!(text(&output.stderr).contains(says), "{}", text(&output.stderr));
    };
    // Without an end: only a part is read.
    refused(&["doctor", "--recorded", "/dev/zero"], "not a recorded driver");
    refused(&["--root", "/no/such/machine", "doctor"], "not a directory");
    // A device is not replaced by a file.
    refused(&["doctor", "--no-devices", "--record", "/dev/null"], "not a regular file");
}

#[test]
fn doctor_command_reports_how_it_ended() {
    let world = Machine::new();
    let explained = |script: &str| {
        let output = done(&world, script);
        (output.status.code(), text(&output.stderr).replace('\n', " "))
    };
    let (code, said) = explained("exit 3");
    assert_eq!(code, Some(3));
    assert!(said.contains("`/bin/sh` ended with exit status 3: unknown error text, and no problem found"), "{said}");
    assert!(said.contains("try      run `cudashim doctor -- COMMAND`"), "{said}");
    let (code, said) = explained("kill -SEGV $$");
    assert_eq!(code, Some(139));
    assert!(said.contains("`/bin/sh` was killed by SIGSEGV: "), "{said}");
    assert!(!said.contains("no problems found"), "{said}");
    // The OOM killer prints nothing to the command's stderr.
    let (code, said) = explained("kill -KILL $$");
    assert_eq!((code, said.trim_end()), (Some(137), "cudashim: `/bin/sh` was killed by SIGKILL"));
    let (code, said) = explained(&format!("echo '{NCCL}' >&2; exit 1"));
    assert!(code == Some(1) && said.contains("`/bin/sh` ended with exit status 1: "), "{said}");
}

#[test]
fn doctor_error_unknown_text_is_no_success() {
    let world = Machine::new();
    world.write("hi.txt", "hi\n");
    let output = world.cudashim(["doctor", "--error", "hi.txt"]).output().unwrap();
    let said = text(&output.stdout).replace('\n', " ");
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.starts_with("unknown error text, and no problem found here"), "{said}");
    assert!(said.contains("`cudashim trace -- COMMAND`") && !said.contains("no problems found"), "{said}");
}
