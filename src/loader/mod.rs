//! What ld.so would do: glibc's search rules, its cache, and the link map it would build.
//!
//! Takes a [`Host`] and the objects on it; gives, for a program and the things it opens, which file
//! each needed name would be mapped from and by which rule. The rules are those of glibc's
//! `elf/dl-load.c` and `ld.so(8)`. Never loads anything, never chooses anything better.
//!
//! [`Host`]: crate::host::Host

mod cache;
mod conf;
mod dst;
mod error;
mod failure;
mod link;
mod linkmap;
mod machine;
mod names;
mod order;
mod program;
mod search;
mod why;

pub use cache::Cache;
pub use conf::directories as conf_directories;
pub use error::{Fault, LinkError};
pub use link::{Link, MissingNode, MissingSymbol, Symbols};
pub use linkmap::{Flags, Ignored, LinkMap, Listed, Mapped, Missing};
pub use program::ProgramKind;
pub use search::{Loader, Rule};
pub use why::{Candidate, Fate, Stands, Station, Why, Without};
