//! What a host must have, in the forms that schedulers read: each fits its published schema, and means the same.

use super::judged::packed;
use crate::support::*;
use serde_json::{Value, json};
use yaml_rust2::{Yaml, YamlLoader};

/// One YAML document as JSON.
fn parsed(text: &str) -> Value {
    fn value(yaml: &Yaml) -> Value {
        match yaml {
            Yaml::String(text) => text.as_str().into(),
            Yaml::Integer(number) => (*number).into(),
            Yaml::Array(items) => items.iter().map(value).collect(),
            Yaml::Hash(fields) => {
                fields.iter().map(|(key, it)| (key.as_str().unwrap().to_owned(), value(it))).collect()
            }
            other => panic!("{other:?}"),
        }
    }
    let documents = YamlLoader::load_from_str(text).unwrap();
    assert_eq!(documents.len(), 1, "{text}");
    value(&documents[0])
}

/// The artefact: the table "Schema" of `docs/usage/image-compatibility.md`; its rules are those of `NodeFeatureGroup`
/// (`featureGroupRules` in `deployment/base/nfd-crds/nfd-api-crds.yaml`), both of
/// <https://github.com/kubernetes-sigs/node-feature-discovery>. Members that are not used here are left out.
fn artefact() -> Value {
    let terms = json!({"type": "array", "items": {
        "type": "object",
        "required": ["feature"],
        "properties": {
            "feature": {"type": "string"},
            "matchExpressions": {"type": "object", "additionalProperties": {
                "type": "object",
                "required": ["op"],
                "properties": {
                    "op": {"enum": ["In", "NotIn", "InRegexp", "Exists", "DoesNotExist", "Gt", "Lt", "GtLt", "IsTrue", "IsFalse"]},
                    "value": {"type": "array", "items": {"type": "string"}},
                },
            }},
        },
    }});
    let any = json!({"type": "object", "required": ["matchFeatures"], "properties": {"matchFeatures": terms}});
    let rule = json!({
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string"}, "matchFeatures": terms, "matchAny": {"type": "array", "items": any}},
    });
    let set = json!({
        "type": "object",
        "required": ["rules"],
        "properties": {
            "rules": {"type": "array", "items": rule},
            "weight": {"type": "integer"},
            "tag": {"type": "string"},
            "description": {"type": "string"},
        },
    });
    json!({
        "type": "object",
        "required": ["version", "compatibilities"],
        "properties": {"version": {"const": "v1alpha1"}, "compatibilities": {"type": "array", "items": set}},
    })
}

/// A part of a pod: `io.k8s.api.core.v1.NodeAffinity` of <https://kubernetes.io/docs/reference/kubernetes-api/>.
fn affinity() -> Value {
    let expression = json!({
        "type": "object",
        "required": ["key", "operator"],
        "properties": {
            "key": {"type": "string"},
            "operator": {"enum": ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]},
            "values": {"type": "array", "items": {"type": "string"}},
        },
    });
    let term = json!({"type": "object", "properties": {"matchExpressions": {"type": "array", "items": expression}}});
    let selector = json!({
        "type": "object",
        "required": ["nodeSelectorTerms"],
        "properties": {"nodeSelectorTerms": {"type": "array", "minItems": 1, "items": term}},
    });
    let node = json!({"type": "object", "properties": {"requiredDuringSchedulingIgnoredDuringExecution": selector}});
    let affinity = json!({"type": "object", "properties": {"nodeAffinity": node}});
    json!({"type": "object", "required": ["affinity"], "properties": {"affinity": affinity}})
}

/// Whether a label is as an expression has it: `In` one of the values, `Gt` greater than the only one.
fn holds(labels: &[(&str, &str)], key: &str, operator: &Value, values: &Value) -> bool {
    let Some((_, label)) = labels.iter().find(|(name, _)| *name == key) else { return false };
    let values: Vec<&str> = values.as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect();
    let number = |text: &str| text.parse::<i64>().unwrap();
    match (operator.as_str().unwrap(), &*values) {
        ("In", values) => values.contains(label),
        ("Gt", [value]) => number(label) > number(value),
        other => panic!("{other:?}"),
    }
}

fn is_matched_by_artefact(artefact: &Value, labels: &[(&str, &str)]) -> bool {
    let matches = |any: &Value| {
        let terms = any["matchFeatures"].as_array().unwrap().iter();
        terms
            .flat_map(|term| {
                assert_eq!(term["feature"], "local.label");
                term["matchExpressions"].as_object().unwrap()
            })
            .all(|(key, it)| holds(labels, key, &it["op"], &it["value"]))
    };
    let rules = artefact["compatibilities"][0]["rules"].as_array().unwrap().iter();
    rules.map(|rule| rule["matchAny"].as_array().unwrap()).all(|any| any.iter().any(matches))
}

fn is_matched_by_affinity(pod: &Value, labels: &[(&str, &str)]) -> bool {
    let selector = &pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let holds = |it: &Value| holds(labels, it["key"].as_str().unwrap(), &it["operator"], &it["values"]);
    let matches = |term: &Value| term["matchExpressions"].as_array().unwrap().iter().all(holds);
    selector["nodeSelectorTerms"].as_array().unwrap().iter().any(matches)
}

#[test]
fn forms_of_schedulers_fit_their_schemas_and_mean_the_same() {
    let (root, _venv) = torch_machine();
    let work = packed(root, |image| image);
    let form = |form: &str| parsed(&work.run(["image", "app.tar", &format!("--require={form}")]).out);
    let (nfd, pod) = (form("nfd"), form("kubernetes"));
    assert_eq!(wrong(&artefact(), &nfd), [""; 0], "{nfd:#}");
    assert_eq!(wrong(&affinity(), &pod), [""; 0], "{pod:#}");
    // torch 2.5.1 for CUDA 12.4 has code from 5.0 to 9.0, and runs from driver 525.60.13 on.
    for (driver, compute, runs) in [
        (["525", "60"], ["9", "0"], true),
        (["525", "59"], ["9", "0"], false),
        (["470", "82"], ["8", "0"], false),
        (["580", "0"], ["8", "9"], true),
        (["580", "0"], ["12", "0"], false),
    ] {
        let labels = [
            ("nvidia.com/cuda.driver.major", driver[0]),
            ("nvidia.com/cuda.driver.minor", driver[1]),
            ("nvidia.com/gpu.compute.major", compute[0]),
            ("nvidia.com/gpu.compute.minor", compute[1]),
        ];
        assert_eq!(is_matched_by_artefact(&nfd, &labels), runs, "{labels:?}: {nfd:#}");
        assert_eq!(is_matched_by_affinity(&pod, &labels), runs, "{labels:?}: {pod:#}");
    }
    assert!(!is_matched_by_artefact(&nfd, &[]) && !is_matched_by_affinity(&pod, &[]));
}
