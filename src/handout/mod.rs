//! Handing a chosen set out to a process.

pub mod shim;
