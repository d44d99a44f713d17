//! Reads a wheel's `RECORD`: each line as a reader of CSV that goes byte by byte would, and as it is written again.
//!
//! The body of the fuzz target, and of the test that goes through `seeds` and `findings`.

use super::machine::Machine;
use cudashim::internal::python::{Recorded, distributions};
use std::os::unix::ffi::OsStrExt;

/// Takes the bytes of a `RECORD`.
pub(crate) fn run(bytes: &[u8]) {
    let recorded = read(bytes);
    let paths: Vec<_> = recorded.iter().map(|one| one.path.as_os_str().as_bytes().to_owned()).collect();
    let expected: Vec<_> = bytes.split(|byte| *byte == b'\n').filter_map(first_field).collect();
    assert_eq!(paths, expected);

    let mut written = Vec::new();
    for one in &recorded {
        written.push(b'"');
        for &byte in one.path.as_os_str().as_bytes() {
            written.extend([byte].iter().chain((byte == b'"').then_some(&byte)));
        }
        let digest = one.sha256.as_ref().map_or(String::new(), |digest| format!("sha256={digest}"));
        let size = one.size.map_or(String::new(), |size| size.to_string());
        written.extend(format!("\",{digest},{size}\r\n").bytes());
    }
    assert_eq!(read(&written), recorded);
}

fn read(bytes: &[u8]) -> Vec<Recorded> {
    let machine = Machine::with(&[("s/a_b-1.2.dist-info/RECORD", bytes)]);
    let host = machine.host();
    let found = distributions(&host, "/s".as_ref());
    assert_eq!((found.len(), found[0].name.as_str(), found[0].version.as_str()), (1, "a-b", "1.2"));
    found[0].record(&host)
}

/// A quoted field ends at a quote that no other follows; another one at a comma.
fn first_field(line: &[u8]) -> Option<Vec<u8>> {
    let quoted = line.first() == Some(&b'"');
    let mut field = Vec::new();
    let mut rest = line.iter().skip(usize::from(quoted)).peekable();
    while let Some(&byte) = rest.next() {
        match byte {
            b'"' if quoted && rest.next_if_eq(&&b'"').is_some() => field.push(b'"'),
            b'"' if quoted => return Some(field),
            b',' if !quoted => return Some(field).filter(|field| !field.is_empty()),
            _ => field.push(byte),
        }
    }
    None
}
