//! Reads the `METADATA` of a distribution, and the name of its directory.
//!
//! The body of the fuzz target, and of the test that goes through `seeds` and `findings`.

use super::machine::{Machine, parts};
use cudashim::internal::python::{distributions, normalized, pins};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Takes what stands before `.dist-info`, the `METADATA` of `torch`, and that of a `cuda-toolkit` that it may require;
/// NULs separate them.
pub(crate) fn run(bytes: &[u8]) {
    let [name, torch, toolkit] = parts::<3>(bytes);
    let odd = Path::new(OsStr::from_bytes(name));
    let mut files =
        vec![("s/torch-2.9.0.dist-info/METADATA", torch), ("s/cuda_toolkit-13.0.2.dist-info/METADATA", toolkit)];
    let dir = format!("s/{}.dist-info/METADATA", odd.display());
    let is_name = !name.contains(&b'/') && dir.len() < 200 && odd.to_str().is_some();
    let taken = ["torch-2.9.0", "cuda_toolkit-13.0.2"].map(Path::new).contains(&odd);
    if is_name && !taken {
        files.push((&dir, torch));
    }
    let machine = Machine::with(&files);
    let host = machine.host();
    let installed = distributions(&host, "/s".as_ref());
    let has_version = odd.to_str().is_some_and(|name| name.contains('-'));
    assert_eq!(installed.len(), 2 + usize::from(is_name && !taken && has_version));
    for distribution in &installed {
        assert_eq!(normalized(&distribution.name), distribution.name);
        let stem = distribution.dir.file_name().and_then(|name| name.to_str()).expect("it was read");
        assert!(stem.ends_with(&format!("-{}.dist-info", distribution.version)));
        for key in ["Requires-Dist", "Name", "Version"] {
            for value in distribution.metadata(&host, key) {
                assert!(value.trim() == value && !value.contains('\n'));
            }
        }
    }
    // The same through the line as such: `Requires-Dist: nvidia-…`, before the first empty line.
    let head = String::from_utf8_lossy(torch);
    let lines: Vec<&str> = head.lines().take_while(|line| !line.trim().is_empty()).collect();
    let torch = installed.iter().find(|one| one.name == "torch").expect("it was read");
    let required = lines.iter().filter(|line| line.starts_with("Requires-Dist:")).count();
    assert_eq!(torch.metadata(&host, "Requires-Dist").len(), required);

    for (name, range) in pins(&host, &installed, "torch") {
        assert!(name.starts_with("nvidia-") && normalized(&name) == name);
        assert!(range.exact().is_none_or(|version| range.contains(version)));
    }
}
