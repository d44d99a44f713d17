//! The choice of a set: every rule, every preference, the stories they come from, and its laws.
// clippy.toml spares test functions; what they share is spared here.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod laws;
mod oracle;
mod puzzle;
mod rules;
mod stories;
