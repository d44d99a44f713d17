//! Applications that carry their own libraries: ollama, LM Studio, MATLAB, Nsight, libtorch, and others.
//!
//! Takes a machine; gives the directories that their installers use. An image mounted by a running application counts
//! while it is mounted.

use super::{Place, Provenance, pattern, user};
use crate::host::Host;

/// Installations by pattern, and their library directories.
const INSTALLED: [(&str, &[&str]); 17] = [
    ("usr/local/lib/ollama", OLLAMA),
    ("usr/lib/ollama", OLLAMA),
    ("usr/lib64/ollama", OLLAMA),
    ("snap/ollama/current/lib/ollama", OLLAMA),
    // Before 0.4 ollama unpacked its runners at every start.
    ("tmp/ollama*", &["runners/cuda_*"]),
    ("tmp/.mount_LM*", &["resources/app/.webpack/bin/extensions/backends/vendor/*cuda*"]),
    ("usr/local/MATLAB/R20*", MATLAB),
    ("opt/MATLAB/R20*", MATLAB),
    ("usr/lib/matlab-*", MATLAB),
    ("opt/nvidia/nsight-compute/*", NSIGHT),
    ("opt/nvidia/nsight-systems/*", NSIGHT),
    ("opt/nvidia/nsight-systems-cli/*", NSIGHT),
    ("opt/resolve", &["libs"]),
    ("opt/blender*", &["lib"]),
    ("opt/libtorch", &["lib"]),
    ("usr/local/libtorch", &["lib"]),
    ("usr/*/R/site-library/torch", &["lib"]),
];

const OLLAMA: &[&str] = &["", "cuda_*", "runners/cuda_*"];
const MATLAB: &[&str] = &["bin/glnxa64", "sys/os/glnxa64", "sys/cuda/glnxa64/cuda/lib64"];
const NSIGHT: &[&str] = &["target/*", "target-linux-*", "host/*"];

/// The same below the home directory.
const IN_HOME: [(&str, &[&str]); 8] = [
    (".local/lib/ollama", OLLAMA),
    (".lmstudio/extensions/backends/vendor", &["*cuda*"]),
    (".cache/lm-studio/extensions/backends/vendor", &["*cuda*"]),
    (".unsloth/llama.cpp", &["build/bin"]),
    (".local/share/Koharu/runtime", &["cuda"]),
    ("MATLAB/R20*", MATLAB),
    ("libtorch", &["lib"]),
    ("R/*/*/torch", &["lib"]),
];

pub(super) fn places(host: &Host) -> Vec<Place> {
    let mut places = Vec::new();
    if let Some(home) = user::home(host) {
        for (root, dirs) in IN_HOME {
            for root in pattern::expand(host, &home, root) {
                places.extend(pattern::below(host, &root, dirs, Provenance::Application));
            }
        }
    }
    for (root, dirs) in INSTALLED {
        places.extend(pattern::everywhere(host, &[root], dirs, Provenance::Application));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Machine, dirs};
    use super::*;

    #[test]
    fn each_in_its_own_way() {
        let expected = [
            "/h/.lmstudio/extensions/backends/vendor/linux-llama-cuda12-vendor-v1",
            "/h/R/x86_64-pc-linux-gnu-library/4.4/torch/lib",
            "/usr/local/lib/ollama",
            "/usr/local/lib/ollama/cuda_v12",
            "/usr/lib/ollama",
            "/usr/lib/ollama/runners/cuda_v11",
            "/tmp/ollama123/runners/cuda_v12",
            "/usr/local/MATLAB/R2024b/bin/glnxa64",
            "/opt/nvidia/nsight-systems/2024.5/target-linux-x64",
        ];
        let machine = Machine::with(&expected).set("HOME", "/h");
        assert_eq!(dirs(&places(&machine.host())), expected);
    }

    #[test]
    fn the_installation_is_the_root() {
        let machine = Machine::with(&["usr/local/MATLAB/R2024b/bin/glnxa64"]);
        let places = places(&machine.host());
        assert_eq!(places[0].root, std::path::Path::new("/usr/local/MATLAB/R2024b"));
    }
}
