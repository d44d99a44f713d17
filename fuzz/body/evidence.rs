//! Asks a file for all that speaks for its release, and for its GPU code, whatever its bytes are.
//!
//! The body of the fuzz target, and of the property tests that stand in for it where no fuzzer is.

use cudashim::internal::elf::Elf;
use cudashim::internal::elf::fatbin::FatBinaries;
use cudashim::internal::inventory::{flags, observe};

/// Sonames of libraries that are asked in different ways: by functions, texts, symbols, all of them.
const SONAMES: [&str; 6] =
    ["libnvrtc.so.12", "libcudnn_graph.so.9", "libnccl.so.2", "libcudart.so.12", "libcusolver.so.11", "odd\u{301}.so"];

/// Looks for evidence and GPU code in `bytes`; gives the number of things it found.
pub(crate) fn look_for_everything(bytes: &[u8]) -> usize {
    let read = FatBinaries::read(bytes);
    let mut searched = FatBinaries::default();
    searched.search(bytes);
    // A region that stands alone is found either way.
    assert!(read.damage.is_some() || searched.regions >= read.regions);
    let mut found = read.cubins.len() + read.ptx.len() + usize::from(searched.is_empty());

    let Ok(elf) = Elf::parse(bytes) else { return found };
    for soname in SONAMES {
        let (evidence, searched) = observe(&elf, soname);
        found += evidence.iter().map(|one| one.says.len()).sum::<usize>() + usize::from(searched > 0);
    }
    for is_runtime in [false, true] {
        found += flags(&elf, is_runtime).map_or_else(|error| error.to_string().len(), |flags| flags.needs.len());
    }
    found
}
