//! Reads versions, ranges and names of libraries: their order is one, and they print as they were written.
//!
//! The body of the fuzz target, and of the test that goes through `seeds` and `findings`.

use cudashim::internal::tables::{Version, VersionRange, parse_library_name};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

/// Takes lines, each a version, a range or a name.
pub(crate) fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().take(8).collect();
    let versions: Vec<Version> = lines.iter().filter_map(|line| Version::parse(line)).collect();
    let hash = |version: &Version| {
        let mut hasher = DefaultHasher::new();
        version.hash(&mut hasher);
        hasher.finish()
    };
    for a in &versions {
        assert_eq!(Version::parse(&a.to_string()).as_ref(), Some(a));
        assert!(a.starts_with(a) && a.numbers().first() == Some(&a.major()));
        for b in &versions {
            assert_eq!(a.cmp(b), b.cmp(a).reverse());
            assert!(a != b || hash(a) == hash(b));
            for c in &versions {
                assert!(!(a <= b && b <= c) || a <= c, "{a} {b} {c}");
            }
        }
        let range = |sign: &str| VersionRange::parse(&format!("{sign}{a}")).expect("a version is a bound");
        for b in &versions {
            let holds = |sign| range(sign).contains(b);
            assert_eq!((holds("=="), holds(">="), holds("<")), (a == b, b >= a, b < a));
            assert_eq!((holds("!="), holds("<="), holds(">")), (a != b, b <= a, b > a));
        }
    }
    for line in lines {
        if let Some(range) = VersionRange::parse(line) {
            assert_eq!(range.to_string(), line);
            assert!(range.exact().is_none_or(|version| range.contains(version)));
        }
        if let Some(name) = parse_library_name(line) {
            let hash = name.hash.map_or_else(String::new, |hash| format!("-{hash}"));
            assert_eq!(name.unhashed().replacen(name.stem(), &format!("{}{hash}", name.stem()), 1), line);
            let unhashed = name.unhashed();
            assert_eq!(parse_library_name(&unhashed).expect("a name without its hash").stem(), name.stem());
        }
    }
}
