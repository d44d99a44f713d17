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
//! | [`places`] | a machine, an interpreter's paths | the directories where libraries may be |
//! | [`Inventory`] | places | every copy: version, evidence, owner, what is wrong with it |
//! | [`Interpreter`], [`TorchBuild`] | a Python | its paths; the torch in them: version, CUDA, pins |
//! | [`Requirement`] | a torch, ELF files, a SPEC | sonames wanted, symbols that must be there, releases pinned |
//! | [`resolve::resolve`] | requirement, inventory, [`Policy`] | a [`Resolution`], or [`NoSolution`] with the reasons |
//! | [`Plan`] | | the set: a file for the preload object, a lock, or: |
//! | [`Plan::load`] | | the set open in this process, a [`LoadedSet`] |
//!
//! [`Request`] goes the whole way in one call; [`facts`] holds the tables of releases that all of it rests on. The
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
pub mod consumer;
pub mod diagnose;
pub mod driver;
pub mod elf;
pub mod escape;
pub mod facts;
pub mod fatbin;
pub mod handout;
pub mod host;
pub mod inventory;
pub mod loader;
pub mod lock;
pub mod machine;
pub mod objects;
pub mod places;
pub mod plan;
pub mod python;
pub mod report;
pub mod request;
pub mod resolve;
pub mod scan;
pub mod solve;
pub mod trace;

pub use consumer::{Requirement, TorchBuild};
pub use facts::Version;
pub use handout::{CudaVersion, LoadedSet};
pub use host::Host;
pub use inventory::{Inventory, Library};
pub use loader::Loader;
pub use machine::{Change, Machine};
pub use objects::Objects;
pub use plan::Plan;
pub use python::Interpreter;
pub use request::{Answer, Request};
pub use resolve::{Policy, Resolution};
pub use solve::NoSolution;

/// The README's Rust block compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
