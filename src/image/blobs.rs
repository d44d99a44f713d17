//! The blobs of an image by their names: parts of a plain archive, files of a layout, or, of a packed archive, what was
//! kept as it was read.
//!
//! Takes an archive or a directory; gives the description of the chosen image, and its layers one by one. Reads a packed
//! archive once: its layers come before anything says in which order they belong.

use super::error::Fault;
use super::layer::{Layer, Reader};
use super::manifest::{Config, Descriptor, Manifest, Platform, Saved};
use super::source::{Budget, Part, Source, drain, unpacked, unpacked_stream};
use super::tar::{Kind, Tar};
use super::{Form, Which};
use crate::host::{Archive, Host};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Larger than any description of an image.
const TEXT_LIMIT: u64 = 4 << 20;

/// More files than any archive of images has.
const BLOBS: usize = 65_536;

/// An index may name an index, and that another.
const NESTING: usize = 4;

enum Blob {
    Part(Part),
    Text(Vec<u8>),
    Layer(Rc<Layer>),
    /// A link to another name.
    Link(String),
}

/// The blobs.
pub(super) struct Blobs {
    found: BTreeMap<String, Blob>,
    /// The directory of a layout.
    layout: Option<PathBuf>,
    reader: Reader,
    budget: Budget,
}

/// An image that was chosen.
pub(super) struct Chosen {
    pub(super) form: Form,
    pub(super) tags: Vec<String>,
    pub(super) config: Config,
    /// The names of its layers.
    pub(super) layers: Vec<String>,
}

impl Blobs {
    /// Whether a directory is a layout of the OCI, or an unpacked archive of `docker save`, not the root of an image.
    pub(super) fn is_layout(disk: &Host, path: &Path) -> bool {
        let has = |name: &str| disk.is_file(&path.join(name));
        let is_saved = || has("manifest.json") && !disk.is_dir(&path.join("usr"));
        has("oci-layout") || has("index.json") && disk.is_dir(&path.join("blobs")) || is_saved()
    }

    /// Opens an archive or a layout.
    pub(super) fn open(disk: &Host, path: &Path) -> Result<Self, Fault> {
        let mut blobs = Self { found: BTreeMap::new(), layout: None, reader: Reader::new(), budget: Budget::of(0) };
        if disk.is_dir(path) {
            blobs.layout = Some(disk.absolute(path));
            return Ok(blobs);
        }
        let (archive, size) = Archive::open(&disk.absolute(path))?;
        blobs.budget.add(size);
        let mut whole = unpacked(Part { archive, at: 0, end: size }, &blobs.budget)?;
        blobs.members(&mut *whole)?;
        Ok(blobs)
    }

    /// Reads the members of the archive.
    fn members(&mut self, source: &mut dyn Source) -> Result<(), Fault> {
        let mut tar = Tar::new(source);
        while let Some(member) = tar.next()? {
            if self.found.len() > BLOBS {
                return Err(Fault::Form);
            }
            let Ok(name) = String::from_utf8(member.path) else { continue };
            let name = name.trim_start_matches("./").trim_start_matches('/').to_owned();
            let blob = match member.kind {
                Kind::Link | Kind::HardLink => {
                    let Ok(link) = String::from_utf8(member.link) else { continue };
                    let dir = Path::new(&name).parent().unwrap_or(Path::new(""));
                    let path = if member.kind == Kind::Link { dir.join(link) } else { link.into() };
                    Blob::Link(crate::host::tidy(&path).to_string_lossy().trim_start_matches('/').to_owned())
                }
                Kind::File if member.parts.is_none() => match tar.source().place() {
                    Some((archive, at)) => {
                        let end = at.saturating_add(member.stored);
                        Blob::Part(Part { archive, at, end })
                    }
                    None => self.kept(&mut tar, member.stored)?,
                },
                _ => continue,
            };
            self.found.insert(name, blob);
        }
        drain(source)
    }

    /// A blob of a packed archive: a text, or a layer.
    fn kept(&mut self, tar: &mut Tar<'_>, size: u64) -> Result<Blob, Fault> {
        let (mut source, start) = unpacked_stream(tar.content(), &self.budget)?;
        if matches!(start.first(), Some(b'{' | b'[')) && size <= TEXT_LIMIT {
            let mut text = Vec::new();
            source.read_to_end(&mut text)?;
            return Ok(Blob::Text(text));
        }
        // Small files beside the layers: `VERSION`, `repositories`.
        if size < 512 {
            return Ok(Blob::Text(Vec::new()));
        }
        self.reader.read(&mut *source).map(|layer| Blob::Layer(Rc::new(layer)))
    }

    /// The blob of a name.
    fn take(&mut self, name: &str) -> Result<Blob, Fault> {
        let missing = || Fault::Manifest(format!("`{name}` is missing"));
        if let Some(dir) = &self.layout {
            // The name comes from the image: only that of a digest is a path.
            let is_plain = name.split('/').all(|part| !part.is_empty() && part != ".." && part != ".");
            let path = dir.join(Some(name).filter(|_| is_plain).ok_or_else(missing)?);
            let (archive, end) = Archive::open(&path).map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => missing(),
                _ => Fault::Io(error),
            })?;
            self.budget.add(end);
            return Ok(Blob::Part(Part { archive, at: 0, end }));
        }
        let mut name = name.to_owned();
        for _ in 0..NESTING {
            match self.found.get(&name) {
                Some(Blob::Link(target)) => name.clone_from(target),
                Some(Blob::Part(part)) => return Ok(Blob::Part(part.clone())),
                Some(Blob::Text(text)) => return Ok(Blob::Text(text.clone())),
                Some(Blob::Layer(layer)) => return Ok(Blob::Layer(Rc::clone(layer))),
                None => break,
            }
        }
        Err(missing())
    }

    /// A layer.
    pub(super) fn layer(&mut self, name: &str) -> Result<Rc<Layer>, Fault> {
        match self.take(name)? {
            Blob::Layer(layer) => Ok(layer),
            Blob::Part(part) => {
                let mut source = unpacked(part, &self.budget)?;
                self.reader.read(&mut *source).map(Rc::new)
            }
            _ => Err(Fault::Manifest(format!("`{name}` is not a layer"))),
        }
    }

    fn text(&mut self, name: &str) -> Result<Vec<u8>, Fault> {
        match self.take(name)? {
            Blob::Text(text) => Ok(text),
            Blob::Part(part) => {
                let mut text = Vec::new();
                let size = part.end.saturating_sub(part.at);
                if size > TEXT_LIMIT {
                    return Err(Fault::Manifest(format!("`{name}` is larger than any description of an image")));
                }
                Read::take(part, TEXT_LIMIT).read_to_end(&mut text)?;
                Ok(text)
            }
            _ => Err(Fault::Manifest(format!("`{name}` is not a description"))),
        }
    }

    fn parsed<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, Fault> {
        let text = self.text(name)?;
        serde_json::from_slice(&text).map_err(|error| Fault::Manifest(format!("`{name}` cannot be parsed: {error}")))
    }

    fn has(&self, name: &str) -> bool {
        self.layout.as_ref().map_or_else(|| self.found.contains_key(name), |dir| dir.join(name).is_file())
    }

    /// The image that is wanted, or the only one.
    pub(super) fn choose(&mut self, wanted: &Which) -> Result<Chosen, Fault> {
        if self.has("manifest.json") {
            return self.saved(wanted);
        }
        if !self.has("index.json") {
            return Err(Fault::Form);
        }
        let form = if self.layout.is_some() { Form::OciLayout } else { Form::OciArchive };
        let index: Manifest = self.parsed("index.json")?;
        let images = index.manifests.unwrap_or_default();
        let images: Vec<Descriptor> = images.into_iter().filter(|image| !image.is_beside()).collect();
        let names = || images.iter().map(|image| image.name().unwrap_or(&image.digest).to_owned()).collect();
        let matches = |image: &&Descriptor| wanted.tag.as_deref().is_none_or(|tag| is_named(image.name(), tag));
        let mut of_name: Vec<Descriptor> = images.iter().filter(matches).cloned().collect();
        let different: std::collections::BTreeSet<_> = of_name.iter().map(Descriptor::name).collect();
        if of_name.is_empty() || different.len() > 1 {
            let what = if of_name.is_empty() { "it has no image of this name, but" } else { "it has several images" };
            return Err(Fault::Choice { what: what.to_owned(), names: names(), option: "--tag" });
        }
        let tags = of_name.first().and_then(Descriptor::name).map(str::to_owned).into_iter().collect();
        for _ in 0..NESTING {
            let image = of_platform(&of_name, wanted)?;
            let manifest: Manifest = self.parsed(&blob(&image.digest)?)?;
            if let Some(manifests) = manifest.manifests {
                of_name = manifests.into_iter().filter(|image| !image.is_beside()).collect();
                continue;
            }
            let Some(config) = manifest.config else {
                return Err(Fault::Manifest(format!("`{}` has no configuration", image.digest)));
            };
            let config = self.config(&blob(&config.digest)?, wanted)?;
            let mut layers = Vec::new();
            for layer in manifest.layers.unwrap_or_default() {
                let name = blob(&layer.digest)?;
                if let Ok(Blob::Part(part)) = self.take(&name)
                    && part.end.saturating_sub(part.at) != layer.size
                {
                    return Err(Fault::Manifest(format!("`{name}` has another size than the manifest says")));
                }
                layers.push(name);
            }
            return Ok(Chosen { form, tags, config, layers });
        }
        Err(Fault::Manifest("its indexes are nested too deep".to_owned()))
    }

    /// The image of `manifest.json`.
    fn saved(&mut self, wanted: &Which) -> Result<Chosen, Fault> {
        let images: Vec<Saved> = self.parsed("manifest.json")?;
        let tags = |image: &Saved| image.repo_tags.clone().unwrap_or_default();
        let is_wanted = |image: &&Saved| {
            wanted.tag.as_deref().is_none_or(|wanted| tags(image).iter().any(|tag| is_named(Some(tag), wanted)))
        };
        let found: Vec<&Saved> = images.iter().filter(is_wanted).collect();
        let [image] = &*found else {
            let what = if found.is_empty() { "it has no image of this name, but" } else { "it has several images" };
            let names = images.iter().flat_map(tags).collect();
            return Err(Fault::Choice { what: what.to_owned(), names, option: "--tag" });
        };
        let config = self.config(&image.config, wanted)?;
        Ok(Chosen { form: Form::DockerArchive, tags: tags(image), config, layers: image.layers.clone() })
    }

    fn config(&mut self, name: &str, wanted: &Which) -> Result<Config, Fault> {
        let config: Config = self.parsed(name)?;
        if let Some(platform) = wanted.platform.as_deref().filter(|platform| !config.platform.is(platform)) {
            let what = format!("it has no image of the platform {platform}, but");
            return Err(Fault::Choice { what, names: vec![config.platform.to_string()], option: "--platform" });
        }
        Ok(config)
    }
}

/// The image of the platform that is wanted, or of this machine.
fn of_platform(images: &[Descriptor], wanted: &Which) -> Result<Descriptor, Fault> {
    let here = Platform::here().to_string();
    if let [image] = images {
        // Its own configuration says what it is for.
        return Ok(image.clone());
    }
    let asked = wanted.platform.as_deref().unwrap_or(&here);
    let is_wanted = |image: &&Descriptor| image.platform.as_ref().is_some_and(|platform| platform.is(asked));
    images.iter().find(is_wanted).cloned().ok_or_else(|| {
        let names = images.iter().map(|image| image.platform.clone().unwrap_or_default().to_string()).collect();
        let what = format!("it has no image of the platform {asked}, but");
        Fault::Choice { what, names, option: "--platform" }
    })
}

/// Whether a name, or its tag alone, is the wanted one.
fn is_named(name: Option<&str>, wanted: &str) -> bool {
    name.is_some_and(|name| {
        name == wanted || name.rsplit([':', '/']).next() == Some(wanted) || name == format!("{wanted}:latest")
    })
}

/// The path of a blob.
fn blob(digest: &str) -> Result<String, Fault> {
    let parts = digest.split_once(':').filter(|(algorithm, hex)| {
        [algorithm, hex].iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    });
    let (algorithm, hex) = parts.ok_or_else(|| Fault::Manifest(format!("`{digest}` is not a digest")))?;
    Ok(format!("blobs/{algorithm}/{hex}"))
}
