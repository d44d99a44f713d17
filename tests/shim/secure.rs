//! Secure execution: a program that runs with more rights than its starter (`AT_SECURE` of getauxval(3)).
//!
//! Requires root, which alone can make such a program for another user and lay a mount over a directory that the loader
//! trusts.

use crate::support::*;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use super::{COMMON, put_plan};

/// A host and a set-user-ID one, a plan that both could use, and a shim in a directory that the loader trusts.
struct Secure {
    lab: Machine,
}

fn secure() -> Secure {
    let lab = Machine::new();
    let right = lab.copy("right/libone.so.1", 2);
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
    lab.mkdir("trusted");
    fs::copy(&COMMON.shim, lab.path("trusted/libcudashim.so")).unwrap();
    mode(lab.path("trusted/libcudashim.so"), 0o4755);
    Secure { lab }
}

impl Secure {
    /// Runs a host as nobody, with the trusted directory laid over the C library's.
    fn run(&self, host: &str, door: &str, shim: &str) -> Process {
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
        let ran = self.lab.ran(&mut command);
        assert_eq!(ran.code, Some(0), "over {}: {}", libc.display(), ran.err);
        ran
    }
}

/// The programs that run with more rights.
fn with_rights(secure: &Secure) -> [&'static str; 3] {
    let capable = secure.lab.path("capable");
    fs::copy(&COMMON.host, &capable).unwrap();
    // As `setcap cap_net_raw+ep` writes it: revision 2 with the effective bit, then CAP_NET_RAW as permitted.
    let capability = [0x0200_0001_u32, 1 << 13, 0, 0, 0].map(u32::to_le_bytes).concat();
    rustix::fs::setxattr(&capable, "security.capability", &capability, rustix::fs::XattrFlags::empty()).unwrap();
    ["setuid", "setgid", "capable"]
}

#[test]
#[ignore = "needs root that may mount"]
fn shim_does_nothing_in_secure_execution() {
    let s = secure();
    for door in ["LD_PRELOAD", "LD_AUDIT"] {
        // The fixture can fail: the same program without the bit is served.
        let plain = s.run("plain", door, "libcudashim.so");
        assert!(plain.out.contains("open libone.so.1: ok\nmaps libcudashim: 1\n"), "{door}: {}", plain.out);
        for host in with_rights(&s) {
            let ran = s.run(host, door, "libcudashim.so");
            // Mapped where the loader takes it, and without effect.
            assert!(ran.out.contains("open libone.so.1: no\n"), "{door}, {host}: {}", ran.out);
            assert!(door == "LD_AUDIT" || ran.out.contains("\nmaps libcudashim: 1\n"), "{door}, {host}: {}", ran.out);
            assert_eq!(ran.err, "", "{door}, {host}");
        }
    }
}

/// As users have it: an entry with a slash, which the loader drops for such a child without a word.
#[test]
#[ignore = "needs root that may mount"]
fn shim_does_no_harm_to_a_set_user_id_child() {
    let s = secure();
    fs::set_permissions(COMMON.shim.parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
    for door in ["LD_PRELOAD", "LD_AUDIT"] {
        for host in with_rights(&s) {
            let ran = s.run(host, door, utf8(&COMMON.shim));
            assert_eq!(ran.quiet(), "open libone.so.1: no\nmaps libcudashim: 0\n", "{door}, {host}");
        }
    }
}
