//! Reads what programs print where they fail.
//!
//! The body of the fuzz target, and of the test that goes through `seeds` and `findings`.

use cudashim::internal::diagnose::{Window, recognise};
use cudashim::internal::tables::{brings, messages};

/// Takes bytes as the output of a program, in one piece and in many.
pub(crate) fn run(bytes: &[u8]) {
    let found = recognise(bytes);
    // The most telling first, but for a cause: it stands before what it brings about.
    let causes = |at: usize| found[at + 1..].iter().any(|other| brings(found[at].ids[0]).contains(&other.ids[0]));
    assert!((1..found.len()).all(|at| found[at - 1].weight >= found[at].weight || causes(at - 1)));
    for message in &found {
        assert!(messages().iter().any(|row| row.ids == message.ids && row.source == message.source));
        assert!(!message.text.contains(['\n', '\u{1b}']) && message.text.chars().count() <= 240);
        // What a message names stood in the text, unless its lines were put together.
        assert!(message.names.values().all(|name| name.len() <= 8192));
        assert!(message.count > 0);
    }
    // Short text passes through a window as it is.
    let mut window = Window::new();
    bytes.chunks(7).for_each(|piece| window.push(piece));
    assert_eq!(window.skipped(), 0);
    assert_eq!(window.text(), bytes);
    // What colours a line or ends it otherwise says nothing.
    if bytes.is_ascii() && !bytes.contains(&0x1b) && !bytes.contains(&b'\r') {
        let painted = [b"\x1b[31m", bytes, b"\x1b[0m"].concat();
        assert_eq!(recognise(&painted), found);
    }
}
