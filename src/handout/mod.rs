//! Handing a chosen set out to a process.

mod child;
pub mod shim;

pub use child::{ChildEnvironment, TakenOut};
