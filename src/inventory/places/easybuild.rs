//! Software installed by `EasyBuild`: that of loaded modules, then whole installation directories.
//!
//! Takes a machine; gives the places of modules that hold NVIDIA libraries. Every module sets `EBROOT<NAME>` to the
//! directory of its software; an installation has them in `software/<Name>/<version>`.

use super::{Place, Provenance, once, pattern, toolkit, user};
use crate::host::Host;
use std::path::{Path, PathBuf};

/// Modules that hold NVIDIA libraries, as installation directories spell them.
const MODULES: [&str; 9] =
    ["CUDA", "CUDAcore", "cuDNN", "NCCL", "cuTENSOR", "cuSPARSELt", "NVHPC", "NVSHMEM", "TensorRT"];

pub(super) fn places(host: &Host) -> Vec<Place> {
    let variables = MODULES.map(|module| format!("EBROOT{}", module.to_ascii_uppercase()));
    let mut roots: Vec<PathBuf> = variables.iter().filter_map(|name| user::named(host, name)).collect();
    let mut installations: Vec<PathBuf> = user::named(host, "EASYBUILD_INSTALLPATH_SOFTWARE").into_iter().collect();
    let prefixes = ["EASYBUILD_INSTALLPATH", "EASYBUILD_PREFIX"].into_iter().filter_map(|name| user::named(host, name));
    installations.extend(prefixes.map(|prefix| prefix.join("software")));
    installations.extend(user::home(host).map(|home| home.join(".local/easybuild/software")));
    installations.extend(["/opt/easybuild/software", "/apps/easybuild/software"].map(PathBuf::from));
    for software in once(host, installations) {
        roots.extend(MODULES.iter().flat_map(|module| pattern::expand(host, &software, &format!("{module}/*"))));
    }
    once(host, roots).iter().flat_map(|root| of_module(host, root)).collect()
}

fn of_module(host: &Host, root: &Path) -> Vec<Place> {
    pattern::below(host, root, &toolkit::ALL_DIRS, Provenance::EasyBuild)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Machine, dirs};
    use super::*;

    #[test]
    fn loaded_modules_then_the_installation() {
        let machine = Machine::with(&[
            "eb/software/CUDA/12.4.0/lib64",
            "eb/software/CUDA/12.4.0/extras/CUPTI/lib64",
            "eb/software/cuDNN/9.1/lib",
            "eb/software/GCC/13.2/lib64",
            "site/NCCL/lib",
        ])
        .set("EASYBUILD_INSTALLPATH", "/eb")
        .set("EBROOTNCCL", "/site/NCCL")
        .set("EBROOTGCC", "/eb/software/GCC/13.2");
        let expected = [
            "/site/NCCL/lib",
            "/eb/software/CUDA/12.4.0/lib64",
            "/eb/software/CUDA/12.4.0/extras/CUPTI/lib64",
            "/eb/software/cuDNN/9.1/lib",
        ];
        assert_eq!(dirs(&places(&machine.host())), expected);
    }
}
