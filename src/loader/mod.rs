//! A model of ld.so: glibc's search rules, its cache, the link map, and the binding of symbols.
//!
//! Takes a [`Host`] and the objects on it; returns, for a program and the libraries it opens, the file that each
//! needed name resolves to and the rule, the undefined version nodes and symbols, and the error with which ld.so would
//! end. The rules are those of glibc's `elf/dl-load.c`, `elf/dl-deps.c`, `elf/dl-version.c`, `elf/dl-lookup.c` and of
//! `ld.so(8)`. Never loads anything, and never chooses a better file.
//!
//! # Overview
//!
//! A [`Loader`] is the ld.so of a machine in an environment. A [`LinkMap`] is one process of it: [`LinkMap::start`] is
//! execve(2), [`LinkMap::dlopen`] is dlopen(3), [`LinkMap::list`] is `ldd`; [`LinkMap::link`] returns the undefined
//! nodes and symbols of all mapped objects. [`LinkMap::open`] maps without linking, to show what a failed `dlopen`
//! found.
//!
//! # Platform behaviour
//!
//! Differences between releases of glibc follow the ld.so of the machine: old hwcaps subdirectories (before 2.37),
//! the order of relocation (2.36), packed relocations (2.36). The tunables that change the result or its order count:
//! `glibc.cpu.hwcaps`, `glibc.cpu.hwcap_mask`, `glibc.rtld.dynamic_sort`. Not modelled: constructors,
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
pub use why::{Candidate, CandidateFile, Fate, Station, Why, Without};
