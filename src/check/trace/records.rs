//! The lines that the tracer writes under `CUDASHIM_TRACE` (`cshim/audit.c`).
//!
//! Takes the bytes of the file; gives the events of each process in line order. Counts and skips a truncated or
//! unknown line: a process may be killed in the middle of one.

use crate::host::escape;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// The kind of call that requested a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// An entry of `DT_NEEDED`.
    Needed,
    /// `dlopen`.
    Dlopen,
    /// `LD_PRELOAD`, or `/etc/ld.so.preload`.
    Preload,
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Needed => "DT_NEEDED",
            Self::Dlopen => "dlopen",
            Self::Preload => "LD_PRELOAD",
        })
    }
}

/// The kind of path that a search tried (`LA_SER_*` of link.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    LibraryPath,
    RunPath,
    Cache,
    Default,
}

/// A search for a name that is not mapped yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Search {
    pub(super) name: OsString,
    pub(super) call: Call,
    /// The requesting object; empty for the program.
    pub(super) requester: PathBuf,
    /// Whether that object has a `DT_RUNPATH`, which disables its `DT_RPATH`.
    pub(super) runpath: bool,
    /// The path that the tracer substituted; empty: none.
    pub(super) instead: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    Start {
        program: PathBuf,
        command: String,
        parent: u32,
    },
    Fork {
        parent: u32,
    },
    Search(Search),
    Try(Place, PathBuf),
    Open {
        namespace: u32,
        path: PathBuf,
    },
    Close(PathBuf),
    /// The number of paths tried without success so far.
    Failed(u64),
    /// All libraries that the program is linked with are loaded, and it is about to begin.
    Begin,
}

/// The records with the process of each, and the number of unreadable lines.
pub(super) fn parse(bytes: &[u8]) -> (Vec<(u32, Event)>, usize) {
    let mut records = Vec::new();
    let mut unreadable = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match record(line) {
            Some(record) => records.push(record),
            None => unreadable += 1,
        }
    }
    (records, unreadable)
}

fn record(line: &[u8]) -> Option<(u32, Event)> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix("\t.\n")?;
    let fields: Vec<OsString> =
        line.split('\t').map(|field| escape::parse(field).map(OsString::from_vec)).collect::<Option<_>>()?;
    let number = |field: &OsString| field.to_str()?.parse::<u64>().ok();
    let process = |field: &OsString| u32::try_from(number(field)?).ok();
    let (pid, fields) = fields.split_first()?;
    let pid = process(pid)?;
    let (kind, fields) = fields.split_first()?;
    let event = match (kind.to_str()?, fields) {
        ("start", [program, command, parent]) => Event::Start {
            program: program.into(),
            command: command.to_string_lossy().trim_end().to_owned(),
            parent: process(parent)?,
        },
        ("fork", [parent]) => Event::Fork { parent: process(parent)? },
        ("search", [name, call, requester, runpath, instead]) => Event::Search(Search {
            name: name.clone(),
            call: match call.to_str()? {
                "needed" => Call::Needed,
                "dlopen" => Call::Dlopen,
                "preload" => Call::Preload,
                _ => return None,
            },
            requester: requester.into(),
            runpath: runpath == "runpath",
            instead: instead.into(),
        }),
        ("try", [place, path]) => {
            let place = match number(place)? {
                0x02 => Place::LibraryPath,
                0x04 => Place::RunPath,
                0x08 => Place::Cache,
                0x40 => Place::Default,
                _ => return None,
            };
            Event::Try(place, path.into())
        }
        ("open", [namespace, path]) => Event::Open { namespace: process(namespace)?, path: path.into() },
        ("close", [path]) => Event::Close(path.into()),
        ("begin", []) => Event::Begin,
        ("failed", [count]) => Event::Failed(number(count)?),
        _ => return None,
    };
    Some((pid, event))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_kind_of_record() {
        let text = b"7\tstart\t/bin/x\tx -v\t1\t.\n7\ttry\t64\t/a\\xff\\x09b\t.\n7\topen\t0\t/a\t.\n7\tfailed\t3\t.\n\
                     7\tsearch\tlibx.so\tneeded\t\trpath\t\t.\n8\tfork\t7\t.\n8\tclose\t\t.\n";
        let (records, unreadable) = parse(text);
        assert_eq!((records.len(), unreadable), (7, 0));
        assert_eq!(records[1], (7, Event::Try(Place::Default, OsString::from_vec(b"/a\xff\tb".to_vec()).into())));
        assert_eq!(records[5], (8, Event::Fork { parent: 7 }));
    }

    #[test]
    fn truncated_records_are_counted() {
        let text = b"7\topen\t0\t/a\t.\n7\topen\t0\t/b\n7\tnews\tx\t.\n7\topen\t0\t/c\t";
        assert_eq!(parse(text).1, 3);
        assert_eq!(parse(b"").1, 0);
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes: Vec<u8>) {
            let lines = bytes.split_inclusive(|byte| *byte == b'\n').count();
            let (records, unreadable) = parse(&bytes);
            prop_assert_eq!(records.len() + unreadable, lines);
        }
    }
}
