//! The queries of a machine with their results: the conditions under which a conclusion holds.

use super::{FileId, Host, Kind, Stat};
use crate::host::escape;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// From this many missing names in one directory on, the stamp of the directory replaces theirs.
const MANY: usize = 4;

/// How long before the first query a directory must have been unchanged.
const SETTLED: Duration = Duration::from_secs(3);

/// The file at a path at the time of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamp {
    /// No usable file.
    Absent,
    /// This file or directory.
    Present {
        /// Device and inode.
        id: FileId,
        /// Bytes.
        size: u64,
        /// The time of its change, in nanoseconds since 1970: its `ctime`, since `tar` and `rsync -a` restore the
        /// `mtime`; but the `mtime` of a file with several names, since another hard link changes the `ctime` (uv
        /// adds one in each environment).
        changed: i64,
    },
}

impl From<Stat> for Stamp {
    fn from(stat: Stat) -> Self {
        let is_shared = stat.kind == Kind::File && stat.links > 1;
        Self::Present { id: stat.id, size: stat.size, changed: if is_shared { stat.mtime } else { stat.ctime } }
    }
}

/// How long after the change of a file another change may have the same time: the kernel's clock for files advances by
/// ticks of at most 10 ms.
const TICK: i64 = 10_000_000;

/// The same for file systems with times in steps of one or two seconds.
const COARSE: i64 = 3_000_000_000;

/// How long after `now` a later change shows in the stamp; `None` where it already does.
pub(super) fn unsettled(stat: &Stat, now: SystemTime) -> Option<Duration> {
    let now = i64::try_from(now.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()?;
    let enough = if stat.ctime % 1_000_000_000 == 0 { COARSE } else { TICK };
    // A time too far in the future proves nothing.
    let age = Some(now.saturating_sub(stat.ctime)).filter(|age| (-COARSE..enough).contains(age))?;
    u64::try_from(enough - age).ok().map(Duration::from_nanos)
}

impl Stamp {
    /// Whether the file is still the same. Records no query.
    fn holds(self, host: &Host, path: &Path) -> bool {
        host.look(path).map_or(Self::Absent, Self::from) == self
    }
}

/// Paths and their stamps.
// Ordered by bytes: comparing paths by parts takes longer than the system call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stamps(BTreeMap<OsString, Stamp>);

impl Stamps {
    pub(super) fn insert(&mut self, path: PathBuf, stamp: Stamp) {
        self.0.insert(path.into_os_string(), stamp);
    }

    /// The number of queried paths.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no path was queried.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same conditions in fewer paths: the stamp of a directory replaces those of many missing names in it,
    /// since a new name changes its time.
    ///
    /// Not for a directory that changed since shortly before the first query: a later change might not show. Nor for a
    /// dangling link, or a file that cannot be opened: these may become usable without a change of the directory.
    #[must_use]
    pub fn condensed(&self, host: &Host) -> Self {
        let mut in_vain: BTreeMap<&OsStr, usize> = BTreeMap::new();
        for (path, stamp) in &self.0 {
            if let (Stamp::Absent, Some(parent)) = (stamp, parent(path)) {
                *in_vain.entry(parent).or_default() += 1;
            }
        }
        let settled = host.since.checked_sub(SETTLED).and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let settled = settled.and_then(|time| i64::try_from(time.as_nanos()).ok()).unwrap_or_default();
        let mut kept = BTreeMap::new();
        let mut standing = BTreeMap::new();
        for (dir, _) in in_vain.into_iter().filter(|(_, count)| *count >= MANY) {
            match host.stat(Path::new(dir)) {
                Ok(stat) if stat.ctime < settled => drop(standing.insert(dir, Stamp::from(stat))),
                Ok(_) => {}
                // The directory itself is missing: its stamp suffices.
                Err(_) => drop(standing.insert(dir, Stamp::Absent)),
            }
        }
        for (path, stamp) in &self.0 {
            let replaces = |dir: &Stamp| {
                *stamp == Stamp::Absent
                    && (*dir == Stamp::Absent
                        || (host.link_target(Path::new(path)).is_err() && host.stat(Path::new(path)).is_err()))
            };
            let dir = parent(path).and_then(|parent| standing.get_key_value(parent)).filter(|(_, dir)| replaces(dir));
            match dir {
                Some((dir, stamp)) => kept.insert((*dir).to_owned(), *stamp),
                None => kept.insert(path.clone(), *stamp),
            };
        }
        Self(kept)
    }

    /// Whether every path still has the same stamp.
    #[must_use]
    pub fn hold(&self, host: &Host) -> bool {
        self.0.iter().all(|(path, stamp)| stamp.holds(host, Path::new(path)))
    }

    /// Whether every path of a text of [`Stamps::to_text`] still has the same stamp; false for any other text.
    /// Allocates no [`Stamps`], since every start of a program calls it.
    #[must_use]
    pub fn text_holds(text: &str, host: &Host) -> bool {
        text.lines().all(|line| stamp_of(line).is_some_and(|(path, stamp)| stamp.holds(host, &path)))
    }

    /// One line per path: `dev:ino size time` or `-`, then the path, separated by tabs.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (path, stamp) in &self.0 {
            let path = escape::bytes(path.as_bytes());
            let _ = match stamp {
                Stamp::Absent => writeln!(text, "-\t{path}"),
                Stamp::Present { id, size, changed } => {
                    writeln!(text, "{}:{} {size} {changed}\t{path}", id.dev, id.ino)
                }
            };
        }
        text
    }

    /// Parses the text of [`Stamps::to_text`]; `None` for any other text.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let mut stamps = BTreeMap::new();
        for line in text.lines() {
            let (path, stamp) = stamp_of(line)?;
            stamps.insert(path.into_os_string(), stamp);
        }
        Some(Self(stamps))
    }
}

fn parent(path: &OsStr) -> Option<&OsStr> {
    Path::new(path).parent().map(Path::as_os_str)
}

/// One line of [`Stamps::to_text`].
fn stamp_of(line: &str) -> Option<(PathBuf, Stamp)> {
    let (stamp, path) = line.split_once('\t')?;
    let stamp = if stamp == "-" {
        Stamp::Absent
    } else {
        let mut fields = stamp.split([':', ' ']);
        let id = FileId { dev: fields.next()?.parse().ok()?, ino: fields.next()?.parse().ok()? };
        Stamp::Present { id, size: fields.next()?.parse().ok()?, changed: fields.next()?.parse().ok()? }
    };
    Some((escape::parse_path(path)?, stamp))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn a_directory_replaces_its_missing_names() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let machine = || Host::new("/".into(), BTreeMap::new(), "/".into());
        std::fs::create_dir(at("lib")).unwrap();
        let host = machine();
        for name in ["a", "b", "c", "d"] {
            assert!(host.stat(&at("lib").join(name)).is_err());
            assert!(host.stat(&at("gone").join(name)).is_err());
        }
        let fresh = host.stamps().condensed(&host);
        // Just created: its time proves nothing yet.
        assert!(
            fresh.0.contains_key(at("lib").join("a").as_os_str())
                && fresh.0.get(at("gone").as_os_str()) == Some(&Stamp::Absent)
        );
        let mut host = host;
        host.since += Duration::from_secs(60);
        let condensed = host.stamps().condensed(&host);
        assert_eq!(condensed.len(), 2);
        assert!(condensed.hold(&machine()));
        std::fs::write(at("lib").join("c"), "").unwrap();
        assert!(!condensed.hold(&machine()));
    }

    #[test]
    fn a_directory_that_changed_since_the_first_query_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut host = Host::new("/".into(), BTreeMap::new(), "/".into());
        // The computation took a minute, and a file appeared at a queried path.
        host.since -= Duration::from_secs(60);
        for name in ["a", "b", "c", "d"] {
            assert!(host.stat(&dir.path().join(name)).is_err());
        }
        std::fs::write(dir.path().join("a"), "").unwrap();
        assert!(!host.stamps().condensed(&host).hold(&host));
    }

    #[test]
    fn a_directory_does_not_replace_a_dangling_link() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("lib")).unwrap();
        std::os::unix::fs::symlink(at("target"), at("lib/link")).unwrap();
        let machine = || Host::new("/".into(), BTreeMap::new(), "/".into());
        let mut host = machine();
        host.since += Duration::from_secs(60);
        for name in ["link", "b", "c", "d", "e"] {
            assert!(host.stat(&at("lib").join(name)).is_err());
        }
        let condensed = host.stamps().condensed(&host);
        assert!(condensed.len() == 2 && condensed.hold(&machine()));
        std::fs::write(at("target"), "").unwrap();
        assert!(!condensed.hold(&machine()));
    }

    #[test]
    fn a_restored_time_is_a_change_and_another_link_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let machine = || Host::new("/".into(), BTreeMap::new(), "/".into());
        let old = SystemTime::now() - Duration::from_secs(60);
        let put_back = |name: &str| std::fs::File::open(at(name)).unwrap().set_modified(old).unwrap();
        std::fs::write(at("file"), "one").unwrap();
        std::fs::write(at("shared"), "one").unwrap();
        std::fs::hard_link(at("shared"), at("shared.2")).unwrap();
        std::fs::create_dir(at("dir")).unwrap();
        put_back("file");
        put_back("dir");
        let stamps = |name: &str| {
            let host = machine();
            host.stat(&at(name)).unwrap();
            host.stamps()
        };
        let (file, dir, shared) = (stamps("file"), stamps("dir"), stamps("shared"));
        std::fs::write(at("file"), "two").unwrap();
        std::fs::write(at("dir/new"), "").unwrap();
        put_back("file");
        put_back("dir");
        std::fs::hard_link(at("shared"), at("shared.3")).unwrap();
        let holds = [file, dir, shared].map(|stamps| stamps.hold(&machine()));
        assert_eq!(holds, [false, false, true]);
    }

    #[test]
    fn a_change_in_the_current_tick_may_hide_another() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::new("/".into(), BTreeMap::new(), "/".into());
        let stat = |ctime: i64| Stat { ctime, ..host.stat(dir.path()).unwrap() };
        let after = |nanoseconds: u64| UNIX_EPOCH + Duration::from_secs(1000) + Duration::from_nanos(nanoseconds);
        let (fine, coarse) = (stat(1_000_000_000_001), stat(1_000_000_000_000));
        assert_eq!(unsettled(&fine, after(4_000_001)), Some(Duration::from_millis(6)));
        assert_eq!(unsettled(&fine, after(10_000_001)), None);
        assert_eq!(unsettled(&coarse, after(1_000_000_000)), Some(Duration::from_secs(2)));
        assert_eq!(unsettled(&coarse, after(3_000_000_000)), None);
        // The clock of a file server.
        assert_eq!(unsettled(&fine, after(0)), Some(Duration::from_nanos(10_000_001)));
        assert_eq!(unsettled(&stat(2_000_000_000_001), after(0)), None);
    }

    #[test]
    fn text_round_trips() {
        let mut stamps = Stamps::default();
        stamps.insert("/a b\tc\n".into(), Stamp::Absent);
        stamps.insert("/d".into(), Stamp::Present { id: FileId { dev: 1, ino: 2 }, size: 3, changed: -4 });
        assert_eq!(Stamps::from_text(&stamps.to_text()), Some(stamps));
        let host = Host::new("/".into(), BTreeMap::new(), "/".into());
        assert!(Stamps::text_holds("-\t/no such file\n", &host) && host.stamps().is_empty());
        assert!(!Stamps::text_holds("-\t/proc\n", &host) && !Stamps::text_holds("nonsense\n", &host));
        assert_eq!(Stamps::from_text("nonsense"), None);
    }
}
