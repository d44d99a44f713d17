//! Who installed a file: a wheel, a toolkit, a conda environment, the driver.

use crate::facts::families;
use crate::host::Host;
use crate::places::{Place, Provenance};
use crate::python::{distributions, normalized};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The owner of a file, as far as files tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Owner {
    /// A wheel whose `RECORD` lists the file.
    Wheel {
        /// Normalised name, `nvidia-cublas-cu12`.
        name: String,
        /// Its version.
        version: String,
        /// Another wheel that lists the same path, if any: one has overwritten the other's file.
        rival: Option<String>,
    },
    /// A CUDA toolkit with this root.
    Toolkit(PathBuf),
    /// A conda environment with this prefix.
    Conda(PathBuf),
    /// Nobody known.
    #[default]
    None,
}

/// A wheel's claim to a path.
#[derive(Debug, Clone)]
struct Claim {
    name: String,
    version: String,
    size: Option<u64>,
}

/// The records of the site directories seen so far.
#[derive(Debug, Default)]
pub struct Owners {
    sites: BTreeMap<PathBuf, BTreeMap<PathBuf, Vec<Claim>>>,
}

impl Owners {
    /// The owner of `path`, found in `place`. `size` decides between wheels that claim the same path.
    pub(super) fn of(&mut self, host: &Host, place: &Place, path: &Path, size: u64) -> Owner {
        if let Ok(relative) = path.strip_prefix(&place.root) {
            let claims = self.sites.entry(place.root.clone()).or_insert_with(|| claims(host, &place.root));
            if let Some(claims) = claims.get(relative) {
                return decide(claims, size);
            }
        }
        match place.provenance {
            Provenance::Toolkit => Owner::Toolkit(place.root.clone()),
            Provenance::Conda => Owner::Conda(place.root.clone()),
            _ => Owner::None,
        }
    }
}

/// The last writer of a path that two wheels list is the one whose recorded size the file has.
fn decide(claims: &[Claim], size: u64) -> Owner {
    let Some(owner) = claims.iter().find(|claim| claim.size == Some(size)).or_else(|| claims.first()) else {
        return Owner::None;
    };
    let rival = claims.iter().find(|claim| claim.name != owner.name).map(|claim| claim.name.clone());
    Owner::Wheel { name: owner.name.clone(), version: owner.version.clone(), rival }
}

fn claims(host: &Host, site: &Path) -> BTreeMap<PathBuf, Vec<Claim>> {
    // Only wheels that hold libraries of ours: the headers of some others run to thousands of lines.
    let stems: BTreeSet<String> =
        families().iter().flat_map(|row| row.wheels.iter().copied()).map(normalized).collect();
    let ours =
        |name: &str| stems.contains(name.rsplit_once("-cu").map_or(name, |(stem, _)| stem)) || stems.contains(name);
    let mut claims: BTreeMap<PathBuf, Vec<Claim>> = BTreeMap::new();
    for distribution in distributions(host, site) {
        if !ours(&distribution.name) {
            continue;
        }
        for (path, size) in distribution.record(host) {
            let is_library = path.file_name().is_some_and(|name| crate::facts::parse_library_name(name).is_some());
            if is_library {
                let claim = Claim { name: distribution.name.clone(), version: distribution.version.clone(), size };
                claims.entry(path).or_default().push(claim);
            }
        }
    }
    claims
}
