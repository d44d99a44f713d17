//! `check` and `why`: what they predict is what ld.so does, and their JSON is as described.

mod families;
mod live;
mod packages;
mod predicted;
mod strangers;
mod why;

use crate::support::*;
use serde_json::Value;

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
