//! The lines of a `.pth` file, and their effect on `sys.path`.
//!
//! Takes one line, as `site.addpackage` would; returns its effect, where that is known. Runs nothing: an `import` line
//! that no known tool writes is [`Line::Unknown`].

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// The effect of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// It adds no directory.
    Nothing,
    /// It names a directory, absolute or below the site directory.
    Directory(PathBuf),
    /// `site.addsitedir`, for each of these.
    Sites(Vec<PathBuf>),
    /// It installs the finder that setuptools wrote into this module.
    Finder(String),
    /// It runs unknown code.
    Unknown,
}

/// Modules that leave `sys.path` unchanged when a line imports nothing else.
const HARMLESS_MODULES: [&str; 3] = ["_virtualenv", "site", "coverage; coverage.process_startup()"];

/// Lines that leave `sys.path` unchanged: their beginning and another part. Setuptools' `distutils-precedence.pth`,
/// its namespace packages (`*-nspkg.pth`: they fill the `__path__` of one package), coverage, pytest-cov, `cudashim enable`.
const HARMLESS: [(&str, &str); 5] = [
    ("import sys; exec", "from _cudashim_hook import met"),
    ("import os; var = 'SETUPTOOLS_USE_DISTUTILS'; enabled = os.environ.get(var, ", "__import__('_distutils_hack')"),
    ("import sys, types, os;has_mfs = sys.version_info > (3, 5);p = os.path.join(", "f_locals['sitedir'], *("),
    ("import sys; exec", "('import os\\n\\nif os.getenv(\"COVERAGE_PROCESS_START\")"),
    ("import os, sys;exec", "('if \\'COV_CORE_SOURCE\\' in os.environ:"),
];

impl Line {
    /// Reads a line without its end.
    pub(super) fn read(line: &[u8]) -> Self {
        let line = line.trim_ascii_end();
        if line.is_empty() || line.starts_with(b"#") {
            return Self::Nothing;
        }
        if !line.starts_with(b"import ") && !line.starts_with(b"import\t") {
            return Self::Directory(PathBuf::from(OsString::from_vec(line.to_owned())));
        }
        let Ok(code) = std::str::from_utf8(line) else { return Self::Unknown };
        let module = code.get("import ".len()..).unwrap_or_default().trim();
        let is_harmless = |(start, has): &(&str, &str)| code.starts_with(start) && code.contains(has);
        if HARMLESS_MODULES.contains(&module) || HARMLESS.iter().any(is_harmless) {
            return Self::Nothing;
        }
        let finder = module.split_once(';').filter(|(name, call)| {
            name.starts_with("__editable__") && call.trim().strip_prefix(name) == Some(".install()")
        });
        if let Some((name, _)) = finder {
            return Self::Finder(name.to_owned());
        }
        added(code).map_or(Self::Unknown, Self::Sites)
    }
}

/// The directories of a line `import site; site.addsitedir(…); …`, as Homebrew and uv write it (uv in two ways: the
/// path as text, and since it may be no text as `__import__("os").fsdecode(b"…")`).
fn added(code: &str) -> Option<Vec<PathBuf>> {
    let mut rest = code.strip_prefix("import site;")?.trim_start();
    let mut dirs = Vec::new();
    while !rest.is_empty() {
        let argument = rest.strip_prefix("site.addsitedir(")?;
        let (dir, after) = match argument.strip_prefix("__import__(\"os\").fsdecode(b") {
            Some(bytes) => literal(bytes, true).and_then(|(dir, after)| Some((dir, after.strip_prefix(")")?)))?,
            None => literal(argument, false)?,
        };
        dirs.push(dir);
        rest = after.strip_prefix(")")?.trim_start();
        rest = rest.strip_prefix(';').or_else(|| rest.is_empty().then_some(rest))?.trim_start();
    }
    (!dirs.is_empty()).then_some(dirs)
}

/// A Python string, and what follows it; `None` where it has escapes that paths do not need.
fn literal(text: &str, is_bytes: bool) -> Option<(PathBuf, &str)> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let mut value = Vec::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => match chars.next()?.1 {
                escaped @ ('\\' | '"' | '\'') => value.extend(escaped.to_string().bytes()),
                'n' => value.push(b'\n'),
                'r' => value.push(b'\r'),
                't' => value.push(b'\t'),
                'x' => {
                    let digits = text.get(chars.next()?.0..=chars.next()?.0)?;
                    let byte = u8::from_str_radix(digits, 16).ok()?;
                    value.push(Some(byte).filter(|byte| is_bytes || byte.is_ascii())?);
                }
                _ => return None,
            },
            _ if char == quote => {
                return Some((PathBuf::from(OsString::from_vec(value)), text.get(at + 1..)?));
            }
            _ => value.extend(char.to_string().bytes()),
        }
    }
    None
}

/// Where a module of setuptools' finds a package that is installed in place, by `MAPPING: dict[str, str] = {'name':
/// 'path'}`: the directory that would have to be on `sys.path` for it.
pub(super) fn mapped(finder: &str, package: &str) -> Option<PathBuf> {
    let line = finder.lines().find(|line| line.starts_with("MAPPING"))?;
    let (_, after) = line.split_once(&format!("'{package}': "))?;
    let (path, _) = literal(after, false)?;
    (path.file_name()?.as_bytes() == package.as_bytes()).then(|| path.parent().map(PathBuf::from))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_known_tools() {
        let sites = |dirs: &[&str]| Line::Sites(dirs.iter().map(PathBuf::from).collect());
        let uv = r#"import site; site.addsitedir(__import__("os").fsdecode(b"/a\xc3\xa9/s")); site.addsitedir(__import__("os").fsdecode(b"/b\"/s"))"#;
        let known = [
            (uv, sites(&["/aé/s", "/b\"/s"])),
            ("import site; site.addsitedir(\"/c/s\")\r", sites(&["/c/s"])),
            (
                "import site; site.addsitedir('/opt/homebrew/lib/python3.11/site-packages')",
                sites(&["/opt/homebrew/lib/python3.11/site-packages"]),
            ),
            (
                "import __editable___flat_1_0_finder; __editable___flat_1_0_finder.install()",
                Line::Finder("__editable___flat_1_0_finder".to_owned()),
            ),
            ("import _virtualenv", Line::Nothing),
            (
                "import os; var = 'SETUPTOOLS_USE_DISTUTILS'; enabled = os.environ.get(var, 'local') == 'local'; enabled and __import__('_distutils_hack').add_shim(); ",
                Line::Nothing,
            ),
            (
                "import sys, types, os;has_mfs = sys.version_info > (3, 5);p = os.path.join(sys._getframe(1).f_locals['sitedir'], *('google',));(p not in mp) and mp.append(p)",
                Line::Nothing,
            ),
            (
                "import sys; exec('import os\\n\\nif os.getenv(\"COVERAGE_PROCESS_START\") or 1:\\n pass')",
                Line::Nothing,
            ),
            ("  ", Line::Nothing),
            ("# import x", Line::Nothing),
            ("../src ", Line::Directory("../src".into())),
            // Not at the beginning: a path, as `site` has it.
            (" import x", Line::Directory(" import x".into())),
        ];
        for (line, does) in known {
            assert_eq!(Line::read(line.as_bytes()), does, "{line}");
        }
        for line in [
            "import _editable_impl_x",
            "import site; site.addsitedir(path)",
            "import site; site.addsitedir('/a'",
            "import site; site.addsitedir('/a') or 1",
            "import site; site.addsitedir('\\u00e9')",
            "import __editable___a_finder; __editable___b_finder.install()",
            "import sys; sys.path.append('/a')",
            "import\tos",
        ] {
            assert_eq!(Line::read(line.as_bytes()), Line::Unknown, "{line}");
        }
    }

    #[test]
    fn a_package_in_the_mapping_of_a_finder() {
        let finder =
            "import sys\nMAPPING: dict[str, str] = {'functorch': '/src/functorch', 'torch': '/src/pytorch/torch'}\n";
        assert_eq!(mapped(finder, "torch"), Some("/src/pytorch".into()));
        assert_eq!(mapped(finder, "nvidia"), None);
        assert_eq!(mapped("MAPPING = {'torch': '/src/lib'}", "torch"), None);
    }
}
