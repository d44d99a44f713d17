//! cudashim finds every copy of NVIDIA's libraries on a machine, reads what each defines and needs,
//! chooses the one set that fits a torch build, and hands it out to a process.
//!
//! # The pipeline
//!
//! | | takes | gives |
//! |---|---|---|
//! | [`Host`] | this machine, or a root directory | files, environment |
//! | [`Objects`] | paths | ELF objects, each opened once |
//! | [`Loader`] | a name | what ld.so would do with it |
//! | [`inventory::places`] | a machine, an interpreter's paths | the directories where libraries may be |
//! | [`Inventory`] | places | every copy: version, evidence, owner, what is wrong with it |
//! | [`Interpreter`], [`TorchBuild`] | a Python | its paths; the torch in them: version, CUDA, pins |
//! | [`Requirement`] | a torch, ELF files, a SPEC | sonames wanted, symbols that must be there, releases pinned |
//! | [`resolve::resolve`] | requirement, inventory, [`Policy`] | a [`Resolution`], or [`NoSolution`] with the reasons |
//! | [`Plan`] | | the set: a file for the preload object, a lock, or: |
//! | [`Plan::load`] | | the set open in this process, a [`LoadedSet`] |
//!
//! [`Request`] goes the whole way in one call; [`tables`] holds the tables of releases that all of it rests on. The
//! `examples/` directory takes the steps one by one.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use cudashim::{Host, Request};
//!
//! let answer = Request::default().answer(&Host::current())?;
//! match answer.resolution {
//!     Some(found) => {
//!         for library in &found.set {
//!             println!("{} from {}: {}", library.soname, library.path.display(), library.because);
//!         }
//!     }
//!     None => println!("{}", answer.nothing.unwrap_or_default()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What it leaves alone
//!
//! No function of CUDA's API is interposed, no file of an installation is written, nothing is fetched, and no library
//! is run to find out about it: only [`Plan::load`] executes code of theirs.

pub mod check;
#[cfg(feature = "cli")]
pub mod cli;
pub mod diagnose;
pub mod driver;
pub mod elf;
pub mod host;
pub mod inventory;
pub mod launch;
pub mod loader;
pub mod machine;
pub mod plan;
pub mod python;
pub mod report;
pub mod resolve;
pub mod tables;
pub mod target;

pub use host::Host;
pub use inventory::{Inventory, Library};
pub use launch::{CudaVersion, LoadedSet};
pub use loader::{Loader, Objects};
pub use machine::{Answer, Change, Machine, Request};
pub use plan::Plan;
pub use python::{Interpreter, TorchBuild};
pub use resolve::solve::NoSolution;
pub use resolve::{Policy, Resolution};
pub use tables::Version;
pub use target::Requirement;

/// The README's Rust block compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
