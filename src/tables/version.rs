//! Dotted numeric versions: CUDA, cuDNN, drivers, wheels.
//!
//! Takes text; returns an ordered value that prints unchanged. These are not semantic
//! versions: they have two to four numbers, drivers have leading zeros (`450.80.02`), and wheels
//! may end in a word (`11.8.89.post1`, `2.5.1+cu124`). Never panics.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// A version made of dotted numbers, with an optional suffix.
///
/// Numbers that are missing count as zero, as in
/// [PEP 440](https://packaging.python.org/en/latest/specifications/version-specifiers/), so
/// `13.0.3` equals `13.0.3.0`; leading zeros do not count. The suffix decides only between equal
/// numbers: a pre-release (`rc1`, `.dev5`) sorts below no suffix, any other suffix above it.
///
/// ```
/// use cudashim::Version;
///
/// let v = Version::parse("450.80.02").unwrap();
/// assert!(v < Version::parse("525.60.13").unwrap());
/// assert_eq!(v.to_string(), "450.80.02");
/// ```
#[derive(Clone, Debug)]
pub struct Version {
    text: String,
    numbers: Vec<u64>,
    /// Where the suffix begins in `text`.
    suffix: usize,
}

impl Version {
    /// Parses a version; `None` where the text does not begin with dotted numbers, where a
    /// number does not fit 64 bits, or where the rest is not a suffix.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = Vec::new();
        let mut rest = text;
        loop {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, after) = rest.split_at(digits);
            numbers.push(number.parse().ok()?);
            rest = after;
            match rest.strip_prefix('.') {
                Some(next) if next.starts_with(|c: char| c.is_ascii_digit()) => rest = next,
                _ => break,
            }
        }
        let word = rest.trim_start_matches(['.', '+', '-', '_', '~']);
        if rest.len() - word.len() > 1 || (word.is_empty() && !rest.is_empty()) {
            return None;
        }
        if !word.bytes().all(|b| b.is_ascii_alphanumeric() || b".+-_~".contains(&b)) {
            return None;
        }
        Some(Self { text: text.to_owned(), numbers, suffix: text.len() - rest.len() })
    }

    /// The version as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The numbers, without the suffix.
    #[must_use]
    #[doc(hidden)]
    pub fn numbers(&self) -> &[u64] {
        &self.numbers
    }

    /// The first number.
    #[must_use]
    pub fn major(&self) -> u64 {
        self.numbers.first().copied().unwrap_or(0)
    }

    /// The second number, if there is one.
    #[must_use]
    pub fn minor(&self) -> Option<u64> {
        self.numbers.get(1).copied()
    }

    /// Whether it begins with every number of `prefix`: `9.1.0.70` starts with `9.1.0`
    /// and with itself, not with `9.1.0.7` and not with `9.1.0.70.1`.
    #[must_use]
    #[doc(hidden)]
    pub fn starts_with(&self, prefix: &Self) -> bool {
        if prefix.suffix().is_empty() { self.numbers.starts_with(&prefix.numbers) } else { self == prefix }
    }

    fn suffix(&self) -> &str {
        self.text.get(self.suffix..).unwrap_or("")
    }

    /// The numbers without trailing zeros, by which versions compare.
    fn significant(&self) -> &[u64] {
        let end = self.numbers.iter().rposition(|&n| n != 0).map_or(0, |at| at + 1);
        self.numbers.get(..end).unwrap_or(&[])
    }

    fn suffix_rank(&self) -> u8 {
        let word = self.suffix().trim_start_matches(['.', '-', '_', '~']);
        let pre = ["a", "b", "c", "rc", "dev", "alpha", "beta", "pre"];
        let letters = word.bytes().take_while(u8::is_ascii_alphabetic).count();
        match word.get(..letters) {
            _ if word.is_empty() => 1,
            Some(letters) if pre.contains(&letters) => 0,
            _ => 2,
        }
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        // Without trailing zeros the order of slices is the order of versions: a longer one has a
        // number above zero where the shorter ends.
        self.significant()
            .cmp(other.significant())
            .then_with(|| self.suffix_rank().cmp(&other.suffix_rank()))
            .then_with(|| self.suffix().cmp(other.suffix()))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

impl Hash for Version {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.significant().hash(state);
        self.suffix().hash(state);
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn v(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    #[test]
    fn orders_as_releases_do() {
        let ascending = [
            "0",
            "8.9",
            "8.9.2.26",
            "9",
            "9.1.0",
            "9.1.0.70",
            "9.10.0.56",
            "9.10.2.21",
            "11.8.89.dev1",
            "11.8.89rc1",
            "11.8.89",
            "11.8.89.post1",
            "12.4",
            "450.80.02",
            "525.60.13",
            "550.54.14",
            "550.54.15",
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(v(a).cmp(&v(b)), i.cmp(&j), "{a} {b}");
            }
        }
    }

    #[test]
    fn zeros_do_not_count() {
        assert_eq!(v("13.0.3"), v("13.0.3.0"));
        assert_eq!(v("450.80.02"), v("450.80.2"));
        assert_ne!(v("12.4"), v("12.40"));
        let set: HashSet<_> = ["13.0.3", "13.0.3.0", "13.00.3"].map(v).into_iter().collect();
        assert_eq!(set.len(), 1);
    }

    #[test]
    fn prints_what_it_read() {
        for text in ["450.80.02", "2.5.1+cu124", "12.6.77", "1.0.0.dev5"] {
            assert_eq!(v(text).to_string(), text);
        }
        assert_eq!(v("2.5.1+cu124").numbers(), [2, 5, 1]);
        assert_eq!((v("12.4").major(), v("12.4").minor(), v("12").minor()), (12, Some(4), None));
    }

    #[test]
    fn prefixes_are_whole_numbers() {
        assert!(v("9.1.0.70").starts_with(&v("9.1.0")));
        assert!(v("9.1.0.70").starts_with(&v("9.1.0.70")));
        assert!(!v("9.1.0.70").starts_with(&v("9.1.0.7")));
        assert!(!v("9.1.0").starts_with(&v("9.1.0.70")));
        assert!(!v("9.10.0").starts_with(&v("9.1")));
        assert!(!v("11.8.89").starts_with(&v("11.8.89.post1")));
    }

    #[test]
    fn refuses_invalid_versions() {
        for text in
            ["", "a", ".1", "1.", "1..2", "-1", "v1", "1. 2", "1 ", " 1", "1+", "1.2/3", "99999999999999999999", "1é"]
        {
            assert!(Version::parse(text).is_none(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,12}|[0-9.+a-c-]{0,12}") {
            if let Some(v) = Version::parse(&text) {
                prop_assert_eq!(v.to_string(), text);
                prop_assert!(v.starts_with(&v));
            }
        }

        #[test]
        fn order_is_lexicographic_on_numbers(a in prop::collection::vec(0u64..40, 4), b in prop::collection::vec(0u64..40, 4)) {
            let join = |n: &[u64]| n.iter().map(u64::to_string).collect::<Vec<_>>().join(".");
            prop_assert_eq!(v(&join(&a)).cmp(&v(&join(&b))), a.cmp(&b));
        }
    }
}
