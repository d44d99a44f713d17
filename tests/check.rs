//! `check` and `why`: what they predict is what ld.so does, and their JSON is as described.

mod live;
mod packages;
mod predicted;
mod strangers;
mod why;

use crate::json::{schema, wrong};
use serde_json::Value;
use std::process::Command;

/// A command's exit code and its JSON, which must be as `docs/json-schema/` has it.
fn answer(command: &mut Command, described: &str) -> (i32, Value) {
    let output = command.args(["--format", "json"]).output().unwrap();
    let value: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(wrong(&schema(described), &value), [""; 0], "{value:#}");
    (output.status.code().unwrap(), value)
}

/// The ids of the findings, sorted.
fn ids(value: &Value) -> Vec<&str> {
    let mut ids: Vec<&str> =
        value["findings"].as_array().unwrap().iter().map(|finding| finding["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids
}

/// The object of a name.
fn object<'v>(value: &'v Value, name: &str) -> &'v Value {
    let objects = value["objects"].as_array().unwrap();
    objects.iter().find(|object| object["name"] == name).unwrap_or_else(|| panic!("no `{name}` in {value:#}"))
}
