//! Names of nodes as Slurm writes them: `node[01-16,18]`.
//!
//! Takes names; gives a list that `scontrol show hostnames` expands to them. A name with another part behind its number, as
//! `n01.example.org`, is written the same way, which clush reads and Slurm does not.

use crate::host::escape;
use std::collections::BTreeMap;

/// Digits of a number that is counted; a longer one is part of the name.
const DIGITS: usize = 18;

/// The names in one text, each once, in order.
#[must_use]
pub fn node_list<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let mut series: BTreeMap<(&str, &str), Vec<(u64, &str)>> = BTreeMap::new();
    let mut alone: Vec<&str> = Vec::new();
    for name in names {
        match split(name) {
            Some((before, digits, after)) => {
                let number = digits.parse().unwrap_or_default();
                series.entry((before, after)).or_default().push((number, digits));
            }
            None => alone.push(name),
        }
    }
    let mut parts: Vec<String> = alone.into_iter().map(shown).collect();
    for ((before, after), mut numbers) in series {
        numbers.sort_unstable_by_key(|(number, digits)| (*number, digits.len()));
        numbers.dedup();
        let ranges = ranges(&numbers);
        parts.push(match &*ranges {
            [(first, last)] if first == last => format!("{before}{first}{after}"),
            ranges => {
                let one = |(first, last): &(&str, &str)| {
                    if first == last { (*first).to_owned() } else { format!("{first}-{last}") }
                };
                format!("{before}[{}]{after}", ranges.iter().map(one).collect::<Vec<_>>().join(","))
            }
        });
    }
    parts.sort();
    parts.dedup();
    parts.join(",")
}

/// A name in three parts: its last number before the first dot, and what is around it. `None` for a name without a
/// number, or with a character that a list has another meaning for.
fn split(name: &str) -> Option<(&str, &str, &str)> {
    if !is_plain(name) {
        return None;
    }
    let short = name.find('.').unwrap_or(name.len());
    let end = name.get(..short)?.rfind(|c: char| c.is_ascii_digit())? + 1;
    let start = name.get(..end)?.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + 1);
    let digits = name.get(start..end)?;
    (digits.len() <= DIGITS).then_some((name.get(..start)?, digits, name.get(end..)?))
}

/// Whether a name has only the characters of host names (RFC 952), and `_`.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// A name that stands alone; one with other characters in backticks, with escapes.
fn shown(name: &str) -> String {
    if is_plain(name) { name.to_owned() } else { format!("`{}`", escape::bytes(name.as_bytes())) }
}

/// The first and last of each run. A range is expanded to the width of its first number if that begins with 0, so a run
/// goes on only with numbers that are written so.
fn ranges<'n>(numbers: &[(u64, &'n str)]) -> Vec<(&'n str, &'n str)> {
    let mut found: Vec<(&str, &str)> = Vec::new();
    let mut last: Option<(u64, &str)> = None;
    for &(number, digits) in numbers {
        let goes_on = last.is_some_and(|(before, text)| {
            let width = text.len();
            let padded = |text: &str| text.len() > 1 && text.starts_with('0');
            let first = found.last().map_or("", |(first, _)| first);
            number == before + 1 && if padded(first) { digits.len() == width } else { !padded(digits) }
        });
        match found.last_mut() {
            Some(range) if goes_on => range.1 = digits,
            _ => found.push((digits, digits)),
        }
        last = Some((number, digits));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn list(names: &str) -> String {
        node_list(names.split_whitespace())
    }

    #[test]
    fn names_are_written_as_slurm_writes_them() {
        for (names, expected) in [
            ("", ""),
            ("login", "login"),
            ("node7", "node7"),
            ("node18 node01 node02 node03 node03", "node[01-03,18]"),
            ("n9 n10 n11", "n[9-11]"),
            ("n09 n10 n11", "n[09-11]"),
            ("n99 n100", "n[99-100]"),
            ("n098 n099 n100", "n[098-100]"),
            ("n1 n01 n2", "n[1,01,2]"),
            ("a1 b1 a2", "a[1-2],b1"),
            ("r1n1 r1n2 r2n1", "r1n[1-2],r2n1"),
            ("n01.example.org n02.example.org", "n[01-02].example.org"),
            ("gpu1-ib gpu2-ib", "gpu[1-2]-ib"),
            ("10.0.0.1", "10.0.0.1"),
            ("17 18", "[17-18]"),
        ] {
            assert_eq!(list(names), expected, "{names}");
        }
    }

    #[test]
    fn names_with_other_characters_are_harmless() {
        assert_eq!(node_list(["n[1-9]", "a,b", "\u{1b}[31m1", "n1", ""]), "`\\x1b[31m1`,``,`a,b`,`n[1-9]`,n1");
    }

    /// As `scontrol show hostnames` reads a list.
    fn expanded(text: &str) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let mut depth = 0;
        for part in text.split(|c| {
            depth += i32::from(c == '[') - i32::from(c == ']');
            c == ',' && depth == 0
        }) {
            let Some((before, rest)) = part.split_once('[') else {
                names.insert(part.to_owned());
                continue;
            };
            let (ranges, after) = rest.split_once(']').unwrap();
            for range in ranges.split(',') {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                for number in first.parse::<u64>().unwrap()..=last.parse().unwrap() {
                    names.insert(format!("{before}{number:0width$}{after}", width = first.len()));
                }
            }
        }
        names
    }

    proptest! {
        #[test]
        fn a_list_is_of_its_names(names in prop::collection::btree_set("[a-b]{1,2}(0{0,2}[0-9]{1,2})(-[x])?", 1..40)) {
            prop_assert_eq!(expanded(&node_list(names.iter().map(String::as_str))), names);
        }
    }
}
