//! Installed Pythons: interpreters, the directories they import from, the wheels in them.
//!
//! Takes a machine and a command or a path; returns an [`Interpreter`] and the [`Distribution`]s it
//! sees. Imports nothing; runs an interpreter only where its files do not determine its paths.

mod ask;
mod command;
mod distribution;
mod find;
mod interpreter;
mod judge;
mod options;
mod packages;
mod pth;
mod site;
mod torch;

pub use command::{Command, find_on_path, search_path};
pub use distribution::{Distribution, Recorded, distributions, normalized, pins, requirements};
pub use interpreter::{Interpreter, InterpreterError};
pub use options::{Options, Origin};
pub use packages::library_files;
pub(crate) use packages::site_of;
pub use torch::{TorchBuild, TorchError};
