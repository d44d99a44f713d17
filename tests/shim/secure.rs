//! Secure execution: a program that runs with more rights than who started it (`AT_SECURE` of getauxval(3)).
//!
//! Takes root, who alone can make such a program for another user and lay a mount over a directory that the loader
//! trusts; says so where it is not, and passes.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use super::{COMMON, put_plan, run, utf8};
use crate::support::lab::{Lab, PlanText, Ran, clean_command};

const NOBODY: &str = "65534";

/// A host and a set-user-ID one, a plan that both could use, and a shim in a directory that the loader trusts.
struct Secure {
    lab: Lab,
}

fn secure() -> Option<Secure> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can make a program that runs as somebody else");
        return None;
    }
    let lab = Lab::new();
    let right = lab.copy("right/libone.so.1", "libone.so.1", 2);
    let mode = |path: PathBuf, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    mode(lab.root().into(), 0o755);
    for (name, bits) in [("plain", 0o755), ("setuid", 0o4755), ("setgid", 0o2755)] {
        fs::copy(&COMMON.host, lab.path(name)).unwrap();
        mode(lab.path(name), bits);
    }
    let plan = PlanText::new().lib("libone.so.1", &right, "redirect");
    let plan = ["plain", "setuid", "setgid"].iter().fold(plan, |plan, name| plan.program(&lab.path(name)));
    mode(put_plan(&lab, &plan), 0o644);
    // ld.so(8): in secure execution an entry without a slash, found in a standard directory, set-user-ID itself.
    fs::create_dir(lab.path("trusted")).unwrap();
    fs::copy(&COMMON.shim, lab.path("trusted/libcudashim.so")).unwrap();
    mode(lab.path("trusted/libcudashim.so"), 0o4755);
    Some(Secure { lab })
}

impl Secure {
    /// Runs a host as nobody, with the trusted directory laid over the C library's; `None` where that cannot be done.
    fn run(&self, host: &str, door: &str, shim: &str) -> Option<Ran> {
        let libc = Command::new("cc").arg("-print-file-name=libc.so.6").output().unwrap().stdout;
        let libc = fs::canonicalize(String::from_utf8(libc).unwrap().trim()).unwrap();
        let lay = "mount -t overlay -o lowerdir=\"$1\":\"$2\" none \"$2\" || exit 77; shift 2; \
                   exec setpriv --reuid=65534 --regid=65534 --clear-groups env \"$@\"";
        let mut command = clean_command("unshare");
        command.args(["-m", "sh", "-c", lay, "sh", utf8(&self.lab.path("trusted"))]).arg(libc.parent().unwrap());
        command.args([
            &format!("{door}={shim}"),
            &format!("CUDASHIM_PLAN={}", utf8(&self.lab.path("plan"))),
            "CUDASHIM_LOG=stderr",
            utf8(&self.lab.path(host)),
        ]);
        command.args(["open", "libone.so.1", "l", "maps", "libcudashim"]);
        let ran = run(&self.lab, &mut command);
        if ran.code == Some(0) {
            return Some(ran);
        }
        eprintln!("skipped: no mount over {} for uid {NOBODY}: {}", libc.display(), ran.err);
        None
    }
}

/// The programs that run with more rights, as far as they can be made here.
fn with_rights(secure: &Secure) -> Vec<&'static str> {
    let capable = secure.lab.path("capable");
    fs::copy(&COMMON.host, &capable).unwrap();
    let set = Command::new("setcap").arg("cap_net_raw+ep").arg(&capable).output().is_ok_and(|set| set.status.success());
    if !set {
        eprintln!("not tried: file capabilities, which setcap cannot set here");
    }
    ["setuid", "setgid"].into_iter().chain(set.then_some("capable")).collect()
}

#[test]
fn in_secure_execution_nothing_is_done() {
    let Some(s) = secure() else { return };
    for door in ["LD_PRELOAD", "LD_AUDIT"] {
        // The fixture can fail: the same program without the bit is served.
        let Some(plain) = s.run("plain", door, "libcudashim.so") else { return };
        assert!(plain.out.contains("open libone.so.1: ok\nmaps libcudashim: 1\n"), "{door}: {}", plain.out);
        for host in with_rights(&s) {
            let Some(ran) = s.run(host, door, "libcudashim.so") else { return };
            // Mapped where the loader takes it, and without effect.
            assert!(ran.out.contains("open libone.so.1: no\n"), "{door}, {host}: {}", ran.out);
            assert!(door == "LD_AUDIT" || ran.out.contains("\nmaps libcudashim: 1\n"), "{door}, {host}: {}", ran.out);
            assert_eq!(ran.err, "", "{door}, {host}");
        }
    }
}

/// As users have it: an entry with a slash, which the loader drops for such a child without a word.
#[test]
fn a_child_with_more_rights_is_not_harmed() {
    let Some(s) = secure() else { return };
    fs::set_permissions(COMMON.shim.parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
    for door in ["LD_PRELOAD", "LD_AUDIT"] {
        for host in with_rights(&s) {
            let Some(ran) = s.run(host, door, utf8(&COMMON.shim)) else { return };
            assert_eq!(
                (ran.out.as_str(), ran.err.as_str()),
                ("open libone.so.1: no\nmaps libcudashim: 0\n", ""),
                "{door}, {host}"
            );
        }
    }
}
