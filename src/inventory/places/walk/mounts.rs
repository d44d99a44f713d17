//! The mount table, and which mounts a walk must not enter by default.
//!
//! Takes the text of `/proc/self/mountinfo`, in the format of `proc_pid_mountinfo(5)`; gives the network and kernel
//! file systems, by type. Never touches a mount itself: one whose server is gone hangs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The kind of a mounted file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MountKind {
    /// On this machine.
    Local,
    /// Remote, or mounted on access.
    Network,
    /// State of the kernel.
    Kernel,
}

/// Types whose files are elsewhere. `autofs` mounts on access; 9p and virtiofs are another machine's.
const NETWORK: [&str; 22] = [
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "afs", "autofs", "beegfs", "ceph", "coda", "gpfs",
    "lustre", "ncpfs", "orangefs", "panfs", "pvfs2", "wekafs", "vboxsf", "prl_fs", "fuse",
];

/// Types of FUSE whose files are on this machine; any other may be anywhere.
const LOCAL_FUSE: [&str; 9] = [
    "fuse.bindfs",
    "fuse.encfs",
    "fuse.fuse-overlayfs",
    "fuse.gocryptfs",
    "fuse.mergerfs",
    "fuse.ntfs-3g",
    "fuse.squashfuse",
    "fuse.squashfuse_ll",
    "fuse.unionfs",
];

/// Types without user files.
const KERNEL: [&str; 19] = [
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "sysfs",
    "tracefs",
];

fn kind_of(file_system: &str) -> MountKind {
    if KERNEL.contains(&file_system) {
        MountKind::Kernel
    } else if NETWORK.contains(&file_system) || (file_system.starts_with("fuse.") && !LOCAL_FUSE.contains(&file_system))
    {
        MountKind::Network
    } else {
        MountKind::Local
    }
}

/// The mount points of a machine; where several are mounted over one another, the last.
#[derive(Debug, Clone, Default)]
pub(super) struct MountTable(BTreeMap<PathBuf, MountKind>);

impl MountTable {
    /// Reads mountinfo; skips malformed lines.
    pub(super) fn parse(text: &[u8]) -> Self {
        Self(text.split(|byte| *byte == b'\n').filter_map(mount).collect())
    }

    /// The mount points of network and kernel file systems.
    pub(super) fn foreign(&self) -> impl Iterator<Item = (&Path, MountKind)> {
        self.0.iter().filter(|(_, kind)| **kind != MountKind::Local).map(|(path, kind)| (path.as_path(), *kind))
    }
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`: the fifth field, and the first after the dash
/// that ends the optional fields.
fn mount(line: &[u8]) -> Option<(PathBuf, MountKind)> {
    let mut fields = line.split(|byte| *byte == b' ');
    let point = fields.nth(4)?;
    let file_system = std::str::from_utf8(fields.skip_while(|field| *field != b"-").nth(1)?).ok()?;
    Some((PathBuf::from(OsString::from_vec(unescaped(point))), kind_of(file_system)))
}

/// Space, tab, line feed and backslash are written as three octal digits after a backslash.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let code = if *first == b'\\' { after.get(..3).and_then(octal) } else { None };
        plain.push(code.unwrap_or(*first));
        rest = if code.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
    plain
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw
30 27 0:30 / /net rw - autofs systemd-1 rw
31 27 0:31 / /net rw - nfs4 server:/x rw
32 27 0:32 / /mnt/a\\040b\\134c rw - fuse.sshfs me@there: rw
33 27 0:33 / /mnt/pool rw - fuse.mergerfs a:b rw
34 27 0:34 / /cvmfs/x ro - fuse cvmfs2 ro
nonsense
";

    #[test]
    fn tells_kinds_and_unescapes() {
        let table = MountTable::parse(TEXT.as_bytes());
        let foreign: Vec<_> = table.foreign().collect();
        let expected = [
            (Path::new("/cvmfs/x"), MountKind::Network),
            (Path::new("/mnt/a b\\c"), MountKind::Network),
            (Path::new("/net"), MountKind::Network),
            (Path::new("/proc"), MountKind::Kernel),
        ];
        assert_eq!(foreign, expected);
    }

    #[test]
    fn the_last_mount_on_a_point_counts() {
        let table = MountTable::parse(b"1 1 0:1 / /d rw - autofs a rw\n2 1 0:2 / /d rw - ext4 /dev/sdb rw\n");
        assert_eq!(table.foreign().count(), 0);
    }

    #[test]
    fn half_escapes_stay_as_they_are() {
        assert_eq!(unescaped(br"a\04"), br"a\04");
        assert_eq!(unescaped(br"a\999"), br"a\999");
        assert_eq!(unescaped(br"\011\012"), b"\t\n");
    }
}
