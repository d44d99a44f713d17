//! All integration tests in one binary, so that they link once. What they build on is in `support`.
// unwrap, expect: what a test cannot build or read ends it, with the place.
#![allow(clippy::pedantic, clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod check;
mod cli;
mod demo;
mod doctor;
mod doors;
mod elf;
mod enable;
mod features;
mod fleet;
mod forensics;
mod formats;
mod fuzz;
mod hostile;
mod image;
mod inventory;
mod json;
mod loader;
mod lock;
mod node;
mod open;
mod package;
mod pages;
mod probe;
mod readme;
mod shim;
mod solve;
mod support;
mod tidy;
mod trace;
