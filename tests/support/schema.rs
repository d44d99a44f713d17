//! Checks JSON answers against `docs/json-schema/`.

use super::Process;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A command's exit code and its JSON, which is as the schema of that name has it.
pub(crate) fn answer(command: &mut Command, name: &str) -> (i32, Value) {
    let process = Process::of(command.args(["--format", "json"]));
    (process.code.unwrap(), described(&process, name))
}

/// The JSON that a process printed, which is as the schema of that name has it.
pub(crate) fn described(process: &Process, name: &str) -> Value {
    let value = process.json();
    assert_eq!(wrong(&schema(name), &value), [""; 0], "{value:#}");
    value
}

pub(crate) fn schema(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/json-schema").join(name);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// What is wrong with `value`, each with the place it is wrong at. Knows the part of JSON Schema 2020-12 that the
/// schemas here use; any other keyword ends the test, so that none is taken for checked. Members that no schema names
/// are wrong as well: a program's output is described in full.
pub(crate) fn wrong(root: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(root, root, value, "", &mut found);
    found
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    let mut here = Vec::new();
    let mut no = |says: String| here.push(format!("{at}: {says}"));
    let mut below = Vec::new();
    let fits = |schema: &Value, value: &Value| {
        let mut found = Vec::new();
        check(root, schema, value, at, &mut found);
        found.is_empty()
    };
    for (keyword, law) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "description" => {}
            "$ref" => {
                let target = root.pointer(law.as_str().unwrap().strip_prefix('#').unwrap()).unwrap();
                check(root, target, value, at, &mut below);
            }
            "const" if value != law => no(format!("{value} is not {law}")),
            "enum" if !law.as_array().unwrap().contains(value) => no(format!("{value} is none of {law}")),
            "type" => {
                let names: Vec<&str> = law.as_array().map_or_else(
                    || vec![law.as_str().unwrap()],
                    |list| list.iter().filter_map(Value::as_str).collect(),
                );
                if !names.iter().any(|name| is_of(value, name)) {
                    no(format!("{value} is no {law}"));
                }
            }
            "required" if value.is_object() => {
                for name in
                    law.as_array().unwrap().iter().filter_map(Value::as_str).filter(|name| value.get(name).is_none())
                {
                    no(format!("`{name}` is missing"));
                }
            }
            "properties" => {
                for (name, member) in value.as_object().into_iter().flatten() {
                    match law.get(name) {
                        Some(schema) => check(root, schema, member, &format!("{at}/{name}"), &mut below),
                        None => below.push(format!("{at}/{name}: not described")),
                    }
                }
            }
            "additionalProperties" => {
                for (name, member) in value.as_object().into_iter().flatten() {
                    check(root, law, member, &format!("{at}/{name}"), &mut below);
                }
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, law, item, &format!("{at}/{index}"), &mut below);
                }
            }
            "minItems" if value.as_array().is_some_and(|items| (items.len() as u64) < law.as_u64().unwrap()) => {
                no("too few".into())
            }
            "minLength" if value.as_str().is_some_and(|text| (text.chars().count() as u64) < law.as_u64().unwrap()) => {
                no("too short".into())
            }
            "minimum" if value.as_f64() < law.as_f64() && value.is_number() => no(format!("{value} is below {law}")),
            "maximum" if value.as_f64() > law.as_f64() => no(format!("{value} is above {law}")),
            "anyOf" if !law.as_array().unwrap().iter().any(|schema| fits(schema, value)) => {
                no("fits none of the alternatives".into())
            }
            "oneOf" if law.as_array().unwrap().iter().filter(|schema| fits(schema, value)).count() != 1 => {
                no("fits not exactly one of the alternatives".into())
            }
            "const" | "enum" | "required" | "minItems" | "minLength" | "minimum" | "maximum" | "anyOf" | "oneOf" => {}
            other => panic!("the keyword `{other}` is not checked here"),
        }
    }
    wrong.append(&mut here);
    wrong.append(&mut below);
}

fn is_of(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        other => panic!("the type `{other}` is not checked here"),
    }
}
