//! What is kept of a packed file: its bytes without the code for GPUs.
//!
//! Takes the bytes of a member in order; writes them to a spool, at the offsets they have in the file. The payloads in
//! fat binaries, most of a CUDA library, stay holes: only their headers are ever read (`elf/fatbin.rs` has the format).

use super::error::Fault;
use super::source::Source;
use crate::host::{Archive, Content};
use memchr::memmem::Finder;
use std::io::{self, Read};
use std::sync::Arc;

/// The magic number of a fat binary, and the sizes of the headers of a region and an entry.
const MAGIC: [u8; 4] = [0x50, 0xed, 0x55, 0xba];
const REGION: usize = 16;
const ENTRY: usize = 64;

/// Larger than any header of an entry.
const HEAD_LIMIT: usize = 4096;

/// What is read at once.
const BUFFER: usize = 1 << 20;

/// A file is kept at a page, so that a hole in it is a hole on the disk.
const PAGE: u64 = 4096;

/// A file that is no ELF file is kept up to this size: records of packages have one.
const TEXT_LIMIT: u64 = 4 << 20;

/// The largest file that is kept, and what is kept of one image.
const FILE_LIMIT: u64 = 64 << 30;
const SPOOL_LIMIT: u64 = 16 << 30;

/// The files that are kept of an image.
#[derive(Debug)]
pub(super) struct Spool {
    archive: Option<Arc<Archive>>,
    end: u64,
    written: u64,
    buffer: Vec<u8>,
}

impl Spool {
    pub(super) fn new() -> Self {
        Self { archive: None, end: 0, written: 0, buffer: Vec::new() }
    }

    /// Keeps a file of this size, stored in these parts.
    pub(super) fn keep(&mut self, from: &mut dyn Source, size: u64, parts: &[(u64, u64)]) -> Result<Content, Fault> {
        let nothing = Content { size, bytes: None };
        if size == 0 || size > FILE_LIMIT {
            return Ok(nothing);
        }
        let mut start = [0; 4];
        let first = parts.first().filter(|(at, size)| *at == 0 && *size >= 4);
        if first.is_some() {
            from.read_exact(&mut start)?;
        }
        let is_elf = start == *b"\x7fELF";
        if !is_elf && size > TEXT_LIMIT {
            return Ok(nothing);
        }
        let at = self.end;
        self.end = at.saturating_add(size).next_multiple_of(PAGE);
        let archive = match &self.archive {
            Some(archive) => Arc::clone(archive),
            None => Arc::clone(self.archive.insert(Archive::spool().map_err(|error| cannot_write(&error))?)),
        };
        archive.extend(self.end).map_err(|error| cannot_write(&error))?;
        let mut buffer = std::mem::take(&mut self.buffer);
        for (index, (offset, size)) in parts.iter().enumerate() {
            let begun: &[u8] = if index == 0 && first.is_some() { &start } else { &[] };
            let at = at.saturating_add(*offset);
            let left = size.saturating_sub(u64::try_from(begun.len()).unwrap_or_default());
            buffer.clear();
            buffer.extend_from_slice(begun);
            Copy { spool: self, archive: &archive, at, left, from, buffer: &mut buffer, done: 0 }.run(is_elf)?;
        }
        self.buffer = buffer;
        Ok(Content { size, bytes: Some((archive, at)) })
    }
}

/// The copy of one part.
struct Copy<'c> {
    spool: &'c mut Spool,
    archive: &'c Archive,
    /// The offset in the spool of what is next in the buffer.
    at: u64,
    /// What is not read yet.
    left: u64,
    from: &'c mut dyn Source,
    buffer: &'c mut Vec<u8>,
    /// What of the buffer is behind.
    done: usize,
}

impl Copy<'_> {
    fn run(&mut self, is_elf: bool) -> Result<(), Fault> {
        let finder = Finder::new(&MAGIC);
        // Behind the magic number that was looked at last.
        let mut seen = 0;
        loop {
            self.fill()?;
            let found = is_elf.then(|| finder.find(self.next().get(seen..).unwrap_or_default())).flatten();
            match found {
                Some(next) => {
                    self.put(seen.saturating_add(next))?;
                    seen = self.region()?;
                }
                None if self.left == 0 => return self.put(self.next().len()),
                None => {
                    // The magic number may lie across the end.
                    self.put(self.next().len().saturating_sub(MAGIC.len() - 1))?;
                    seen = 0;
                }
            }
        }
    }

    /// Passes over the region of a fat binary that begins here; gives the number of bytes that are no start of one.
    fn region(&mut self) -> Result<usize, Fault> {
        self.fill()?;
        let head = self.next().get(..REGION).unwrap_or_default();
        let head_size = usize::try_from(number(head, 6, 2)).unwrap_or_default();
        let mut left = number(head, 8, 8);
        let whole = left.checked_add(number(head, 6, 2)).is_some_and(|size| size <= self.ahead());
        if number(head, 4, 2) != 1 || head_size < REGION || !whole {
            return Ok(MAGIC.len());
        }
        self.put(head_size)?;
        while left > 0 {
            self.fill()?;
            let head = self.next().get(..ENTRY).unwrap_or_default();
            let (head_size, payload) = (number(head, 4, 4), number(head, 8, 8));
            let size = head_size.checked_add(payload).filter(|&size| size <= left);
            let is_header = |size: &usize| (ENTRY..=HEAD_LIMIT).contains(size);
            let head_size = usize::try_from(head_size).ok().filter(is_header);
            let (Some(size), Some(head_size)) = (size, head_size) else { return Ok(0) };
            self.put(head_size)?;
            self.pass(payload)?;
            left = left.saturating_sub(size);
        }
        Ok(0)
    }

    /// What is left of the part, with what is in the buffer.
    fn ahead(&self) -> u64 {
        self.left.saturating_add(u64::try_from(self.next().len()).unwrap_or_default())
    }

    /// What is in the buffer.
    fn next(&self) -> &[u8] {
        self.buffer.get(self.done..).unwrap_or_default()
    }

    /// Reads on, unless a whole header is in the buffer.
    fn fill(&mut self) -> Result<(), Fault> {
        if self.next().len() > HEAD_LIMIT || self.left == 0 {
            return Ok(());
        }
        self.buffer.drain(..self.done);
        self.done = 0;
        let most = u64::try_from(BUFFER.saturating_sub(self.buffer.len())).unwrap_or_default().min(self.left);
        let count = Read::take(&mut *self.from, most).read_to_end(self.buffer)?;
        let count = u64::try_from(count).unwrap_or_default();
        if count < most {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        self.left = self.left.saturating_sub(count);
        Ok(())
    }

    /// Writes the first bytes of the buffer; zeros stay a hole.
    fn put(&mut self, count: usize) -> Result<(), Fault> {
        let bytes = self.buffer.get(self.done..).unwrap_or_default();
        let bytes = bytes.get(..count).unwrap_or(bytes);
        let count = bytes.len();
        let size = u64::try_from(count).unwrap_or_default();
        if bytes.iter().any(|&byte| byte != 0) {
            self.spool.written = self.spool.written.saturating_add(size);
            if self.spool.written > SPOOL_LIMIT {
                let limit = SPOOL_LIMIT >> 30;
                return Err(Fault::Limit(format!("its packed programs and libraries have more than {limit} GiB")));
            }
            self.archive.write_at(bytes, self.at).map_err(|error| cannot_write(&error))?;
        }
        self.done = self.done.saturating_add(count);
        self.at = self.at.saturating_add(size);
        Ok(())
    }

    /// Leaves a hole.
    fn pass(&mut self, count: u64) -> Result<(), Fault> {
        let here = usize::try_from(count).unwrap_or(usize::MAX).min(self.next().len());
        self.done = self.done.saturating_add(here);
        let rest = count.saturating_sub(u64::try_from(here).unwrap_or_default());
        self.from.skip(rest)?;
        self.left = self.left.saturating_sub(rest);
        self.at = self.at.saturating_add(count);
        Ok(())
    }
}

fn cannot_write(error: &io::Error) -> Fault {
    let dir = std::env::temp_dir();
    let says = format!("cannot keep a file in `{}`: {error}", dir.display());
    Fault::Io(io::Error::new(error.kind(), says))
}

/// A number of `size` bytes, the least first; 0 behind the end.
fn number(bytes: &[u8], at: usize, size: usize) -> u64 {
    let bytes = bytes.get(at..at.saturating_add(size)).unwrap_or_default();
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}
