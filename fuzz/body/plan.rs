//! Reads a plan in Rust and as the shim does: both take it or both refuse it, and they see the same records.
//!
//! The body of the fuzz target, and of the test that goes through `seeds` and `findings`.

use cudashim::escape;
use cudashim::host::FileId;
use cudashim::plan::{How, Plan, SIZE_LIMIT};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Reads `bytes`, and what they say between a first and a last line as they must be. `shim` answers what `harness_plan`
/// makes of bytes, `None` where it refuses them.
pub(crate) fn run(bytes: &[u8], shim: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    agree(bytes, &shim);
    let records = bytes.strip_prefix(FIRST).unwrap_or(bytes);
    let mut lines: Vec<&[u8]> = records.split(|byte| *byte == b'\n').collect();
    lines.pop_if(|line| line.is_empty());
    lines.pop_if(|line| line.starts_with(b"end\t"));
    let last = format!("\nend\t{}\n", lines.len() + 1);
    lines.insert(0, FIRST.trim_ascii_end());
    agree(&[&lines.join(&b'\n'), last.as_bytes()].concat(), &shim);
}

fn agree(bytes: &[u8], shim: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    let theirs = shim(bytes);
    let plan = match Plan::parse(bytes) {
        Ok(plan) => plan,
        Err(error) => {
            assert!(theirs.is_none(), "the shim takes what is refused here: {error}");
            return;
        }
    };
    let ours = said(&plan);
    let theirs = theirs.expect("the shim refuses what is taken here");
    assert!(ours == theirs, "here {}\nshim {}", ours.escape_ascii(), theirs.escape_ascii());

    let written = plan.to_bytes();
    // Fields that are ignored are not written, and escapes of what could have stood as it is are not either.
    assert!(written.len() <= bytes.len() && written.len() as u64 <= SIZE_LIMIT);
    assert_eq!(Plan::parse(&written).expect("what was written can be read"), plan);
}

const FIRST: &[u8] = b"cudashim-plan\t1\n";

/// The records in the order and the words of `fuzz/shim/harness.c`.
fn said(plan: &Plan) -> Vec<u8> {
    let mut out = Out::default();
    let searched = plan.searched.as_ref().map(|value| escape::parse(value).expect("was checked"));
    out.put(if searched.is_some() { "v" } else { "-" }).put(searched.unwrap_or_default());
    for path in &plan.scopes {
        out.put("s").path(path);
    }
    for path in &plan.owns {
        out.put("o").path(path);
    }
    for library in &plan.libraries {
        out.put("l").put(&library.soname).file(&library.path, library.id, library.size, library.mtime);
        out.put(match library.how {
            How::Preload => "preload",
            How::Redirect => "redirect",
            How::Keep => "keep",
        });
    }
    for (name, soname) in &plan.aliases {
        out.put("n").put(name).put(soname);
    }
    for (path, soname) in &plan.replaces {
        out.put("r").path(path).put(soname);
    }
    for (name, sonames) in &plan.triggers {
        out.put("t").put(name).put(sonames.len().to_string());
        for soname in sonames {
            out.put(soname);
        }
    }
    for bundle in &plan.bundles {
        out.put("b").put(&bundle.name).file(&bundle.path, bundle.id, bundle.size, bundle.mtime);
    }
    for (name, path) in &plan.absent {
        out.put("a").put(name).path(path);
    }
    out.0
}

#[derive(Default)]
struct Out(Vec<u8>);

impl Out {
    fn put(&mut self, field: impl AsRef<[u8]>) -> &mut Self {
        self.0.extend(field.as_ref());
        self.0.push(0);
        self
    }

    fn path(&mut self, path: &Path) -> &mut Self {
        self.put(path.as_os_str().as_bytes())
    }

    fn file(&mut self, path: &Path, id: FileId, size: u64, mtime: i64) -> &mut Self {
        self.path(path).put(id.dev.to_string()).put(id.ino.to_string()).put(size.to_string());
        self.put(if mtime < 0 { "-" } else { "+" }).put(mtime.unsigned_abs().to_string())
    }
}
