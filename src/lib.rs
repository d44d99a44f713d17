//! cudashim finds every copy of NVIDIA's libraries on a machine, reads what each defines and needs,
//! chooses the one set that fits a torch build, and hands it out to a process.
//!
//! | | is |
//! |---|---|
//! | [`Host`] | a root directory with an environment: this machine, or an image |
//! | [`Request`] | the target of a set: a Python, a torch version, ELF files; what is fixed and forbidden |
//! | [`Machine`] | a host and a request; each part below is computed once |
//! | [`Machine::environment`] | the [`Interpreter`], its [`TorchBuild`] |
//! | [`Machine::inventory`] | every copy: version with its evidence, owner, what makes it unusable |
//! | [`Machine::answer`] | the chosen set, a [`Resolution`], or [`NoSolution`] with the facts that conflict |
//! | [`Machine::findings`] | what is wrong, why, and the lines that heal it |
//! | [`Machine::with`] | the same machine after a [`Change`] |
//! | [`Plan`] | the set as a file: for the shim, a lock, or: |
//! | [`Plan::load`] | the set open in this process, a [`LoadedSet`] |
//!
//! ```
//! use cudashim::Machine;
//!
//! let machine = Machine::current();
//! match machine.answer() {
//!     Ok(answer) => {
//!         for library in answer.resolution.iter().flat_map(|found| &found.set) {
//!             println!("{} from {}: {}", library.soname, library.path.display(), library.because);
//!         }
//!     }
//!     Err(error) => println!("{error}"),
//! }
//! ```
//!
//! # What it leaves alone
//!
//! It interposes no function of CUDA's API, writes no file of an installation, downloads nothing, and runs no library
//! to inspect it: only [`Plan::load`] executes code of a library.

mod check;
#[cfg(feature = "cli")]
mod cli;
mod diagnose;
mod driver;
mod elf;
mod host;
mod image;
mod inventory;
mod launch;
mod loader;
mod machine;
mod plan;
mod python;
mod report;
mod resolve;
mod tables;
mod target;

#[cfg(feature = "cli")]
#[doc(hidden)]
pub use cli::main;
pub use diagnose::{Consequence, Finding, Proof, Remedy};
pub use host::Host;
pub use inventory::{Confidence, Evidence, Inventory, Library};
pub use launch::{CallError, CudaVersion, CudnnVersion, LoadError, LoadedLibrary, LoadedSet, Origin};
pub use machine::{Answer, Change, Environment, Machine, Request, RequestError};
pub use plan::{Plan, PlanError, PlanLibrary};
pub use python::{Interpreter, InterpreterError, TorchBuild};
pub use resolve::solve::NoSolution;
pub use resolve::{Choice, Policy, Refused, Resolution};
pub use tables::{Phase, Severity, Version, VersionRange};
pub use target::{Requirement, Spec, SpecError};

/// The rooms, for the tests of this repository: not part of the interface.
#[doc(hidden)]
pub mod internal {
    macro_rules! open {
        ($($room:ident)*) => {$(pub mod $room { pub use crate::$room::*; })*};
    }
    open! { check diagnose driver elf host image inventory launch loader machine plan python report resolve tables target }
}

/// The README's Rust block compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
