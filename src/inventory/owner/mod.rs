//! Who installed a file: a wheel, conda, dpkg, a toolkit's or driver's own installer, an application.
//!
//! Takes the path of a library and the place it was found in; gives the [`Owner`] by the records on disk. Reads each
//! record once, and only for a library that it may list. On demand compares the bytes with the record
//! ([`Owners::verify`]). Never runs a package manager, and never reads rpm's database, which has four formats: where
//! rpm may own a file, its owner is [`Owner::Rpm`], and `rpm -qf` shows the package.

mod application;
mod conda;
mod dpkg;
mod toolkit;
mod wheel;

use super::Library;
use crate::host::{Host, Stat};
use crate::inventory::places::{Place, Provenance};
use crate::tables::FamilyRow;
use md5::{Digest as _, Md5};
use sha2::Sha256;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The owner of a file, by the records on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Owner {
    /// The wheel of the library, whose `RECORD` lists the file: its version is the library's.
    Wheel {
        /// Normalised name, `nvidia-cublas-cu12`.
        name: String,
        /// Its version.
        version: String,
        /// Another wheel that recorded other bytes at the same path: one overwrote the other's file.
        rival: Option<Package>,
        /// Whether the other recorded the same size, so that only the digest shows whose file it is.
        alike: bool,
        /// The size that the wheel recorded, if any.
        size: Option<u64>,
    },
    /// A wheel of another project with its own copy: `torch`, `ctranslate2`.
    Bundle(Package),
    /// A conda environment.
    Conda {
        /// Its prefix.
        prefix: PathBuf,
        /// The package that lists the file.
        package: Option<Package>,
    },
    /// A package of dpkg.
    Dpkg {
        /// Its name, without the architecture.
        name: String,
        /// Its version, where the status file could be read.
        version: Option<String>,
    },
    /// Maybe a package of rpm: the file is where rpm installs, on a machine with rpm's database, which is not read;
    /// `rpm -qf` shows the package.
    Rpm,
    /// A CUDA toolkit outside every package manager.
    Toolkit {
        /// Its root.
        root: PathBuf,
        /// Its release, `12.4.1`.
        release: Option<String>,
    },
    /// The driver's own installer, or the container runtime that mounts the host's driver.
    Driver,
    /// An application with its own libraries, or an installer with its own root.
    Application {
        /// `ollama`, `MATLAB`, `cuda (Spack)`.
        name: String,
        /// Its release, where the path has it.
        version: Option<String>,
    },
    /// Unknown.
    #[default]
    None,
}

/// The kinds of [`Owner`], as serialized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OwnerKind {
    /// pip, uv and the like.
    Wheel,
    /// conda.
    Conda,
    /// dpkg.
    Dpkg,
    /// Maybe rpm.
    Rpm,
    /// A CUDA toolkit's own installer.
    Toolkit,
    /// The driver's own installer.
    Driver,
    /// An application.
    Application,
    /// Unknown.
    None,
}

impl fmt::Display for OwnerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wheel => "wheel",
            Self::Conda => "conda",
            Self::Dpkg => "dpkg",
            Self::Rpm => "rpm",
            Self::Toolkit => "toolkit",
            Self::Driver => "driver",
            Self::Application => "application",
            Self::None => "none",
        })
    }
}

/// A package in a release.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

impl Owner {
    /// What kind of owner it is.
    #[must_use]
    pub fn kind(&self) -> OwnerKind {
        match self {
            Self::Wheel { .. } | Self::Bundle(_) => OwnerKind::Wheel,
            Self::Conda { .. } => OwnerKind::Conda,
            Self::Dpkg { .. } => OwnerKind::Dpkg,
            Self::Rpm => OwnerKind::Rpm,
            Self::Toolkit { .. } => OwnerKind::Toolkit,
            Self::Driver => OwnerKind::Driver,
            Self::Application { .. } => OwnerKind::Application,
            Self::None => OwnerKind::None,
        }
    }

    /// The name of the package or application.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Wheel { name, .. } | Self::Dpkg { name, .. } | Self::Application { name, .. } => Some(name),
            Self::Bundle(package) | Self::Conda { package: Some(package), .. } => Some(&package.name),
            _ => None,
        }
    }

    /// The version of the package, toolkit or application. Only that of a library's wheel is the library's too.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        match self {
            Self::Wheel { version, .. } => Some(version),
            Self::Bundle(package) | Self::Conda { package: Some(package), .. } => Some(&package.version),
            Self::Dpkg { version, .. } | Self::Application { version, .. } => version.as_deref(),
            Self::Toolkit { release, .. } => release.as_deref(),
            _ => None,
        }
    }
}

/// The result of comparing a file's bytes with its owner's record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verified {
    /// As recorded.
    Intact,
    /// As another package recorded for the same path.
    WrittenBy(Package),
    /// In no record.
    Altered,
    /// No record has a digest, or the file cannot be read.
    Unknown,
}

/// The digest of a file, compared with its owner's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// SHA-256 in hex.
    pub sha256: String,
    /// The result of the comparison.
    pub verified: Verified,
}

/// The records read so far.
#[derive(Debug, Default)]
pub struct Owners {
    sites: BTreeMap<PathBuf, wheel::Site>,
    conda: BTreeMap<PathBuf, conda::Environment>,
    dpkg: Option<dpkg::Database>,
    releases: BTreeMap<PathBuf, Option<String>>,
    /// Whether the machine has an rpm database.
    rpm: Option<bool>,
    homes: BTreeMap<PathBuf, Home>,
}

/// The installations around a directory.
#[derive(Debug, Clone, Default)]
struct Home {
    site: Option<PathBuf>,
    conda: Option<PathBuf>,
    toolkit: Option<PathBuf>,
}

impl Owners {
    /// The owner of `path`, found in `place`.
    pub(super) fn of(&mut self, host: &Host, place: &Place, path: &Path, stat: Stat, row: &FamilyRow) -> Owner {
        let home = self.home(host, place);
        if let Some(site) = &home.site
            && let Some(owner) = self.site(host, site).owner(host, site, path, stat.size)
        {
            return owner;
        }
        if let Some(prefix) = home.conda {
            let package = self.environment(host, &prefix).package(host, &prefix, path).map(|file| file.package.clone());
            return Owner::Conda { prefix, package };
        }
        if let Some(owner) = self.dpkg(host, path).and_then(|(database, file)| database.owner(&file)) {
            return owner;
        }
        // Before the toolkit: the installations of Spack and the HPC SDK look like one.
        if let Some(owner) = application::of(host, place, path) {
            return owner;
        }
        if let Some(root) = home.toolkit {
            let release = self.releases.entry(root.clone()).or_insert_with(|| toolkit::release(host, &root)).clone();
            return Owner::Toolkit { root, release };
        }
        if self.may_be_rpm(host, path) {
            return Owner::Rpm;
        }
        let installed =
            matches!(place.provenance, Provenance::Driver | Provenance::Cache | Provenance::Conf | Provenance::Default);
        if row.is_driver() && installed { Owner::Driver } else { Owner::None }
    }

    /// The size in the owner's record, of a wheel or a conda package.
    pub(super) fn recorded_size(&mut self, host: &Host, place: &Place, path: &Path, owner: &Owner) -> Option<u64> {
        match owner {
            Owner::Wheel { size, .. } => *size,
            Owner::Bundle(package) => {
                let site = self.home(host, place).site?;
                let claims = self.site(host, &site).claims(host, &site, path);
                claims.iter().find(|claim| claim.package() == *package)?.size
            }
            Owner::Conda { prefix, package: Some(_) } => {
                self.environment(host, prefix).package(host, prefix, path)?.size
            }
            _ => None,
        }
    }

    /// Compares the file's bytes with its owner's record. Reads the whole file.
    ///
    /// A wheel's `RECORD` and conda's `paths_data` hold a SHA-256, dpkg's `md5sums` an MD5; other records have no
    /// digest.
    pub fn verify(&mut self, host: &Host, library: &Library) -> Verified {
        if self.recorded(host, library).is_empty() {
            return Verified::Unknown;
        }
        self.digest(host, library).map_or(Verified::Unknown, |digest| digest.verified)
    }

    /// The SHA-256 of a library, compared with its owner's record. Reads the whole file.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read.
    pub fn digest(&mut self, host: &Host, library: &Library) -> io::Result<Digest> {
        let (bytes, _) = host.map(&library.path)?;
        let digest: [u8; 32] = Sha256::digest(&*bytes).into();
        let recorded = self.recorded(host, library);
        let mut verified = if recorded.is_empty() { Verified::Unknown } else { Verified::Altered };
        for (package, sum) in recorded {
            let same = match sum {
                Sum::Sha256(sum) => sum == digest,
                Sum::Md5(sum) => sum == <[u8; 16]>::from(Md5::digest(&*bytes)),
            };
            if same {
                let own = library.owner.name().is_some_and(|name| name == package.name)
                    && library.owner.version().is_none_or(|version| version == package.version);
                verified = if own { Verified::Intact } else { Verified::WrittenBy(package) };
                break;
            }
        }
        Ok(Digest { sha256: base16ct::lower::encode_string(&digest), verified })
    }

    fn recorded(&mut self, host: &Host, library: &Library) -> Vec<(Package, Sum)> {
        let home = self.home(host, &library.place);
        match &library.owner {
            Owner::Wheel { .. } | Owner::Bundle(_) => {
                let Some(site) = home.site else { return Vec::new() };
                let claims = self.site(host, &site).claims(host, &site, &library.path);
                claims.iter().filter_map(|claim| Some((claim.package(), Sum::Sha256(claim.sha256?)))).collect()
            }
            Owner::Conda { prefix, package: Some(_) } => {
                let file = self.environment(host, prefix).package(host, prefix, &library.path);
                file.and_then(|file| Some((file.package.clone(), Sum::Sha256(file.sha256?)))).into_iter().collect()
            }
            Owner::Dpkg { name, version } => {
                let package = Package { name: name.clone(), version: version.clone().unwrap_or_default() };
                let digest = self.dpkg(host, &library.path).and_then(|(_, file)| file.md5(host));
                digest.map(|digest| (package, Sum::Md5(digest))).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    fn site(&mut self, host: &Host, site: &Path) -> &mut wheel::Site {
        self.sites.entry(site.to_owned()).or_insert_with(|| wheel::Site::read(host, site))
    }

    fn environment(&mut self, host: &Host, prefix: &Path) -> &conda::Environment {
        self.conda.entry(prefix.to_owned()).or_insert_with(|| conda::Environment::read(host, prefix))
    }

    /// dpkg's record of a file, where dpkg may have installed it.
    fn dpkg(&mut self, host: &Host, path: &Path) -> Option<(&dpkg::Database, dpkg::File)> {
        let real = host.canonical(path).ok()?;
        if !["/usr", "/lib", "/lib32", "/lib64", "/opt"].iter().any(|dir| real.starts_with(dir)) {
            return None;
        }
        let database = self.dpkg.get_or_insert_with(|| dpkg::Database::read(host));
        database.file(&real).map(|file| (&*database, file))
    }

    fn may_be_rpm(&mut self, host: &Host, path: &Path) -> bool {
        let is_rpm = || {
            // rpm's database in each of its formats (`%_dbpath`); a dpkg machine may have rpm as a tool.
            let dirs = ["/var/lib/rpm", "/usr/lib/sysimage/rpm"].map(Path::new);
            let names = ["rpmdb.sqlite", "Packages.db", "Packages"];
            dirs.iter().any(|dir| names.iter().any(|name| host.is_file(&dir.join(name))))
                && !host.is_file(Path::new("/var/lib/dpkg/status"))
        };
        if !*self.rpm.get_or_insert_with(is_rpm) {
            return false;
        }
        let real = host.canonical(path).unwrap_or_else(|_| path.to_owned());
        ["/usr", "/lib", "/lib64", "/opt"].iter().any(|dir| real.starts_with(dir)) && !real.starts_with("/usr/local")
    }

    /// The installations around a place: by its provenance, else by the directories above it, so that an element of
    /// `LD_LIBRARY_PATH` inside an environment counts as part of it.
    fn home(&mut self, host: &Host, place: &Place) -> Home {
        if let Some(home) = self.homes.get(&place.dir) {
            return home.clone();
        }
        let mut home = Home::default();
        match place.provenance {
            Provenance::Site => {
                home.site = Some(place.root.clone());
                // conda installs into PREFIX/lib/pythonX.Y/site-packages too.
                let prefix = place.root.ancestors().nth(3).filter(|prefix| host.is_dir(&prefix.join("conda-meta")));
                home.conda = prefix.map(Path::to_owned);
            }
            Provenance::Conda => home.conda = Some(place.root.clone()),
            Provenance::Toolkit => home.toolkit = Some(place.root.clone()),
            _ => {
                // A directory given with `--place` holds wheels directly, as `pip install --target` leaves them.
                home.site = above(&place.dir).find(|dir| is_site(dir)).map(Path::to_owned);
                if home.site.is_none() && place.root != place.dir {
                    home.site = Some(place.root.clone());
                }
                home.conda = above(&place.dir).find(|dir| host.is_dir(&dir.join("conda-meta"))).map(Path::to_owned);
                let is_root = |dir: &&Path| toolkit::is_root(host, dir) || toolkit::is_named(dir);
                home.toolkit = above(&place.dir).find(is_root).map(Path::to_owned);
            }
        }
        self.homes.insert(place.dir.clone(), home.clone());
        home
    }
}

/// A recorded digest.
enum Sum {
    Sha256([u8; 32]),
    Md5([u8; 16]),
}

/// The most directories between a library and the root of its installation
/// (`lib/python3.12/site-packages/nvidia/cuda_nvcc/nvvm/lib64` is seven below a conda prefix).
const LEVELS: usize = 8;

fn above(dir: &Path) -> impl Iterator<Item = &Path> {
    dir.ancestors().take(LEVELS).filter(|dir| dir.parent().is_some_and(|parent| parent != Path::new("/")))
}

fn is_site(dir: &Path) -> bool {
    dir.file_name().is_some_and(|name| name == "site-packages" || name == "dist-packages")
}

/// Whether a package of this name may hold an NVIDIA library, as every known one in Debian, Ubuntu, NVIDIA's
/// repositories and conda: `libcudart12`, `libnvidia-compute-580`, `cuda-nvrtc-12-4`, `libnpp`. To read the lists of
/// the thousands of others would cost more than the rest of the scan.
fn may_hold_ours(package: &str) -> bool {
    ["cu", "nv", "nccl", "npp"].iter().any(|word| package.contains(word))
}

/// The SHA-256 of bytes, in hex.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(&Sha256::digest(bytes))
}

/// Reads a digest in hex.
fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let read = base16ct::mixed::decode(text, &mut bytes).ok()?.len();
    (read == N).then_some(bytes)
}
