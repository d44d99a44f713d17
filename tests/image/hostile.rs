//! Archives that mean harm, or are damaged: each ends in a clear error, and nothing is written by their names.

use super::{at, opened};
use crate::support::archive::{Image, Tar, archive, gzip, zstd};
use proptest::prelude::*;
use std::fs;

fn error(layer: Tar) -> String {
    let bytes = Image::of([layer]).docker(&["app:1"]);
    let says = |bytes: &[u8]| opened(bytes).unwrap_err().fault.to_string();
    let plain = says(&bytes);
    // Where it is seen depends on how it is read.
    let what = |says: &str| says.rsplit(": ").next().map(str::to_owned);
    assert_eq!(what(&says(&gzip(&bytes))), what(&plain));
    plain
}

#[test]
fn paths_cannot_leave_the_root() {
    let says = "layer 1 has `a/../../etc/passwd`: the path leaves the root";
    assert_eq!(error(Tar::default().file("a/../../etc/passwd", "x")), says);
    assert_eq!(error(Tar::default().file("../.wh.x", "")), "layer 1 has `../.wh.x`: the path leaves the root");
    let error = error(Tar::default().hard_link("shadow", "../../etc/shadow"));
    assert_eq!(error, "layer 1 has `shadow`: the path leaves the root");
    let image = opened(&Image::of([Tar::default().file("/abs/./b//c", "c")]).docker(&[])).unwrap();
    assert_eq!(at(&image, "/abs/b/c"), "c");
    let image =
        opened(&Image::of([Tar::default().link("out", "/etc").file("out/cudashim-test", "x")]).docker(&[])).unwrap();
    assert_eq!(at(&image, "/etc/cudashim-test"), "x");
    assert!(!std::path::Path::new("/etc/cudashim-test").exists());
}

#[test]
fn links_that_lead_nowhere_are_errors() {
    assert_eq!(
        error(Tar::default().hard_link("a", "a")),
        "layer 1 has `a`: the file that it is a hard link to is missing"
    );
    let error = error(Tar::default().link("a", "b").link("b", "a").file("a/c", "c"));
    assert_eq!(error, "layer 1 has `a/c`: its symbolic links form a loop");
    let cyclic = Tar::default().link("x", "y").link("y", "x").dir("d").hard_link("e", "x");
    let image = opened(&Image::of([cyclic]).docker(&[])).unwrap();
    assert!(image.host.stat("/x".as_ref()).is_err() && image.host.read("/e".as_ref()).is_err());
}

#[test]
fn a_path_of_any_depth_ends() {
    let deep = vec!["d"; 40_000].join("/");
    assert!(error(Tar::default().file(&deep, "x")).ends_with("the path is too deep"));
    let image = opened(&Image::of([Tar::default().file(&vec!["d"; 1_500].join("/"), "x")]).docker(&[])).unwrap();
    let mut count = 0;
    image.host.tree().unwrap().directories(|_, _| count += 1);
    assert_eq!(count, 1_500);
}

#[test]
fn sizes_that_lie_are_errors() {
    let huge = |kind, size| {
        let mut layer = Tar::default();
        layer.header(b"x", kind, b"", size, |_| ());
        layer
    };
    assert!(error(huge(b'x', 7 << 30)).contains("longer than any"));
    assert!(error(huge(b'L', 7 << 30)).contains("longer than any"));
    assert!(error(huge(b'0', 7 << 30)).contains("ends within"));
    assert!(
        error(Tar::default().pax(&[("size", "18446744073709551615")]).member(b"x", b'0', b"", b""))
            .contains("larger than any file")
    );
    assert!(error(Tar::default().member(b"x", b'x', b"", b"99 path=a\n")).contains("damaged"));
    let mut sparse = Tar::default();
    sparse.header(b"s", b'S', b"", 512, |block| {
        for (at, number) in [(386, 0_u64), (398, 1 << 32), (483, 1 << 32)] {
            block[at..at + 11].copy_from_slice(format!("{number:011o}").as_bytes());
        }
    });
    sparse.bytes(&[1; 512]);
    assert!(error(sparse).contains("larger than it"));
    let extensions = (0..20).fold(Tar::default(), |tar, _| tar.pax(&[("path", "x")]));
    assert!(error(extensions.file("y", "")).contains("extensions without a member"));
}

#[test]
fn descriptions_cannot_name_files_outside() {
    let image = Image::of([Tar::default().file("a", "a")]);
    let mut files = image.layout(gzip);
    let dir = tempfile::tempdir().unwrap();
    let index = files.last_mut().unwrap();
    for digest in ["sha256:../../../../etc/passwd", "../index:json", "sha256:", "x"] {
        index.1 = serde_json::json!({"manifests": [{"digest": digest, "size": 1}]}).to_string().into_bytes();
        fs::create_dir_all(dir.path().join("blobs")).unwrap();
        fs::write(dir.path().join("index.json"), &index.1).unwrap();
        let error = cudashim::internal::image::Image::open(dir.path(), &Default::default()).unwrap_err();
        assert_eq!(error.fault.to_string(), format!("`{digest}` is not a digest"));
    }
    let manifest = r#"[{"Config":"../../etc/passwd","RepoTags":null,"Layers":["/etc/shadow"]}]"#;
    let error = opened(&Tar::default().file("manifest.json", manifest).close()).unwrap_err().fault.to_string();
    assert_eq!(error, "`../../etc/passwd` is missing");
    let looped = Tar::default().file("manifest.json", r#"[{"Config":"a","Layers":[]}]"#).link("a", "b").link("b", "a");
    assert_eq!(opened(&looped.close()).unwrap_err().fault.to_string(), "`a` is missing");
}

#[test]
fn a_layout_with_a_cut_blob_is_damaged() {
    let mut files = Image::of([Tar::default().file("a", vec![1; 5000])]).layout(<[u8]>::to_vec);
    let layer = files.iter_mut().find(|(name, _)| name.starts_with("blobs")).unwrap();
    layer.1.truncate(4096);
    let error = opened(&archive(&files)).unwrap_err().fault.to_string();
    assert!(error.ends_with("has another size than the manifest says"), "{error}");
}

/// An image with a file of each kind.
fn sample() -> Vec<u8> {
    let lower =
        Tar::default().dir("d").file("d/text", "text").file("lib.so", [b"\x7fELF".as_slice(), &[9; 4000]].concat());
    let upper =
        Tar::default().link("l", "d/text").hard_link("h", "d/text").file("d/.wh.text", "").pax(&[("path", "p")]);
    Image::of([lower, upper.member(b"x", b'0', b"", b"x")]).env("A=B").docker(&["app:1"])
}

/// Opens damaged bytes, and reads all that is found.
fn survives(bytes: &[u8]) {
    if let Ok(image) = opened(bytes) {
        let tree = image.host.tree().unwrap();
        let mut paths = Vec::new();
        tree.directories(|dir, names| paths.extend(names.map(|name| dir.join(name))));
        for path in paths {
            let _ = (image.host.stat(&path), image.host.read(&path), image.host.map(&path));
        }
    }
}

#[test]
fn an_archive_that_is_cut_is_damaged() {
    let whole = sample();
    let end = whole.len() - 1024;
    for length in (0..end).step_by(512).chain((1..end).step_by(331)) {
        assert!(opened(&whole[..length]).is_err(), "{length} of {}", whole.len());
    }
    for packed in [gzip(&whole), zstd(&whole)] {
        for length in (0..packed.len()).step_by(7) {
            assert!(opened(&packed[..length]).is_err(), "{length} of {}", packed.len());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn flipped_bytes_end_in_an_error_or_an_image(flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..6), packing in 0..3_u8) {
        let mut bytes = match packing {
            0 => sample(),
            1 => gzip(&sample()),
            _ => zstd(&sample()),
        };
        for (at, with) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= with;
        }
        survives(&bytes);
    }

    #[test]
    fn layers_with_flipped_bytes_do_too(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut layer = Tar::default().file("a", "1").pax(&[("GNU.sparse.map", "0,1"), ("GNU.sparse.size", "4")]).file("b", "2").open();
        for (at, with) in flips {
            let at = at.index(layer.len());
            layer[at] = with;
        }
        // The headers' sums are made right, so that what stands in them is read.
        let blocks: Vec<u8> = layer.chunks(512).flat_map(resealed).collect();
        let manifest = r#"[{"Config":"c","RepoTags":null,"Layers":["l"]}]"#;
        let whole = Tar::default().file("l", &blocks).file("c", r#"{"architecture":"amd64","os":"linux"}"#).file("manifest.json", manifest);
        survives(&whole.clone().close());
        survives(&gzip(&whole.close()));
    }
}

fn resealed(block: &[u8]) -> Vec<u8> {
    let mut block = block.to_vec();
    if block.get(257..262) == Some(b"ustar") {
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    block
}
