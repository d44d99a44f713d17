//! Plans, files and hosts that mean no good, or have changed since the plan was made.

use crate::support::*;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::{COMMON, DOORS, GIVEN, LEFT, Two, host, put_bytes, put_plan, with_plan};
use cudashim::internal::plan::{Image, ImageView, Plan};
use rustix::fs::inotify;

impl Two {
    /// The plan is refused for that reason: one line, and the loader does as it would.
    fn refused(&self, text: &[u8], reason: &str) {
        let ran = self.open(&put_bytes(&self.lab, text));
        let shown = String::from_utf8_lossy(text);
        assert_eq!(ran.out, LEFT, "{shown}");
        assert_eq!(ran.err.lines().count(), 1, "{}{shown}", ran.err);
        assert!(ran.err.contains("]: the plan [R]/plan is refused: "), "{}{shown}", ran.err);
        assert!(ran.err.contains(reason), "{}{shown}", ran.err);
    }

    fn taken(&self, text: &[u8]) {
        let ran = self.open(&put_bytes(&self.lab, text));
        assert_eq!(ran.quiet(), GIVEN);
    }
}

#[test]
fn plan_truncated_at_any_length_is_refused() {
    let one = Two::new();
    let bytes = fs::read(put_plan(&one.lab, &one.plan("redirect"))).unwrap();
    one.taken(&bytes);
    for length in 0..bytes.len() {
        one.refused(&bytes[..length], "it is ");
    }
    one.refused(&[&bytes[..], b"x"].concat(), "it is cut off");
    one.refused(&vec![0; (4 << 20) + 1], "it is too large");
    one.refused(
        one.plan("redirect").text().as_bytes(),
        "it is text, which `cudashim run --plan FILE` compiles for a program",
    );
}

/// For any change of one byte, the shim and the tools agree, and no process is harmed.
#[test]
fn plan_with_a_changed_byte_is_refused_like_the_tools_do() {
    let one = Two::new();
    let two = one.lab.copy("right/libtwo.so.2", 3);
    let plan = one.plan("redirect").lib("libtwo.so.2", &two, "keep").record(&["alias", "libone.so", "libone.so.1"]);
    let plan = plan.record(&["replace", "/x", "libone.so.1"]);
    let bytes = fs::read(put_plan(&one.lab, &plan)).unwrap();
    for at in 0..bytes.len() {
        for bit in [0, 5, 7] {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << bit;
            let ran = one.open(&put_bytes(&one.lab, &bytes));
            assert_eq!(ran.code, Some(0), "{at} {bit}");
            let refused = ran.err.contains("is refused: ");
            assert_eq!(refused, ImageView::parse(&bytes).is_err(), "{at} {bit}: {}", ran.err);
        }
    }
}

#[test]
fn plan_that_others_may_write_is_refused() {
    let one = Two::new();
    let plan = put_plan(&one.lab, &one.plan("redirect"));
    for mode in [0o660, 0o606, 0o666, 0o622] {
        fs::set_permissions(&plan, fs::Permissions::from_mode(mode)).unwrap();
        let ran = one.open(&plan);
        assert_eq!(ran.out, LEFT, "{mode:o}");
        assert!(ran.err.ends_with("is refused: group or others may write it\n"), "{}", ran.err);
    }
    fs::set_permissions(&plan, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(one.open(&plan).out, GIVEN);
}

#[test]
fn plan_must_be_a_regular_file_by_absolute_path() {
    let one = Two::new();
    let plan = put_plan(&one.lab, &one.plan("redirect"));
    let link = one.lab.path("link");
    symlink(&plan, &link).unwrap();
    let pipe = one.lab.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg("-m600").arg(&pipe).status().unwrap().success());
    for (path, reason) in [
        (link, "symbolic link"),
        (pipe, "not a regular file"),
        (one.lab.root().into(), "not a regular file"),
        (one.lab.path("none"), "does not exist"),
        ("plan".into(), "not absolute"),
    ] {
        let ran = one.open(&path);
        assert_eq!(ran.out, LEFT, "{path:?}");
        assert!(ran.err.lines().count() == 1 && ran.err.contains(reason), "{path:?}: {}", ran.err);
    }
}

/// What a change of the chosen file is called.
fn after(change: impl Fn(&Two), says: &str) {
    // Once, however often it is asked for.
    let script = words("open libone.so.1 l close open libone.so.1 l call which");
    for door in DOORS {
        let one = Two::new();
        let plan = put_plan(&one.lab, &one.plan("redirect"));
        change(&one);
        let mut command = one.host(&plan, &script);
        let ran = one.lab.ran(command.env_remove("LD_PRELOAD").env(door, &COMMON.shim));
        assert_eq!(ran.out, "open libone.so.1: ok\nopen libone.so.1: ok\nwhich: 1\n", "{door}");
        assert_eq!(ran.err.lines().count(), 1, "{door}: {}", ran.err);
        let line = format!("]: libone.so.1: [R]/right/libone.so.1 is not used: {says}; left to the loader\n");
        assert!(ran.err.ends_with(&line), "{door}: {}", ran.err);
    }
}

#[test]
fn shim_refuses_a_missing_file() {
    after(|one| fs::remove_file(&one.right).unwrap(), "it is gone");
}

#[test]
fn shim_refuses_an_exchanged_file() {
    let exchange = |one: &Two| {
        let new = one.lab.path("new");
        fs::copy(&one.right, &new).unwrap();
        fs::rename(new, &one.right).unwrap();
    };
    after(exchange, "another file is there now");
}

#[test]
fn shim_refuses_a_file_that_grew() {
    let grow = |one: &Two| {
        let mut bytes = fs::read(&one.right).unwrap();
        bytes.push(0);
        fs::write(&one.right, bytes).unwrap();
    };
    after(grow, "its size is another");
}

#[test]
fn shim_refuses_a_touched_file() {
    let touch = |one: &Two| {
        let file = fs::File::options().write(true).open(&one.right).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
    };
    after(touch, "its modification time is another");
}

#[test]
fn shim_skips_a_missing_member_once() {
    let one = Two::new();
    let user = one.lab.library(
        "wrong/libuser.so",
        "int which(void); int w(void) { return which(); }",
        &["-Lwrong", "-l:libone.so.1", "-Wl,-rpath,$ORIGIN"],
    );
    let plan = put_plan(&one.lab, &one.plan("redirect"));
    fs::remove_file(&one.right).unwrap();
    let script = ["open", utf8(&user), "l", "call", "w", "open", utf8(&user), "l"];
    let ran = one.lab.ran(host(&script).env("CUDASHIM_PLAN", &plan));
    assert_eq!(ran.out, "open [R]/wrong/libuser.so: ok\nw: 1\nopen [R]/wrong/libuser.so: ok\n");
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
}

/// That another copy was there is no news once it is gone; that ours cannot be used is.
#[test]
fn shim_refuses_a_missing_file_after_another_copy_is_closed() {
    let one = Two::new();
    let plan = put_plan(&one.lab, &one.plan("redirect"));
    fs::remove_file(&one.right).unwrap();
    let wrong = one.lab.path("wrong/libone.so.1");
    let open = ["open", "libone.so.1", "l"];
    let script = [&["hold", utf8(&wrong)][..], &open, &["close", "release"], &open, &open].concat();
    let ran = one.lab.ran(host(&script).env("CUDASHIM_PLAN", &plan));
    let lines: Vec<&str> = ran.err.lines().map(|line| line.rsplit_once(" is not used: ").unwrap().1).collect();
    let other = "[R]/wrong/libone.so.1 is already mapped (before the plan could act; is it in LD_PRELOAD?)";
    assert_eq!(lines, [other, "it is gone; left to the loader"]);
}

#[test]
fn shim_skips_an_unloadable_member_with_the_reason() {
    let lab = Machine::new();
    let broken = lab.write("libbroken.so.1", "not ELF at all");
    let whole = lab.copy("whole/libbroken.so.1", 3);
    let needs = lab.library("libneeds.so", "", &[utf8(&whole), "-Wl,-rpath,$ORIGIN/whole"]);
    let plan = PlanText::new().lib("libbroken.so.1", &broken, "preload");
    let ran = with_plan(&lab, &plan, &["open", utf8(&needs), "l", "call", "which", "error"]);
    // dlerror is the host's own: nothing of our failure is left in it.
    assert_eq!(ran.out, "open [R]/libneeds.so: ok\nwhich: 3\nerror: none\n");
    assert!(
        ran.err
            .contains("]: libbroken.so.1: [R]/libbroken.so.1 is not used: it cannot be loaded: [R]/libbroken.so.1: ")
            && ran.err.lines().count() == 1,
        "{}",
        ran.err
    );
}

#[test]
fn shim_survives_a_damaged_file() {
    let one = Two::new();
    let user = one.lab.library("libuser.so", "", &[utf8(&one.right)]);
    let whole = fs::read(&user).unwrap();
    let damaged = one.lab.write("libdamaged.so", &whole);
    let plan = put_plan(&one.lab, &one.plan("redirect"));
    let open = || {
        let mut command = host(&["open", utf8(&damaged), "l", "maps", "right"]);
        one.lab.ran(command.env("CUDASHIM_PLAN", &plan))
    };
    // Cut at the places that are read, and where the loader refuses the file rather than run into its end itself.
    for length in [0, 4, 16, 63, 64, 100, 64 + 56 * 4] {
        fs::write(&damaged, &whole[..length]).unwrap();
        let ran = open();
        assert_eq!(ran.code, Some(0), "{length}");
        assert!(ran.out.starts_with("open [R]/libdamaged.so: no\n"), "{length}: {}", ran.out);
    }
    // Program headers, their number, their place: what the loader refuses we must survive first.
    for (at, value) in [(32, u64::MAX), (32, i64::MAX as u64), (40, 0), (16, u64::MAX), (54, u64::MAX)] {
        let mut bytes = whole.clone();
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        fs::write(&damaged, bytes).unwrap();
        assert_eq!(open().code, Some(0), "{at} {value:x}");
    }
    // Check of the fixture: intact, its needed library comes from the plan.
    fs::write(&damaged, &whole).unwrap();
    assert_eq!(open().out, "open [R]/libdamaged.so: ok\nmaps right: 1\n  [R]/right/libone.so.1\n");
}

#[test]
fn shim_leaves_pipes_and_directories_to_the_loader() {
    let one = Two::new();
    let (pipe, dir) = (one.lab.path("libpipe.so"), one.lab.path("dir"));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    fs::create_dir(&dir).unwrap();
    // Both ends are open and the pipe holds what the loader reads, so that it does not wait. A byte that we took
    // would be missing: the loader reads on until it has a whole header.
    let mut ends = fs::File::options().read(true).write(true).open(&pipe).unwrap();
    ends.write_all(&[b'x'; 832]).unwrap();
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&watch, &pipe, inotify::WatchFlags::OPEN | inotify::WatchFlags::CLOSE).unwrap();
    let ran = with_plan(
        &one.lab,
        &one.plan("redirect"),
        &["open", utf8(&pipe), "l", "error", "open", utf8(&dir), "l", "error"],
    );
    assert_eq!(
        ran.out,
        "open [R]/libpipe.so: no\nerror: [R]/libpipe.so: invalid ELF header\n\
         open [R]/dir: no\nerror: [R]/dir: cannot read file data: Is a directory\n"
    );
    // By the loader only: to open a device or a pipe can have effects.
    let mut room = [std::mem::MaybeUninit::uninit(); 1024];
    let mut opened = inotify::Reader::new(&watch, &mut room);
    let seen: Vec<_> = std::iter::from_fn(|| opened.next().ok().map(|event| event.events())).collect();
    assert_eq!(seen, [inotify::ReadFlags::OPEN, inotify::ReadFlags::CLOSE_NOWRITE]);
}

#[test]
fn shim_leaves_dynamic_string_tokens_alone() {
    let one = Two::new();
    let plan = one.plan("redirect").record(&["alias", "$ORIGIN.so", "libone.so.1"]);
    assert_eq!(with_plan(&one.lab, &plan, &["open", "$ORIGIN.so", "l"]).out, "open $ORIGIN.so: no\n");
}

#[test]
fn log_goes_where_the_variable_says() {
    let one = Two::new();
    let plan = put_bytes(&one.lab, b"none");
    let with = |value: &str| {
        one.lab.ran(host(&["open", "libm.so.6", "l"]).env("CUDASHIM_PLAN", &plan).env("CUDASHIM_LOG", value))
    };
    assert_eq!(with("off").err, "");
    assert_eq!(with("").err.lines().count(), 1);
    for value in ["1", "stderr", "/dev/stderr"] {
        assert_eq!(with(value).err.lines().count(), 1);
    }
    let file = one.lab.path("log");
    assert_eq!(with(utf8(&file)).err, "");
    assert_eq!(with(utf8(&file)).err, "");
    let log = fs::read_to_string(&file).unwrap();
    assert_eq!(log.lines().count(), 2);
    assert!(log.lines().all(|line| line.starts_with("cudashim[") && line.contains("is refused")), "{log}");
    // Never through a link that somebody laid.
    let link = one.lab.path("link");
    symlink(one.lab.path("elsewhere"), &link).unwrap();
    assert!(with(utf8(&link)).err.contains("is refused"));
    assert!(!one.lab.path("elsewhere").exists());
}

#[test]
fn log_never_writes_to_a_reused_descriptor_2() {
    let one = Two::new();
    let plan = put_bytes(&one.lab, b"none");
    let precious = one.lab.path("precious");
    let ran = one.lab.ran(host(&["reuse2", utf8(&precious), "open", "libm.so.6", "l"]).env("CUDASHIM_PLAN", &plan));
    assert_eq!(ran.quiet(), "open libm.so.6: ok\n");
    assert_eq!(fs::read(&precious).unwrap(), b"");
}

#[test]
fn log_survives_a_closed_pipe() {
    let one = Two::new();
    let plan = put_bytes(&one.lab, b"none");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = host(&["open", "libm.so.6", "l"]).env("CUDASHIM_PLAN", &plan).stderr(writer).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn log_survives_the_file_size_limit() {
    let one = Two::new();
    let log = one.lab.write("log", "x".repeat(100));
    let mut command = host(&["limit-files", "100", "open", "libone.so.1", "l", "call", "which"]);
    command.env("CUDASHIM_PLAN", put_plan(&one.lab, &one.plan("redirect"))).env("CUDASHIM_LOG", &log);
    let ran = one.lab.ran(&mut command);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), GIVEN));
    assert_eq!(fs::metadata(log).unwrap().len(), 100);
}

#[test]
fn log_escapes_names() {
    let one = Two::new();
    let odd =
        one.lab.library_named("right/odd\x1b[31m\u{9b}é\n.so", "libodd.so.1", "int which(void) { return 4; }", &[]);
    let escaped = utf8(&odd).replace('\n', "\\n").replace('\x1b', "\\x1b");
    let text = PlanText::new().lib("libodd.so.1", &odd, "redirect").program(&COMMON.host).text();
    let plan = Plan::parse(text.replace(utf8(&odd), &escaped).as_bytes()).unwrap();
    let machine = cudashim::Host::new("/".into(), std::collections::BTreeMap::new(), "/".into());
    let plan = put_bytes(&one.lab, &Image::compile(&plan, &machine).unwrap().bytes);
    let mut command = host(&["open", "libodd.so.1", "l", "call", "which"]);
    let ran = one.lab.ran(command.env("CUDASHIM_PLAN", &plan).env("CUDASHIM_LOG", "stderr"));
    assert_eq!(ran.out, "open libodd.so.1: ok\nwhich: 4\n");
    let line = ran.err.lines().last().unwrap();
    let said = "libodd.so.1 -> [R]/right/odd?[31m\u{fffd}?é?.so (chosen by the plan)";
    assert!(line.ends_with(said), "{line:?}");
}

#[test]
fn plan_is_not_read_without_a_dlopen() {
    let lab = Machine::new();
    let output = crate::support::clean_command("/bin/true")
        .env("LD_PRELOAD", &COMMON.shim)
        .env("CUDASHIM_PLAN", lab.path("none"))
        .output()
        .unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
