//! Installed distributions: their `.dist-info` directories.
//!
//! Takes a site directory; returns names and versions, the files of `RECORD`, and the pins of `Requires-Dist`.
//! Formats: the Python packaging guide's "Recording installed projects" and "Core metadata" specifications.

use crate::host::Host;
use crate::tables::VersionRange;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// One installed distribution.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Distribution {
    /// Normalised name, `nvidia-cublas-cu12`.
    pub name: String,
    /// Version as in the directory's name.
    pub version: String,
    /// The `.dist-info` directory.
    pub dir: PathBuf,
}

/// One line of a `RECORD`: a file as it was when it was installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its path, relative to the site directory.
    pub path: PathBuf,
    /// Its SHA-256 as written there: URL-safe base64 without padding.
    pub sha256: Option<String>,
    /// Bytes.
    pub size: Option<u64>,
}

impl Recorded {
    fn parse(line: &[u8]) -> Option<Self> {
        let (path, rest) = csv_field(line)?;
        let rest = std::str::from_utf8(rest).unwrap_or_default();
        let mut fields = rest.trim().rsplit(',');
        let size = fields.next().and_then(|size| size.trim().parse().ok());
        let digest = fields.next().and_then(|digest| digest.trim().strip_prefix("sha256="));
        let is_base64 = |digest: &&str| {
            !digest.is_empty() && digest.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        let sha256 = digest.map(|digest| digest.trim_end_matches('=')).filter(is_base64).map(str::to_owned);
        Some(Self { path: PathBuf::from(std::ffi::OsStr::from_bytes(&path)), sha256, size })
    }
}

/// A name as PEP 503 compares it: lower case, runs of `-_.` as one `-`.
#[must_use]
pub fn normalized(name: &str) -> String {
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

/// The distributions installed in a site directory.
#[must_use]
pub fn distributions(host: &Host, site: &Path) -> Vec<Distribution> {
    let entries = host.list(site).unwrap_or_default();
    let found = entries.iter().filter_map(|entry| {
        let stem = entry.name.to_str()?.strip_suffix(".dist-info")?;
        let (name, version) = stem.rsplit_once('-')?;
        Some(Distribution { name: normalized(name), version: version.to_owned(), dir: site.join(&entry.name) })
    });
    found.collect()
}

impl Distribution {
    /// The files the distribution recorded at installation.
    #[must_use]
    pub fn record(&self, host: &Host) -> Vec<Recorded> {
        let bytes = host.read(&self.dir.join("RECORD")).unwrap_or_default();
        bytes.split(|byte| *byte == b'\n').filter_map(Recorded::parse).collect()
    }

    /// The lines of its `METADATA` with a given key.
    #[must_use]
    pub fn metadata(&self, host: &Host, key: &str) -> Vec<String> {
        let text = host.read_text(&self.dir.join("METADATA")).unwrap_or_default();
        // Headers end at the first empty line; the description follows.
        let headers = text.lines().take_while(|line| !line.trim().is_empty());
        headers
            .filter_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
            .map(|value| value.trim().to_owned())
            .collect()
    }
}

/// The requirements of one distribution with these extras, by package name; the range is unbounded where any fits.
#[must_use]
pub fn requirements(
    host: &Host,
    distribution: &Distribution,
    extras: &[&str],
) -> BTreeMap<String, Option<VersionRange>> {
    let lines = distribution.metadata(host, "Requires-Dist");
    let requirements = lines.iter().filter_map(|line| Requirement::parse(line));
    let requirements = requirements.filter(|it| it.extra.as_ref().is_none_or(|extra| extras.contains(&extra.as_str())));
    requirements.map(|requirement| (requirement.name, requirement.range)).collect()
}

/// The first field of a CSV line, unquoted, and what follows it.
fn csv_field(line: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let Some(quoted) = line.strip_prefix(b"\"") else {
        let end = line.iter().position(|byte| *byte == b',').filter(|end| *end > 0)?;
        return Some((line.get(..end)?.to_owned(), line.get(end..)?));
    };
    let mut field = Vec::new();
    let mut at = 0;
    loop {
        match (quoted.get(at)?, quoted.get(at + 1)) {
            (b'"', Some(b'"')) => {
                field.push(b'"');
                at += 2;
            }
            (b'"', _) => return Some((field, quoted.get(at + 1..)?)),
            (byte, _) => {
                field.push(*byte);
                at += 1;
            }
        }
    }
}

/// The `nvidia-*` packages that distribution `name` pins, directly or through the packages it
/// requires (`cuda-toolkit[cublas,…]==13.2.2`), by package name.
#[must_use]
pub fn pins(host: &Host, installed: &[Distribution], name: &str) -> BTreeMap<String, VersionRange> {
    let mut pins = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut queue: Vec<(String, BTreeSet<String>)> = vec![(name.to_owned(), BTreeSet::new())];
    while let Some((name, extras)) = queue.pop() {
        if !seen.insert((name.clone(), extras.clone())) || seen.len() > 64 {
            continue;
        }
        let Some(distribution) = installed.iter().find(|distribution| distribution.name == name) else { continue };
        for line in distribution.metadata(host, "Requires-Dist") {
            let Some(requirement) = Requirement::parse(&line) else { continue };
            if requirement.extra.as_ref().is_some_and(|extra| !extras.contains(extra)) {
                continue;
            }
            if requirement.name.starts_with("nvidia-") {
                pins.extend(requirement.range.map(|range| (requirement.name, range)));
            } else if requirement.name.starts_with("cuda-") {
                queue.push((requirement.name, requirement.extras));
            }
        }
    }
    pins
}

/// The used part of one `Requires-Dist` line (PEP 508).
#[derive(Debug, PartialEq, Eq)]
struct Requirement {
    name: String,
    extras: BTreeSet<String>,
    range: Option<VersionRange>,
    /// The extra that it belongs to, from an `extra == "…"` marker.
    extra: Option<String>,
}

impl Requirement {
    fn parse(line: &str) -> Option<Self> {
        let (specifier, marker) = line.split_once(';').unwrap_or((line, ""));
        let end =
            specifier.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c))).unwrap_or(specifier.len());
        let (name, rest) = specifier.split_at(end);
        let rest = rest.trim();
        let (extras, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((extras, rest)) => (extras.split(',').map(|extra| normalized(extra.trim())).collect(), rest),
            None => (BTreeSet::new(), rest),
        };
        let version = rest.trim().trim_start_matches('(').trim_end_matches(')');
        let range =
            VersionRange::parse(&version.split_whitespace().collect::<String>()).filter(|_| !version.is_empty());
        let extra = marker.split("extra").nth(1).and_then(|tail| tail.split(['\'', '"']).nth(1)).map(normalized);
        (!name.is_empty() && applies(marker)).then(|| Self { name: normalized(name), extras, range, extra })
    }
}

/// Whether a marker (PEP 508) can hold on this machine; a clause that is not about the platform can.
fn applies(marker: &str) -> bool {
    let here = [
        ("platform_system", "Linux"),
        ("sys_platform", "linux"),
        ("os_name", "posix"),
        ("platform_machine", std::env::consts::ARCH),
    ];
    let holds = |clause: &str| {
        let clause = clause.trim_matches(|c: char| c.is_whitespace() || matches!(c, '(' | ')'));
        let Some((variable, value)) = clause.split_once("==").or_else(|| clause.split_once("!=")) else { return true };
        let (variable, value) = (variable.trim(), value.trim().trim_matches(['\'', '"']));
        let known = here.iter().find(|(name, _)| *name == variable);
        known.is_none_or(|(_, here)| (*here == value) != clause.contains("!="))
    };
    marker.split(" or ").any(|any| any.split(" and ").all(holds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::Version;

    #[test]
    fn requirements() {
        let parse = |line| Requirement::parse(line).unwrap();
        let old = parse("nvidia-cublas-cu11 (==11.10.3.66) ; platform_system == \"Linux\"");
        assert_eq!(
            (old.name.as_str(), old.range.unwrap().to_string().as_str()),
            ("nvidia-cublas-cu11", "==11.10.3.66")
        );
        let extras = parse("cuda-toolkit[cublas,cudart]==13.2.2; platform_system == \"Linux\"");
        assert_eq!(extras.extras, BTreeSet::from(["cublas".to_owned(), "cudart".to_owned()]));
        let marked = parse("nvidia-cublas==13.4.1.3.*; (sys_platform == 'linux') and extra == 'cublas'");
        assert_eq!(marked.extra.as_deref(), Some("cublas"));
        assert!(marked.range.unwrap().contains(&Version::parse("13.4.1.3.7").unwrap()));
        assert_eq!(parse("nvidia-nvjitlink<14,>=13.0.3").range.unwrap().exact(), None);
        assert_eq!(parse("nvidia-nvjitlink").range, None);
        assert_eq!(Requirement::parse(" ; x"), None);
        // Requirements of other platforms are left out.
        for marker in
            ["platform_system == 'Windows'", "sys_platform != \"linux\"", "(os_name == 'nt') and extra == 'x'"]
        {
            assert_eq!(Requirement::parse(&format!("nvidia-nvjitlink==1; {marker}")), None, "{marker}");
        }
        let here = std::env::consts::ARCH;
        let either = format!("nvidia-nvjitlink==1; platform_machine == 'riscv' or platform_machine == '{here}'");
        assert!(Requirement::parse(&either).is_some());
        parse("nvidia-nvjitlink==1; python_version < '3.12' and platform_system == \"Linux\"");
    }

    #[test]
    fn quoted_record_lines() {
        let (field, rest) = csv_field(b"\"a,\"\"b\".so,sha256=x,12").unwrap();
        assert_eq!((field.as_slice(), rest), (&b"a,\"b"[..], &b".so,sha256=x,12"[..]));
        assert_eq!(csv_field(b""), None);
        assert_eq!(csv_field(b"\"open"), None);
    }

    #[test]
    fn record_lines() {
        let parse = |line: &str| Recorded::parse(line.as_bytes()).unwrap();
        let whole = parse("nvidia/nccl/lib/libnccl.so.2,sha256=H8Nu68hPSxCS_u4-,429634192\r");
        assert_eq!((whole.sha256.as_deref(), whole.size), (Some("H8Nu68hPSxCS_u4-"), Some(429_634_192)));
        let itself = parse("nvidia_nccl_cu12-2.27.3.dist-info/RECORD,,");
        assert_eq!((itself.sha256, itself.size), (None, None));
        let weak = parse("a.so,md5=abc,3");
        assert_eq!((weak.sha256, weak.size), (None, Some(3)));
    }
}
