//! A report that can be shown to strangers.

use crate::host::Host;
use std::ffi::OsStr;
use std::path::Path;

/// What ends a name in a path.
const fn ends(c: char) -> bool {
    matches!(c, '/' | '"' | '`' | '\'' | ':' | ';' | ',' | ')') || c.is_ascii_whitespace()
}

/// `text` without the names of users and of the machine, and without the identities of devices. Versions, names of
/// libraries and packages, and the paths below a home directory stay: they are what a report is read for.
#[must_use]
pub fn redacted(text: &str, host: &Host) -> String {
    let mut text = text.to_owned();
    let homes = ["HOME", "XDG_DATA_HOME"].into_iter().filter_map(|name| host.env(name)?.to_str());
    for home in homes.filter(|home| home.len() > 1) {
        text = whole_words(&text, home.trim_end_matches('/'), "~");
    }
    for start in ["/home/", "/Users/", "/export/home/", "/var/home/", "/scratch/users/", "/mnt/c/Users/"] {
        text = after(&text, start, |c| !ends(c), "USER");
    }
    // Homes of others that `/etc/passwd` names, root's among them; those of services tell nobody's name.
    let passwd = host.read_text(Path::new("/etc/passwd")).unwrap_or_default();
    let users = passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?.parse::<u32>().ok()?);
        ((1000..65534).contains(&id) && name.len() > 2).then_some(name)
    });
    let own = ["USER", "LOGNAME", "SUDO_USER"].into_iter().filter_map(|name| host.env(name)?.to_str());
    for user in users.chain(own.filter(|name| name.len() > 2 && *name != "root")) {
        text = whole_words(&text, user, "USER");
    }
    let file = host.read_text(Path::new("/etc/hostname")).unwrap_or_default();
    let kernel = host.read_text(Path::new("/proc/sys/kernel/hostname")).unwrap_or_default();
    let told = host.env("HOSTNAME").and_then(OsStr::to_str).unwrap_or_default();
    for name in [file.trim(), kernel.trim(), told].into_iter().filter(|name| name.len() > 2 && *name != "localhost") {
        text = whole_words(&text, name, "HOST");
    }
    for start in ["GPU-", "MIG-"] {
        text = after(&text, start, |c| c.is_ascii_hexdigit() || c == '-', "…");
    }
    text
}

/// Replaces `word` where it is no part of a longer name.
fn whole_words(text: &str, word: &str, with: &str) -> String {
    let inside = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for (at, found) in text.match_indices(word) {
        let before = text.get(..at).and_then(|text| text.chars().next_back());
        let after = text.get(at + found.len()..).and_then(|text| text.chars().next());
        if before.is_some_and(inside) || after.is_some_and(inside) {
            continue;
        }
        out.push_str(text.get(from..at).unwrap_or_default());
        out.push_str(with);
        from = at + found.len();
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out
}

/// Replaces what follows each `start` for as long as `belongs` holds.
fn after(text: &str, start: &str, belongs: impl Fn(char) -> bool, with: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, tail)) = rest.split_once(start) {
        out.push_str(before);
        out.push_str(start);
        let kept = tail.trim_start_matches(&belongs);
        if kept.len() < tail.len() {
            out.push_str(with);
        }
        rest = kept;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn names_and_identities_go() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/hostname"), "node17\n").unwrap();
        let env = BTreeMap::from([("HOME".into(), "/home/ann".into())]);
        let host = Host::new(root.path().to_owned(), env, "/".into());
        let text = "`/home/ann/v/bin` /home/bob/x on node17: \"GPU-12ab-34\", GPU-less";
        assert_eq!(redacted(text, &host), "`~/v/bin` /home/USER/x on HOST: \"GPU-…\", GPU-less");
        assert_eq!(redacted("/home/", &host), "/home/");
        // A list of paths; what only contains a name is another word.
        assert_eq!(
            redacted("LD_LIBRARY_PATH=/home/bob/a:/home/cy:/opt", &host),
            "LD_LIBRARY_PATH=/home/USER/a:/home/USER:/opt"
        );
        assert_eq!(redacted("/home/anna/x /home/ann", &host), "/home/USER/x ~");
        assert_eq!(redacted("node170 node17 node17.example", &host), "node170 HOST HOST.example");
    }

    #[test]
    fn users_of_the_machine() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\nmarie:x:1001:1001::/data/marie:/bin/sh\n";
        std::fs::write(root.path().join("etc/passwd"), passwd).unwrap();
        let env = BTreeMap::from([("HOME".into(), "/data/marie".into()), ("HOSTNAME".into(), "gpu-box".into())]);
        let host = Host::new(root.path().to_owned(), env, "/".into());
        let text = "/data/marie/v/lib/libcudnn.so.9 (9.1.0.70), /scratch/marie/x on gpu-box, by a daemon: root";
        assert_eq!(
            redacted(text, &host),
            "~/v/lib/libcudnn.so.9 (9.1.0.70), /scratch/USER/x on HOST, by a daemon: root"
        );
    }
}
