//! `TensorRT` unpacked from an archive: `TensorRT-*/lib` and the targets below it.
//!
//! Its wheels are in site directories, its packages in those of the distribution.

use super::{Place, Provenance, once, pattern, user};
use crate::host::Host;
use std::path::{Path, PathBuf};

const ROOTS: [&str; 4] = ["opt/TensorRT*", "opt/tensorrt*", "usr/local/TensorRT*", "usr/local/tensorrt*"];

const DIRS: [&str; 3] = ["lib", "targets/*/lib", "targets/*/lib/stubs"];

pub(super) fn places(host: &Host) -> Vec<Place> {
    let variables = ["TENSORRT_ROOT", "TENSORRT_HOME", "TENSORRT_PATH", "TRT_ROOT"];
    let mut roots: Vec<PathBuf> = variables.into_iter().filter_map(|name| user::named(host, name)).collect();
    roots.extend(ROOTS.iter().flat_map(|root| pattern::expand(host, Path::new("/"), root)));
    roots.extend(user::below(host, user::home(host), &["TensorRT*"]));
    once(host, roots).iter().flat_map(|root| pattern::below(host, root, &DIRS, Provenance::TensorRt)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Machine, dirs};
    use super::*;

    #[test]
    fn archives_where_people_unpack_them() {
        let machine =
            Machine::with(&["opt/TensorRT-10.3/targets/x86_64-linux-gnu/lib", "h/TensorRT-8.6/lib", "trt/lib"])
                .link("opt/TensorRT-10.3/lib", "targets/x86_64-linux-gnu/lib")
                .set("HOME", "/h")
                .set("TENSORRT_ROOT", "/trt");
        let expected = [
            "/trt/lib",
            "/opt/TensorRT-10.3/lib",
            "/opt/TensorRT-10.3/targets/x86_64-linux-gnu/lib",
            "/h/TensorRT-8.6/lib",
        ];
        assert_eq!(dirs(&places(&machine.host())), expected);
    }
}
