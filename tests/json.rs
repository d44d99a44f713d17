//! JSON output says what `docs/json-schema/` says it says.

use crate::support::world::{Lib, World};
use serde_json::Value;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) fn schema(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/json-schema").join(name);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// What is wrong with an answer by the schema of that name.
pub(crate) fn undescribed(name: &str, answer: &Value) -> Vec<String> {
    wrong(&schema(name), answer)
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

fn answer(command: &mut Command) -> Value {
    let output = command.args(["--format", "json"]).output().unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// A torch that needs libcublas and knows of no other place for it than its own environment.
fn torch_at(world: &World, name: &str) -> PathBuf {
    let venv = world.venv(name);
    let library = Lib::new("libtorch_global_deps.so").unversioned().uses("libcublas.so.12", &["cublasCreate_v2"]);
    venv.torch(
        "2.5.1+cu124",
        Some("12.4"),
        &["nvidia-cublas-cu12 (==12.4.5.8)"],
        &[("lib/libtorch_global_deps.so", library)],
    );
    venv.site
}

fn cublas() -> Lib {
    Lib::new("libcublas.so.12").defines(&["cublasCreate_v2"])
}

#[test]
fn a_set() {
    let world = World::new();
    let site = torch_at(&world, "venv");
    cublas().build(&site.join("nvidia/cublas/lib/libcublas.so.12"));
    cublas().build(&world.path("opt/libcublas.so.12"));
    let answer = answer(&mut world.rooted(["resolve", "--python", "/venv", "--place", "/opt"]));
    let schema = schema("resolve.json");
    assert_eq!(wrong(&schema, &answer), [""; 0]);
    assert_eq!((answer["for"].as_str(), answer["cuda"].as_str()), (Some("torch 2.5.1+cu124"), Some("12.4")));
    assert_eq!(answer["set"][0]["refused"][0]["path"], "/opt/libcublas.so.12");

    // What would be wrong is found to be.
    let broken = |change: &dyn Fn(&mut Value)| {
        let mut answer = answer.clone();
        change(&mut answer);
        wrong(&schema, &answer)
    };
    assert_eq!(broken(&|answer| answer["schema"] = 2.into()), ["/schema: 2 is not 1"]);
    assert_eq!(broken(&|answer| drop(answer.as_object_mut().unwrap().remove("for"))), [": `for` is missing"]);
    assert_eq!(
        broken(&|answer| answer["set"][0]["how"] = "link".into()),
        ["/set/0/how: \"link\" is none of [\"preload\",\"redirect\"]"]
    );
    assert_eq!(broken(&|answer| answer["set"][0]["soname"] = 1.into()).len(), 1);
    assert_eq!(broken(&|answer| answer["set"][0]["path"] = serde_json::json!({"bytes": [256]})).len(), 1);
    assert_eq!(
        broken(&|answer| answer["set"][0]["refused"][0]["new"] = 1.into()),
        ["/set/0/refused/0/new: not described"]
    );
    assert_eq!(broken(&|answer| answer["no_solution"] = serde_json::json!(["both"])).len(), 1);
}

#[test]
fn a_scan() {
    let world = World::new();
    let venv = world.venv("venv");
    venv.wheel("nvidia-cublas-cu12", "12.4.5.8", &[("nvidia/cublas/lib/libcublas.so.12", cublas())]);
    cublas().build(&world.path("usr/local/cuda-12.1/lib64/stubs/libcublas.so.12"));
    std::fs::write(venv.site.join("nvidia/cublas/lib/libcublasLt.so.12"), "no library").unwrap();
    let answer = answer(&mut world.rooted(["scan", "/"]));
    assert_eq!(wrong(&schema("scan.json"), &answer), [""; 0]);
    let found = |name: &str| {
        let libraries = answer["libraries"].as_array().unwrap().iter();
        libraries.filter(|library| library["path"].as_str().unwrap().ends_with(name)).collect::<Vec<_>>()
    };
    let [stub] = found("stubs/libcublas.so.12")[..] else { panic!("{answer:#}") };
    let [wheel] = found("nvidia/cublas/lib/libcublas.so.12")[..] else { panic!("{answer:#}") };
    assert_eq!((stub["stub"].as_bool(), wheel["stub"].as_bool()), (Some(true), Some(false)));
    assert_eq!((wheel["version"].as_str(), wheel["confidence"].as_str()), (Some("12.4.5.8"), Some("certain")));
    assert_eq!(wheel["owner"]["name"], "nvidia-cublas-cu12");
    let [damaged] = found("libcublasLt.so.12")[..] else { panic!("{answer:#}") };
    assert_eq!(damaged["problems"][0], "truncated-or-foreign-elf");
}

#[test]
fn a_scan_that_asks() {
    let world = World::new();
    let source = "int ncclGetVersion(int *v) { *v = 22105; return 0; }";
    crate::support::library(&world.path("m"), "libnccl.so.2", source, &[]);
    let answer = answer(&mut world.cudashim(["scan", "--probe", "m"]));
    assert_eq!(wrong(&schema("scan.json"), &answer), [""; 0]);
    let evidence = answer["libraries"][0]["evidence"].as_array().unwrap();
    let told = evidence.iter().find(|one| one["kind"] == "probe").unwrap();
    assert_eq!(told["says"], "ncclGetVersion returned 22105, which is 2.21.5");
    assert_eq!((&told["version"], &told["confidence"]), (&"2.21.5".into(), &"certain".into()));
}

#[test]
fn no_set() {
    let world = World::new();
    torch_at(&world, "venv");
    let answer = answer(&mut world.rooted(["resolve", "--python", "/venv"]));
    assert_eq!(wrong(&schema("resolve.json"), &answer), [""; 0]);
    assert!(answer["no_solution"][0].as_str().is_some_and(|says| says.contains("libcublas.so.12")), "{answer}");
    assert!(answer["hints"][0].as_str().is_some_and(|says| says.contains("nvidia-cublas-cu12==12.4.5.8")), "{answer}");
}

#[test]
fn nothing_to_choose() {
    let world = World::new();
    let answer = answer(&mut world.rooted(["resolve"]));
    assert_eq!(wrong(&schema("resolve.json"), &answer), [""; 0]);
    assert!(answer["nothing"].is_string(), "{answer}");
}

#[test]
fn a_kept_answer_reads_the_same() {
    let world = World::new();
    let site = torch_at(&world, "venv");
    cublas().build(&site.join("nvidia/cublas/lib/libcublas.so.12"));
    let ask = || answer(&mut world.cudashim(["resolve", "--python", "venv"]));
    let fresh = ask();
    assert_eq!(wrong(&schema("resolve.json"), &fresh), [""; 0]);
    assert!(fs::read_dir(world.path("cache/plans")).unwrap().count() >= 3, "nothing was kept");
    assert_eq!(fresh, ask());
}

#[test]
fn a_path_that_is_not_utf_8_is_not_lost() {
    let world = World::new();
    let site = torch_at(&world, "venv");
    cublas().build(&site.join("nvidia/cublas/lib/libcublas.so.12"));
    let odd = std::ffi::OsString::from_vec(b"odd\xff".to_vec());
    fs::rename(world.path("venv"), world.root().join(&odd)).unwrap();
    let answer = answer(world.rooted(["resolve", "--python"]).arg(Path::new("/").join(&odd)));
    assert_eq!(wrong(&schema("resolve.json"), &answer), [""; 0]);
    let bytes: Vec<u8> = serde_json::from_value(answer["set"][0]["path"]["bytes"].clone()).unwrap();
    assert!(bytes.starts_with(b"/odd\xff/lib/"), "{bytes:?}");
}

#[test]
fn doctor_says_what_its_schema_says() {
    use crate::doctor::driver::{answering, device, healthy};
    let root = schema("doctor.json");
    let sick = healthy("535.261.03").torch("2.15.0+cu132", "13.2");
    let sick = sick.says(answering(vec![device("NVIDIA H100 80GB HBM3", 9, 0)]));
    for patient in [sick, crate::doctor::Patient::new()] {
        let value = serde_json::to_value(patient.report()).unwrap();
        assert_eq!(wrong(&root, &value), Vec::<String>::new());
        assert!(!value["findings"].as_array().unwrap().is_empty());
    }
    let text = "ImportError: /x/a.so: undefined symbol: ncclMemFree";
    let read = crate::doctor::Patient::new().told(text);
    let value = serde_json::to_value(read).unwrap();
    assert_eq!(wrong(&root, &value), Vec::<String>::new());
    assert_eq!(value["messages"][0]["names"]["symbol"], "ncclMemFree");
}
