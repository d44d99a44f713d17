//! All integration tests in one binary, so that they link once.
#![allow(clippy::pedantic, clippy::print_stderr, missing_docs)]

mod cli;
mod demo;
mod elf;
mod json;
mod shim;
mod solve;
mod support;
mod tidy;
