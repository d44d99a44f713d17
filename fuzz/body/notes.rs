//! Reads the notes of an object that has nothing else, and compares with the `object` crate.
//!
//! The body of the fuzz target, and of the test that goes through `seeds` and `findings`.

use cudashim::internal::elf::Elf;
use object::LittleEndian as Le;
use object::elf::{FileHeader64, NT_GNU_BUILD_ID};
use object::read::elf::NoteIterator;

/// Takes the first byte as the alignment of the notes that follow.
pub(crate) fn run(bytes: &[u8]) {
    let Some((&first, notes)) = bytes.split_first() else { return };
    let align = if first % 2 == 0 { 4 } else { 8 };
    let file = object_of(notes, align);
    let elf = Elf::parse(&file).expect("the headers are sound");
    let build_id = elf.build_id().map(|id| id.as_bytes());
    let vendor = elf.forward_compatibility();

    // The other reader ends at what is damaged, as ours does: what stands before it counts.
    let mut walk = NoteIterator::<FileHeader64<Le>>::new(Le, align, notes).expect("a known alignment");
    let mut others = Vec::new();
    while let Ok(Some(note)) = walk.next() {
        others.push((note.name_bytes(), note.n_type(Le), note.desc()));
    }
    let expected = others.iter().find(|note| note.0 == b"GNU\0" && note.1 == NT_GNU_BUILD_ID).map(|note| note.2);
    assert_eq!(build_id, expected.filter(|desc| !desc.is_empty()));
    let expected = others.iter().find(|note| note.0 == b"NVIDIA Corporation\0").map(|note| note.2);
    let text = expected.and_then(|desc| desc.get(..=desc.iter().rposition(|byte| *byte != 0)?));
    assert_eq!(vendor, text.filter(|text| text.starts_with(b"{")));
}

/// A header, one `PT_NOTE`, the notes.
fn object_of(notes: &[u8], align: u64) -> Vec<u8> {
    let machine: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([3_u16, machine].map(u16::to_le_bytes).concat());
    file.extend(1_u32.to_le_bytes());
    file.extend([0_u64, 64, 0].map(u64::to_le_bytes).concat());
    file.extend(0_u32.to_le_bytes());
    file.extend([64_u16, 56, 1, 64, 0, 0].map(u16::to_le_bytes).concat());
    file.extend([4_u32, 4].map(u32::to_le_bytes).concat());
    let size = notes.len() as u64;
    file.extend([120, 120, 120, size, size, align].map(u64::to_le_bytes).concat());
    file.extend(notes);
    file
}
