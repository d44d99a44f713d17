//! Images of containers, written by hand: layers as tar archives, archives of `docker save`, layouts of the OCI.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// A tar archive in the making.
#[derive(Default, Clone)]
pub(crate) struct Tar(Vec<u8>);

impl Tar {
    /// A member as its header has it: a name of at most 100 bytes, its kind, the target of a link, its bytes.
    pub(crate) fn member(mut self, name: &[u8], kind: u8, link: &[u8], bytes: &[u8]) -> Self {
        self.header(name, kind, link, bytes.len() as u64, |_| ());
        self.bytes(bytes);
        self
    }

    /// A header, and what a test does to it before its checksum.
    pub(crate) fn header(&mut self, name: &[u8], kind: u8, link: &[u8], size: u64, more: impl FnOnce(&mut [u8; 512])) {
        let mut block = [0; 512];
        block[..name.len()].copy_from_slice(name);
        block[100..107].copy_from_slice(b"0000755");
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[156] = kind;
        block[157..157 + link.len()].copy_from_slice(link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        more(&mut block);
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend(block);
    }

    /// Bytes in whole blocks.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    pub(crate) fn file(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.long(name).member(short(name), b'0', b"", bytes.as_ref())
    }

    pub(crate) fn dir(self, name: &str) -> Self {
        self.member(name.as_bytes(), b'5', b"", b"")
    }

    pub(crate) fn link(self, name: &str, target: &str) -> Self {
        self.long(name).member(short(name), b'2', target.as_bytes(), b"")
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.member(name.as_bytes(), b'1', target.as_bytes(), b"")
    }

    /// The extended header of a long name.
    fn long(self, name: &str) -> Self {
        if name.len() <= 100 { self } else { self.pax(&[("path", name)]) }
    }

    /// An extended header.
    pub(crate) fn pax(self, records: &[(&str, &str)]) -> Self {
        let record = |(key, value): &(&str, &str)| {
            let rest = format!(" {key}={value}\n");
            let length = (1..).find(|digits| (rest.len() + digits).to_string().len() == *digits).unwrap() + rest.len();
            format!("{length}{rest}")
        };
        let text: String = records.iter().map(record).collect();
        self.member(b"PaxHeaders/x", b'x', b"", text.as_bytes())
    }

    /// Every file below a directory.
    pub(crate) fn tree(mut self, root: &Path) -> Self {
        let mut queue = vec![root.to_owned()];
        while let Some(dir) = queue.pop() {
            let mut entries: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
            entries.sort();
            for path in entries {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                let meta = path.symlink_metadata().unwrap();
                if meta.is_dir() {
                    self = self.dir(&name);
                    queue.push(path);
                } else if meta.is_symlink() {
                    let target = fs::read_link(&path).unwrap();
                    self = self.long(&name).member(short(&name), b'2', target.as_os_str().as_bytes(), b"");
                } else {
                    self = self.long(&name);
                    let mode = format!("{:07o}", meta.permissions().mode() & 0o7777);
                    let bytes = fs::read(&path).unwrap();
                    self.header(short(&name), b'0', b"", bytes.len() as u64, |block| {
                        block[100..107].copy_from_slice(mode.as_bytes());
                    });
                    self.bytes(&bytes);
                }
            }
        }
        self
    }

    /// The archive without its end.
    pub(crate) fn open(self) -> Vec<u8> {
        self.0
    }

    /// The whole archive.
    pub(crate) fn close(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

fn short(name: &str) -> &[u8] {
    &name.as_bytes()[..name.len().min(100)]
}

/// Packed by gzip.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// Packed by zstd.
pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// An image: layers and how a container starts.
#[derive(Default, Clone)]
pub(crate) struct Image {
    layers: Vec<Vec<u8>>,
    env: Vec<String>,
    command: Vec<String>,
}

impl Image {
    /// One of these layers.
    pub(crate) fn of(layers: impl IntoIterator<Item = Tar>) -> Self {
        Self { layers: layers.into_iter().map(Tar::close).collect(), ..Self::default() }
    }

    pub(crate) fn env(mut self, variable: &str) -> Self {
        self.env.push(variable.to_owned());
        self
    }

    pub(crate) fn command(mut self, words: &[&str]) -> Self {
        self.command = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    fn config(&self) -> Vec<u8> {
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let digests: Vec<String> = self.layers.iter().map(|layer| format!("sha256:{}", digest(layer))).collect();
        let steps: Vec<Value> =
            (1..=self.layers.len()).map(|step| json!({"created_by": format!("RUN {step}")})).collect();
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": {"Env": self.env, "Cmd": self.command},
            "rootfs": {"type": "layers", "diff_ids": digests},
            "history": steps,
        });
        config.to_string().into_bytes()
    }

    /// The archive of `docker save`; the layers stand before what describes them.
    pub(crate) fn docker(&self, tags: &[&str]) -> Vec<u8> {
        saved(&[(self, tags)], |layer| layer.to_vec())
    }

    /// The same with each layer packed.
    pub(crate) fn docker_packed(&self, pack: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
        saved(&[(self, &["app:1"])], pack)
    }

    /// The files of a layout of the OCI, with packed layers.
    pub(crate) fn layout(&self, pack: impl Fn(&[u8]) -> Vec<u8>) -> Vec<(String, Vec<u8>)> {
        let mut files = vec![("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())];
        let mut blob = |bytes: Vec<u8>| {
            let digest = digest(&bytes);
            let descriptor = json!({"digest": format!("sha256:{digest}"), "size": bytes.len()});
            files.push((format!("blobs/sha256/{digest}"), bytes));
            descriptor
        };
        let layers: Vec<Value> = self.layers.iter().map(|layer| blob(pack(layer))).collect();
        let config = blob(self.config());
        let mut image = blob(json!({"schemaVersion": 2, "config": config, "layers": layers}).to_string().into_bytes());
        image["annotations"] = json!({"org.opencontainers.image.ref.name": "app:1"});
        files.push((
            "index.json".to_owned(),
            json!({"schemaVersion": 2, "manifests": [image]}).to_string().into_bytes(),
        ));
        files
    }
}

/// An archive of `docker save` of several images.
pub(crate) fn saved(images: &[(&Image, &[&str])], pack: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let (mut tar, mut manifest) = (Tar::default(), Vec::new());
    for (number, (image, tags)) in images.iter().enumerate() {
        let mut layers = Vec::new();
        for (at, layer) in image.layers.iter().enumerate() {
            let name = format!("{number}-{at}/layer.tar");
            tar = tar.file(&name, pack(layer));
            layers.push(name);
        }
        let config = format!("{number}.json");
        tar = tar.file(&config, image.config());
        manifest.push(json!({"Config": config, "RepoTags": tags, "Layers": layers}));
    }
    tar.file("manifest.json", Value::from(manifest).to_string()).close()
}

/// An archive of files.
pub(crate) fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    files.iter().fold(Tar::default(), |tar, (name, bytes)| tar.file(name, bytes)).close()
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
