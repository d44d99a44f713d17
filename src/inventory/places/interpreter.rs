//! Site directories of interpreters themselves: the system's, the user's, and those of version managers.
//!
//! Takes a machine; gives the places below each. Starts no interpreter.

use super::{Place, once, pattern, python, user};
use crate::host::Host;
use std::path::{Path, PathBuf};

/// Prefixes of installed interpreters.
const PREFIXES: [&str; 5] = ["usr/local", "usr", "opt/python/*", "opt/python3*", "home/linuxbrew/.linuxbrew"];

/// Prefixes below the home directory: pyenv, asdf, rye.
const IN_HOME: [&str; 3] = [".pyenv/versions/*", ".asdf/installs/python/*", ".rye/py/*"];

/// Prefixes below `$XDG_DATA_HOME`: uv, mise, hatch.
const IN_DATA: [&str; 3] = ["uv/python/*", "mise/installs/python/*", "hatch/pythons/*/python"];

/// Prefixes below the directory in a variable.
const BY_VARIABLE: [(&str, &str); 3] =
    [("PYENV_ROOT", "versions/*"), ("UV_PYTHON_INSTALL_DIR", "*"), ("ASDF_DATA_DIR", "installs/python/*")];

/// `dist-packages` is Debian's name for what its packages install.
const SITES: [&str; 2] = ["site-packages", "dist-packages"];

pub(super) fn places(host: &Host) -> Vec<Place> {
    let mut sites = user::listed(host, "PYTHONPATH");
    // PEP 370.
    let user_base = user::named(host, "PYTHONUSERBASE").or_else(|| user::home(host).map(|home| home.join(".local")));
    let mut prefixes: Vec<PathBuf> = user_base.into_iter().collect();
    prefixes.extend(user::below(host, user::home(host), &IN_HOME));
    prefixes.extend(user::below(host, user::data(host), &IN_DATA));
    for (variable, pattern) in BY_VARIABLE {
        prefixes.extend(user::below(host, user::named(host, variable), &[pattern]));
    }
    prefixes.extend(PREFIXES.iter().flat_map(|pattern| pattern::expand(host, Path::new("/"), pattern)));
    for prefix in once(host, prefixes) {
        sites.extend(python::site_directories(host, &prefix, &SITES));
    }
    python::all(host, &once(host, sites))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Machine, dirs};
    use super::*;

    #[test]
    fn user_version_managers_and_system() {
        let machine = Machine::with(&[
            "mine/nvidia/nccl/lib",
            "h/.local/lib/python3.11/site-packages/nvidia/cudnn/lib",
            "h/.pyenv/versions/3.12.1/lib/python3.12/site-packages/torch/lib",
            "h/.local/share/uv/python/cpython-3.13/lib/python3.13/site-packages/torch/lib",
            "usr/local/lib/python3.11/dist-packages/torch/lib",
            "usr/lib/python3/dist-packages/torch/lib",
            "usr/lib64/python3.12/site-packages/torch/lib",
        ])
        .link("h/.pyenv/versions/3.12", "3.12.1")
        .set("HOME", "/h")
        .set("PYTHONPATH", "/mine");
        let expected = [
            "/mine/nvidia/nccl/lib",
            "/h/.local/lib/python3.11/site-packages/nvidia/cudnn/lib",
            "/h/.pyenv/versions/3.12/lib/python3.12/site-packages/torch/lib",
            "/h/.local/share/uv/python/cpython-3.13/lib/python3.13/site-packages/torch/lib",
            "/usr/local/lib/python3.11/dist-packages/torch/lib",
            "/usr/lib/python3/dist-packages/torch/lib",
            "/usr/lib64/python3.12/site-packages/torch/lib",
        ];
        assert_eq!(dirs(&places(&machine.host())), expected);
    }
}
