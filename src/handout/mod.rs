//! Handing a chosen set out to a process.

pub mod bundle;
mod child;
pub mod door;
mod open;
pub mod shim;

pub use child::{ChildEnvironment, TakenOut};
pub use door::{Door, OutOfReach, Target};
pub use open::{CallError, CudaVersion, CudnnVersion, LoadError, LoadedLibrary, LoadedSet, Origin};
