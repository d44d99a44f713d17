//! The releases in a library's texts.
//!
//! Takes bytes; gives the releases that well-known texts in them name. Which texts count depends on the library: cuDNN
//! contains a whole NVRTC with its strings. Reads only the constants of the host code, and only both ends of large
//! ones: an older compiler than the library's often made the device code.

use crate::elf::Elf;
use crate::tables::Version;
use memchr::memmem;

/// A text that names a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Text {
    /// `Cuda compilation tools, release 12.4, V12.4.127`: in NVRTC, nvJitLink and what is linked with them.
    Tools,
    /// `NCCL version 2.21.5+cuda12.4`.
    Nccl,
    /// `NVSHMEM v3.7.2`.
    Nvshmem,
    /// `/toolkit/r12.4/`: the build directory of a part.
    Branch,
}

/// A release in a text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TextRelease {
    pub(super) text: Text,
    /// The release of the subject of the text.
    pub(super) release: Version,
    /// For NCCL, the CUDA it was built with.
    pub(super) cuda: Option<Version>,
}

/// The start of each text.
const TEXTS: [(Text, &str); 4] = [
    (Text::Tools, "Cuda compilation tools, release "),
    (Text::Nccl, "NCCL version "),
    (Text::Nvshmem, "NVSHMEM v"),
    (Text::Branch, "/toolkit/r"),
];

/// The name of the shared memory that the CUDA runtime opens, and no other library.
const RUNTIME: &[u8] = b"/cudart.shm.%x.%x.%llx";

/// Bytes read from either end of a section.
const WINDOW: usize = 16 << 20;
/// The longest release, in bytes.
const MAX_RELEASE: usize = 32;
/// Releases kept per text: a library that names more identifies none.
const MAX_PER_TEXT: usize = 8;

/// The constants of the host code of a file, at most two windows per section.
pub(super) fn constants<'a>(elf: &Elf<'a>) -> Vec<&'a [u8]> {
    let sections = elf.sections();
    let named = sections.iter().filter(|section| matches!(section.name, b".rodata" | b".lrodata"));
    let mut parts: Vec<&[u8]> = named.map(|section| section.bytes).collect();
    if sections.is_empty() {
        parts = elf.segments().collect();
    }
    parts.into_iter().flat_map(|part| ends(part, WINDOW)).collect()
}

/// The first and the last window of a part.
fn ends(part: &[u8], window: usize) -> impl Iterator<Item = &[u8]> {
    let (head, rest) = part.split_at_checked(window).unwrap_or((part, &[]));
    let tail = rest.get(rest.len().saturating_sub(window)..).unwrap_or_default();
    [head, tail].into_iter().filter(|part| !part.is_empty())
}

/// The releases that the texts in `bytes` name, each once.
pub(super) fn releases(bytes: &[u8]) -> Vec<TextRelease> {
    let mut all = Vec::new();
    for (text, start) in TEXTS {
        let mut found = Vec::new();
        for at in memmem::find_iter(bytes, start) {
            let rest = bytes.get(at.saturating_add(start.len())..).unwrap_or_default();
            if let Some(release) = release(text, rest)
                && !found.contains(&release)
            {
                found.push(release);
                if found.len() >= MAX_PER_TEXT {
                    break;
                }
            }
        }
        found.sort();
        all.append(&mut found);
    }
    all
}

/// Whether `bytes` contain a CUDA runtime.
pub(super) fn holds_runtime(bytes: &[u8]) -> bool {
    memmem::find(bytes, RUNTIME).is_some()
}

/// The major of the NVRTC that the library opens by name.
pub(super) fn opens_compiler(bytes: &[u8]) -> Option<u32> {
    const START: &[u8] = b"libnvrtc.so.";
    let named = memmem::find_iter(bytes, START).filter_map(|at| {
        let rest = bytes.get(at.saturating_add(START.len())..)?;
        let digits = rest.iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
        std::str::from_utf8(rest.get(..digits)?).ok()?.parse().ok()
    });
    let mut majors: Vec<u32> = named.take(MAX_PER_TEXT).collect();
    majors.dedup();
    if majors.len() == 1 { majors.pop() } else { None }
}

/// Reads the release behind the start of a text.
fn release(text: Text, rest: &[u8]) -> Option<TextRelease> {
    let (short, rest) = version(rest)?;
    match text {
        // `release 12.4, V12.4.127`; some builds omit the start of the second number.
        Text::Tools => {
            let full = rest.strip_prefix(b", V").and_then(version).map(|(full, _)| full);
            let release = full.filter(|full| full.starts_with(&short)).unwrap_or(short);
            Some(TextRelease { text, release, cuda: None })
        }
        Text::Nccl => {
            let cuda = rest.strip_prefix(b"+cuda").and_then(version).map(|(cuda, _)| cuda);
            Some(TextRelease { text, release: short, cuda })
        }
        Text::Nvshmem => Some(TextRelease { text, release: short, cuda: None }),
        Text::Branch => (rest.first() == Some(&b'/')).then_some(TextRelease { text, release: short, cuda: None }),
    }
}

/// The dotted number at the start, of two parts or more, and the rest.
fn version(bytes: &[u8]) -> Option<(Version, &[u8])> {
    let window = bytes.get(..MAX_RELEASE).unwrap_or(bytes);
    let end = window.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'.'))?;
    let (digits, rest) = bytes.split_at_checked(end)?;
    let version = Version::parse(std::str::from_utf8(digits).ok()?.trim_end_matches('.'))?;
    (version.numbers().len() >= 2).then_some((version, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(bytes: &[u8]) -> Vec<String> {
        let line = |one: TextRelease| {
            format!("{:?} {} {}", one.text, one.release, one.cuda.map_or_else(String::new, |cuda| cuda.to_string()))
        };
        releases(bytes).into_iter().map(|one| line(one).trim_end().to_owned()).collect()
    }

    #[test]
    fn texts_name_releases() {
        let bytes = b"\0Cuda compilation tools, release 12.4, V12.4.127\0Cuda compilation tools, release %d.%d,\0\
            NCCL version 2.21.5+cuda12.4\0NVSHMEM v3.7.2\0/dvs/p4/build/sw/rel/gpgpu/toolkit/r12.4/curand/src\0\
            /toolkit/r12.4/again\0";
        assert_eq!(found(bytes), ["Tools 12.4.127", "Nccl 2.21.5 12.4", "Nvshmem 3.7.2", "Branch 12.4"]);
    }

    #[test]
    fn the_start_of_a_text_alone_names_no_release() {
        for text in [
            "NCCL version mismatch\0",
            "NCCL version 2\0",
            "NVSHMEM v\0",
            "/toolkit/r12.4",
            "/toolkit/r12.4-beta/\0",
            "Cuda compilation tools, release 99999999999999999999.1\0",
            "Cuda compilation tools, release 12.12.12.12.12.12.12.12.12.12.12.12\0",
        ] {
            assert_eq!(found(text.as_bytes()), [""; 0], "{text}");
        }
        // A second number of another release belongs to another text.
        assert_eq!(found(b"Cuda compilation tools, release 13.0, V.79\0"), ["Tools 13.0"]);
        assert_eq!(found(b"Cuda compilation tools, release 13.0, V12.9.1\0"), ["Tools 13.0"]);
    }

    #[test]
    fn of_a_large_part_both_ends_are_read() {
        let part: Vec<u8> = (0..10).collect();
        let ends = |window| ends(&part, window).map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(ends(3), [vec![0, 1, 2], vec![7, 8, 9]]);
        assert_eq!(ends(6), [vec![0, 1, 2, 3, 4, 5], vec![6, 7, 8, 9]]);
        assert_eq!(ends(10).concat(), part);
        assert_eq!(ends(20).concat(), part);
    }

    #[test]
    fn the_major_of_the_opened_compiler() {
        assert_eq!(opens_compiler(b"\0libnvrtc.so.13\0libnvrtc.so.13\0"), Some(13));
        assert_eq!(opens_compiler(b"\0libnvrtc.so.11.2\0"), Some(11));
        for text in ["libnvrtc.so", "libnvrtc.so.", "libnvrtc.so.x", "libnvrtc.so.12\0libnvrtc.so.13"] {
            assert_eq!(opens_compiler(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_runtime_is_known_by_its_shared_memory() {
        assert!(holds_runtime(b"..\0/cudart.shm.%x.%x.%llx\0"));
        assert!(!holds_runtime(b"libcudart.so.12\0cudaErrorInvalidValue\0"));
    }

    proptest! {
        #[test]
        fn no_bytes_cause_a_panic(start in 0usize..4, bytes: Vec<u8>, text in "[0-9.,V+cuda/ ]{0,48}") {
            let known = [TEXTS[start].1.as_bytes(), text.as_bytes(), &bytes].concat();
            for one in releases(&known) {
                prop_assert!(one.release.numbers().len() >= 2);
            }
            let _ = releases(&bytes);
        }

        #[test]
        fn many_texts_cost_little(count in 0usize..200) {
            let bytes: Vec<u8> = (0..count).flat_map(|n| format!("NCCL version 2.{n}\0").into_bytes()).collect();
            prop_assert!(releases(&bytes).len() <= MAX_PER_TEXT);
        }
    }
}
