//! Copies of a plan's libraries on a disk, or in memory, of this node.
//!
//! Takes a directory, a plan with its image, and a limit of bytes; gives the image of a plan that hands out the copies. Each
//! user has a directory of his own below it, a stage is a directory named as the image, and below that a copy lies at the path
//! of the original, so that run paths with `$ORIGIN` lead to copies. The image is written last: a stage without one is the rest
//! of a process that died, and never used. One process copies, the others wait. Never uses a directory that others may
//! change, never removes what a process of the user may still load from.

mod copies;
mod error;
mod used;

pub use error::StageError;

use super::image;
use crate::host::{Host, Kind, private_write};
use crate::loader::Objects;
use crate::plan::{Image, ImageView, Plan};
use rustix::fs::{FlockOperation, flock, statvfs};
use std::fs::File;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The variable that names the directory.
pub const VARIABLE: &str = "CUDASHIM_STAGE_DIR";

/// The image of a stage, and the plan beside it.
const IMAGE: &str = "stage.image";
const PLAN: &str = "stage.plan";

/// A stage that no process used for so long is removed.
const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The stages of a user on a node.
#[derive(Debug, Clone)]
pub struct Stages {
    dir: PathBuf,
}

/// A set that is staged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// The image that hands the copies out.
    pub image: PathBuf,
    /// How many files it has.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Whether they were copied now; otherwise they were there.
    pub copied: bool,
}

/// A stage that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its directory.
    pub dir: PathBuf,
    /// The bytes of its files.
    pub bytes: u64,
    /// Whether its copying was not finished.
    pub partial: bool,
    /// Whether a process of the user may load from it.
    pub used: bool,
}

/// What to copy.
#[derive(Debug, Clone, Copy)]
pub struct Order<'o> {
    /// The plan.
    pub plan: &'o Plan,
    /// Its image.
    pub image: &'o Path,
    /// The most bytes that all stages of the user may have.
    pub limit: Option<u64>,
    /// Whether to copy what is not what its package recorded.
    pub force: bool,
}

impl Stages {
    /// The stages in the directory that a machine's variables name: [`VARIABLE`], else `TMPDIR`, else `/tmp`.
    #[must_use]
    pub fn of(host: &Host, named: Option<&Path>) -> Self {
        let variable = |name| host.env(name).map(Path::new).filter(|path| path.is_absolute());
        let base = named.map(|path| host.absolute(path)).or_else(|| variable(VARIABLE).map(Path::to_owned));
        let base = base.or_else(|| variable("TMPDIR").map(Path::to_owned)).unwrap_or_else(|| "/tmp".into());
        Self { dir: base.join(format!("cudashim-stage-{}", rustix::process::geteuid().as_raw())) }
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The image that hands out the copies of another image, if that is staged, whole, and the user's own.
    #[must_use]
    pub fn image(&self, of: &Path) -> Option<PathBuf> {
        let image = self.place(of)?.join(IMAGE);
        let meta = std::fs::symlink_metadata(&image).ok()?;
        let own = meta.is_file() && meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o022 == 0;
        if !own {
            return None;
        }
        match image::own_dir(&self.dir) {
            Ok(()) => Some(image),
            Err(why) => {
                log::warn!("cannot use the stage in `{}`: {why}", self.dir.display());
                None
            }
        }
    }

    /// The directory of a stage.
    fn place(&self, image: &Path) -> Option<PathBuf> {
        image.file_stem().map(|name| self.dir.join(name))
    }

    /// Copies a set, unless that is done. `waits` is called where another process copies.
    ///
    /// # Errors
    /// The directory is not safe, cannot be run from, or has no room; a file cannot be read, or is not what it should be.
    pub fn stage(&self, host: &Host, order: Order<'_>, waits: &dyn Fn()) -> Result<Staged, StageError> {
        image::prepare_dir(&self.dir).map_err(|why| StageError::of_directory(&self.dir, why))?;
        let _lock = self.lock(waits)?;
        let place = self.place(order.image).ok_or(StageError::NotPlanned)?;
        let objects = Objects::new(host);
        let files = copies::files(&objects, order.plan);
        if files.is_empty() {
            return Err(StageError::Nothing);
        }
        let bytes = files.iter().map(|file| file.size).sum();
        let image = place.join(IMAGE);
        if is_whole(host, &image, &place) {
            return Ok(Staged { image, files: files.len(), bytes, copied: false });
        }
        remove(&place)?;
        self.make_room(bytes, order.limit)?;
        let made = self.fill(host, order, &files, &place);
        if made.is_err() {
            // What is left of it would only take room.
            let _ = remove(&place);
        }
        made.map(|()| Staged { image, files: files.len(), bytes, copied: true })
    }

    fn fill(&self, host: &Host, order: Order<'_>, files: &[copies::Original], place: &Path) -> Result<(), StageError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| StageError::Write { path, source }
        };
        std::fs::create_dir(place).map_err(failed(place))?;
        rustix::fs::chmod(place, rustix::fs::Mode::RWXU).map_err(|error| failed(place)(error.into()))?;
        copies::copy(host, files, place, order.force)?;
        copies::link_neighbours(files, place).map_err(failed(place))?;
        let plan = copies::plan(&host.anew(), order.plan, files, place);
        let compiled = Image::compile(&plan, &host.anew())?;
        let text = place.join(PLAN);
        private_write(&text, &plan.to_bytes()).map_err(failed(&text))?;
        // Whatever this names is on the disk by now.
        let image = place.join(IMAGE);
        private_write(&image, &compiled.bytes).map_err(failed(&image))?;
        for dir in [place, &self.dir] {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed(dir))?;
        }
        Ok(())
    }

    /// Every stage of the user.
    #[must_use]
    pub fn list(&self) -> Vec<Found> {
        let Ok(()) = image::own_dir(&self.dir) else { return Vec::new() };
        let used = used::Processes::now();
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let mut dirs: Vec<PathBuf> = entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .filter(|path| is_name(path))
            .collect();
        dirs.sort();
        dirs.into_iter()
            .map(|dir| {
                let (bytes, partial) = (size(&dir), !dir.join(IMAGE).is_file());
                Found { bytes, partial, used: used.use_(&dir), dir }
            })
            .collect()
    }

    /// Removes the stages that no process uses; gives them.
    ///
    /// # Errors
    /// Another process copies and cannot be waited for; a directory cannot be removed.
    pub fn clean(&self, waits: &dyn Fn()) -> Result<Vec<Found>, StageError> {
        if !self.dir.is_dir() {
            return Ok(Vec::new());
        }
        image::own_dir(&self.dir).map_err(|why| StageError::of_directory(&self.dir, why))?;
        let _lock = self.lock(waits)?;
        let unused: Vec<Found> = self.list().into_iter().filter(|found| !found.used).collect();
        unused.iter().try_for_each(|found| remove(&found.dir))?;
        Ok(unused)
    }

    /// Removes what is old or unfinished, and, where room is needed, what is unused, the longest unused first.
    fn make_room(&self, bytes: u64, limit: Option<u64>) -> Result<(), StageError> {
        let mut left: Vec<(SystemTime, Found)> =
            self.list().into_iter().map(|found| (last_use(&found.dir), found)).collect();
        left.sort_by(|a, b| (a.0, &a.1.dir).cmp(&(b.0, &b.1.dir)));
        let is_old = |time: SystemTime| time.elapsed().is_ok_and(|age| age > KEPT);
        let mut rest = Vec::new();
        for (time, found) in left {
            if !found.used && (found.partial || is_old(time)) {
                remove(&found.dir)?;
            } else {
                rest.push(found);
            }
        }
        let mut rest = rest.into_iter().peekable();
        let mut held: u64 = rest.clone().map(|found| found.bytes).sum();
        loop {
            let free = statvfs(&self.dir).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
            let over = limit.filter(|limit| held.saturating_add(bytes) > *limit);
            if over.is_none() && bytes < free {
                return Ok(());
            }
            // Nothing is removed for a set that will not fit anyway.
            let in_vain = limit.is_some_and(|limit| bytes > limit);
            match rest.find(|found| !found.used).filter(|_| !in_vain) {
                Some(found) => {
                    remove(&found.dir)?;
                    held = held.saturating_sub(found.bytes);
                }
                None if over.is_some() => {
                    return Err(StageError::Limit { bytes, limit: limit.unwrap_or_default(), held });
                }
                None => return Err(StageError::Full { dir: self.dir.clone(), bytes, free }),
            }
        }
    }

    /// The lock of the directory, held while the file is open; the kernel gives it back where its holder dies.
    fn lock(&self, waits: &dyn Fn()) -> Result<File, StageError> {
        let path = self.dir.join("lock");
        let failed = |source| StageError::Write { path: path.clone(), source };
        let mut options = std::fs::OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(failed)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            waits();
            flock(&file, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        }
        Ok(file)
    }
}

/// Whether a stage has its image, and each copy is the file that the image names.
fn is_whole(host: &Host, image: &Path, place: &Path) -> bool {
    let Ok(view) = Image::read(image) else { return false };
    is_intact(host, &view, place)
}

fn is_intact(host: &Host, view: &ImageView, place: &Path) -> bool {
    let mut copies = view.libraries.iter().filter(|library| library.path.starts_with(place)).peekable();
    copies.peek().is_some()
        && copies.all(|library| {
            host.stat(&library.path).is_ok_and(|stat| {
                stat.kind == Kind::File && (stat.id, stat.size, stat.mtime) == (library.id, library.size, library.mtime)
            })
        })
}

/// When its image was last written or read.
fn last_use(dir: &Path) -> SystemTime {
    let meta = std::fs::symlink_metadata(dir.join(IMAGE)).ok();
    let times = meta.iter().flat_map(|meta| [meta.accessed().ok(), meta.modified().ok()]).flatten();
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Whether a directory is named as we name them: 32 hexadecimal digits.
fn is_name(dir: &Path) -> bool {
    dir.file_name().is_some_and(|name| name.len() == 32 && name.as_encoded_bytes().iter().all(u8::is_ascii_hexdigit))
}

/// Removes a stage, its image first: from then on nobody takes it for whole.
fn remove(dir: &Path) -> Result<(), StageError> {
    let removed = match std::fs::remove_file(dir.join(IMAGE)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => std::fs::remove_dir_all(dir),
    };
    match removed {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(StageError::Write { path: dir.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// The bytes of the files below a directory, links not followed.
fn size(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => size(&entry.path()),
            Ok(meta) if meta.is_file() => meta.len(),
            _ => 0,
        })
        .sum()
}
