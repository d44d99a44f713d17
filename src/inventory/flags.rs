//! The other properties that decide whether a library loads and runs.
//!
//! Takes an object; gives its requirements for libc, stack and thread-local storage, the CUDA runtime linked into it,
//! the note of a forward-compatible driver, and the GPUs of its code. For one library at a time: it reads more than
//! headers.

use super::{Depth, strings};
use crate::elf::fatbin::FatBinaries;
use crate::elf::{Elf, ElfError, Glibc, SymbolCounts, Tls};
use crate::loader::Object;

/// What a library requires of the process that loads it, and what is linked into it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Flags {
    /// It requires an executable stack, which `dlopen` refuses from glibc 2.41 on.
    pub executable_stack: bool,
    /// Its thread-local storage must be in the static block.
    pub static_tls: bool,
    /// Its thread-local storage.
    pub tls: Option<Tls>,
    /// It has packed relocations.
    pub relr: bool,
    /// It has text relocations.
    pub text_relocations: bool,
    /// The oldest C library that it loads with.
    pub glibc_floor: Option<Glibc>,
    /// Its dynamic symbols.
    pub symbols: SymbolCounts,
    /// The nodes that it defines, its base version left out.
    pub defines: Vec<String>,
    /// The nodes that it needs, by the object that must define them.
    pub needs: Vec<(String, Vec<String>)>,
    /// The sign of a CUDA runtime linked into it, which no copy of libcudart overrides.
    pub static_runtime: Option<&'static str>,
    /// The note in a driver library of the forward-compatibility package.
    pub forward_compatibility: Option<ForwardCompatibility>,
}

/// The drivers that a forward-compatible `libcuda` runs on, from its note.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ForwardCompatibility {
    /// The CUDA release it brings.
    #[serde(rename = "CUDA Version")]
    pub cuda: String,
    /// The branches of kernel modules that it runs on: 535, 550. Empty: any older one.
    #[serde(rename = "Driver")]
    pub drivers: Vec<u32>,
}

impl ForwardCompatibility {
    /// Whether it runs on the kernel module of a branch; `None` where the note has no branches.
    #[must_use]
    pub fn runs_on(&self, branch: u32) -> Option<bool> {
        (!self.drivers.is_empty()).then(|| self.drivers.contains(&branch))
    }
}

/// Reads the flags of an object; `is_runtime` for libcudart itself.
///
/// # Errors
///
/// Any fault of its symbol or version tables.
pub fn flags(elf: &Elf<'_>, is_runtime: bool) -> Result<Flags, ElfError> {
    let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let definitions = elf.version_definitions()?;
    let needs = elf.version_needs()?;
    Ok(Flags {
        executable_stack: elf.executable_stack(),
        static_tls: elf.static_tls(),
        tls: elf.tls(),
        relr: elf.relr(),
        text_relocations: elf.text_relocations(),
        glibc_floor: elf.glibc_floor()?,
        symbols: elf.symbol_counts()?,
        defines: definitions.iter().filter(|node| !node.base).map(|node| text(node.name)).collect(),
        needs: needs
            .iter()
            .map(|need| (text(need.file), need.versions.iter().map(|version| text(version.name)).collect()))
            .collect(),
        static_runtime: if is_runtime { None } else { static_runtime(elf)? },
        forward_compatibility: elf.forward_compatibility().and_then(|json| serde_json::from_slice(json).ok()),
    })
}

/// The sign that a CUDA runtime is linked into an object.
fn static_runtime(elf: &Elf<'_>) -> Result<Option<&'static str>, ElfError> {
    const REGISTER: &[u8] = b"__cudaRegisterFatBinary";
    let undefined = elf.undefined()?;
    let needs = |name: &[u8]| undefined.iter().any(|symbol| symbol.name == name);
    if needs(REGISTER) {
        return Ok(None);
    }
    // The start-up code of nvcc registers each fat binary of this section with the runtime.
    if elf.sections().iter().any(|section| section.name == FAT_SEGMENT && !section.bytes.is_empty()) {
        return Ok(Some("it registers GPU code, and does not need `__cudaRegisterFatBinary` of another library"));
    }
    let texts = strings::constants(elf);
    Ok(texts.iter().any(|part| strings::holds_runtime(part)).then_some("it holds the runtime's texts"))
}

/// The GPUs that the code of an object is for. [`Depth::Quick`] reads the sections for GPU code; [`Depth::Full`] also
/// the whole constants and data, where cuFFT has its kernels. Without section headers only `Full` finds any.
///
/// # Errors
///
/// As [`Object::elf`].
pub fn gpu_code(object: &Object, depth: Depth) -> Result<FatBinaries, ElfError> {
    let elf = object.elf()?;
    let mut found = FatBinaries::default();
    let sections = elf.sections();
    // The headers of the fat binaries are a hundred kilobytes apart.
    object.expect_scattered(true);
    // Relocatable device code (`nvcc -rdc=true`) lies in its own section.
    for section in sections.iter().filter(|section| matches!(section.name, b".nv_fatbin" | b"__nv_relfatbin")) {
        in_steps(object, |start| found.add_from(section.bytes, start, STEP));
    }
    object.expect_scattered(false);
    if depth == Depth::Full {
        let mut search = |bytes: &[u8]| in_steps(object, |start| found.search_from(bytes, start, STEP));
        if sections.is_empty() {
            elf.segments().for_each(&mut search);
        }
        let data =
            sections.iter().filter(|section| matches!(section.name, b".rodata" | b".lrodata" | b".data" | b".ldata"));
        data.for_each(|section| search(section.bytes));
    }
    Ok(found)
}

/// Reads an object step by step: each gets where it starts, and gives where the next one does. Linux maps sixteen pages
/// around each header; they are released.
fn in_steps(object: &Object, mut step: impl FnMut(usize) -> Option<usize>) {
    let mut next = Some(0);
    while let Some(start) = next {
        next = step(start);
        object.rest();
    }
}

/// Bytes of GPU code after which the pages of its headers are released.
const STEP: usize = 64 << 20;

const FAT_SEGMENT: &[u8] = b".nvFatBinSegment";

#[cfg(test)]
mod tests {
    use super::ForwardCompatibility;

    #[test]
    fn the_note_of_a_compat_driver_is_read() {
        let note = r#"{"Format":1,"CUDA Version":"13.1","Driver":[535,550,580],"Device":[1,2],"more":null}"#;
        let read: ForwardCompatibility = serde_json::from_str(note).unwrap();
        assert_eq!(read.cuda, "13.1");
        assert_eq!((read.runs_on(550), read.runs_on(565)), (Some(true), Some(false)));
        let old: ForwardCompatibility = serde_json::from_str(r#"{"CUDA Version":"12.2"}"#).unwrap();
        assert_eq!(old.runs_on(535), None);
    }
}
