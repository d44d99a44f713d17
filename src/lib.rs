//! cudashim finds every copy of NVIDIA's libraries on a machine, reads what each defines and needs,
//! chooses the one set that fits a torch build, and hands it out to a process.

#[cfg(feature = "cli")]
pub mod cli;
pub mod consumer;
pub mod elf;
pub mod escape;
pub mod facts;
pub mod handout;
pub mod host;
pub mod inventory;
pub mod loader;
pub mod objects;
pub mod places;
pub mod plan;
pub mod python;
pub mod report;
pub mod request;
pub mod resolve;
pub mod solve;
