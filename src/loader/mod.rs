//! What ld.so would do: glibc's search rules, its cache, the link map it would build, and what it would bind to what.
//!
//! Takes a [`Host`] and the objects on it; gives, for a program and the things it opens, which file
//! each needed name would be mapped from and by which rule, which version nodes and symbols nobody defines, and the
//! words with which ld.so would give up. The rules are those of glibc's `elf/dl-load.c`, `elf/dl-deps.c`,
//! `elf/dl-version.c`, `elf/dl-lookup.c` and of `ld.so(8)`. Never loads anything, never chooses anything better.
//!
//! # From the top
//!
//! A [`Loader`] is the ld.so of a machine in an environment. A [`LinkMap`] is one process of it: [`LinkMap::start`] is
//! execve(2), [`LinkMap::dlopen`] is dlopen(3), [`LinkMap::list`] is `ldd`; [`LinkMap::link`] tells what is missing of
//! all that is mapped. [`LinkMap::open`] maps without judging, for those who want to see what a failed `dlopen` found.
//!
//! # Platform behaviour
//!
//! What differs between releases of glibc is taken from the ld.so of the machine: old hwcaps subdirectories (before 2.37),
//! the order of relocation (2.36), packed relocations (2.36). Of the tunables those are heeded that change what is found or
//! in which order: `glibc.cpu.hwcaps`, `glibc.cpu.hwcap_mask`, `glibc.rtld.dynamic_sort`. Not foretold: constructors,
//! indirect functions, room for thread-local storage, `LD_AUDIT`, executable stacks.
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
mod objects;
mod order;
mod program;
mod search;
mod tunables;
mod why;

pub use cache::Cache;
pub use conf::directories as conf_directories;
pub use error::{Fault, LinkError};
pub use link::{Link, MissingNode, MissingSymbol, Symbols};
pub use linkmap::{FILTER_CIRCLE, Flags, Ignored, LinkMap, Listed, Mapped, Missing};
pub(crate) use objects::{Dependency, LoadError};
pub use objects::{Object, ObjectError, Objects};
pub use program::ProgramKind;
pub use search::{Loader, Rule};
pub(crate) use tunables::{number, tunable};
pub use why::{Candidate, Fate, Stands, Station, Why, Without};
