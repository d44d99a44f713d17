//! Artifacts of Julia's package manager, in every depot: `CUDA_Runtime_jll`, `CUDA_Driver_jll`, `CUDNN_jll`.

use super::{Place, Provenance, once, pattern, user};
use crate::host::Host;
use std::path::PathBuf;

const DIRS: [&str; 1] = ["lib"];

pub(super) fn places(host: &Host) -> Vec<Place> {
    let mut depots: Vec<PathBuf> = user::listed(host, "JULIA_DEPOT_PATH");
    depots.extend(user::home(host).map(|home| home.join(".julia")));
    let artifacts = once(host, depots).into_iter().flat_map(|depot| pattern::expand(host, &depot, "artifacts/*"));
    artifacts.flat_map(|artifact| pattern::below(host, &artifact, &DIRS, Provenance::Julia)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Machine, dirs};
    use super::*;

    #[test]
    fn every_depot() {
        let machine = Machine::with(&["d/artifacts/0a/lib", "d/artifacts/0b/share", "h/.julia/artifacts/ff/lib"])
            .set("HOME", "/h")
            .set("JULIA_DEPOT_PATH", "/d:/gone:");
        assert_eq!(dirs(&places(&machine.host())), ["/d/artifacts/0a/lib", "/h/.julia/artifacts/ff/lib"]);
    }
}
