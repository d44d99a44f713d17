//! The image: a plan compiled for the shim, as sorted records of fixed size, checked once and searched by bisection.
//!
//! Takes a plan and its machine; gives the bytes of `docs/PLAN_FORMAT.md`, and reads such bytes with the checks of
//! `cshim/image.c`. Leaves out libraries that have changed or are gone, with the reason.

use super::identity::Identity;
use super::{How, LIBRARY_LIMIT, Plan, PlanLibrary, read};
use crate::host::{FileId, Hints, Host, Stat};
use crate::loader::Objects;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

mod view;

pub use view::{ImageLibrary, ImageView};

/// The most bytes an image may have.
const SIZE_LIMIT: usize = 4 << 20;
/// The most bytes of a string, with its NUL: `PATH_MAX`.
const STRING_LIMIT: usize = 4096;
const MAGIC: &[u8; 8] = b"cudashim";
const VERSION: u32 = 4;
const HEADER: usize = 32;
/// The number of tables.
const TABLES: usize = 3;
/// The size of a record of each, in the order of the file: libs, ids, names.
const RECORD: [usize; TABLES] = [48, 32, 12];

/// A plan as the shim reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The file.
    pub bytes: Vec<u8>,
    /// The sonames of the libraries left out, each with the reason.
    pub left_out: Vec<(String, String)>,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The plan is for no program.
    #[error("the plan names no program")]
    NoPrograms,
    /// None of the programs exists.
    #[error("`{}`, the program of the plan, is missing", .0.display())]
    ProgramsGone(PathBuf),
    /// The plan exceeds the limits of an image.
    #[error("the plan is too large for the preload object: its image may have {} MiB", SIZE_LIMIT >> 20)]
    TooLarge,
    /// The file could not be read.
    #[error("cannot read the image `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The bytes are not an image.
    #[error("not an image of a plan: {0}")]
    Malformed(&'static str),
}

impl Hints for ImageError {
    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::NoPrograms => "make a plan for a program: `cudashim lock --python PY`, or `--for PROGRAM`",
            Self::ProgramsGone(_) => {
                "bring the lock here: `cudashim verify --relocate`, or make a new one: `cudashim lock`"
            }
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}

impl Image {
    /// Compiles a plan for the machine it is used on.
    ///
    /// # Errors
    /// A plan that is for no program of this machine, or too large.
    pub fn compile(plan: &Plan, host: &Host) -> Result<Self, ImageError> {
        let programs = programs(plan, host)?;
        let mut writer = Writer::default();
        let left_out = writer.libraries(plan, host);
        writer.names(plan);
        let files = programs.iter().map(|[_, file]| *file);
        let named = plan.objects.iter().filter_map(|path| Some(host.stat(path).ok()?.id));
        writer.ids.extend(files.chain(named).map(object));
        writer.ids.extend(programs.iter().map(|[dir, file]| [*file, *dir]));
        let bytes = writer.bytes()?;
        // Names in a plan may be longer than the limit.
        ImageView::parse(&bytes)?;
        Ok(Self { bytes, left_out })
    }

    /// The name of its file: its digest, so that the file of an image never changes.
    #[must_use]
    pub fn file_name(&self) -> String {
        base16ct::lower::encode_string(Sha256::digest(&self.bytes).split_at(16).0) + ".image"
    }

    /// Reads the file of an image.
    pub fn read(path: &Path) -> Result<ImageView, ImageError> {
        match read::whole(path, SIZE_LIMIT as u64) {
            Ok(Some(bytes)) => ImageView::parse(&bytes),
            Ok(None) => Err(ImageError::TooLarge),
            Err(source) => Err(ImageError::Read { path: path.to_owned(), source }),
        }
    }
}

/// The ids of a program's directory and file, by which the shim identifies its process.
pub(super) fn program_id(host: &Host, path: &Path) -> Option<[FileId; 2]> {
    Some([host.stat(path.parent()?).ok()?.id, host.stat(path).ok()?.id])
}

fn programs(plan: &Plan, host: &Host) -> Result<BTreeSet<[FileId; 2]>, ImageError> {
    let first = plan.programs.first().ok_or(ImageError::NoPrograms)?;
    let found: BTreeSet<[FileId; 2]> = plan.programs.iter().filter_map(|path| program_id(host, path)).collect();
    if found.is_empty() { Err(ImageError::ProgramsGone(first.clone())) } else { Ok(found) }
}

/// An object in the table of ids: without a directory.
fn object(file: FileId) -> [FileId; 2] {
    [file, FileId { dev: 0, ino: 0 }]
}

/// The tables under construction.
#[derive(Default)]
struct Writer<'p> {
    libs: Vec<u8>,
    /// The index of the library of a soname.
    index: BTreeMap<&'p str, u32>,
    /// Bare names and exact paths.
    names: BTreeMap<&'p [u8], (u32, u32)>,
    ids: BTreeSet<[FileId; 2]>,
    strings: Vec<u8>,
    offsets: BTreeMap<&'p [u8], u32>,
}

impl<'p> Writer<'p> {
    /// The offset of a string, which is written once.
    fn string(&mut self, text: &'p [u8]) -> u32 {
        if let Some(at) = self.offsets.get(text) {
            return *at;
        }
        let at = word(self.strings.len());
        self.strings.extend(text);
        self.strings.push(0);
        self.offsets.insert(text, at);
        at
    }

    /// Adds a library; gives its index.
    fn library(&mut self, library: &'p PlanLibrary, stat: Stat, own: bool) -> u32 {
        let index = word(self.libs.len() / RECORD[0]);
        for number in [stat.id.dev, stat.id.ino, stat.size] {
            self.libs.extend(number.to_le_bytes());
        }
        self.libs.extend(stat.mtime.to_le_bytes());
        let texts = [library.soname.as_bytes(), library.path.as_os_str().as_bytes()];
        let [soname, path] = texts.map(|text| self.string(text));
        let how = match library.how {
            How::Preload => 0,
            How::Redirect => 1,
            How::Keep if !own => 2,
            How::Keep => 3,
        };
        put(&mut self.libs, &[soname, path, how, 0]);
        self.ids.insert(object(stat.id));
        index
    }

    /// Adds the unchanged libraries; gives the others with the reason.
    fn libraries(&mut self, plan: &'p Plan, host: &Host) -> Vec<(String, String)> {
        let objects = Objects::new(host);
        let mut left_out = Vec::new();
        for library in &plan.libraries {
            match today(library, &objects) {
                Ok(stat) => {
                    let index = self.library(library, stat, plan.is_its_own(library));
                    self.index.insert(&library.soname, index);
                }
                Err(why) => left_out.push((library.soname.clone(), why)),
            }
        }
        left_out
    }

    fn names(&mut self, plan: &'p Plan) {
        self.names.extend(self.index.iter().map(|(soname, index)| (soname.as_bytes(), (*index, 0))));
        let aliases = plan.aliases.iter().map(|(name, soname)| (name.as_bytes(), soname));
        let replaced = plan.replaces.iter().map(|(path, soname)| (path.as_os_str().as_bytes(), soname));
        for (name, soname) in aliases.chain(replaced) {
            if let Some(index) = self.index.get(soname.as_str()) {
                self.names.insert(name, (*index, 1));
            }
        }
    }

    fn bytes(mut self) -> Result<Vec<u8>, ImageError> {
        let mut tables: [Vec<u8>; TABLES] = Default::default();
        for (name, (lib, kind)) in std::mem::take(&mut self.names) {
            let name = self.string(name);
            put(&mut tables[2], &[name, lib, kind]);
        }
        for id in self.ids.iter().flatten() {
            tables[1].extend([id.dev, id.ino].into_iter().flat_map(u64::to_le_bytes));
        }
        if self.strings.is_empty() {
            self.strings.push(0);
        }
        if self.libs.len() / RECORD[0] > LIBRARY_LIMIT {
            return Err(ImageError::TooLarge);
        }
        tables[0] = self.libs;
        layout(&tables, &self.strings)
    }
}

/// Header, tables and strings, one after the other.
fn layout(tables: &[Vec<u8>; TABLES], strings: &[u8]) -> Result<Vec<u8>, ImageError> {
    let size = HEADER + tables.iter().map(Vec::len).sum::<usize>() + strings.len();
    if size > SIZE_LIMIT {
        return Err(ImageError::TooLarge);
    }
    let mut bytes = MAGIC.to_vec();
    put(&mut bytes, &[VERSION, word(size)]);
    for (table, record) in tables.iter().zip(RECORD) {
        put(&mut bytes, &[word(table.len() / record)]);
    }
    put(&mut bytes, &[word(strings.len())]);
    for table in tables {
        bytes.extend(table);
    }
    bytes.extend(strings);
    Ok(bytes)
}

fn put(to: &mut Vec<u8>, words: &[u32]) {
    to.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}

/// A number in an image. One too large for `u32` is over the limits too, which are checked before writing.
fn word(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Whether the loader opens this path as it is.
fn fits(path: &Path) -> bool {
    !path.as_os_str().as_bytes().contains(&b'$')
}

/// The current stat of a library's file, or why it cannot be handed out.
fn today(library: &PlanLibrary, objects: &Objects) -> Result<Stat, String> {
    use super::Drift;
    if !fits(&library.path) {
        return Err("its path has a `$`, which ld.so would expand".to_owned());
    }
    match library.drift(objects.host()) {
        None => objects.host().stat(&library.path).map_err(|error| Drift::Unreadable(error).to_string()),
        Some(Drift::Changed(stat)) if Identity::at(objects, library, &library.path, stat) == Identity::Same => Ok(stat),
        Some(drift) => Err(drift.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use tempfile::TempDir;

    /// A directory with a program, an object, three libraries, one of them the consumer's own, and their plan.
    struct Lab {
        dir: TempDir,
        host: Host,
        plan: Plan,
    }

    impl Lab {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let host = Host::new("/".into(), BTreeMap::new(), "/".into());
            let path = |name: &str| {
                let path = dir.path().join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, name).unwrap();
                path
            };
            let library = |file: &str, how| {
                let path = path(file);
                let stat = host.stat(&path).unwrap();
                let identity = Some(format!("sha256:{}", crate::inventory::sha256(file.as_bytes())));
                let (soname, version) = (file.rsplit('/').next().unwrap().to_owned(), None);
                PlanLibrary { soname, path, id: stat.id, size: stat.size, mtime: stat.mtime, identity, version, how }
            };
            let plan = Plan {
                programs: vec![path("env/bin/python")],
                objects: vec![path("env/_C.so")],
                libraries: vec![
                    library("libb.so.1", How::Preload),
                    library("liba.so.2", How::Redirect),
                    library("env/libt.so", How::Keep),
                ],
                aliases: vec![("liba.so".into(), "liba.so.2".into())],
                replaces: vec![("/x/liba.so.2".into(), "liba.so.2".into())],
                ..Plan::default()
            };
            Self { dir, host, plan }
        }

        fn image(&self) -> Image {
            Image::compile(&self.plan, &self.host).unwrap()
        }

        fn view(&self) -> ImageView {
            ImageView::parse(&self.image().bytes).unwrap()
        }

        fn id(&self, name: &str) -> FileId {
            self.host.stat(&self.dir.path().join(name)).unwrap().id
        }
    }

    #[test]
    fn an_image_holds_the_content_of_its_plan() {
        let lab = Lab::new();
        let view = lab.view();
        let sonames: Vec<&[u8]> = view.libraries.iter().map(|library| library.soname.as_slice()).collect();
        assert_eq!(sonames, [b"libb.so.1".as_slice(), b"liba.so.2", b"libt.so"]);
        for (here, there) in lab.plan.libraries.iter().zip(&view.libraries) {
            assert_eq!((&here.path, here.id, here.size, here.mtime), (&there.path, there.id, there.size, there.mtime));
            assert_eq!((here.how, here.soname == "libt.so"), (there.how, there.own));
        }
        assert_eq!(
            view.names,
            [
                (b"/x/liba.so.2".to_vec(), 1, true),
                (b"liba.so".to_vec(), 1, true),
                (b"liba.so.2".to_vec(), 1, false),
                (b"libb.so.1".to_vec(), 0, false),
                (b"libt.so".to_vec(), 2, false)
            ]
        );
        let mut ids: Vec<[FileId; 2]> = ["env/bin/python", "env/_C.so", "libb.so.1", "liba.so.2", "env/libt.so"]
            .map(|name| object(lab.id(name)))
            .into();
        ids.push([lab.id("env/bin/python"), lab.id("env/bin")]);
        ids.sort_unstable();
        assert_eq!(view.ids, ids);
        assert_eq!(view.lookup(b"liba.so").map(|library| &library.path), Some(&lab.plan.libraries[1].path));
        assert!(view.lookup(b"libt.so").is_none());
    }

    #[test]
    fn the_name_of_an_image_is_its_digest() {
        let lab = Lab::new();
        let image = lab.image();
        let name = image.file_name();
        let hex = name.strip_suffix(".image").unwrap();
        assert!(crate::inventory::sha256(&image.bytes).starts_with(hex) && hex.len() == 32);
        let path = lab.dir.path().join(name);
        std::fs::write(&path, &image.bytes).unwrap();
        assert_eq!(Image::read(&path).unwrap(), lab.view());
        assert!(matches!(Image::read(lab.dir.path()), Err(ImageError::Read { .. })));
    }

    #[test]
    fn a_plan_without_an_existing_program_is_not_compiled() {
        let lab = Lab::new();
        let compile = |programs: Vec<PathBuf>| Image::compile(&Plan { programs, ..lab.plan.clone() }, &lab.host);
        assert!(matches!(compile(Vec::new()), Err(ImageError::NoPrograms)));
        let error = compile(vec!["/no/such/python".into()]).unwrap_err();
        assert!(matches!(&error, ImageError::ProgramsGone(path) if path == Path::new("/no/such/python")));
        assert!(error.hints()[0].contains("--relocate"));
        // One of two is enough; one program by two names is one.
        let python = lab.plan.programs[0].clone();
        std::os::unix::fs::symlink(&python, python.with_file_name("python3")).unwrap();
        let image = compile(vec![python.clone(), "/no/such/python".into(), python.with_file_name("python3")]).unwrap();
        assert_eq!(ImageView::parse(&image.bytes).unwrap().ids, lab.view().ids);
    }

    #[test]
    fn a_library_that_is_gone_is_left_out_with_its_names() {
        let lab = Lab::new();
        std::fs::write(&lab.plan.libraries[1].path, "another").unwrap();
        let image = lab.image();
        assert_eq!(image.left_out, [("liba.so.2".to_owned(), "has changed since the plan was made".to_owned())]);
        let view = ImageView::parse(&image.bytes).unwrap();
        assert_eq!(view.names, [(b"libb.so.1".to_vec(), 0, false), (b"libt.so".to_vec(), 1, false)]);
        assert_eq!(view.libraries.len(), 2);

        std::fs::remove_file(&lab.plan.libraries[0].path).unwrap();
        let image = lab.image();
        assert_eq!(image.left_out[0], ("libb.so.1".to_owned(), "is gone".to_owned()));
        let view = ImageView::parse(&image.bytes).unwrap();
        assert!(view.libraries.len() == 1 && view.ids.contains(&[lab.id("env/bin/python"), lab.id("env/bin")]));
    }

    #[test]
    fn a_path_that_the_loader_would_expand_is_left_out() {
        let mut lab = Lab::new();
        let path = lab.dir.path().join("$ORIGIN.so");
        std::fs::rename(&lab.plan.libraries[0].path, &path).unwrap();
        lab.plan.libraries[0].path = path;
        let image = lab.image();
        assert!(image.left_out[0].1.contains('$'), "{:?}", image.left_out);
    }

    /// Each mount of an overlay, of squashfs and of NFS has its own device; a copy also has another inode.
    #[test]
    fn the_same_bytes_are_the_same_library() {
        let mut lab = Lab::new();
        let now = lab.view();
        for library in &mut lab.plan.libraries {
            library.id.dev += 1;
        }
        assert_eq!(lab.view(), now);
        for library in &mut lab.plan.libraries {
            library.id.ino += 1;
            library.mtime += 1;
        }
        assert_eq!(lab.view(), now);
        // Without an identity, it may be another.
        lab.plan.libraries[0].identity = None;
        assert_eq!(lab.image().left_out.len(), 1);
    }

    #[test]
    fn limits_are_kept() {
        let mut lab = Lab::new();
        let first = lab.plan.libraries[0].clone();
        let many = |count: usize| (0..count).map(|at| PlanLibrary { soname: format!("lib{at}.so"), ..first.clone() });
        lab.plan.libraries = many(LIBRARY_LIMIT).collect();
        assert_eq!(lab.view().libraries.len(), LIBRARY_LIMIT);
        lab.plan.libraries = many(LIBRARY_LIMIT + 1).collect();
        assert!(matches!(Image::compile(&lab.plan, &lab.host), Err(ImageError::TooLarge)));
        lab.plan.libraries = many(1).collect();
        let long = |at: usize| (format!("{at}{}", "x".repeat(1 << 20)), "lib0.so".to_owned());
        lab.plan.aliases = vec![("x".repeat(STRING_LIMIT - 1), "lib0.so".to_owned())];
        assert_eq!(lab.view().names.len(), 2);
        lab.plan.aliases[0].0.push('x');
        assert!(matches!(Image::compile(&lab.plan, &lab.host), Err(ImageError::Malformed("a string is too long"))));
        lab.plan.aliases = (0..4).map(long).collect();
        assert!(matches!(Image::compile(&lab.plan, &lab.host), Err(ImageError::TooLarge)));
    }

    /// Each case overwrites four bytes; every check has its reason.
    #[test]
    fn every_check_refuses() {
        let lab = Lab::new();
        let bytes = lab.image().bytes;
        let [libs, ids, strings] = [16, 20, 28].map(|at| view::word(&bytes, at));
        let ids_at = HEADER + RECORD[0] * libs as usize;
        let names_at = ids_at + RECORD[1] * ids as usize;
        let refused = |place: usize, number: u32| {
            let mut bytes = bytes.clone();
            bytes[place..place + 4].copy_from_slice(&number.to_le_bytes());
            match ImageView::parse(&bytes) {
                Err(ImageError::Malformed(says)) => says,
                other => panic!("{place}: {other:?}"),
            }
        };
        let end = word(bytes.len());
        for (place, number, says) in [
            (0, 0, "its header or its size is not that of an image"),
            (8, 2, "it is of another version"),
            (12, end - 1, "its size is not the one in its header"),
            (16, libs + 1, "its tables do not fill it"),
            (16, libs - 1, "its tables do not fill it"),
            (16, u32::MAX, "its tables do not fill it"),
            (20, ids + 1, "its tables do not fill it"),
            (24, u32::MAX, "its tables do not fill it"),
            (28, strings - 1, "its tables do not fill it"),
            (28, 0, "its tables do not fill it"),
            (bytes.len() - 4, u32::MAX, "its strings do not end"),
            (HEADER + 32, strings, "a string lies outside of it"),
            (HEADER + 36, 0, "a path is not absolute"),
            (HEADER + 40, 4, "the kind of a library is unknown"),
            (ids_at + 8, u32::MAX, "a table is not in order"),
            (names_at, u32::MAX, "a string lies outside of it"),
            (names_at, view::word(&bytes, names_at + 12), "a table is not in order"),
            (names_at, view::word(&bytes, names_at) + 1, "a path is not absolute"),
            (names_at + 4, 3, "a record has the index of no library"),
            (names_at + 8, 2, "a name is neither a soname nor an alias"),
        ] {
            assert_eq!(refused(place, number), says, "{number} at {place}");
        }
    }

    #[test]
    fn an_image_cut_anywhere_is_refused() {
        let bytes = Lab::new().image().bytes;
        for end in 0..bytes.len() {
            assert!(ImageView::parse(&bytes[..end]).is_err(), "cut at {end}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_cause_a_panic(bytes: Vec<u8>) {
            let _ = ImageView::parse(&bytes);
        }
    }
}
