//! What an object requires of the process that loads it.
//!
//! Plain values: thread-local storage, the C library's version, the driver that a forward-compatible
//! `libcuda` may run on. [`Elf`](super::Elf) fills them in.

use std::fmt;

/// The thread-local storage of an object, `PT_TLS`.
///
/// # Platform behaviour
///
/// With [`static_tls`](super::Elf::static_tls) it must fit into the free part of the static block when `dlopen`
/// loads the object (glibc's `rtld.optional_static_tls`, 512 bytes by default); else the
/// error is `cannot allocate memory in static TLS block`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tls {
    /// Bytes for each thread, `p_memsz`.
    pub size: u64,
    /// Their alignment, `p_align`.
    pub align: u64,
}

/// A release of the C library, from a node such as `GLIBC_2.17` or `GLIBC_2.2.5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct Glibc {
    /// The first number.
    pub major: u16,
    /// The second number.
    pub minor: u16,
    /// The third number; 0 where there is none.
    pub patch: u16,
}

impl Glibc {
    /// The release of a node: none for `GLIBC_PRIVATE`, 2.36 for `GLIBC_ABI_DT_RELR`, the
    /// first that applies `DT_RELR` (`NEWS` of glibc 2.36).
    #[must_use]
    pub fn of_node(node: &[u8]) -> Option<Self> {
        let rest = node.strip_prefix(b"GLIBC_")?;
        if rest == b"ABI_DT_RELR" {
            return Some(Self { major: 2, minor: 36, patch: 0 });
        }
        let mut numbers = std::str::from_utf8(rest).ok()?.split('.').map(str::parse);
        let release = Self {
            major: numbers.next()?.ok()?,
            minor: numbers.next()?.ok()?,
            patch: numbers.next().transpose().ok()?.unwrap_or(0),
        };
        numbers.next().is_none().then_some(release)
    }
}

impl fmt::Display for Glibc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { major, minor, patch } = self;
        write!(f, "{major}.{minor}")?;
        if *patch > 0 { write!(f, ".{patch}") } else { Ok(()) }
    }
}

/// How many dynamic symbols an object has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SymbolCounts {
    /// Defined symbols.
    pub defined: usize,
    /// Undefined symbols that are not weak.
    pub undefined: usize,
    /// Undefined weak symbols.
    pub weak: usize,
}

#[cfg(test)]
mod tests {
    use super::Glibc;

    #[test]
    fn nodes_map_to_releases() {
        let release = |node: &str| Glibc::of_node(node.as_bytes()).map(|release| release.to_string());
        assert_eq!(release("GLIBC_2.2.5").as_deref(), Some("2.2.5"));
        assert_eq!(release("GLIBC_2.17").as_deref(), Some("2.17"));
        assert_eq!(release("GLIBC_ABI_DT_RELR").as_deref(), Some("2.36"));
        assert!(Glibc::of_node(b"GLIBC_2.4") < Glibc::of_node(b"GLIBC_2.17"));
        assert!(Glibc::of_node(b"GLIBC_2.3.4") > Glibc::of_node(b"GLIBC_2.3"));
        for node in ["GLIBC_PRIVATE", "GLIBC_2", "GLIBC_2.", "GLIBC_2.3.4.5", "GLIBCXX_3.4", "GLIBC_2.70000", ""] {
            assert_eq!(release(node), None, "{node}");
        }
    }
}
