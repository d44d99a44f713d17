//! The forms that an image comes in.

use super::opened;
use crate::support::archive::{Image, Tar, archive, gzip, saved, zstd};
use crate::support::*;
use cudashim::internal::image::{Form, Image as Opened, Which};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// The report without what differs by form: the layers, and what is named.
fn judged(machine: &Machine, what: &str, more: &[&str]) -> (i32, Value) {
    let mut command = machine.cudashim(["image", what]);
    let (code, mut report) = answer(command.args(more), "image.json");
    for name in ["path", "form", "tags", "platform", "layers", "execution"] {
        report.as_object_mut().unwrap().remove(name);
    }
    for library in report["libraries"].as_array_mut().unwrap() {
        library["layer"] = Value::Null;
    }
    for evidence in
        report["findings"].as_array_mut().unwrap().iter_mut().flat_map(|it| it["evidence"].as_array_mut().unwrap())
    {
        let says = evidence["says"].as_str().unwrap().split(", in layer ").next().unwrap().to_owned();
        evidence["says"] = says.into();
    }
    (code, report)
}

fn lay_down(dir: &Path, files: &[(String, Vec<u8>)]) {
    for (name, bytes) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

#[test]
fn every_form_has_the_same_verdict() {
    let (root, venv) = torch_machine();
    Lib::new("libcublasLt.so.12").defines(&["cublasLtOther"]).build(&root.path("opt/old/libcublasLt.so.12"));
    cublas_alone().build(&root.path("opt/old/libcublas.so.12"));
    let root = root.glibc();
    let env = ["PATH=/venv/bin:/usr/bin", "LD_LIBRARY_PATH=/opt/old"];
    let image = env.iter().fold(Image::of([Tar::default().tree(root.root())]), |image, variable| image.env(variable));
    let work = Machine::new();
    let directory = work.path("root");
    // The kit's own directories are not in the way: the archive has the same.
    fs::rename(root.root(), &directory).unwrap();
    let docker = image.docker(&["app:1"]);
    let layout = image.layout(gzip);
    for (name, bytes) in [
        ("docker.tar", docker.clone()),
        ("docker.tar.gz", gzip(&docker)),
        ("docker.tar.zst", zstd(&docker)),
        ("packed.tar", image.docker_packed(gzip)),
        ("oci.tar", archive(&layout)),
        ("oci.tar.gz", gzip(&archive(&image.layout(zstd)))),
    ] {
        work.write(name, bytes);
    }
    lay_down(&work.path("oci"), &layout);
    lay_down(&work.path("oci-zstd"), &image.layout(zstd));
    let of_root = judged(&work, "root", &["--env", env[0], "--env", env[1]]);
    assert_eq!(of_root.0, 1, "{:#}", of_root.1);
    assert!(of_root.1["findings"][0]["severity"] == "fatal", "{:#}", of_root.1);
    for form in
        ["docker.tar", "docker.tar.gz", "docker.tar.zst", "packed.tar", "oci.tar", "oci.tar.gz", "oci", "oci-zstd"]
    {
        assert_eq!(judged(&work, form, &[]), of_root, "{form}");
    }
    drop(venv);
}

#[test]
fn forms_are_recognised() {
    let image = Image::of([Tar::default().file("a", "a")]);
    let layout = image.layout(<[u8]>::to_vec);
    assert_eq!(opened(&image.docker(&["app:1"])).unwrap().form, Form::DockerArchive);
    assert_eq!(opened(&archive(&layout)).unwrap().form, Form::OciArchive);
    let dir = tempfile::tempdir().unwrap();
    lay_down(dir.path(), &layout);
    let found = Opened::open(dir.path(), &Which::default()).unwrap();
    assert_eq!((found.form, found.tags, found.layers.len()), (Form::OciLayout, vec!["app:1".to_owned()], 1));
    assert_eq!(found.layers[0].command.as_deref(), Some("RUN 1"));
    let error = opened(&Tar::default().file("etc/passwd", "root").close()).unwrap_err().to_string();
    assert!(error.ends_with("neither the output of `docker save` nor an OCI layout"), "{error}");
}

#[test]
fn one_of_several_is_chosen_by_its_name() {
    let one = Image::of([Tar::default().file("which", "one")]);
    let two = Image::of([Tar::default().file("which", "two")]);
    let bytes = saved(&[(&one, &["repo/one:1", "repo/one:latest"]), (&two, &["two:2"])], <[u8]>::to_vec);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    fs::write(&path, &bytes).unwrap();
    let which = |tag: &str| {
        let wanted = Which { tag: Some(tag.to_owned()), ..Which::default() };
        Opened::open(&path, &wanted).map(|image| super::at(&image, "/which")).map_err(|error| error.fault.to_string())
    };
    assert_eq!(
        (which("repo/one:1"), which("repo/one"), which("2")),
        (Ok("one".into()), Ok("one".into()), Ok("two".into()))
    );
    assert_eq!(which("three").unwrap_err(), "it has no image of this name, but: repo/one:1, repo/one:latest, two:2");
    let error = Opened::open(&path, &Which::default()).unwrap_err();
    assert_eq!(error.fault.to_string(), "it has several images: repo/one:1, repo/one:latest, two:2");
}

#[test]
fn one_of_several_platforms_is_chosen() {
    let parts = ["amd64", "arm64"].map(|name| Image::of([Tar::default().file("which", name)]).layout(gzip));
    let mut files = Vec::new();
    let mut manifests = Vec::new();
    for (part, name) in parts.into_iter().zip(["amd64", "arm64"]) {
        let index: Value = serde_json::from_slice(&part.last().unwrap().1).unwrap();
        let mut image = index["manifests"][0].clone();
        image["platform"] = json!({"os": "linux", "architecture": name});
        image["annotations"] = json!({});
        manifests.push(image);
        files.extend(part.into_iter().filter(|(name, _)| name.starts_with("blobs")));
    }
    // What signs an image is none.
    manifests.push(json!({"digest": "sha256:00", "size": 1, "platform": {"os": "unknown", "architecture": "unknown"}}));
    files.push(("index.json".into(), json!({"manifests": manifests}).to_string().into_bytes()));
    let dir = tempfile::tempdir().unwrap();
    lay_down(dir.path(), &files);
    let open = |platform: Option<&str>| {
        let wanted = Which { platform: platform.map(str::to_owned), ..Which::default() };
        Opened::open(dir.path(), &wanted).map(|image| super::at(&image, "/which"))
    };
    assert!(open(None).is_ok());
    assert!(open(Some("linux/s390x")).unwrap_err().to_string().contains("linux/amd64, linux/arm64"));
}
