//! What a library's own text says about its release.
//!
//! Takes bytes; gives the releases that well-known texts in them name. Which of them to believe depends on the
//! library: a cuDNN holds a whole NVRTC with that one's strings. Looks at the constants of the host code only, and
//! of large ones at both ends: device code was often made by an older compiler than the library.

use crate::elf::Elf;
use crate::tables::Version;
use memchr::memmem;

/// The texts that name a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Text {
    /// `Cuda compilation tools, release 12.4, V12.4.127`: in NVRTC, nvJitLink and what is linked with them.
    Tools,
    /// `NCCL version 2.21.5+cuda12.4`.
    Nccl,
    /// `NVSHMEM v3.7.2`.
    Nvshmem,
    /// `/toolkit/r12.4/`: where NVIDIA built a part of it.
    Branch,
}

/// A release that a text names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Said {
    pub(super) text: Text,
    /// The release of what the text is about.
    pub(super) release: Version,
    /// For NCCL, the CUDA it was built with.
    pub(super) cuda: Option<Version>,
}

/// How each text begins.
const TEXTS: [(Text, &str); 4] = [
    (Text::Tools, "Cuda compilation tools, release "),
    (Text::Nccl, "NCCL version "),
    (Text::Nvshmem, "NVSHMEM v"),
    (Text::Branch, "/toolkit/r"),
];

/// The name of the shared memory that every CUDA runtime opens, and nothing else.
const RUNTIME: &[u8] = b"/cudart.shm.%x.%x.%llx";

/// Bytes looked at from either end of a section.
const WINDOW: usize = 16 << 20;
/// The longest release that is read.
const MAX_RELEASE: usize = 32;
/// Texts of one kind that are kept: a library that says more than this says nothing.
const MAX_SAID: usize = 8;

/// The parts of a file that hold the constants of its host code, each at most two windows.
pub(super) fn constants<'a>(elf: &Elf<'a>) -> Vec<&'a [u8]> {
    let sections = elf.sections();
    let named = sections.iter().filter(|section| matches!(section.name, b".rodata" | b".lrodata"));
    let mut parts: Vec<&[u8]> = named.map(|section| section.bytes).collect();
    if sections.is_empty() {
        parts = elf.segments().collect();
    }
    parts.into_iter().flat_map(|part| ends(part, WINDOW)).collect()
}

/// The first and the last bytes of a part, without those in between.
fn ends(part: &[u8], window: usize) -> impl Iterator<Item = &[u8]> {
    let (head, rest) = part.split_at_checked(window).unwrap_or((part, &[]));
    let tail = rest.get(rest.len().saturating_sub(window)..).unwrap_or_default();
    [head, tail].into_iter().filter(|part| !part.is_empty())
}

/// The releases that the texts in `bytes` name, each once.
pub(super) fn said(bytes: &[u8]) -> Vec<Said> {
    let mut all = Vec::new();
    for (text, start) in TEXTS {
        let mut found = Vec::new();
        for at in memmem::find_iter(bytes, start) {
            let rest = bytes.get(at.saturating_add(start.len())..).unwrap_or_default();
            if let Some(said) = release(text, rest)
                && !found.contains(&said)
            {
                found.push(said);
                if found.len() >= MAX_SAID {
                    break;
                }
            }
        }
        found.sort();
        all.append(&mut found);
    }
    all
}

/// Whether a CUDA runtime is in `bytes`.
pub(super) fn holds_runtime(bytes: &[u8]) -> bool {
    memmem::find(bytes, RUNTIME).is_some()
}

/// The major of the NVRTC that is opened by name, where one is named.
pub(super) fn opens_compiler(bytes: &[u8]) -> Option<u32> {
    const START: &[u8] = b"libnvrtc.so.";
    let named = memmem::find_iter(bytes, START).filter_map(|at| {
        let rest = bytes.get(at.saturating_add(START.len())..)?;
        let digits = rest.iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
        std::str::from_utf8(rest.get(..digits)?).ok()?.parse().ok()
    });
    let mut majors: Vec<u32> = named.take(MAX_SAID).collect();
    majors.dedup();
    if majors.len() == 1 { majors.pop() } else { None }
}

/// Reads the release after the start of a text.
fn release(text: Text, rest: &[u8]) -> Option<Said> {
    let (short, rest) = version(rest)?;
    match text {
        // `release 12.4, V12.4.127`; some builds leave the second one's head out.
        Text::Tools => {
            let full = rest.strip_prefix(b", V").and_then(version).map(|(full, _)| full);
            let release = full.filter(|full| full.starts_with(&short)).unwrap_or(short);
            Some(Said { text, release, cuda: None })
        }
        Text::Nccl => {
            let cuda = rest.strip_prefix(b"+cuda").and_then(version).map(|(cuda, _)| cuda);
            Some(Said { text, release: short, cuda })
        }
        Text::Nvshmem => Some(Said { text, release: short, cuda: None }),
        Text::Branch => (rest.first() == Some(&b'/')).then_some(Said { text, release: short, cuda: None }),
    }
}

/// The dotted number at the start, of two parts or more, and what follows it.
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

    fn told(bytes: &[u8]) -> Vec<String> {
        let told = |said: Said| {
            format!("{:?} {} {}", said.text, said.release, said.cuda.map_or_else(String::new, |cuda| cuda.to_string()))
        };
        said(bytes).into_iter().map(|said| told(said).trim_end().to_owned()).collect()
    }

    #[test]
    fn texts_name_releases() {
        let bytes = b"\0Cuda compilation tools, release 12.4, V12.4.127\0Cuda compilation tools, release %d.%d,\0\
            NCCL version 2.21.5+cuda12.4\0NVSHMEM v3.7.2\0/dvs/p4/build/sw/rel/gpgpu/toolkit/r12.4/curand/src\0\
            /toolkit/r12.4/again\0";
        assert_eq!(told(bytes), ["Tools 12.4.127", "Nccl 2.21.5 12.4", "Nvshmem 3.7.2", "Branch 12.4"]);
    }

    #[test]
    fn what_only_begins_like_a_text_says_nothing() {
        for text in [
            "NCCL version mismatch\0",
            "NCCL version 2\0",
            "NVSHMEM v\0",
            "/toolkit/r12.4",
            "/toolkit/r12.4-beta/\0",
            "Cuda compilation tools, release 99999999999999999999.1\0",
            "Cuda compilation tools, release 12.12.12.12.12.12.12.12.12.12.12.12\0",
        ] {
            assert_eq!(told(text.as_bytes()), [""; 0], "{text}");
        }
        // A second number of another release is another text's.
        assert_eq!(told(b"Cuda compilation tools, release 13.0, V.79\0"), ["Tools 13.0"]);
        assert_eq!(told(b"Cuda compilation tools, release 13.0, V12.9.1\0"), ["Tools 13.0"]);
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
    fn the_compiler_that_is_opened() {
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
        fn any_bytes_are_survived(start in 0usize..4, bytes: Vec<u8>, text in "[0-9.,V+cuda/ ]{0,48}") {
            let known = [TEXTS[start].1.as_bytes(), text.as_bytes(), &bytes].concat();
            for said in said(&known) {
                prop_assert!(said.release.numbers().len() >= 2);
            }
            let _ = said(&bytes);
        }

        #[test]
        fn many_texts_cost_little(count in 0usize..200) {
            let bytes: Vec<u8> = (0..count).flat_map(|n| format!("NCCL version 2.{n}\0").into_bytes()).collect();
            prop_assert!(said(&bytes).len() <= MAX_SAID);
        }
    }
}
