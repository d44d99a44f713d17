//! What layers do to each other.

use super::{at, each_way, opened};
use crate::support::archive::{Image, Tar, gzip, zstd};
use cudashim::internal::host::Kind;
use std::path::Path;

/// Asserts what is at each path, however the image is packed.
fn has(layers: impl IntoIterator<Item = Tar>, expected: &[(&str, &str)]) {
    for image in each_way(&Image::of(layers)) {
        for (path, content) in expected {
            assert_eq!(at(&image, path), *content, "{path}");
        }
    }
}

#[test]
fn a_later_layer_replaces_and_adds() {
    let lower =
        Tar::default().dir("a").file("a/one", "1").file("a/two", "2").file("b", "file").dir("c").file("c/x", "x");
    let upper =
        Tar::default().file("a/two", "22").dir("b").file("b/in", "in").file("c", "now a file").file("./d/e/f", "f");
    has(
        [lower, upper],
        &[
            ("/a/one", "1"),
            ("/a/two", "22"),
            ("/b", "dir"),
            ("/b/in", "in"),
            ("/c", "now a file"),
            ("/c/x", "-"),
            ("/d/e/f", "f"),
        ],
    );
}

#[test]
fn whiteouts_remove_what_is_below() {
    let lower =
        Tar::default().file("a/one", "1").file("a/two", "2").file("d/old", "old").file("e/f", "f").file("g", "g");
    // A mark acts on the layers below, wherever it stands.
    let upper = Tar::default()
        .file("a/.wh.one", "")
        .file("d/new", "new")
        .file("d/.wh..wh..opq", "")
        .file(".wh.e", "")
        .file(".wh.g", "")
        .file("g", "again")
        .file(".wh.missing", "")
        .file(".wh..wh.plnk", "");
    has(
        [lower, upper],
        &[
            ("/a/one", "-"),
            ("/a/two", "2"),
            ("/a/.wh.one", "-"),
            ("/d/old", "-"),
            ("/d/new", "new"),
            ("/e", "-"),
            ("/g", "again"),
        ],
    );
}

#[test]
fn links_are_followed_across_layers_and_stay_inside() {
    let lower = Tar::default().dir("usr/lib").link("lib", "usr/lib").file("usr/lib/liba.so.1", "a").link("abs", "/usr");
    let upper = Tar::default().file("lib/libb.so.1", "b").hard_link("hard", "lib/liba.so.1").link("up", "../../../etc");
    let third = Tar::default()
        .file("usr/lib/liba.so.1", "new a")
        .file("abs/c", "c")
        .file("up/d", "d")
        .file("lib/.wh.libb.so.1", "");
    has(
        [lower, upper, third],
        &[
            ("/usr/lib/libb.so.1", "-"),
            ("/lib/liba.so.1", "new a"),
            // The other name keeps the bytes that it was given.
            ("/hard", "a"),
            ("/usr/c", "c"),
            ("/etc/d", "d"),
        ],
    );
}

#[test]
fn hard_links_are_one_file() {
    let layers =
        [Tar::default().file("a", "same").hard_link("b", "a"), Tar::default().hard_link("c", "./b").link("d", "c")];
    for image in each_way(&Image::of(layers)) {
        let id = |path: &str| image.host.stat(Path::new(path)).unwrap().id;
        assert_eq!((id("/a"), id("/a")), (id("/b"), id("/c")));
        assert_eq!(at(&image, "/d"), "link c");
    }
}

#[test]
fn a_directory_in_place_of_a_link_replaces_it() {
    let lower = Tar::default().file("real/x", "x").link("name", "real");
    has(
        [lower, Tar::default().dir("name").file("name/y", "y")],
        &[("/name/x", "-"), ("/name/y", "y"), ("/real/y", "-")],
    );
}

#[test]
fn names_of_any_length_and_bytes() {
    let long = format!("{}/file", ["directory-with-a-name"; 12].join("/"));
    let gnu = format!("gnu/{}", "n".repeat(180));
    let layer = Tar::default()
        .file(&long, "pax")
        .member(b"././@LongLink", b'L', b"", format!("{gnu}\0").as_bytes())
        .member(b"gnu/n", b'0', b"", b"gnu")
        .member(b"././@LongLink", b'K', b"", format!("{gnu}\0").as_bytes())
        .member(b"link", b'2', b"n", b"")
        .pax(&[("path", "pax/by-size"), ("size", "5")])
        .member(b"x", b'0', b"", b"five!")
        .member(b"not \xff utf-8", b'0', b"", b"bytes");
    let mut layer = layer;
    layer.header(b"tail", b'0', b"", 2, |block| block[345..351].copy_from_slice(b"prefix"));
    layer.bytes(b"up");
    let link = format!("link {gnu}");
    has(
        [layer],
        &[
            (&format!("/{long}"), "pax"),
            (&format!("/{gnu}"), "gnu"),
            ("/link", &link),
            ("/pax/by-size", "five!"),
            ("/prefix/tail", "up"),
        ],
    );
}

#[test]
fn sparse_files_have_their_holes() {
    let expected = format!("{}data{}end", "\0".repeat(1024), "\0".repeat(1020));
    let mut old = Tar::default();
    old.header(b"old", b'S', b"", 7, |block| {
        block[257..265].copy_from_slice(b"ustar  \0");
        for (at, number) in [(386, 1024), (398, 4), (410, 2048), (422, 3), (483, expected.len())] {
            block[at..at + 11].copy_from_slice(format!("{number:011o}").as_bytes());
        }
    });
    old.bytes(b"dataend");
    let size = expected.len().to_string();
    let map = [("GNU.sparse.size", &*size), ("GNU.sparse.map", "1024,4,2048,3")];
    let pairs = [
        ("GNU.sparse.realsize", &*size),
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "inside"),
    ];
    let mut inside = b"2\n1024\n4\n2048\n3\n".to_vec();
    inside.resize(512, 0);
    inside.extend(b"dataend");
    let layer = old.pax(&map).member(b"mapped", b'0', b"", b"dataend").pax(&pairs).member(b"x", b'0', b"", &inside);
    has(
        [layer.file("after", "after")],
        &[("/old", &expected), ("/mapped", &expected), ("/inside", &expected), ("/after", "after")],
    );
}

#[test]
fn a_packed_layer_keeps_all_but_the_code_for_gpus() {
    let mut region = b"\x50\xed\x55\xba\x01\0\x10\0".to_vec();
    let entry = |payload: &[u8]| {
        let mut entry = vec![0; 64];
        entry[0] = 2;
        entry[4] = 64;
        entry[8..16].copy_from_slice(&(payload.len() as u64).to_le_bytes());
        entry[28] = 90;
        [entry, payload.to_vec()].concat()
    };
    let entries = [entry(&[7; 300_000]), entry(&[8; 100])].concat();
    region.extend((entries.len() as u64).to_le_bytes());
    region.extend(entries);
    let noise: Vec<u8> = (0..3_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let library = [b"\x7fELF".as_slice(), &noise, &region, b"\x50\xed\x55\xba is no region", &noise].concat();
    let layer = Tar::default()
        .file("lib.so", &library)
        .file("text", "text")
        .file("model", &noise[..])
        .file("large", vec![1; 5 << 20]);
    let archive = Image::of([layer]).docker_packed(zstd);
    for archive in [gzip(&archive), archive] {
        let image = opened(&archive).unwrap();
        let (map, stat) = image.host.map(Path::new("/lib.so")).unwrap();
        assert_eq!((map.len(), stat.kind), (library.len(), Kind::File));
        let found = cudashim::internal::elf::fatbin::FatBinaries::read(&map[4 + noise.len()..][..region.len()]);
        assert_eq!((found.regions, found.cubins.values().sum::<u64>(), found.damage), (1, 2, None));
        let payload = 4 + noise.len() + 16 + 64;
        let differs = |from: usize, to: usize| map[from..to] != library[from..to];
        assert!(!differs(0, payload) && differs(payload, payload + 8192), "the payload is not kept");
        assert!(!differs(payload + 300_000, payload + 300_064) && !differs(payload + 300_164, library.len()));
        assert_eq!(
            (at(&image, "/text"), image.host.read(Path::new("/model")).unwrap()),
            ("text".into(), noise.clone())
        );
        assert!(image.host.map(Path::new("/large")).is_err(), "a large file that is no ELF file is not kept");
        assert_eq!(image.host.stat(Path::new("/large")).unwrap().size, 5 << 20);
    }
}
