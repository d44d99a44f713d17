//! `cudashim image`: images of every form, each layer rule, hostile archives, the judgement.

mod forms;
mod hostile;
mod judged;
mod layers;
mod requirements;

use crate::support::archive::Image;
use cudashim::internal::image::{Image as Opened, ImageError, Which};
use std::fs;
use std::path::Path;

/// Opens an archive.
fn opened(bytes: &[u8]) -> Result<Opened, ImageError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.tar");
    fs::write(&path, bytes).unwrap();
    Opened::open(&path, &Which::default())
}

/// What the file system of an image has at a path: `dir`, `link TARGET`, a text, or `-`.
fn at(image: &Opened, path: &str) -> String {
    let path = Path::new(path);
    if let Ok(target) = image.host.link_target(path) {
        return format!("link {}", target.display());
    }
    if image.host.is_dir(path) {
        return "dir".to_owned();
    }
    image.host.read_text(path).unwrap_or_else(|_| "-".to_owned())
}

/// An image by each way of reading it: from a plain archive, and from a packed one.
fn each_way(image: &Image) -> [Opened; 2] {
    let archive = image.docker(&["app:1"]);
    [opened(&archive).unwrap(), opened(&crate::support::archive::gzip(&archive)).unwrap()]
}
