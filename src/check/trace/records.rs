//! The records that the tracer writes under `CUDASHIM_TRACE` (`cshim/trace/trace.c`).
//!
//! Takes the bytes of the file; gives the events of each process in the order of the file. Counts and skips an unknown record;
//! what follows one that is cut short is not read: a process may be killed in the middle of one.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
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

/// The bytes before the fields: the size of the record, its process, and the process of the record before it in the memory
/// of the tracer, 0 for none, each four bytes.
const HEAD: usize = 12;

/// The records with the process of each, and the number of unreadable ones.
pub(super) fn parse(mut bytes: &[u8]) -> (Vec<(u32, Event)>, usize) {
    let mut records = Vec::new();
    let mut unreadable = 0;
    while !bytes.is_empty() {
        let word =
            |at: usize| bytes.get(at..at + 4).and_then(<[u8]>::first_chunk).map(|word| u32::from_ne_bytes(*word));
        let head = (word(0), word(4), word(8));
        let (Some(size), Some(process), Some(before)) = head else { return (records, unreadable + 1) };
        let Some((record, rest)) = bytes.split_at_checked(size as usize).filter(|(record, _)| record.len() >= HEAD)
        else {
            return (records, unreadable + 1);
        };
        bytes = rest;
        if before != 0 && before != process {
            records.push((process, Event::Fork { parent: before }));
        }
        match record.get(HEAD..).and_then(event) {
            Some(event) => records.push((process, event)),
            None => unreadable += 1,
        }
    }
    (records, unreadable)
}

fn event(fields: &[u8]) -> Option<Event> {
    let fields: Vec<&OsStr> = fields.strip_suffix(b"\0")?.split(|byte| *byte == 0).map(OsStr::from_bytes).collect();
    let number = |field: &OsStr| field.to_str()?.parse::<u64>().ok();
    let process = |field: &OsStr| u32::try_from(number(field)?).ok();
    let (kind, fields) = fields.split_first()?;
    let event = match (kind.to_str()?, fields) {
        ("start", [program, command, parent]) => Event::Start {
            program: program.into(),
            command: command.to_string_lossy().trim_end().to_owned(),
            parent: process(parent)?,
        },
        ("search", [name, call, requester, runpath, instead]) => Event::Search(Search {
            name: (*name).to_owned(),
            call: match call.to_str()? {
                "needed" => Call::Needed,
                "dlopen" => Call::Dlopen,
                "preload" => Call::Preload,
                _ => return None,
            },
            requester: requester.into(),
            runpath: *runpath == "runpath",
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
    Some(event)
}

/// A record of a process, after one of another.
#[cfg(test)]
pub(super) fn written(process: u32, before: u32, fields: &str) -> Vec<u8> {
    let size = u32::try_from(HEAD + fields.len()).unwrap_or_default();
    [&[size, process, before].map(u32::to_ne_bytes).concat()[..], fields.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_kind_of_record() {
        let mut bytes = Vec::new();
        for (process, before, fields) in [
            (7, 0, "start\0/bin/x\0x -v\x001\0"),
            (7, 7, "try\x0064\0/a\tb\n\0"),
            (7, 7, "open\x000\0/a\0"),
            (7, 7, "failed\x003\0"),
            (7, 7, "search\0libx.so\0needed\0\0rpath\0\0"),
            (8, 7, "close\0\0"),
        ] {
            bytes.extend(written(process, before, fields));
        }
        let (records, unreadable) = parse(&bytes);
        assert_eq!((records.len(), unreadable), (7, 0));
        assert_eq!(records[1], (7, Event::Try(Place::Default, "/a\tb\n".into())));
        assert_eq!(records[5], (8, Event::Fork { parent: 7 }));
    }

    #[test]
    fn truncated_records_are_counted() {
        let [whole, unknown] = ["open\x000\0/a\0", "news\0x\0"].map(|fields| written(7, 7, fields));
        let cut = &whole[..whole.len() - 1];
        assert_eq!(parse(&[&whole, &unknown, &whole, cut].concat()), (vec![parse(&whole).0[0].clone(); 2], 2));
        assert_eq!(parse(&written(7, 7, "")).1, 1);
        assert_eq!(parse(&[1, 0, 0, 0, 7, 0, 0, 0, 7, 0, 0, 0]).1, 1);
        assert_eq!(parse(b"").1, 0);
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes: Vec<u8>) {
            let (records, unreadable) = parse(&bytes);
            prop_assert!(bytes.is_empty() || records.len() + unreadable > 0);
        }
    }
}
