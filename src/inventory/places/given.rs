//! Directories that the user names: a library directory, a site-packages, a virtual or conda environment, or a toolkit.
//! Their content shows the kind.

use super::{Place, Provenance, conda, python, toolkit};
use crate::host::Host;
use std::path::Path;

/// The places of a named directory.
#[must_use]
pub fn given(host: &Host, dir: &Path) -> Vec<Place> {
    let dir = host.absolute(dir);
    let mut places = vec![Place::alone(dir.clone(), Provenance::Given)];
    let sites = python::venv_sites(host, &dir);
    if sites.is_empty() {
        places.extend(python::sites(host, std::slice::from_ref(&dir)));
        places.extend(toolkit::toolkit(host, &dir));
    } else if host.is_dir(&dir.join("conda-meta")) {
        places.extend(conda::environment(host, &dir));
    } else {
        places.extend(python::sites(host, &sites));
    }
    for place in &mut places {
        place.provenance = Provenance::Given;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Machine, dirs};
    use super::*;

    #[test]
    fn what_stands_in_it_shows_what_it_is() {
        let machine = Machine::with(&[
            "venv/lib/python3.12/site-packages/torch/lib",
            "site/nvidia/nccl/lib",
            "toolkit/lib64",
            "conda/conda-meta",
            "conda/lib/python3.12/site-packages/torch/lib",
        ])
        .at("/venv");
        let host = machine.host();
        let found = |dir: &str| dirs(&given(&host, Path::new(dir)));
        assert_eq!(found("."), ["/venv/.", "/venv/./lib/python3.12/site-packages/torch/lib"]);
        assert_eq!(found("/site"), ["/site", "/site/nvidia/nccl/lib"]);
        assert_eq!(found("/toolkit"), ["/toolkit", "/toolkit/lib64"]);
        assert_eq!(found("/conda"), ["/conda", "/conda/lib", "/conda/lib/python3.12/site-packages/torch/lib"]);
        assert!(given(&host, Path::new("/conda")).iter().all(|place| place.provenance == Provenance::Given));
    }
}
