//! Ranges of versions, in the part of PEP 440's specifiers that the tables use.
//!
//! Takes text such as `>=12.8,<13.2` or `==9.10.0.*`; decides whether it contains a version. A bare
//! version means `==`. Never panics.

use std::fmt;

use super::Version;

/// A set of versions: every clause must hold.
///
/// ```
/// use cudashim::internal::tables::{Version, VersionRange};
///
/// let range = VersionRange::parse(">=12.8,<13.2").unwrap();
/// assert!(range.contains(&Version::parse("12.9.1.4").unwrap()));
/// assert!(!range.contains(&Version::parse("13.2").unwrap()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRange {
    text: String,
    clauses: Vec<Clause>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Clause {
    operator: Operator,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    /// `==9.10.0.*`
    StartsWith,
    /// `!=9.10.0.*`
    StartsNotWith,
    AtLeast,
    Above,
    AtMost,
    Below,
}

impl VersionRange {
    /// The range that contains every version.
    #[must_use]
    pub fn any() -> Self {
        Self { text: "*".to_owned(), clauses: Vec::new() }
    }

    /// Reads a range: `*`, a version, or clauses of `==`, `!=`, `>=`, `>`, `<=`, `<` joined by
    /// commas; `==` and `!=` may end in `.*`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::any());
        }
        let clauses = text.split(',').map(Clause::parse).collect::<Option<_>>()?;
        Some(Self { text: text.to_owned(), clauses })
    }

    /// Whether it contains `version`.
    #[must_use]
    pub fn contains(&self, version: &Version) -> bool {
        self.clauses.iter().all(|clause| clause.holds(version))
    }

    /// The one version of the range, if it names exactly one.
    #[must_use]
    pub fn exact(&self) -> Option<&Version> {
        match self.clauses.as_slice() {
            [Clause { operator: Operator::Equal, version }] => Some(version),
            _ => None,
        }
    }
}

impl Clause {
    fn parse(text: &str) -> Option<Self> {
        let operators = [
            ("==", Operator::Equal),
            ("!=", Operator::NotEqual),
            (">=", Operator::AtLeast),
            ("<=", Operator::AtMost),
            (">", Operator::Above),
            ("<", Operator::Below),
        ];
        let found = operators.iter().find_map(|(sign, op)| text.strip_prefix(sign).map(|rest| (*op, rest)));
        let (mut operator, mut version) = found.unwrap_or((Operator::Equal, text));
        if let Some(prefix) = version.strip_suffix(".*") {
            operator = match operator {
                Operator::Equal => Operator::StartsWith,
                Operator::NotEqual => Operator::StartsNotWith,
                _ => return None,
            };
            version = prefix;
        }
        Some(Self { operator, version: Version::parse(version)? })
    }

    fn holds(&self, version: &Version) -> bool {
        match self.operator {
            Operator::Equal => version == &self.version,
            Operator::NotEqual => version != &self.version,
            Operator::StartsWith => version.starts_with(&self.version),
            Operator::StartsNotWith => !version.starts_with(&self.version),
            Operator::AtLeast => version >= &self.version,
            Operator::Above => version > &self.version,
            Operator::AtMost => version <= &self.version,
            Operator::Below => version < &self.version,
        }
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(range: &str, version: &str) -> bool {
        VersionRange::parse(range).unwrap().contains(&Version::parse(version).unwrap())
    }

    #[test]
    fn clauses_follow_pep_440() {
        let cases = [
            ("*", "0", true),
            ("12.4.127", "12.4.127", true),
            ("12.4.127", "12.4.127.0", true),
            ("12.4.127", "12.4.12", false),
            ("==9.10.0.*", "9.10.0.56", true),
            ("==9.10.0.*", "9.10.0", true),
            ("==9.10.0.*", "9.10.1.4", false),
            ("!=9.10.0.*", "9.10.0.56", false),
            ("!=9.10.0.*", "9.10.2.21", true),
            (">=12.8,<13.2", "12.8", true),
            (">=12.8,<13.2", "12.7.9", false),
            (">=12.8,<13.2", "13.1.1.3", true),
            (">=12.8,<13.2", "13.2.0.9", false),
            ("<9.10.1", "9.10.0.56", true),
            (">13.1.0.3", "13.1.0.3", false),
            ("<=13.1.1.3", "13.1.1.3", true),
            ("!=1", "1.0", false),
        ];
        for (range, version, expected) in cases {
            assert_eq!(holds(range, version), expected, "{version} in {range}");
        }
    }

    #[test]
    fn exact_is_one_version() {
        let exact = |text| VersionRange::parse(text).unwrap().exact().map(ToString::to_string);
        assert_eq!(exact("9.1.0.70").as_deref(), Some("9.1.0.70"));
        assert_eq!(exact("==9.1.0.70").as_deref(), Some("9.1.0.70"));
        for text in ["*", "==9.1.0.*", ">=9", ">=9,<10", "!=9"] {
            assert_eq!(exact(text), None, "{text}");
        }
    }

    #[test]
    fn refuses_invalid_ranges() {
        for text in ["", ",", ">=", "12,", "~=12", ">=12.*", "= 12", "**", "12 ,13"] {
            assert!(VersionRange::parse(text).is_none(), "{text:?}");
        }
    }
}
