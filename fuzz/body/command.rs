//! Reads the first line of a script as the kernel does (`fs/binfmt_script.c`): what it would start is what is found.
//!
//! The body of the fuzz target, and of the test that goes through `seeds` and `findings`.

use super::machine::Machine;
use cudashim::internal::python::Command;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What the kernel reads of a file.
const START: usize = 256;

/// Takes the bytes of a file that is run.
pub(crate) fn run(bytes: &[u8]) {
    let machine = Machine::with(&[("bin/script", bytes), ("bin/python3", b"\x7fELF"), ("bin/env", b"\x7fELF")]);
    let host = machine.host();
    let command = Command::read(&host, &["script".into(), "-I".into()]).expect("it is on PATH");
    assert_eq!(command.file, Path::new("/bin/script"));
    match interpreter(bytes) {
        Some(program) if Path::new(OsStr::from_bytes(program)).file_name() == Some("env".as_ref()) => {}
        // A script that starts itself is none.
        Some(program) if program.starts_with(b"/") && program != b"/bin/script" => {
            assert_eq!(command.program, Path::new(OsStr::from_bytes(program)));
        }
        Some(_) => {}
        None => assert_eq!((command.program.as_path(), &command.python), (Path::new("/bin/script"), &None)),
    }
}

/// The path after `#!`: up to a blank, a tab, the end of the line, or a NUL, with which a short file is padded.
fn interpreter(bytes: &[u8]) -> Option<&[u8]> {
    let start = bytes.get(..START).unwrap_or(bytes);
    let line = start.strip_prefix(b"#!")?;
    let ends = line.iter().position(|byte| *byte == b'\n');
    let line = line.get(..ends.unwrap_or(line.len()))?;
    let begin = line.iter().position(|byte| !b" \t".contains(byte))?;
    let line = line.get(begin..)?;
    let stop = line.iter().position(|byte| b" \t\0".contains(byte));
    // A path that fills all the kernel reads may be cut off: it starts nothing.
    let whole = ends.is_some() || stop.is_some() || bytes.len() < START;
    line.get(..stop.unwrap_or(line.len())).filter(|path| whole && !path.is_empty())
}
