//! The user's directories: `$HOME`, and those of the XDG base directory specification.

use super::pattern::expand;
use crate::host::Host;
use std::path::PathBuf;

/// The directory in a variable, if absolute: other programs ignore a relative one.
pub(super) fn named(host: &Host, variable: &str) -> Option<PathBuf> {
    host.env(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// The directories in a variable with a list like `PATH`.
pub(super) fn listed(host: &Host, variable: &str) -> Vec<PathBuf> {
    let value = host.env(variable).unwrap_or_default();
    std::env::split_paths(value).filter(|path| path.is_absolute()).collect()
}

/// `$HOME`.
pub(super) fn home(host: &Host) -> Option<PathBuf> {
    named(host, "HOME")
}

/// `$XDG_DATA_HOME`, by default `~/.local/share`.
pub(super) fn data(host: &Host) -> Option<PathBuf> {
    named(host, "XDG_DATA_HOME").or_else(|| home(host).map(|home| home.join(".local/share")))
}

/// `$XDG_CACHE_HOME`, by default `~/.cache`.
pub(super) fn cache(host: &Host) -> Option<PathBuf> {
    named(host, "XDG_CACHE_HOME").or_else(|| home(host).map(|home| home.join(".cache")))
}

/// The matches of patterns below a directory, if that is known.
pub(super) fn below(host: &Host, base: Option<PathBuf>, patterns: &[&str]) -> Vec<PathBuf> {
    let Some(base) = base else { return Vec::new() };
    patterns.iter().flat_map(|pattern| expand(host, &base, pattern)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::Machine;
    use super::*;
    use std::path::Path;

    #[test]
    fn xdg_variables_count_when_absolute() {
        let machine = Machine::with(&[]).set("HOME", "/h").set("XDG_CACHE_HOME", "/c").set("XDG_DATA_HOME", "data");
        let host = machine.host();
        assert_eq!(cache(&host).as_deref(), Some(Path::new("/c")));
        assert_eq!(data(&host).as_deref(), Some(Path::new("/h/.local/share")));
        assert_eq!(data(&Machine::with(&[]).host()), None);
    }

    #[test]
    fn lists_keep_what_is_absolute() {
        let machine = Machine::with(&[]).set("L", "/a::b:/c");
        assert_eq!(listed(&machine.host(), "L"), [Path::new("/a"), Path::new("/c")]);
    }
}
