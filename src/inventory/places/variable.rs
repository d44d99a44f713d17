//! Variables by which single programs find libraries: linkers, `CuPy`, Triton, numba, tch.
//!
//! Takes a machine; gives the directories in them. Variables for a toolkit are in `toolkit`.

use super::{Place, Provenance, user};
use crate::host::Host;
use std::path::{Path, PathBuf};

/// Lists of directories.
const LISTS: [&str; 4] = ["LIBRARY_PATH", "CUDA_LIBRARY_PATH", "CUPY_LIBRARY_PATH", "NVIDIA_LIBRARY_PATH"];

/// Single directories, or files whose directory counts.
const PATHS: [&str; 6] =
    ["CUDNN_LIB", "CUDNN_LIB_DIR", "CUDNN_LIBRARY", "TRITON_LIBCUDA_PATH", "NUMBA_CUDA_DRIVER", "NCCL_LIB_DIR"];

/// Roots of installations with libraries in `lib`.
const ROOTS: [&str; 2] = ["LIBTORCH", "CUSPARSELT_PATH"];

pub(super) fn places(host: &Host) -> Vec<Place> {
    let mut dirs: Vec<PathBuf> = LISTS.iter().flat_map(|name| user::listed(host, name)).collect();
    for path in PATHS.iter().filter_map(|name| user::named(host, name)) {
        dirs.extend(if host.is_file(&path) { path.parent().map(Path::to_owned) } else { Some(path) });
    }
    dirs.extend(ROOTS.iter().filter_map(|name| user::named(host, name)).map(|root| root.join("lib")));
    dirs.into_iter().filter(|dir| host.is_dir(dir)).map(|dir| Place::alone(dir, Provenance::Variable)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Machine, dirs};
    use super::*;

    #[test]
    fn lists_directories_and_files() {
        let machine = Machine::with(&["a", "b", "t/lib"])
            .file("drv/libcuda.so.1", "")
            .set("LIBRARY_PATH", "/a:/gone:/b")
            .set("NUMBA_CUDA_DRIVER", "/drv/libcuda.so.1")
            .set("LIBTORCH", "/t");
        assert_eq!(dirs(&places(&machine.host())), ["/a", "/b", "/drv", "/t/lib"]);
    }
}
