//! Reads what cudashim itself keeps: escaped fields, and the questions an answer rests on.
//!
//! The body of the fuzz target, and of the test that goes through `seeds` and `findings`.

use cudashim::internal::host::Stamps;
use cudashim::internal::host::escape;

/// Takes bytes as a name to escape, as a field, and as a file of stamps.
pub(crate) fn run(bytes: &[u8]) {
    let field = escape::bytes(bytes);
    assert!(!field.chars().any(|c| c.is_ascii_control()));
    assert!(bytes.contains(&0) || escape::parse(&field).as_deref() == Some(bytes));

    let text = String::from_utf8_lossy(bytes);
    if let Some(plain) = escape::parse(&text) {
        assert_eq!(escape::parse(&escape::bytes(&plain)), (!plain.contains(&0)).then_some(plain));
    }
    if let Some(stamps) = Stamps::from_text(&text) {
        assert_eq!(Stamps::from_text(&stamps.to_text()), Some(stamps));
    }
}
