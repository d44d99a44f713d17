//! Parses, sets up the logger, dispatches, and gives the exit code; nothing else.

fn main() {}
