//! cudashim finds every copy of NVIDIA's libraries on a machine, reads what each defines and needs,
//! chooses the one set that fits a torch build, and hands it out to a process.

pub mod elf;
pub mod escape;
pub mod facts;
pub mod handout;
pub mod host;
pub mod solve;
