//! The machine and the kind of an object, from the ELF header alone.
//!
//! Takes the first bytes of a file of any class and byte order, so that reports can
//! name a 32-bit or foreign library. Reads nothing past the header.

use std::fmt;

use goblin::elf::header::{
    EI_CLASS, EI_DATA, EI_OSABI, ELFCLASS64, ELFDATA2LSB, ELFOSABI_GNU, ELFOSABI_NONE, EM_386, EM_AARCH64, EM_ARM,
    EM_CUDA, EM_LOONGARCH, EM_PPC, EM_PPC64, EM_RISCV, EM_S390, EM_X86_64, ET_CORE, ET_DYN, ET_EXEC, ET_REL, Header,
};

/// The identity of an object in its ELF header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ident {
    /// The width of addresses, `EI_CLASS`.
    pub class: Class,
    /// The byte order, `EI_DATA`.
    pub endian: Endian,
    /// The operating system's ABI, `EI_OSABI`: 0 is System V and 3 is GNU.
    pub os_abi: u8,
    /// The machine, `e_machine`: 62 is x86-64 and 183 is aarch64.
    pub machine: u16,
    /// The kind of object, `e_type`.
    pub kind: ObjectKind,
}

/// The width of an object's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// 32 bits.
    Elf32,
    /// 64 bits.
    Elf64,
}

/// The byte order of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endian {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

/// The kind of an object, `e_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ObjectKind {
    /// `ET_REL`: input of the link editor.
    Relocatable,
    /// `ET_EXEC`: a program with fixed addresses.
    Executable,
    /// `ET_DYN`: a shared library, or a position-independent program.
    Shared,
    /// `ET_CORE`: a core dump.
    Core,
    /// Any other value.
    Other(u16),
}

impl Ident {
    pub(super) fn of(header: &Header) -> Self {
        let field = |index| header.e_ident.get::<usize>(index).copied().unwrap_or(0);
        Self {
            class: if field(EI_CLASS) == ELFCLASS64 { Class::Elf64 } else { Class::Elf32 },
            endian: if field(EI_DATA) == ELFDATA2LSB { Endian::Little } else { Endian::Big },
            os_abi: field(EI_OSABI),
            machine: header.e_machine,
            kind: match header.e_type {
                ET_REL => ObjectKind::Relocatable,
                ET_EXEC => ObjectKind::Executable,
                ET_DYN => ObjectKind::Shared,
                ET_CORE => ObjectKind::Core,
                other => ObjectKind::Other(other),
            },
        }
    }

    /// The machine's usual name, such as `x86-64`; `unknown` for rare ones.
    #[must_use]
    pub fn machine_name(&self) -> &'static str {
        match self.machine {
            EM_386 => "i386",
            EM_X86_64 => "x86-64",
            EM_ARM => "arm",
            EM_AARCH64 => "aarch64",
            EM_PPC => "ppc",
            EM_PPC64 => "ppc64",
            EM_S390 => "s390",
            EM_RISCV => "riscv",
            EM_LOONGARCH => "loongarch",
            EM_CUDA => "cuda",
            _ => "unknown",
        }
    }

    /// Whether [`Elf`](super::Elf) reads such an object: 64-bit, little-endian, x86-64 or aarch64,
    /// and of an OS ABI that glibc loads (`elf/dl-load.c`, `open_verify`).
    #[must_use]
    pub fn is_supported(&self) -> bool {
        self.class == Class::Elf64
            && self.endian == Endian::Little
            && matches!(self.machine, EM_X86_64 | EM_AARCH64)
            && matches!(self.os_abi, ELFOSABI_NONE | ELFOSABI_GNU)
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.class {
            Class::Elf32 => "32-bit ",
            Class::Elf64 => "64-bit ",
        })?;
        if self.endian == Endian::Big {
            f.write_str("big-endian ")?;
        }
        match self.machine_name() {
            "unknown" => write!(f, "machine {}", self.machine)?,
            name => f.write_str(name)?,
        }
        match self.os_abi {
            ELFOSABI_NONE | ELFOSABI_GNU => Ok(()),
            other => write!(f, ", OS ABI {other}"),
        }
    }
}
