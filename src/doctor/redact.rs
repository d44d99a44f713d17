//! A report that can be shown to strangers.

use crate::host::Host;
use std::path::Path;

/// `text` without the names of users and of the machine, and without the identities of devices.
#[must_use]
pub fn redacted(text: &str, host: &Host) -> String {
    let mut text = text.to_owned();
    if let Some(home) = host.env("HOME").and_then(std::ffi::OsStr::to_str).filter(|home| home.len() > 1) {
        text = text.replace(home, "~");
    }
    let name = host.read_text(Path::new("/etc/hostname")).unwrap_or_default();
    if name.trim().len() > 2 {
        text = text.replace(name.trim(), "HOST");
    }
    text = after(&text, "/home/", |c| c != '/' && c != '"' && c != '`' && !c.is_whitespace(), "USER");
    for start in ["GPU-", "MIG-"] {
        text = after(&text, start, |c| c.is_ascii_hexdigit() || c == '-', "…");
    }
    text
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
    }
}
