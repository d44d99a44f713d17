//! Redacts a report for public posting.

use crate::host::Host;
use std::ffi::OsStr;
use std::path::Path;

/// The characters that end a name in a path.
const fn ends(c: char) -> bool {
    matches!(c, '/' | '"' | '`' | '\'' | ':' | ';' | ',' | ')') || c.is_ascii_whitespace()
}

/// `text` without the names of users and of the machine, and without device identities. Keeps versions, names of
/// libraries and packages, and the paths below a home directory, which the reader needs.
#[must_use]
pub fn redacted(text: &str, host: &Host) -> String {
    Names::of(host).out_of(text)
}

/// What [`redacted`] does, for many texts.
pub fn redaction(host: &Host) -> impl Fn(&str) -> String {
    let names = Names::of(host);
    move |text| names.out_of(text)
}

/// The same for JSON: redacts the texts, not the field names, so that the structure stays valid for any user name.
#[must_use]
pub fn redacted_json(json: &str, host: &Host) -> String {
    let names = Names::of(host);
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some((before, tail)) = rest.split_once('"') {
        out.push_str(before);
        out.push('"');
        let mut escaped = false;
        let end = tail.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let (text, after) = tail.split_at_checked(end.unwrap_or(tail.len())).unwrap_or((tail, ""));
        let is_field = after.get(1..).is_some_and(|after| after.trim_start().starts_with(':'));
        out.push_str(&if is_field { text.to_owned() } else { names.out_of(text) });
        rest = after.strip_prefix('"').map_or(after, |after| {
            out.push('"');
            after
        });
    }
    out.push_str(rest);
    out
}

/// The words to redact.
struct Names {
    homes: Vec<String>,
    users: Vec<String>,
    /// Too short to distinguish from other words, except as a directory name.
    short: Vec<String>,
    machine: Vec<String>,
}

impl Names {
    fn of(host: &Host) -> Self {
        let homes = ["HOME", "XDG_DATA_HOME"].into_iter().filter_map(|name| host.env(name)?.to_str());
        let homes = homes.map(|home| home.trim_end_matches('/').to_owned()).filter(|home| home.len() > 1).collect();
        // Other home directories in `/etc/passwd`, root's among them; those of services reveal no name.
        let passwd = host.read_text(Path::new("/etc/passwd")).unwrap_or_default();
        let users = passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, id) = (fields.next()?, fields.nth(1)?.parse::<u32>().ok()?);
            ((1000..65534).contains(&id)).then(|| name.to_owned())
        });
        let own = ["USER", "LOGNAME", "SUDO_USER"].into_iter().filter_map(|name| host.env(name)?.to_str());
        let users = users.chain(own.filter(|name| *name != "root").map(str::to_owned));
        let (users, short) = users.filter(|name| !name.is_empty()).partition(|name| name.len() > 2);
        let file = host.read_text(Path::new("/etc/hostname")).unwrap_or_default();
        let kernel = host.read_text(Path::new("/proc/sys/kernel/hostname")).unwrap_or_default();
        let named = host.env("HOSTNAME").and_then(OsStr::to_str).unwrap_or_default();
        let machine = [file.trim(), kernel.trim(), named].map(str::to_owned);
        let machine = machine.into_iter().filter(|name| name.len() > 2 && name != "localhost").collect();
        Self { homes, users, short, machine }
    }

    fn out_of(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for home in &self.homes {
            text = whole_words(&text, home, "~");
        }
        for start in ["/home/", "/Users/", "/export/home/", "/var/home/", "/scratch/users/", "/mnt/c/Users/"] {
            text = after(&text, start, |c| !ends(c), "USER");
        }
        for user in &self.users {
            text = whole_words(&text, user, "USER");
        }
        for user in &self.short {
            text = directories(&text, user, "USER");
        }
        for name in &self.machine {
            text = whole_words(&text, name, "HOST");
        }
        for start in ["GPU-", "MIG-"] {
            text = after(&text, start, |c| c.is_ascii_hexdigit() || c == '-', "…");
        }
        text
    }
}

/// Replaces `name` where it is a whole part of a path.
fn directories(text: &str, name: &str, with: &str) -> String {
    let mut parts = text.split('/');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push('/');
        match part.strip_prefix(name) {
            Some(rest) if rest.chars().next().is_none_or(ends) => out.extend([with, rest]),
            _ => out.push_str(part),
        }
    }
    out
}

/// Replaces `word` where it is a whole word.
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

/// Replaces the text after each `start` as long as `belongs` holds.
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
        // A list of paths; a word that only contains the name stays.
        assert_eq!(
            redacted("LD_LIBRARY_PATH=/home/bob/a:/home/cy:/opt", &host),
            "LD_LIBRARY_PATH=/home/USER/a:/home/USER:/opt"
        );
        assert_eq!(redacted("/home/anna/x /home/ann", &host), "/home/USER/x ~");
        assert_eq!(redacted("node170 node17 node17.example", &host), "node170 HOST HOST.example");
    }

    #[test]
    fn names_of_any_kind() {
        let root = tempfile::tempdir().unwrap();
        let host = |home: &str, user: &str| {
            let env = BTreeMap::from([("HOME".into(), home.into()), ("USER".into(), user.into())]);
            Host::new(root.path().to_owned(), env, "/".into())
        };
        assert_eq!(redacted("/ /usr/lib a", &host("/", "a")), "/ /usr/lib a");
        let text = "/home/a/v /data/a/x: /data/a, /lib/a.so and a: /usr/aa";
        assert_eq!(redacted(text, &host("/home/a", "a")), "~/v /data/USER/x: /data/USER, /lib/a.so and a: /usr/aa");
        // The name is literal, not a pattern.
        assert_eq!(redacted("/x/.* /x/ab .*", &host("/x/.*", ".*")), "~ /x/ab .*");
        let json = r#"{"null": null, "text": "by null in \"/home/null\": null", "list": ["null"]}"#;
        let shown = redacted_json(json, &host("/home/null", "null"));
        assert_eq!(shown, r#"{"null": null, "text": "by USER in \"~\": USER", "list": ["USER"]}"#);
        assert_eq!(redacted_json(r#"{"cut": "x\"#, &host("/", "a")), r#"{"cut": "x\"#);
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
