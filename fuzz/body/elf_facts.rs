//! Reads every fact of a file, whatever its bytes are.
//!
//! The body of the fuzz target, and of the property tests that stand in for it where no fuzzer is.
//! It must come back, without a panic; what it returns keeps the work from being optimised away.

use cudashim::internal::elf::{Elf, ident};

/// Uses each method of the reader on `bytes`; gives the number of things it found.
pub(crate) fn read_everything(bytes: &[u8]) -> usize {
    let mut found = match ident(bytes) {
        Ok(ident) => ident.to_string().len(),
        Err(error) => return error.to_string().len(),
    };
    let elf = match Elf::parse(bytes) {
        Ok(elf) => elf,
        Err(error) => return found + error.to_string().len(),
    };
    let said = [elf.interpreter(), elf.soname(), elf.rpath(), elf.runpath()];
    found += said.iter().flatten().chain(elf.needed()).map(|name| name.len()).sum::<usize>();
    found += elf.build_id().map_or(0, |id| id.to_string().len());
    let marks = [
        elf.is_dynamic(),
        elf.is_executable(),
        elf.truncated(),
        elf.nodeflib(),
        elf.noopen(),
        elf.static_tls(),
        elf.executable_stack(),
        elf.relr(),
        elf.text_relocations(),
        elf.tls().is_some_and(|tls| tls.size > tls.align),
    ];
    found += marks.iter().filter(|mark| **mark).count();
    found += (elf.flags() ^ elf.flags_1()).count_ones() as usize + format!("{elf:?}").len();

    found += elf.sections().iter().map(|section| section.name.len().min(section.bytes.len())).sum::<usize>();
    found += elf.segments().count() + elf.forward_compatibility().map_or(0, <[u8]>::len);
    found += elf.glibc_floor().map_or_else(|e| e.to_string().len(), |floor| floor.map_or(0, |f| f.to_string().len()));
    found += elf.symbol_counts().map_or_else(|e| e.to_string().len(), |counts| counts.defined + counts.undefined);

    found += elf.version_definitions().map_or_else(|e| e.to_string().len(), |all| all.len());
    found += usize::from(elf.is_versioned().unwrap_or_default());
    let needs = elf.version_needs();
    found += needs.map_or_else(|e| e.to_string().len(), |all| all.iter().map(|n| n.versions.len()).sum());

    match elf.undefined() {
        Ok(all) => {
            let asked = all.iter().map(|u| (u.name, u.version.map(|version| version.node)));
            found += elf.missing(asked).map_or_else(|e| e.to_string().len(), |all| all.len());
        }
        Err(error) => found += error.to_string().len(),
    }
    match elf.definitions() {
        Ok(all) => {
            for symbol in all {
                let answer = elf.lookup(symbol.name, symbol.node);
                assert_eq!(elf.defines(symbol.name, symbol.node), matches!(answer, Ok(Some(_))));
                found += usize::from(elf.defines(symbol.name, None));
                found += usize::from(elf.lookup_newest(symbol.name).is_ok());
                found += elf.code(symbol.name, 64).map_or(0, |code| code.map_or(0, |(_, code)| code.len()));
            }
        }
        Err(error) => found += error.to_string().len(),
    }
    for name in [b"".as_slice(), b"foo", b"nul\0inside", b"\xff\xfe"] {
        found += usize::from(elf.defines(name, None)) + usize::from(elf.defines(name, Some(name)));
    }
    found
}
