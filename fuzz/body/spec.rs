//! Reads what a user writes for a torch version: it admits what it leads to.
//!
//! The body of the fuzz target, and of the test that goes through `seeds` and `findings`.

use cudashim::internal::tables::torch_builds;
use cudashim::internal::target::Spec;

/// Takes the text of a SPEC.
pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let spec: Spec = match text.parse() {
        Ok(spec) => spec,
        Err(error) => return assert!(error.to_string().contains(text)),
    };
    assert_eq!(spec.to_string(), text);
    assert_eq!(spec.to_string().parse::<Spec>().as_ref(), Ok(&spec));
    assert_eq!(spec.is_auto(), text == "auto");
    let admits = |version: &str, tag| spec.admits(version, Some(tag));
    match spec.known() {
        Ok(row) => {
            assert!(admits(row.version.as_str(), row.cuda));
            let newer = torch_builds().iter().filter(|other| other.version > row.version);
            assert_eq!(newer.filter(|other| admits(other.version.as_str(), other.cuda)).count(), 0);
            let requirement = spec.require().expect("it is known");
            assert_eq!(requirement.cuda.map(|(major, _)| u64::from(major)), Some(row.cuda_version.major()));
        }
        Err(_) => assert!(!torch_builds().iter().any(|row| admits(row.version.as_str(), row.cuda))),
    }
}
