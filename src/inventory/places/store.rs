//! Nix and Guix: the profiles of user and system, and on demand the stores.
//!
//! Takes a machine; gives directories. A store has tens of thousands of entries `HASH-NAME`; only those with the name
//! of a package with NVIDIA libraries are read.

use super::{Demand, Place, Provenance, pattern, subdirectories_named, user};
use crate::host::Host;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Words in the names of store entries with NVIDIA libraries.
const WORDS: [&str; 9] = ["cuda", "cudnn", "nccl", "nvidia", "cutensor", "cusparselt", "libcu", "libnv", "libnpp"];

const DIRS: [&str; 6] = ["lib", "lib64", "lib/stubs", "extras/CUPTI/lib64", "nvvm/lib64", "targets/*/lib"];

pub(super) fn places(host: &Host, demand: Demand) -> Vec<Place> {
    let mut nix = user::below(host, user::home(host), &[".nix-profile", ".local/state/nix/profiles/profile"]);
    nix.extend(["/run/current-system/sw", "/nix/var/nix/profiles/default"].map(PathBuf::from));
    nix.extend(pattern::expand(host, Path::new("/etc/profiles/per-user"), "*"));
    let mut guix = user::below(host, user::home(host), &[".guix-profile", ".guix-home/profile"]);
    guix.extend(user::named(host, "GUIX_ENVIRONMENT"));
    guix.push(PathBuf::from("/run/current-system/profile"));
    if demand == Demand::Everything {
        nix.extend(entries(host, Path::new("/nix/store")));
        guix.extend(entries(host, Path::new("/gnu/store")));
    }
    let mut places = below(host, &nix, Provenance::Nix);
    places.extend(below(host, &guix, Provenance::Guix));
    places
}

fn below(host: &Host, roots: &[PathBuf], provenance: Provenance) -> Vec<Place> {
    roots.iter().flat_map(|root| pattern::below(host, root, &DIRS, provenance)).collect()
}

fn entries(host: &Host, store: &Path) -> Vec<PathBuf> {
    let holds = |name: &[u8]| WORDS.iter().any(|word| name.windows(word.len()).any(|part| part == word.as_bytes()));
    // The 32 base-32 digits of the hash may spell such a word.
    let is_ours = |name: &OsStr| name.as_bytes().get(32..).is_some_and(|rest| rest.starts_with(b"-") && holds(rest));
    subdirectories_named(host, store, is_ours)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Machine, dirs};
    use super::*;

    const HASH: &str = "0123456789abcdfghijklmnpqrsvwxyz";

    #[test]
    fn profiles_always_stores_on_demand() {
        let cublas = format!("nix/store/{HASH}-cuda12.4-libcublas-12.4.5.8-lib/lib");
        let cudnn = format!("gnu/store/{HASH}-cudnn-9.1.0/lib");
        let machine = Machine::with(&[
            &cublas,
            &cudnn,
            &format!("nix/store/{HASH}-hello-2.12/lib"),
            "nix/store/cuda/lib",
            "h/.nix-profile/lib",
            "etc/profiles/per-user/me/lib",
            "h/.guix-profile/lib",
        ])
        .set("HOME", "/h");
        let host = machine.host();
        let usual = ["/h/.nix-profile/lib", "/etc/profiles/per-user/me/lib", "/h/.guix-profile/lib"];
        assert_eq!(dirs(&places(&host, Demand::Usual)), usual);
        let all = places(&host, Demand::Everything);
        assert_eq!(dirs(&all)[2], format!("/{cublas}"));
        assert_eq!(dirs(&all)[4], format!("/{cudnn}"));
        assert_eq!((all.len(), all[2].provenance, all[4].provenance), (5, Provenance::Nix, Provenance::Guix));
    }
}
