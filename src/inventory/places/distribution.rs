//! Directories that distributions install libraries in: Debian's and Ubuntu's by triplet, `lib64` of Fedora, RHEL and
//! SUSE, `lib` of Arch. ld.so's cache names most of them, but an image may have no cache.

use super::{Place, Provenance, pattern};
use crate::host::Host;
use std::path::Path;

const DIRS: [&str; 18] = [
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib/sbsa-linux-gnu",
    "usr/local/lib/x86_64-linux-gnu",
    "usr/local/lib/aarch64-linux-gnu",
    "lib/x86_64-linux-gnu",
    "lib/aarch64-linux-gnu",
    "usr/lib64",
    "usr/local/lib64",
    "lib64",
    "usr/lib",
    "usr/local/lib",
    "lib",
    // Debian's stubs of the driver, for linking only.
    "usr/lib/*-linux-gnu/stubs",
    // Several releases of one library side by side, of NVIDIA's own packages.
    "usr/lib/*-linux-gnu/libcudnn/*",
    "usr/lib/*-linux-gnu/libcusparseLt/*",
    "usr/lib/*-linux-gnu/libcutensor/*",
    "usr/lib/*-linux-gnu/nvshmem/*",
];

/// RHEL's and SUSE's form of the same.
const LIB64: [&str; 4] =
    ["usr/lib64/libcudnn/*", "usr/lib64/libcusparseLt/*", "usr/lib64/libcutensor/*", "usr/lib64/nvshmem/*"];

pub(super) fn places(host: &Host) -> Vec<Place> {
    let dirs = DIRS.iter().chain(&LIB64).flat_map(|pattern| pattern::expand(host, Path::new("/"), pattern));
    dirs.map(|dir| Place::alone(dir, Provenance::Distribution)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Machine, dirs};
    use super::*;

    #[test]
    fn by_triplet_lib64_and_release() {
        let machine = Machine::with(&["usr/lib/x86_64-linux-gnu/libcutensor/12", "usr/lib64", "usr/local/lib"]);
        let expected = [
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib64",
            "/usr/lib",
            "/usr/local/lib",
            "/usr/lib/x86_64-linux-gnu/libcutensor/12",
        ];
        assert_eq!(dirs(&places(&machine.host())), expected);
    }
}
