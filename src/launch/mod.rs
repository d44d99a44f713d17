//! Handing a chosen set out to a process.

mod ahead;
mod child;
pub mod door;
pub mod enable;
mod error;
mod image;
mod open;
pub mod probe;
pub mod shim;
pub mod stage;

pub use ahead::read_ahead;
pub use child::{ChildEnvironment, Handout, OddPreload, PreloadProblem};
pub use door::{Door, OutOfReach, Target};
pub use image::own_dir;
pub use open::{CallError, CudaVersion, CudnnVersion, LoadError, LoadedLibrary, LoadedSet, Origin};
