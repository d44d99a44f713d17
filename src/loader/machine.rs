//! The ld.so of a machine: its processor, its default directories and its release.
//!
//! Takes the machine; returns the facts compiled into its ld.so, read from the file itself, and the subdirectories
//! that the processor adds to each directory. Never runs it.

use super::cache::Legacy;
use super::tunables::{number, tunable};
use crate::elf::Elf;
use crate::host::Host;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// One of the two architectures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Architecture {
    /// `e_machine`.
    pub(super) machine: u16,
    /// The kernel's name in `AT_PLATFORM`.
    name: &'static str,
    /// The `PT_INTERP` of its programs.
    pub(super) interpreter: &'static str,
    /// `_DL_CACHE_DEFAULT_ID`: the mark of its entries in the cache.
    pub(super) cache_id: u32,
    /// The possible first parts of its old subdirectories.
    legacy: &'static [&'static str],
}

const X86_64: Architecture = Architecture {
    machine: 62,
    name: "x86_64",
    interpreter: "/lib64/ld-linux-x86-64.so.2",
    cache_id: 0x0303,
    legacy: &["tls", "x86_64", "haswell", "xeon_phi", "avx512_1"],
};
const AARCH64: Architecture = Architecture {
    machine: 183,
    name: "aarch64",
    interpreter: "/lib/ld-linux-aarch64.so.1",
    cache_id: 0x0a03,
    legacy: &["tls", "aarch64", "atomics"],
};
#[cfg(target_arch = "aarch64")]
const ORDER: [Architecture; 2] = [AARCH64, X86_64];
#[cfg(not(target_arch = "aarch64"))]
const ORDER: [Architecture; 2] = [X86_64, AARCH64];

/// The ld.so of a machine.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) architecture: Architecture,
    /// Major and minor number of its glibc; `None` where the file does not record them.
    pub(super) version: Option<(u16, u16)>,
    /// The directories it searches last.
    pub(super) default_dirs: Vec<PathBuf>,
    /// The glibc-hwcaps subdirectories the processor can use, best first.
    pub(super) hwcaps: Vec<&'static str>,
    /// The value of `$LIB`.
    pub(super) lib: OsString,
    platform: OnceLock<Platform>,
}

/// The name and the features of a processor for glibc before 2.37.
#[derive(Debug, Clone)]
struct Platform {
    name: &'static str,
    /// The bits of `dl_hwcap` that count, and their names, lowest first.
    important: Vec<(u64, &'static str)>,
}

impl Machine {
    pub(super) fn of(host: &Host) -> Self {
        let mapped = ORDER.iter().find_map(|architecture| {
            let (map, _) = host.map(Path::new(architecture.interpreter)).ok()?;
            Elf::parse(&map).ok().filter(|elf| elf.ident().machine == architecture.machine)?;
            Some((*architecture, map))
        });
        let architecture = mapped.as_ref().map_or(ORDER[0], |(architecture, _)| *architecture);
        let bytes = mapped.as_ref().map(|(_, map)| &**map).unwrap_or_default();
        let mut default_dirs = system_dirs(bytes);
        if default_dirs.is_empty() {
            // An image without ld.so: the two layouts in use, the multiarch one first.
            let multiarch = format!("{}-linux-gnu", architecture.name);
            let dirs = [format!("/lib/{multiarch}"), format!("/usr/lib/{multiarch}")];
            default_dirs = dirs.map(PathBuf::from).into();
            default_dirs.extend(["/lib64", "/usr/lib64", "/lib", "/usr/lib"].map(PathBuf::from));
        }
        Self {
            lib: lib(bytes, &default_dirs),
            version: version(bytes),
            hwcaps: if architecture == ORDER[0] { hwcaps(&Usable::of(host)) } else { Vec::new() },
            default_dirs,
            architecture,
            platform: OnceLock::new(),
        }
    }

    /// Whether it still searches subdirectories such as `tls/x86_64`, which glibc 2.37 removed.
    pub(super) fn has_legacy_subdirs(&self) -> bool {
        self.version.is_some_and(|version| version < (2, 37))
    }

    /// Whether it sorts objects depth first: the tunable `glibc.rtld.dynamic_sort` is 2, the default since 2.36.
    pub(super) fn sorts_depth_first(&self, host: &Host) -> bool {
        // Before 2.35 there is only one order.
        let knows = self.version.is_none_or(|version| version >= (2, 35));
        let setting = tunable(host, "glibc.rtld.dynamic_sort").filter(|_| knows);
        setting.map_or_else(|| self.version.is_none_or(|version| version >= (2, 36)), |setting| setting != "1")
    }

    /// The value of `$PLATFORM`.
    pub(super) fn platform(&self, host: &Host) -> &'static str {
        self.facts(host).name
    }

    /// The hwcap bits by which it accepts cache entries for old subdirectories.
    pub(super) fn legacy_hwcaps(&self, host: &Host) -> Option<Legacy> {
        if !self.has_legacy_subdirs() {
            return None;
        }
        let facts = self.facts(host);
        let bits = facts.important.iter().fold(0, |bits, (bit, _)| bits | bit);
        let platform = match facts.name {
            "haswell" => 1 << 50,
            "xeon_phi" => 1 << 51,
            _ => 0,
        };
        // `_DL_HWCAP_PLATFORM` of x86; aarch64 has no platforms.
        Some(Legacy { bits, platforms: if self.architecture == X86_64 { 0xf << 48 } else { 0 }, platform })
    }

    /// The old subdirectories of a directory, in the order of `_dl_important_hwcaps`: every set of the names, best
    /// first.
    pub(super) fn legacy_subdirs(&self, host: &Host, has: impl Fn(&str) -> bool) -> Vec<PathBuf> {
        if !self.has_legacy_subdirs() || !self.architecture.legacy.iter().any(|name| has(name)) {
            return Vec::new();
        }
        let facts = self.facts(host);
        let mut names: Vec<&str> = facts.important.iter().map(|(_, name)| *name).collect();
        names.extend([facts.name, "tls"]);
        let mut found: Vec<PathBuf> = Vec::new();
        for set in (1..1_usize << names.len()).rev() {
            let chosen = names.iter().enumerate().rev().filter(|(at, _)| set & (1 << at) != 0);
            let path: PathBuf = chosen.map(|(_, name)| name).collect();
            if !found.contains(&path) {
                found.push(path);
            }
        }
        found
    }

    fn facts(&self, host: &Host) -> &Platform {
        self.platform.get_or_init(|| {
            if self.architecture != ORDER[0] || !host.is_live() {
                return Platform { name: self.architecture.name, important: Vec::new() };
            }
            let mut platform = platform(host);
            // `GET_HWCAP_MASK`: the variable is another name of the tunable.
            let variable = || host.env("LD_HWCAP_MASK").and_then(OsStr::to_str);
            let mask = tunable(host, "glibc.cpu.hwcap_mask").or_else(variable).and_then(number);
            platform.important.retain(|(bit, _)| mask.is_none_or(|mask| mask & bit != 0));
            platform
        })
    }
}

/// `sysdeps/x86/cpu-features.c`: only Intel's processors got names of their own.
#[cfg(target_arch = "x86_64")]
fn platform(host: &Host) -> Platform {
    let usable = Usable::of(host);
    let mut important = vec![(1 << 1, "x86_64")];
    let start = host.read_start(Path::new("/proc/cpuinfo"), 512).unwrap_or_default();
    let intel = memchr::memmem::find(&start, b"GenuineIntel").is_some();
    if intel && usable.all(&["AVX512CD", "AVX512BW", "AVX512DQ", "AVX512VL"]) {
        important.push((1 << 2, "avx512_1"));
    }
    let haswell = usable.all(&["AVX2", "FMA", "BMI1", "BMI2", "LZCNT", "MOVBE", "POPCNT"]);
    Platform { name: if intel && haswell { "haswell" } else { "x86_64" }, important }
}

#[cfg(target_arch = "aarch64")]
fn platform(_: &Host) -> Platform {
    let atomics = std::arch::is_aarch64_feature_detected!("lse");
    Platform { name: "aarch64", important: atomics.then_some((1 << 8, "atomics")).into_iter().collect() }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn platform(_: &Host) -> Platform {
    Platform { name: ORDER[0].name, important: Vec::new() }
}

/// The glibc-hwcaps subdirectories that this processor can use, best first (`sysdeps/x86_64/dl-hwcaps_subdirs.c`):
/// each level includes the requirements of the one below.
#[cfg(target_arch = "x86_64")]
fn hwcaps(usable: &Usable<'_>) -> Vec<&'static str> {
    let levels: [(&str, &[&str]); 3] = [
        ("x86-64-v2", &["CMPXCHG16B", "POPCNT", "SSE3", "SSE4_1", "SSE4_2", "SSSE3"]),
        ("x86-64-v3", &["AVX", "AVX2", "BMI1", "BMI2", "F16C", "FMA", "LZCNT", "MOVBE"]),
        ("x86-64-v4", &["AVX512F", "AVX512BW", "AVX512CD", "AVX512DQ", "AVX512VL"]),
    ];
    let mut has: Vec<&str> =
        levels.iter().take_while(|(_, features)| usable.all(features)).map(|(name, _)| *name).collect();
    has.reverse();
    has
}

#[cfg(not(target_arch = "x86_64"))]
fn hwcaps(_: &Usable<'_>) -> Vec<&'static str> {
    Vec::new()
}

/// The usable features of the processor: the tunable `glibc.cpu.hwcaps` can only disable some
/// (`sysdeps/x86/cpu-tunables.c`).
struct Usable<'h> {
    masked: Vec<&'h str>,
}

impl<'h> Usable<'h> {
    fn of(host: &'h Host) -> Self {
        let list = tunable(host, "glibc.cpu.hwcaps").unwrap_or_default();
        Self { masked: list.split(',').filter_map(|one| one.strip_prefix('-')).collect() }
    }

    #[cfg(target_arch = "x86_64")]
    fn all(&self, features: &[&str]) -> bool {
        features.iter().all(|feature| self.has(feature))
    }

    /// By glibc's name of it.
    #[cfg(target_arch = "x86_64")]
    fn has(&self, feature: &str) -> bool {
        use std::arch::is_x86_feature_detected as has;
        // These need the registers that XSAVE saves.
        let kept = !matches!(feature, "F16C" | "FMA") && !feature.starts_with("AVX") || self.keeps_registers();
        // The tunable has no names for these.
        let fixed = matches!(feature, "CMPXCHG16B" | "SSE3" | "F16C");
        let masked = !fixed && self.masked.contains(&feature);
        kept && !masked
            && match feature {
                "AVX" => has!("avx"),
                "AVX2" => has!("avx2"),
                "AVX512BW" => has!("avx512bw"),
                "AVX512CD" => has!("avx512cd"),
                "AVX512DQ" => has!("avx512dq"),
                "AVX512F" => has!("avx512f"),
                "AVX512VL" => has!("avx512vl"),
                "BMI1" => has!("bmi1"),
                "BMI2" => has!("bmi2"),
                "CMPXCHG16B" => has!("cmpxchg16b"),
                "F16C" => has!("f16c"),
                "FMA" => has!("fma"),
                "LZCNT" => has!("lzcnt"),
                "MOVBE" => has!("movbe"),
                "POPCNT" => has!("popcnt"),
                "SSE3" => has!("sse3"),
                "SSE4_1" => has!("sse4.1"),
                "SSE4_2" => has!("sse4.2"),
                "SSSE3" => has!("ssse3"),
                _ => false,
            }
    }

    #[cfg(target_arch = "x86_64")]
    fn keeps_registers(&self) -> bool {
        let masked = |name| self.masked.contains(&name);
        !(masked("OSXSAVE") || masked("XSAVE") && masked("XSAVEC"))
    }
}

/// `ld.so --version` prints "… release version 2.36."; the text has been in ld.so since 2.33.
fn version(bytes: &[u8]) -> Option<(u16, u16)> {
    let words = b" release version ";
    let at = memchr::memmem::find(bytes, words)?;
    let text = bytes.get(at + words.len()..)?;
    let end = text.iter().position(|byte| *byte == 0 || *byte == b'\n')?;
    let text = std::str::from_utf8(text.get(..end)?).ok()?;
    let mut numbers = text.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// `DL_DST_LIB`: the library directory without its slash on Debian, its last part upstream.
fn lib(bytes: &[u8], default_dirs: &[PathBuf]) -> OsString {
    let Some(first) = default_dirs.first() else { return "lib".into() };
    let whole = first.strip_prefix("/").unwrap_or(first).as_os_str();
    let last = first.file_name().unwrap_or(whole);
    let compiled_in = |name: &OsStr| {
        let text = [b"\0", name.as_bytes(), b"\0"].concat();
        memchr::memmem::find(bytes, &text).is_some()
    };
    let name = if bytes.is_empty() || compiled_in(whole) || !compiled_in(last) { whole } else { last };
    name.to_owned()
}

/// The directories compiled into ld.so (`system_dirs` in `elf/dl-load.c`): a run of NUL-terminated strings in
/// its read-only data, each beginning and ending with a slash.
fn system_dirs(bytes: &[u8]) -> Vec<PathBuf> {
    let mut best: Vec<PathBuf> = Vec::new();
    let mut run: Vec<PathBuf> = Vec::new();
    for text in bytes.split(|byte| *byte == 0) {
        let is_dir = text.len() > 2
            && text.len() < 256
            && text.starts_with(b"/")
            && text.ends_with(b"/")
            && text.iter().all(u8::is_ascii_graphic)
            && text.windows(3).any(|window| window == b"lib");
        if is_dir {
            let dir = text.strip_suffix(b"/").unwrap_or(text);
            run.push(PathBuf::from(OsStr::from_bytes(dir)));
        } else {
            if run.len() > best.len() {
                best = std::mem::take(&mut run);
            }
            run.clear();
        }
    }
    best
}
