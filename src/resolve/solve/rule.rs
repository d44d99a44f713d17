//! The rules that no choice may break, each with its source.

use std::fmt;

/// A rule that every set keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Rule {
    /// Every hard goal is served.
    Served,
    /// The copy that the user fixes is used.
    Fixed,
    /// A file that the user forbids is not used.
    Forbidden,
    /// A file that was ruled out before the choice is not used.
    Barred,
    /// The chosen copy defines every symbol that a consumer needs from its soname.
    DemandSymbols,
    /// A chosen library defines every symbol that another one needs from it.
    MemberSymbols,
    /// A group is of one release.
    OneRelease,
    /// A group comes from one directory where one holds it all.
    OneDirectory,
    /// A consumer that requires a release of a group gets that one, or a newer one of its major.
    LeastRelease,
    /// nvJitLink is at least as new as what it links.
    LinkerNotOlder,
    /// One CUDA major per set, the consumer's.
    OneMajor,
    /// No pair is known not to work together.
    KnownBad,
}

impl Rule {
    /// Every rule, in the order of checking.
    pub const ALL: [Self; 12] = [
        Self::Served,
        Self::Fixed,
        Self::Forbidden,
        Self::Barred,
        Self::LeastRelease,
        Self::OneMajor,
        Self::OneRelease,
        Self::OneDirectory,
        Self::KnownBad,
        Self::DemandSymbols,
        Self::MemberSymbols,
        Self::LinkerNotOlder,
    ];

    /// The stable name for scripts.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Fixed => "fixed",
            Self::Forbidden => "forbidden",
            Self::Barred => "barred",
            Self::DemandSymbols => "demand-symbols",
            Self::MemberSymbols => "member-symbols",
            Self::OneRelease => "one-release",
            Self::OneDirectory => "one-directory",
            Self::LeastRelease => "least-release",
            Self::LinkerNotOlder => "linker-not-older",
            Self::OneMajor => "one-major",
            Self::KnownBad => "known-bad",
        }
    }

    /// The rule in one line.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Served => "what is required is served",
            Self::Fixed => "the copy that the user fixes is used",
            Self::Forbidden => "a copy that the user forbids is not used",
            Self::Barred => "stubs, damaged files and files for another machine are not used",
            Self::DemandSymbols => "every strong symbol that a consumer needs is defined by the copy it gets",
            Self::MemberSymbols => "every strong symbol that one chosen library needs of another is defined there",
            Self::OneRelease => "the libraries of a group are of one release",
            Self::OneDirectory => "the libraries of a group come from one directory where one holds them all",
            Self::LeastRelease => {
                "a consumer that requires a release of a group gets that one, or a newer one of its major"
            }
            Self::LinkerNotOlder => "nvJitLink is of the same major as its users, and as new as the newest",
            Self::OneMajor => "all libraries are for one CUDA major",
            Self::KnownBad => "no two libraries that are known not to work together",
        }
    }

    /// The source of the rule.
    #[must_use]
    pub const fn source(self) -> &'static str {
        match self {
            Self::Served => "glibc elf/dl-load.c: cannot open shared object file",
            Self::Fixed | Self::Forbidden => "the user's choice",
            Self::Barred => "glibc elf/dl-load.c open_verify; the CUDA toolkit's stubs are for linking only",
            Self::DemandSymbols | Self::MemberSymbols => {
                "glibc elf/dl-lookup.c: undefined symbol, version; pytorch/pytorch#140797"
            }
            Self::OneRelease => "pytorch/pytorch#119989, pytorch/pytorch#185512, coqui-ai/TTS#1517",
            Self::OneDirectory => "cuDNN and cuBLAS look for their parts beside themselves (DT_RUNPATH $ORIGIN)",
            Self::LeastRelease => {
                "cuDNN's dispatcher 9.1.0 with parts of 9.10 and 9.28: their calls succeed; older parts lack functions"
            }
            Self::LinkerNotOlder => "nvJitLink documentation, compatibility: not older than the inputs, same major",
            Self::OneMajor => "CUDA compatibility guide: minor versions are compatible within a major",
            Self::KnownBad => "the table of known-bad pairs, each row with its source",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
