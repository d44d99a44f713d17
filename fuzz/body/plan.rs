//! Reads the text of a plan: what is taken is written so that it reads the same again.
//!
//! The body of the fuzz target, and of the test that goes through `seeds` and `findings`.

use cudashim::internal::plan::{Plan, SIZE_LIMIT};

/// Reads `bytes`, and what they say between a first and a last line as they must be.
pub(crate) fn run(bytes: &[u8]) {
    agree(bytes);
    let records = bytes.strip_prefix(FIRST).unwrap_or(bytes);
    let mut lines: Vec<&[u8]> = records.split(|byte| *byte == b'\n').collect();
    lines.pop_if(|line| line.is_empty());
    lines.pop_if(|line| line.starts_with(b"end\t"));
    let last = format!("\nend\t{}\n", lines.len() + 1);
    lines.insert(0, FIRST.trim_ascii_end());
    agree(&[&lines.join(&b'\n'), last.as_bytes()].concat());
}

fn agree(bytes: &[u8]) {
    let Ok(plan) = Plan::parse(bytes) else { return };
    let written = plan.to_bytes();
    // Fields that are ignored are not written, and escapes of what could have stood as it is are not either.
    assert!(written.len() <= bytes.len() && written.len() as u64 <= SIZE_LIMIT);
    assert_eq!(Plan::parse(&written).expect("what was written can be read"), plan);
}

const FIRST: &[u8] = b"cudashim-plan\t1\n";
