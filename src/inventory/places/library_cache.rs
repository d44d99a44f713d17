//! Libraries that a package downloaded into the home directory: `CuPy`'s, by CUDA release, library and version.

use super::{Place, Provenance, pattern, user};
use crate::host::Host;

const RELEASES: [&str; 1] = [".cupy/cuda_lib/*/*/*"];

pub(super) fn places(host: &Host) -> Vec<Place> {
    let roots = user::below(host, user::home(host), &RELEASES);
    roots.iter().flat_map(|root| pattern::below(host, root, &["lib", "lib64"], Provenance::LibraryCache)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Machine, dirs};
    use super::*;

    #[test]
    fn by_cuda_library_and_version() {
        let machine =
            Machine::with(&["h/.cupy/cuda_lib/12.x/cudnn/9.1.0/lib", "h/.cupy/cuda_lib/12.x/nccl/2.21/lib64"])
                .set("HOME", "/h");
        let expected = ["/h/.cupy/cuda_lib/12.x/cudnn/9.1.0/lib", "/h/.cupy/cuda_lib/12.x/nccl/2.21/lib64"];
        assert_eq!(dirs(&places(&machine.host())), expected);
    }
}
