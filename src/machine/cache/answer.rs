//! An answer as it is kept: one small file, all that the start of a program has to read.
//!
//! Takes what was found and under which conditions; gives the text, and back. A text that is cut, or of another release, is
//! no answer.

use super::files::Known;
use crate::check::Standing;
use crate::host::escape;
use crate::host::{Host, Stamps};
use crate::launch::Target;
use std::fmt::Write as _;
use std::path::Path;

const FIRST: &str = "cudashim-answer\t1";

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// The image of this name.
    Image(String),
    /// Nothing is to be handed out: why.
    Nothing(String),
    /// Nothing is to be handed out, and nobody is to ask again: why.
    Bare(String),
    /// The program may start any environment, and each asks for its own.
    Open,
    /// Who provides a stranger's libraries.
    Standing(Standing),
}

/// An answer without its conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) found: Found,
    /// Which door reaches the program of the command.
    pub(super) target: Target,
    /// What whoever starts the command must know.
    pub(super) warnings: Vec<String>,
    /// Why it is not to be started.
    pub(super) stops: Vec<String>,
    /// The files of the cache that it needs.
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

    /// The answer in a text, where all that it was found under still holds; `dir` is that of its files.
    pub(super) fn if_it_holds(text: &str, host: &Host, dir: &Path) -> Option<Self> {
        let (head, stamps) = text.split_once("stamps\n")?;
        let stamps = stamps.strip_suffix("end\n")?;
        let answer = Self::parse(head)?;
        let holds = answer.files.iter().all(|file| file.stands(dir)) && Stamps::text_holds(stamps, host);
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
    fn text_round_trips_and_a_cut_one_is_none() {
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
