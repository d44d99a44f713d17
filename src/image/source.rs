//! The bytes of a blob in order: a part of a file as it is, or what a decompressor gives.
//!
//! Takes a part of an archive; gives bytes that can be read, skipped, and, where they lie in a file as they are, kept
//! by their place. Ends what expands beyond all measure.

use super::error::Fault;
use crate::host::Archive;
use flate2::bufread::MultiGzDecoder;
use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;
use std::sync::Arc;

/// The input of a decompressor.
const BUFFER: usize = 256 << 10;

/// What a blob may expand to, whatever its size: small archives of text expand the most.
const EXPANSION: u64 = 4 << 30;

/// How many times its size an archive may expand to. gzip reaches 1032, of zeros alone; layers 2 to 20.
const RATIO: u64 = 200;

/// The bytes that may still be unpacked, of all blobs of an image together.
#[derive(Debug, Clone)]
pub(super) struct Budget(Rc<Cell<u64>>);

impl Budget {
    /// That of files of this size.
    pub(super) fn of(size: u64) -> Self {
        Self(Rc::new(Cell::new(size.saturating_mul(RATIO).saturating_add(EXPANSION))))
    }

    /// More, for another file.
    pub(super) fn add(&self, size: u64) {
        self.0.set(self.0.get().saturating_add(size.saturating_mul(RATIO)));
    }

    fn take(&self, count: usize) -> io::Result<()> {
        match self.0.get().checked_sub(u64::try_from(count).unwrap_or(u64::MAX)) {
            Some(left) => self.0.set(left),
            None => return Err(io::Error::other(format!("it expands to more than {RATIO} times its size"))),
        }
        Ok(())
    }
}

/// Bytes in order.
pub(super) trait Source: Read {
    /// Passes over bytes; an end within them is an error.
    fn skip(&mut self, count: u64) -> io::Result<()>;

    /// The file and offset of the next bytes, where they lie in a file as they are.
    fn place(&self) -> Option<(Arc<Archive>, u64)> {
        None
    }
}

/// A part of a file.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) archive: Arc<Archive>,
    pub(super) at: u64,
    pub(super) end: u64,
}

impl Read for Part {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let most = bytes.len().min(left);
        let Some(bytes) = bytes.get_mut(..most) else { return Ok(0) };
        let count = self.archive.read_at(bytes, self.at)?;
        self.at = self.at.saturating_add(u64::try_from(count).unwrap_or_default());
        Ok(count)
    }
}

impl Source for Part {
    fn skip(&mut self, count: u64) -> io::Result<()> {
        match self.at.checked_add(count).filter(|&at| at <= self.end) {
            Some(at) => self.at = at,
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(())
    }

    fn place(&self) -> Option<(Arc<Archive>, u64)> {
        Some((Arc::clone(&self.archive), self.at))
    }
}

/// What a reader gives, bounded.
struct Stream<R> {
    reader: R,
    budget: Option<Budget>,
    scratch: Vec<u8>,
}

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(bytes)?;
        if let Some(budget) = &self.budget {
            budget.take(count)?;
        }
        Ok(count)
    }
}

impl<R: Read> Source for Stream<R> {
    fn skip(&mut self, mut count: u64) -> io::Result<()> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize(BUFFER, 0);
        while count > 0 {
            let most = usize::try_from(count).unwrap_or(usize::MAX).min(BUFFER);
            match self.read(scratch.get_mut(..most).unwrap_or_default())? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                passed => count = count.saturating_sub(u64::try_from(passed).unwrap_or_default()),
            }
        }
        self.scratch = scratch;
        Ok(())
    }
}

/// How bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    None,
    Gzip,
    Zstd,
}

/// The packing that the first bytes show.
fn packing(start: &[u8]) -> Packing {
    match start {
        [0x1f, 0x8b, ..] => Packing::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Packing::Zstd,
        // A frame to skip comes first where it was compressed in parallel, or for random access.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Packing::Zstd,
        _ => Packing::None,
    }
}

/// The unpacked bytes of a part.
pub(super) fn unpacked(part: Part, budget: &Budget) -> io::Result<Box<dyn Source>> {
    let mut start = [0; 4];
    let count = part.clone().read(&mut start)?;
    let packing = packing(start.get(..count).unwrap_or_default());
    if packing == Packing::None {
        return Ok(Box::new(part));
    }
    Ok(decompressed(BufReader::with_capacity(BUFFER, part), packing, budget.clone()))
}

/// The unpacked bytes of a blob within another stream.
pub(super) fn unpacked_stream<'s>(
    reader: impl Read + 's,
    budget: &Budget,
) -> io::Result<(Box<dyn Source + 's>, Vec<u8>)> {
    let mut reader = BufReader::with_capacity(BUFFER, reader);
    let start = reader.fill_buf()?.iter().take(4).copied().collect::<Vec<u8>>();
    let source: Box<dyn Source + 's> = match packing(&start) {
        Packing::None => Box::new(Stream { reader, budget: None, scratch: Vec::new() }),
        packing => decompressed(reader, packing, budget.clone()),
    };
    Ok((source, start))
}

fn decompressed<'s>(reader: impl BufRead + 's, packing: Packing, budget: Budget) -> Box<dyn Source + 's> {
    let budget = Some(budget);
    if packing == Packing::Zstd {
        return Box::new(Stream { reader: Zstd { reader, frame: None }, budget, scratch: Vec::new() });
    }
    Box::new(Stream { reader: MultiGzDecoder::new(reader), budget, scratch: Vec::new() })
}

/// The frames of a zstd stream, one after the other.
struct Zstd<R: BufRead> {
    reader: R,
    frame: Option<Box<ruzstd::decoding::FrameDecoder>>,
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        use ruzstd::decoding::BlockDecodingStrategy;
        if bytes.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(frame) = &mut self.frame {
                let count = frame.read(bytes)?;
                if count > 0 {
                    return Ok(count);
                }
                if !frame.is_finished() {
                    let most = BlockDecodingStrategy::UptoBytes(BUFFER);
                    frame.decode_blocks(&mut self.reader, most).map_err(|error| damaged(&error))?;
                    continue;
                }
                if frame.get_checksum_from_data().is_some_and(|sum| Some(sum) != frame.get_calculated_checksum()) {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "the checksum of a zstd frame is wrong"));
                }
                self.frame = None;
            }
            if self.reader.fill_buf()?.is_empty() {
                return Ok(0);
            }
            self.begin()?;
        }
    }
}

impl<R: BufRead> Zstd<R> {
    /// Begins the next frame.
    fn begin(&mut self) -> io::Result<()> {
        let mut magic = [0; 4];
        self.reader.read_exact(&mut magic)?;
        if matches!(magic, [0x50..=0x5f, 0x2a, 0x4d, 0x18]) {
            let mut size = [0; 4];
            self.reader.read_exact(&mut size)?;
            let size = u64::from(u32::from_le_bytes(size));
            let passed = io::copy(&mut self.reader.by_ref().take(size), &mut io::sink())?;
            return if passed == size { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        let mut frame = Box::new(ruzstd::decoding::FrameDecoder::new());
        let start = &magic[..];
        frame.init(start.chain(&mut self.reader)).map_err(|error| damaged(&error))?;
        self.frame = Some(frame);
        Ok(())
    }
}

fn damaged(error: &dyn std::error::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

/// Reads to the end, so that the checksum at the end of a stream is compared.
pub(super) fn drain(source: &mut dyn Source) -> Result<(), Fault> {
    if source.place().is_none() {
        io::copy(source, &mut io::sink())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::read::GzEncoder;

    #[test]
    fn what_expands_beyond_measure_is_refused() {
        let mut packed = Vec::new();
        GzEncoder::new(io::repeat(0).take(1 << 20), Compression::fast()).read_to_end(&mut packed).unwrap();
        let read = |left: u64| {
            let budget = Budget(Rc::new(Cell::new(left)));
            let (mut source, _) = unpacked_stream(&*packed, &budget).unwrap();
            source.skip(1 << 20).map_err(|error| error.to_string())
        };
        assert_eq!(read(1 << 20), Ok(()));
        assert_eq!(read((1 << 20) - 1), Err("it expands to more than 200 times its size".to_owned()));
        // One of another counts for both.
        let budget = Budget(Rc::new(Cell::new(1 << 20)));
        let twice = unpacked_stream(&*packed, &budget).unwrap().0.read_to_end(&mut Vec::new()).unwrap();
        assert_eq!((twice, budget.take(1).is_err()), (1 << 20, true));
    }

    #[test]
    fn frames_follow_each_other() {
        let frame = |text: &[u8]| ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest);
        let skipped = b"\x50\x2a\x4d\x18\x03\0\0\0abc".to_vec();
        let packed = [skipped.clone(), frame(b"one "), skipped, frame(b""), frame(b"two")].concat();
        let (mut source, _) = unpacked_stream(&*packed, &Budget::of(0)).unwrap();
        let mut text = String::new();
        source.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one two");
    }
}
