//! The stored form of an answer: one small file, the only one that a program start reads.
//!
//! Takes a result and its conditions; gives the text, and parses it. A truncated text, or one of another cudashim
//! release, is no answer.

use super::files::Known;
use crate::check::{InProcess, Standing};
use crate::host::escape;
use crate::host::{Host, Stamps};
use crate::launch::Target;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

const FIRST: &str = "cudashim-answer\t1";

/// The result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// The image with this name.
    Image(String),
    /// Nothing to hand out; the reason.
    Nothing(String),
    /// Nothing to hand out, and no process may ask again; the reason.
    Bare(String),
    /// The program may start any environment, and each asks for its own plan.
    Open,
    /// The provider of a stranger's libraries.
    Standing(Standing),
    /// What a process without the shim is to map.
    InProcess(InProcess),
}

/// An answer without its conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) found: Found,
    /// Which mechanism reaches the program of the command.
    pub(super) target: Target,
    /// Warnings for the user who starts the command.
    pub(super) warnings: Vec<String>,
    /// Reasons not to start the command.
    pub(super) stops: Vec<String>,
    /// The cache files that it needs.
    pub(super) files: Vec<Known>,
}

impl Answer {
    pub(super) fn to_text(&self, stamps: &Stamps) -> String {
        let mut text = format!("{FIRST}\n");
        let _ = match &self.found {
            Found::Image(name) => writeln!(text, "image\t{name}"),
            Found::Nothing(why) => writeln!(text, "nothing\t{}", escape::bytes(why.as_bytes())),
            Found::Bare(why) => writeln!(text, "bare\t{}", escape::bytes(why.as_bytes())),
            Found::Open => writeln!(text, "open"),
            Found::Standing(Standing::Set) => writeln!(text, "set"),
            Found::Standing(Standing::Own) => writeln!(text, "own"),
            Found::InProcess(InProcess { open, left }) => {
                let left = left.as_ref().map_or("-".to_owned(), |left| escape::bytes(left.as_bytes()));
                let opened = open.iter().fold(String::new(), |all, (soname, path)| {
                    all + "\t" + &escape::bytes(soname.as_bytes()) + "\t" + &escape::path(path)
                });
                writeln!(text, "process\t{left}{opened}")
            }
        };
        if let Ok(target) = serde_json::to_string(&self.target) {
            let _ = writeln!(text, "target\t{target}");
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "warning\t{}", escape::bytes(warning.as_bytes()));
        }
        for stop in &self.stops {
            let _ = writeln!(text, "stop\t{}", escape::bytes(stop.as_bytes()));
        }
        for Known { name, state: (ino, size, mtime) } in &self.files {
            let _ = writeln!(text, "file\t{ino} {size} {mtime}\t{name}");
        }
        text + "stamps\n" + &stamps.to_text() + "end\n"
    }

    /// Parses an answer if all its conditions still hold; `dir` is the cache directory.
    pub(super) fn if_it_holds(text: &str, host: &Host, dir: &Path) -> Option<Self> {
        let (head, stamps) = text.split_once("stamps\n")?;
        let stamps = stamps.strip_suffix("end\n")?;
        let answer = Self::parse(head)?;
        let holds = answer.files.iter().all(|file| file.is_intact(dir)) && Stamps::text_holds(stamps, host);
        holds.then_some(answer)
    }

    fn parse(head: &str) -> Option<Self> {
        let mut lines = head.lines();
        lines.next().filter(|line| *line == FIRST)?;
        let line = lines.next()?;
        let found = match line.split_once('\t').unwrap_or((line, "")) {
            ("image", name) => Found::Image(name.to_owned()),
            ("nothing", why) => Found::Nothing(text(why)?),
            ("bare", why) => Found::Bare(text(why)?),
            ("open", _) => Found::Open,
            ("set", _) => Found::Standing(Standing::Set),
            ("own", _) => Found::Standing(Standing::Own),
            ("process", fields) => Found::InProcess(in_process(fields)?),
            _ => return None,
        };
        let target = serde_json::from_str(lines.next()?.strip_prefix("target\t")?).ok()?;
        let (mut warnings, mut stops, mut files) = (Vec::new(), Vec::new(), Vec::new());
        for line in lines {
            match line.split_once('\t')? {
                ("warning", warning) => warnings.push(text(warning)?),
                ("stop", stop) => stops.push(text(stop)?),
                _ => files.push(file(line)?),
            }
        }
        Some(Self { found, target, warnings, stops, files })
    }
}

fn text(field: &str) -> Option<String> {
    String::from_utf8(escape::parse(field)?).ok()
}

fn in_process(fields: &str) -> Option<InProcess> {
    let mut fields = fields.split('\t');
    let left = fields.next().filter(|left| *left != "-").map(text);
    let mut open = Vec::new();
    while let Some(soname) = fields.next() {
        let path = PathBuf::from(OsString::from_vec(escape::parse(fields.next()?)?));
        open.push((text(soname)?, path));
    }
    Some(InProcess { open, left: left.map_or(Some(None), |left| left.map(Some))? })
}

fn file(line: &str) -> Option<Known> {
    let (state, name) = line.strip_prefix("file\t")?.split_once('\t')?;
    let mut fields = state.split(' ');
    let state = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Known { name: name.to_owned(), state })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::OutOfReach;
    use std::collections::BTreeMap;

    #[test]
    fn truncated_text_is_none() {
        let host = Host::new("/".into(), BTreeMap::new(), "/".into());
        let dir = tempfile::tempdir().unwrap();
        let known = super::super::files::put(dir.path(), "a.image", b"x").unwrap();
        let target = Target { out_of_reach: Some(OutOfReach::Static), ..Target::default() };
        for found in [
            Found::Image("a.image".into()),
            Found::Nothing("`p\tq` has no torch".into()),
            Found::Bare("x".into()),
            Found::Open,
            Found::Standing(Standing::Own),
            Found::InProcess(InProcess::default()),
            Found::InProcess(InProcess { open: vec![("liba.so.1".into(), "/a\tb".into())], left: Some("x\ty".into()) }),
        ] {
            let warnings = vec!["torn: `x`\nand more".to_owned()];
            let stops = vec!["`x` is\tmissing".to_owned()];
            let answer = Answer { found, target: target.clone(), warnings, stops, files: vec![known.clone()] };
            let text = answer.to_text(&Stamps::default());
            assert_eq!(Answer::if_it_holds(&text, &host, dir.path()), Some(answer));
            for end in 0..text.len() {
                assert_eq!(Answer::if_it_holds(&text[..end], &host, dir.path()), None, "{}", &text[..end]);
            }
            assert_eq!(Answer::if_it_holds(&text, &host, "/".as_ref()), None);
        }
    }
}
