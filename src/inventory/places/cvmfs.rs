//! Software stacks served over CVMFS: EESSI and the Digital Research Alliance of Canada. Only on demand:
//! access to such a path mounts it and fetches over the network.

use super::{Demand, Place, Provenance, pattern, toolkit, user};
use crate::host::Host;

/// Where EESSI's host injections put the site's driver, by architecture.
const INJECTED: [&str; 3] = [
    "cvmfs/software.eessi.io/host_injections/nvidia/*/host",
    "cvmfs/software.eessi.io/host_injections/nvidia/*/latest",
    "cvmfs/software.eessi.io/host_injections/*/compat/linux/*",
];

/// Toolkits and libraries by module and version.
const MODULES: [&str; 6] = [
    "cvmfs/software.eessi.io/host_injections/*/software/linux/*/*/*/software/CUDA/*",
    "cvmfs/software.eessi.io/host_injections/*/software/linux/*/*/*/software/cuDNN/*",
    "cvmfs/software.eessi.io/versions/*/software/linux/*/*/*/software/NCCL/*",
    "cvmfs/soft.computecanada.ca/easybuild/software/*/*/Core/cudacore/*",
    "cvmfs/soft.computecanada.ca/easybuild/software/*/*/CUDA/*/cudnn/*",
    "cvmfs/soft.computecanada.ca/easybuild/software/*/*/CUDA/*/nccl/*",
];

pub(super) fn places(host: &Host, demand: Demand) -> Vec<Place> {
    if demand != Demand::Everything {
        return Vec::new();
    }
    let mut places = Vec::new();
    if let Some(prefix) = user::named(host, "EESSI_EPREFIX") {
        places.extend(pattern::below(host, &prefix, &["lib/nvidia"], Provenance::Cvmfs));
    }
    places.extend(pattern::everywhere(host, &INJECTED, &["", "lib", "lib/nvidia"], Provenance::Cvmfs));
    places.extend(pattern::everywhere(host, &MODULES, &toolkit::ALL_DIRS, Provenance::Cvmfs));
    places
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Machine, dirs};
    use super::*;

    #[test]
    fn only_on_demand() {
        let machine = Machine::with(&[
            "cvmfs/software.eessi.io/host_injections/nvidia/x86_64/host",
            "cvmfs/soft.computecanada.ca/easybuild/software/2023/x86-64-v3/Core/cudacore/12.2/lib64",
            "eessi/lib/nvidia",
        ])
        .set("EESSI_EPREFIX", "/eessi");
        let host = machine.host();
        assert_eq!(places(&host, Demand::Usual), []);
        assert!(host.stamps().is_empty());
        let expected = [
            "/eessi/lib/nvidia",
            "/cvmfs/software.eessi.io/host_injections/nvidia/x86_64/host",
            "/cvmfs/soft.computecanada.ca/easybuild/software/2023/x86-64-v3/Core/cudacore/12.2/lib64",
        ];
        assert_eq!(dirs(&places(&host, Demand::Everything)), expected);
    }
}
