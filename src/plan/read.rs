//! The parser of plan files; anything doubtful is an error with its line.

use super::{How, LIBRARY_LIMIT, MadeWith, Plan, PlanFor, PlanLibrary, RECORD_LIMIT, SIZE_LIMIT};
use crate::host::FileId;
use crate::host::Hints;
use crate::host::escape;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Why a plan cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The file could not be read.
    #[error("cannot read the plan `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not a plan.
    #[error("not a plan: the first line is not `cudashim-plan<TAB>1`")]
    NotAPlan,
    /// The file is a plan of another format: of a later cudashim, most likely.
    #[error("the plan has format {found}; this cudashim {} reads format 1", env!("CARGO_PKG_VERSION"))]
    OtherFormat {
        /// Its number.
        found: u64,
    },
    /// Its lines end in CR LF, to which git may convert them.
    #[error("the lines of the plan end in CR LF")]
    CarriageReturns,
    /// The `end` line is missing or wrong.
    #[error("the plan is cut off: its `end` line is missing, or counts other lines")]
    CutOff,
    /// The plan exceeds its limits.
    #[error("the plan is too large: at most {SIZE_LIMIT} bytes, {LIBRARY_LIMIT} libraries, and {RECORD_LIMIT} records")]
    TooLarge,
    /// A line that cannot be read.
    #[error("line {line} of the plan: {says}")]
    Line {
        /// Counted from one.
        line: usize,
        /// The fault of the line.
        says: &'static str,
    },
}

impl Hints for PlanError {
    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Read { .. } => return Vec::new(),
            Self::OtherFormat { found } if *found > 1 => {
                "use a later cudashim, or make a new plan with this one: `cudashim lock`"
            }
            Self::CarriageReturns => {
                "keep git from changing it: `echo 'cudashim.lock -text' >> .gitattributes`, then check it out again"
            }
            Self::CutOff => "make a new one with `cudashim lock`: this one was cut short, or edited by hand",
            _ => "make a new one with `cudashim lock`: a plan is not edited by hand",
        };
        vec![hint.to_owned()]
    }
}

pub(super) fn file(path: &Path) -> Result<Plan, PlanError> {
    match whole(path, SIZE_LIMIT) {
        Ok(Some(all)) => bytes(&all),
        Ok(None) => Err(PlanError::TooLarge),
        Err(source) => Err(PlanError::Read { path: path.to_owned(), source }),
    }
}

/// The bytes of a regular file; `None` where it has more than `limit`.
pub(super) fn whole(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let meta = std::fs::metadata(path)?;
    if !meta.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    if meta.len() > limit { Ok(None) } else { std::fs::read(path).map(Some) }
}

pub(super) fn bytes(bytes: &[u8]) -> Result<Plan, PlanError> {
    if u64::try_from(bytes.len()).map_or(true, |size| size > SIZE_LIMIT) {
        return Err(PlanError::TooLarge);
    }
    let text = std::str::from_utf8(bytes).map_err(|error| PlanError::Line {
        line: bytes.iter().take(error.valid_up_to()).filter(|byte| **byte == b'\n').count() + 1,
        says: "not UTF-8",
    })?;
    let mut lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
    let first = lines.next().unwrap_or_default();
    if first != "cudashim-plan\t1" {
        return Err(other_format(first));
    }
    if !text.ends_with('\n') {
        return Err(PlanError::CutOff);
    }
    let mut plan = Plan::default();
    let mut ended = false;
    for (index, line) in lines.enumerate() {
        // The first record is on line 2.
        let number = index + 2;
        if ended {
            return Err(PlanError::CutOff);
        }
        if number > RECORD_LIMIT + 2 {
            return Err(PlanError::TooLarge);
        }
        ended = record(&mut plan, line, number)?;
    }
    if !ended {
        return Err(PlanError::CutOff);
    }
    check(&plan)?;
    Ok(plan)
}

/// The error for a first line that is not of format 1.
fn other_format(first: &str) -> PlanError {
    match first.strip_prefix("cudashim-plan\t") {
        Some("1\r") => PlanError::CarriageReturns,
        // A later format may have more fields on its first line.
        Some(rest) => match rest.split(['\t', '\r']).next().and_then(decimal).filter(|found| *found != 1) {
            Some(found) => PlanError::OtherFormat { found },
            None => PlanError::NotAPlan,
        },
        None => PlanError::NotAPlan,
    }
}

/// A `with` record; `None` for a malformed one, which is kept as it is: only reports and `verify` read it, not the
/// shim.
fn made_with(line: &str) -> Option<MadeWith> {
    let mut fields =
        line.strip_prefix("with\t")?.split('\t').map(|field| String::from_utf8(escape::parse(field)?).ok());
    let mut next = || fields.next().flatten().filter(|field| !field.is_empty());
    let (what, version, cuda) = (next()?, next()?, next()?);
    let known = |field: String| Some(field).filter(|field| field != "-");
    Some(MadeWith { what, version: known(version), cuda: known(cuda) })
}

/// Adds a line to the plan; true for the last one.
fn record(plan: &mut Plan, line: &str, number: usize) -> Result<bool, PlanError> {
    let error = |says| PlanError::Line { line: number, says };
    if line.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
        return Err(error("a control character"));
    }
    // Even in fields and kinds that are not read.
    if line.split('\t').any(|field| escape::parse(field).is_none()) {
        return Err(error("a wrong escape"));
    }
    let mut fields = line.split('\t');
    let kind = fields.next().unwrap_or_default();
    let mut next = || fields.next().ok_or(error("too few fields"));
    let text = |field: &str| -> Result<String, PlanError> {
        let bytes = escape::parse(field).ok_or(error("a wrong escape"))?;
        String::from_utf8(bytes).ok().filter(|text| !text.is_empty()).ok_or(error("an empty or unreadable name"))
    };
    let path = |field: &str| -> Result<PathBuf, PlanError> {
        let path = escape::parse_path(field).ok_or(error("a wrong escape"))?;
        if path.is_absolute() { Ok(path) } else { Err(error("a path that is not absolute")) }
    };
    let name = |field: &str| -> Result<String, PlanError> {
        let name = text(field)?;
        if name.contains('/') { Err(error("a name with a slash")) } else { Ok(name) }
    };
    let optional = |field: String| (field != "-").then_some(field);
    match kind {
        "" => return Err(error("an empty line")),
        "for" => {
            let (kind, words, at) = (text(next()?)?, text(next()?)?, next()?);
            plan.made_for.push(PlanFor { kind, text: words, path: if at == "-" { None } else { Some(path(at)?) } });
        }
        "program" => plan.programs.push(path(next()?)?),
        "object" => plan.objects.push(path(next()?)?),
        "lib" => {
            if plan.libraries.len() >= LIBRARY_LIMIT {
                return Err(PlanError::TooLarge);
            }
            let (soname, file) = (name(next()?)?, path(next()?)?);
            let (id, size, mtime) = file_state([next()?, next()?, next()?], number)?;
            let (identity, version) = (optional(text(next()?)?), optional(text(next()?)?));
            if !identity.as_deref().is_none_or(is_identity) {
                return Err(error("a wrong identity"));
            }
            let how = match next()? {
                "preload" => How::Preload,
                "redirect" => How::Redirect,
                "keep" => How::Keep,
                _ => return Err(error("neither `preload` nor `redirect` nor `keep`")),
            };
            plan.libraries.push(PlanLibrary { soname, path: file, id, size, mtime, identity, version, how });
        }
        "alias" => plan.aliases.push((name(next()?)?, name(next()?)?)),
        "replace" => plan.replaces.push((path(next()?)?, name(next()?)?)),
        "end" => {
            let count: usize = decimal(next()?).ok_or(error("a wrong count"))?;
            return if count == number - 1 { Ok(true) } else { Err(PlanError::CutOff) };
        }
        _ => match made_with(line) {
            Some(with) => plan.made_with.push(with),
            None => plan.unknown.push(line.to_owned()),
        },
    }
    Ok(false)
}

fn all_different<T: Ord>(items: impl Iterator<Item = T>) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    items.into_iter().all(|item| seen.insert(item))
}

/// `build-id:` or `sha256:` and hexadecimal digits.
fn is_identity(text: &str) -> bool {
    let digits = text.strip_prefix("build-id:").or_else(|| text.strip_prefix("sha256:"));
    digits.is_some_and(|digits| {
        !digits.is_empty() && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// `dev:ino`, size and modification time of a file.
fn file_state([id, size, mtime]: [&str; 3], line: usize) -> Result<(FileId, u64, i64), PlanError> {
    let error = |says| PlanError::Line { line, says };
    let (dev, ino) = id.split_once(':').ok_or(error("device and inode are not two numbers"))?;
    let id =
        FileId { dev: decimal(dev).ok_or(error("a wrong device"))?, ino: decimal(ino).ok_or(error("a wrong inode"))? };
    let size = decimal(size).ok_or(error("a wrong size"))?;
    let mtime = match mtime.strip_prefix('-') {
        Some(digits) => decimal::<i64>(digits).map(|time| -time),
        None => decimal(mtime),
    };
    Ok((id, size, mtime.ok_or(error("a wrong time"))?))
}

/// Digits only: `from_str` accepts a plus sign.
fn decimal<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn check(plan: &Plan) -> Result<(), PlanError> {
    let error = |says| PlanError::Line { line: 1, says };
    let mut sonames: Vec<&str> = plan.libraries.iter().map(|library| library.soname.as_str()).collect();
    sonames.sort_unstable();
    let has_library = |soname: &String| sonames.binary_search(&soname.as_str()).is_ok();
    let names = plan.libraries.iter().map(|library| &library.soname);
    let names = names.chain(plan.aliases.iter().map(|(name, _)| name));
    let once = all_different(names)
        && all_different(plan.programs.iter().map(|path| path.as_os_str()))
        && all_different(plan.objects.iter().map(|path| path.as_os_str()))
        && all_different(plan.replaces.iter().map(|(path, _)| path.as_os_str()));
    if !once {
        return Err(error("a name occurs twice"));
    }
    let referred = plan.aliases.iter().map(|(_, soname)| soname).chain(plan.replaces.iter().map(|(_, soname)| soname));
    if referred.into_iter().all(has_library) {
        Ok(())
    } else {
        Err(error("a record names a soname that has no `lib` record"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Plan {
        let library = |soname: &str, how| PlanLibrary {
            soname: soname.into(),
            path: PathBuf::from(format!("/opt/a b\t/{soname}")),
            id: FileId { dev: 66306, ino: 42 },
            size: 1,
            mtime: -5,
            identity: Some("build-id:00ff".into()),
            version: None,
            how,
        };
        Plan {
            made_for: vec![PlanFor { kind: "torch".into(), text: "torch 2.5.1+cu124".into(), path: None }],
            made_with: vec![MadeWith { what: "driver".into(), version: Some("535.261.03".into()), cuda: None }],
            programs: vec!["/venv/bin/python".into()],
            objects: vec!["/venv/torch/_C.so".into()],
            libraries: vec![library("libnvrtc.so.12", How::Redirect), library("libgomp.so.1", How::Keep)],
            aliases: vec![("libnvrtc.so".into(), "libnvrtc.so.12".into())],
            replaces: vec![("/x/libnvrtc.so.12".into(), "libnvrtc.so.12".into())],
            unknown: vec!["later\tx".into()],
        }
    }

    #[test]
    fn a_plan_round_trips() {
        assert_eq!(Plan::parse(&sample().to_bytes()).unwrap(), sample());
    }

    #[test]
    fn a_plan_cut_anywhere_is_refused() {
        let bytes = sample().to_bytes();
        for end in 0..bytes.len() {
            assert!(Plan::parse(&bytes[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn lines_that_are_refused() {
        let refused = |line: &str| Plan::parse(format!("cudashim-plan\t1\n{line}\nend\t2\n").as_bytes()).is_err();
        assert!(!refused("unknown\tkind"));
        for line in [
            "",
            "lib\ta\t/a\t1:2\t3\t4\t-\t-",
            "lib\ta\ta\t1:2\t3\t4\t-\t-\tkeep",
            "lib\ta\t/a\t1:2\t+3\t4\t-\t-\tkeep",
            "lib\ta\t/a\t12\t3\t4\t-\t-\tkeep",
            "lib\ta\t/a\t1:2\t3\t4\t-\t-\tmaybe",
            "alias\ta\tb",
            "program",
            "program\tbin/python",
            "object\t_C.so",
            "alias\t\\q\tb",
            "end\t9",
            "x\ry",
            "later\t\\q",
            "\\q",
            "end\t2\t\\",
            "for\t\tx\t-",
            "for\tx\t\\xff\t-",
            "for\tx\ty\tz",
        ] {
            assert!(refused(line), "{line:?}");
        }
        assert!(Plan::parse(b"cudashim-plan\t1\tx\nend\t1\n").is_err());
        // Other bytes are another path.
        let lib = "lib\ta\t/a\t1:2\t3\t4\t-\t-\tkeep";
        let twice = |path: &str| format!("cudashim-plan\t1\n{lib}\nreplace\t/x/y\ta\nreplace\t{path}\ta\nend\t4\n");
        assert!(Plan::parse(twice("/x//y").as_bytes()).is_ok() && Plan::parse(twice("/x/y").as_bytes()).is_err());
    }

    #[test]
    fn another_format_is_an_error_of_its_kind() {
        let error = |text: &str| Plan::parse(text.as_bytes()).unwrap_err();
        assert!(matches!(error("cudashim-plan\t2\nnew\nend\t2\n"), PlanError::OtherFormat { found: 2 }));
        assert!(matches!(error("cudashim-plan\t12\tmore\n"), PlanError::OtherFormat { found: 12 }));
        assert!(matches!(error("cudashim-plan\t1\r\nend\t1\r\n"), PlanError::CarriageReturns));
        for text in ["", "cudashim-plan", "cudashim-plan\t1\tx\nend\t1\n", "cudashim-plan\t-2\n", "cudashim-plan\t+2\n"]
        {
            assert!(matches!(error(text), PlanError::NotAPlan), "{text:?}");
        }
        assert!(error("cudashim-plan\t2\n").hints()[0].contains("later cudashim"));
    }

    #[test]
    fn with_records_are_kept_even_if_malformed() {
        let plan = |line: &str| Plan::parse(format!("cudashim-plan\t1\n{line}\nend\t2\n").as_bytes()).unwrap();
        let read = plan("with\tdriver\t-\t12.2\tlater field");
        assert_eq!(read.with("driver").map(|with| (&with.version, with.cuda.as_deref())), Some((&None, Some("12.2"))));
        for line in ["with", "with\tdriver", "with\t\t1\t2", "with\tx\t\\xff\t-"] {
            let read = plan(line);
            assert!(read.made_with.is_empty(), "{line}");
            assert_eq!(read.unknown, [line]);
        }
    }

    #[test]
    fn the_number_of_libraries_has_a_limit() {
        let plan = |libraries: usize| {
            let one = |at| format!("lib\tlib{at}.so\t/a\t1:2\t3\t4\t-\t-\tkeep\n");
            let libs = (0..libraries).map(one).collect::<Vec<_>>().concat();
            format!("cudashim-plan\t1\n{libs}end\t{}\n", libraries + 1)
        };
        assert!(Plan::parse(plan(LIBRARY_LIMIT).as_bytes()).is_ok());
        assert!(Plan::parse(plan(LIBRARY_LIMIT + 1).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_cause_a_panic(bytes: Vec<u8>) {
            let _ = Plan::parse(&bytes);
        }

        #[test]
        fn no_damage_causes_a_panic(at in 0usize..400, byte: u8) {
            let mut bytes = sample().to_bytes();
            if let Some(slot) = bytes.get_mut(at) {
                *slot = byte;
            }
            if let Ok(plan) = Plan::parse(&bytes) {
                prop_assert_eq!(Plan::parse(&plan.to_bytes()).unwrap(), plan);
            }
        }
    }
}
