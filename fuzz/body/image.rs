//! Reads an image in Rust and as the shim does: both take it or both refuse it, and they see the same records.
//!
//! The body of the fuzz target, and of the test that goes through `seeds` and `findings`.

use cudashim::internal::host::FileId;
use cudashim::internal::plan::{How, ImageView};
use std::os::unix::ffi::OsStrExt;

/// Reads `bytes`, and them with the size in their head put right. `shim` answers what `harness_image` makes of bytes, `None`
/// where it refuses them.
pub(crate) fn run(bytes: &[u8], shim: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    agree(bytes, &shim);
    let mut sized = bytes.to_vec();
    if let (Some(size), Ok(length)) = (sized.get_mut(12..16), u32::try_from(bytes.len())) {
        size.copy_from_slice(&length.to_le_bytes());
        agree(&sized, &shim);
    }
}

pub(crate) fn agree(bytes: &[u8], shim: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    let theirs = shim(bytes);
    match ImageView::parse(bytes) {
        Err(error) => assert!(theirs.is_none(), "the shim takes what is refused here: {error}"),
        Ok(view) => {
            let ours = said(&view);
            let theirs = theirs.expect("the shim refuses what is taken here");
            assert!(ours == theirs, "here {}\nshim {}", ours.escape_ascii(), theirs.escape_ascii());
        }
    }
}

/// The records in the order and the words of `fuzz/shim/harness.c`.
fn said(view: &ImageView) -> Vec<u8> {
    let mut out = Out::default();
    for library in &view.libraries {
        out.put("l").put(&library.soname).put(library.path.as_os_str().as_bytes()).id(library.id);
        out.number(library.size).number(library.mtime.cast_unsigned());
        out.number(match library.how {
            How::Preload => 0,
            How::Redirect => 1,
            How::Keep => 2 + u64::from(library.own),
        });
    }
    for (name, library, alias) in &view.names {
        out.put("n").put(name).number(*library as u64).number(u64::from(*alias));
    }
    for [file, dir] in &view.ids {
        out.put("i").id(*file).id(*dir);
    }
    out.0
}

#[derive(Default)]
struct Out(Vec<u8>);

impl Out {
    fn put(&mut self, field: impl AsRef<[u8]>) -> &mut Self {
        self.0.extend(field.as_ref());
        self.0.push(0);
        self
    }

    fn number(&mut self, number: u64) -> &mut Self {
        self.put(number.to_string())
    }

    fn id(&mut self, id: FileId) -> &mut Self {
        self.number(id.dev).number(id.ino)
    }
}
