//! Why a copy was chosen, and why the others were not, each reason with its clause.

use std::fmt;
use std::path::PathBuf;

use super::problem::{Bar, CudaRelease, MissingSymbol, Release};
use super::rule::Rule;

/// Why a copy is not the chosen one, given the rest of the set.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It was ruled out before the choice.
    Barred(Bar),
    /// The user forbids it.
    Forbidden {
        /// The forbidden file or directory.
        by: PathBuf,
    },
    /// The user fixes another copy.
    NotFixed {
        /// The fixed copy.
        path: PathBuf,
    },
    /// A consumer requires a newer release of its group.
    NotTheRelease {
        /// Its own release.
        release: Option<Release>,
        /// The required one.
        required: Release,
        /// The consumer.
        consumer: String,
    },
    /// It is for another CUDA major.
    OtherMajor {
        /// Its own.
        major: u32,
        /// The consumer or member of the other major.
        of: String,
        /// That major.
        not: u32,
    },
    /// It is of another release than the rest of its group.
    OtherRelease {
        /// A member of the group.
        than: String,
        /// Its own release.
        release: Option<Release>,
        /// That of the member.
        not: Option<Release>,
    },
    /// With it, a group that one directory holds whole would come from two directories.
    OtherDirectory {
        /// The group.
        group: String,
    },
    /// It is known not to work with a member of the set.
    KnownBad {
        /// The member.
        with: String,
        /// The failure.
        why: String,
    },
    /// It does not define a symbol.
    Lacks {
        /// The symbol.
        symbol: MissingSymbol,
        /// The consumer, or the soname of the member, that needs it.
        needed_by: String,
    },
    /// It needs a symbol that the copy chosen for another soname does not define.
    Takes {
        /// The symbol.
        symbol: MissingSymbol,
        /// The soname of the provider.
        from: String,
    },
    /// It is an nvJitLink that is too old, or of another major, for one of its users.
    LinkerTooOld {
        /// What it is for.
        cuda: CudaRelease,
        /// The user.
        user: String,
        /// What the user is for.
        needs: CudaRelease,
    },
    /// It uses nvJitLink, and the chosen one is too old for it.
    TooNewForLinker {
        /// What it is for.
        cuda: CudaRelease,
        /// The nvJitLink.
        linker: String,
        /// What that is for.
        is: CudaRelease,
    },
    /// It needs a library without a usable copy.
    Unserved {
        /// That library.
        soname: String,
    },
    /// It needs a library that is not in the set.
    NeedsMore {
        /// That library.
        soname: String,
    },
    /// No rule forbids it, but a preference is against it.
    Worse(Preference),
}

/// The preference that decided between two copies.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Preference {
    /// More goals are served.
    Service,
    /// The consumer's metadata pins a release.
    Pin {
        /// The release of the chosen copy.
        release: Option<Release>,
    },
    /// The copy in the consumer's own installation comes first.
    ConsumerRoot,
    /// Fewer installations are better.
    FewerRoots,
    /// The release nearest to the required one, newer before older.
    NearerRelease {
        /// The release of the chosen copy.
        release: Option<Release>,
    },
    /// All else equal, the newer one.
    Newer {
        /// The release of the chosen copy.
        release: Option<Release>,
    },
    /// All else equal, the first set in the documented order.
    Order,
}

/// Why a copy was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The user fixes it.
    Fixed,
    /// There is no other.
    OnlyCopy,
    /// Every other copy breaks a rule.
    OnlyFit,
    /// It is the release the consumer's metadata pins.
    Pinned,
    /// It is in the consumer's own installation.
    WithConsumer,
    /// It comes before the next best copy by this preference.
    Preferred(Preference),
}

/// A copy that was not chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its index in [`Problem::candidates`](super::Problem::candidates).
    pub candidate: usize,
    /// Why.
    pub because: Refusal,
}

impl Refusal {
    /// The broken rule, if it is not a preference.
    #[must_use]
    pub fn rule(&self) -> Option<Rule> {
        Some(match self {
            Self::Barred(_) => Rule::Barred,
            Self::Forbidden { .. } => Rule::Forbidden,
            Self::NotFixed { .. } => Rule::Fixed,
            Self::NotTheRelease { .. } => Rule::LeastRelease,
            Self::OtherMajor { .. } => Rule::OneMajor,
            Self::OtherRelease { .. } => Rule::OneRelease,
            Self::OtherDirectory { .. } => Rule::OneDirectory,
            Self::KnownBad { .. } => Rule::KnownBad,
            Self::LinkerTooOld { .. } | Self::TooNewForLinker { .. } => Rule::LinkerNotOlder,
            // The needing side decides between two rules, which are one to the user.
            Self::Lacks { .. } | Self::Takes { .. } => Rule::MemberSymbols,
            Self::Unserved { .. } => Rule::Served,
            Self::NeedsMore { .. } | Self::Worse(_) => return None,
        })
    }
}

impl Preference {
    /// Its place in the order of preferences.
    pub(super) fn place(&self) -> u8 {
        match self {
            Self::Service => 0,
            Self::Pin { .. } => 1,
            Self::ConsumerRoot => 2,
            Self::FewerRoots => 3,
            Self::NearerRelease { .. } => 4,
            Self::Newer { .. } => 5,
            Self::Order => 6,
        }
    }
}

/// A release, if known.
pub(super) struct Maybe<'r>(pub(super) &'r Option<Release>);

impl fmt::Display for Maybe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(release) => release.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Barred(bar) => bar.fmt(f),
            Self::Forbidden { by } => write!(f, "forbidden by `{}`", by.display()),
            Self::NotFixed { path } => write!(f, "fixed to `{}`", path.display()),
            Self::NotTheRelease { release, required, consumer } => {
                write!(f, "of release {}, {consumer} needs {required} or newer", Maybe(release))
            }
            Self::OtherMajor { major, of, not } => {
                write!(f, "for CUDA {major}, {of} is CUDA {not}")
            }
            Self::OtherRelease { than, release, not } => match (release, not) {
                (None, Some(not)) => write!(f, "its release is unknown, that of {than} is {not}"),
                _ => write!(f, "of another release than {than} ({}, not {})", Maybe(release), Maybe(not)),
            },
            Self::OtherDirectory { group } => write!(f, "{group} comes from one directory"),
            Self::KnownBad { with, why } => write!(f, "known not to work with {with}: {why}"),
            Self::Lacks { symbol, needed_by } => {
                write!(f, "does not define {symbol}, which {needed_by} needs")
            }
            Self::Takes { symbol, from } => {
                write!(f, "needs {symbol}, which the chosen {from} does not define")
            }
            Self::LinkerTooOld { cuda, user, needs } => {
                write!(f, "for {cuda}, {user} is for {needs}")
            }
            Self::TooNewForLinker { cuda, linker, is } => {
                write!(f, "for {cuda}, the chosen {linker} is for {is}")
            }
            Self::Unserved { soname } => {
                write!(f, "needs {soname}, of which no usable copy was found")
            }
            Self::NeedsMore { soname } => write!(f, "needs {soname}, which is not in the set"),
            Self::Worse(preference) => preference.fmt(f),
        }
    }
}

impl fmt::Display for Preference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service => f.write_str("fewer of the sonames needed would be served"),
            Self::Pin { release: Some(release) } => write!(f, "pinned release is {release}"),
            Self::Pin { release: None } => f.write_str("not the pinned release"),
            Self::ConsumerRoot => f.write_str("not in the environment of the target"),
            Self::FewerRoots => f.write_str("not in an environment the rest of the set comes from"),
            Self::NearerRelease { release: Some(release) } => write!(f, "{release} is nearer to the required release"),
            Self::NearerRelease { release: None } => f.write_str("another copy is nearer to the required release"),
            Self::Newer { release: Some(release) } => write!(f, "{release} is newer"),
            Self::Newer { release: None } => f.write_str("another copy is newer"),
            Self::Order => f.write_str("equal, and another path sorts first"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed => f.write_str("fixed by the user"),
            Self::OnlyCopy => f.write_str("the only copy"),
            Self::OnlyFit => f.write_str("the only copy that fits"),
            Self::Pinned => f.write_str("the pinned release"),
            Self::WithConsumer => f.write_str("in the environment of the target"),
            Self::Preferred(Preference::Service) => f.write_str("serves most of the sonames needed"),
            Self::Preferred(Preference::Pin { .. }) => f.write_str("lets more of the set be of the pinned release"),
            Self::Preferred(Preference::ConsumerRoot) => f.write_str("in the environment of the target"),
            Self::Preferred(Preference::FewerRoots) => f.write_str("in an environment the rest of the set comes from"),
            Self::Preferred(Preference::NearerRelease { .. }) => f.write_str("nearest to the required release"),
            Self::Preferred(Preference::Newer { .. }) => f.write_str("the newest"),
            Self::Preferred(Preference::Order) => f.write_str("first of equal copies"),
        }
    }
}
