//! The choice of a set: every rule, every preference, the stories they come from, and its laws.

mod lab;
mod laws;
mod oracle;
mod rules;
mod stories;
