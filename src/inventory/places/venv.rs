//! Virtual environments: the active one, those of the working directory and above it, and those that tools keep below
//! the home directory.
//!
//! Takes a machine; gives the places of each environment's site directories. Knows the directories of environments, not
//! their content.

use super::{Demand, Place, conda, once, pattern, python, user};
use crate::host::Host;
use std::path::{Path, PathBuf};

/// Environments of a project, relative to its directory.
const OF_PROJECTS: [&str; 5] = [".venv", "venv", "env", ".tox/*", ".nox/*"];

/// Environments below the home directory.
const IN_HOME: [&str; 7] =
    [".virtualenvs/*", ".venvs/*", "venvs/*", ".venv", "venv", ".local/pipx/venvs/*", ".pyenv/versions/*/envs/*"];

/// Environments below `$XDG_DATA_HOME`: pipenv, hatch (by project and hash; before 1.3 by project alone), uv, pipx.
const IN_DATA: [&str; 5] =
    ["virtualenvs/*", "hatch/env/virtual/*/*/*", "hatch/env/virtual/*/*", "uv/tools/*", "pipx/venvs/*"];

/// Environments below `$XDG_CACHE_HOME`: poetry.
const IN_CACHE: [&str; 1] = ["pypoetry/virtualenvs/*"];

/// Environments below the directory in a variable: virtualenvwrapper and pipenv, poetry, hatch, uv, pipx.
const BY_VARIABLE: [(&str, &str); 9] = [
    ("UV_PROJECT_ENVIRONMENT", ""),
    ("WORKON_HOME", "*"),
    ("POETRY_VIRTUALENVS_PATH", "*"),
    ("POETRY_CACHE_DIR", "virtualenvs/*"),
    ("HATCH_DATA_DIR", "env/virtual/*/*/*"),
    ("UV_TOOL_DIR", "*"),
    ("PIPX_HOME", "venvs/*"),
    ("PIPX_GLOBAL_HOME", "venvs/*"),
    ("PYENV_ROOT", "versions/*/envs/*"),
];

/// Wheels unpacked for several environments: each directory has the layout of a site directory.
const UNPACKED: [(&str, &str); 2] = [("UV_CACHE_DIR", "archive-v0/*"), ("PEX_ROOT", "installed_wheels/*/*")];

pub(super) fn places(host: &Host, demand: Demand) -> Vec<Place> {
    let mut places = Vec::new();
    for prefix in prefixes(host) {
        if host.is_dir(&prefix.join("conda-meta")) {
            places.extend(conda::whole_environment(host, &prefix));
        } else {
            places.extend(python::all(host, &python::venv_sites(host, &prefix)));
        }
    }
    if demand == Demand::Everything {
        places.extend(python::all(host, &unpacked(host)));
    }
    places
}

/// Directories that may be environments; others have no site directory.
fn prefixes(host: &Host) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = user::named(host, "VIRTUAL_ENV").into_iter().collect();
    for dir in host.cwd().ancestors() {
        if host.is_file(&dir.join("pyvenv.cfg")) {
            found.push(dir.to_owned());
        }
        found.extend(OF_PROJECTS.iter().flat_map(|pattern| pattern::expand(host, dir, pattern)));
    }
    found.extend(user::below(host, user::home(host), &IN_HOME));
    found.extend(user::below(host, user::data(host), &IN_DATA));
    found.extend(user::below(host, user::cache(host), &IN_CACHE));
    for (variable, pattern) in BY_VARIABLE {
        found.extend(user::below(host, user::named(host, variable), &[pattern]));
    }
    found.extend(pattern::expand(host, Path::new("/opt"), "pipx/venvs/*"));
    once(host, found)
}

fn unpacked(host: &Host) -> Vec<PathBuf> {
    let mut found = user::below(host, user::cache(host), &["uv/archive-v0/*", "pex/installed_wheels/*/*"]);
    found.extend(user::below(host, user::home(host), &[".pex/installed_wheels/*/*"]));
    for (variable, pattern) in UNPACKED {
        found.extend(user::below(host, user::named(host, variable), &[pattern]));
    }
    once(host, found)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Machine, dirs};
    use super::*;

    const SITE: &str = "lib/python3.12/site-packages/torch/lib";

    fn with_venvs(prefixes: &[&str]) -> Machine {
        let dirs: Vec<String> = prefixes.iter().map(|prefix| format!("{prefix}/{SITE}")).collect();
        Machine::with(&dirs.iter().map(String::as_str).collect::<Vec<_>>()).set("HOME", "/home/me")
    }

    fn found(machine: &Machine, demand: Demand) -> Vec<String> {
        let dirs = dirs(&places(&machine.host(), demand));
        dirs.into_iter().map(|dir| dir.replace(&format!("/{SITE}"), "")).collect()
    }

    #[test]
    fn the_active_one_then_the_projects_then_the_tools() {
        let prefixes = [
            "active",
            "home/me/p/sub/.venv",
            "home/me/p/venv",
            "home/me/p/.tox/py312",
            "home/me/.virtualenvs/a",
            "home/me/.local/pipx/venvs/ruff",
            "home/me/.local/share/virtualenvs/p-1",
            "home/me/.local/share/hatch/env/virtual/p/h/default",
            "home/me/.local/share/uv/tools/vllm",
            "home/me/.local/share/pipx/venvs/b",
            "home/me/.cache/pypoetry/virtualenvs/c",
            "hold/d",
        ];
        let machine = with_venvs(&prefixes)
            .set("VIRTUAL_ENV", "/active")
            .set("WORKON_HOME", "/hold")
            .file("home/me/.virtualenvs/postactivate", "#!/bin/sh")
            .at("/home/me/p/sub");
        assert_eq!(found(&machine, Demand::Usual), prefixes.map(|prefix| format!("/{prefix}")));
    }

    #[test]
    fn the_working_directory_may_be_inside_one() {
        let machine = with_venvs(&["v"]).file("v/pyvenv.cfg", "home = /usr/bin\n").at("/v/lib/python3.12");
        assert_eq!(found(&machine, Demand::Usual), ["/v"]);
        // A prefix without the file, such as /usr, is not an environment.
        assert_eq!(found(&with_venvs(&["v"]).at("/v/lib/python3.12"), Demand::Usual), [""; 0]);
    }

    #[test]
    fn one_environment_under_two_names_is_one() {
        let machine = with_venvs(&["p/.venv"]).link("p/venv", ".venv").set("VIRTUAL_ENV", "/p/venv").at("/p");
        assert_eq!(found(&machine, Demand::Usual), ["/p/venv"]);
    }

    #[test]
    fn unpacked_wheels_on_demand() {
        let machine = Machine::with(&["home/me/.cache/uv/archive-v0/Xy/nvidia/nccl/lib"]).set("HOME", "/home/me");
        assert_eq!(found(&machine, Demand::Usual), [""; 0]);
        assert_eq!(found(&machine, Demand::Everything), ["/home/me/.cache/uv/archive-v0/Xy/nvidia/nccl/lib"]);
    }
}
