//! Builds the shim.
fn main() {}
