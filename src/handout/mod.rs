//! Handing a chosen set out to a process.

pub mod bundle;
mod child;
pub mod shim;

pub use child::{ChildEnvironment, TakenOut};
