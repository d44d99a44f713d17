//! The members of a tar archive, in order.
//!
//! Takes bytes; gives each member with its names, kind, size and where its stored bytes begin. Reads ustar, GNU (long
//! names, sparse files) and PAX archives, as the readers of Docker and containerd do (`archive/tar` of Go). Every size
//! is bounded, and a damaged header ends it with an error.
//!
//! Not the crate `tar`: that reads a name of any length into memory, and no sparse files of PAX.
//!
//! The format: POSIX.1-2024, pax; <https://www.gnu.org/software/tar/manual/html_node/Standard.html>.

use super::error::Fault;
use super::source::Source;
use std::io::Read;

const BLOCK: usize = 512;

/// Longer than any path that Linux opens, and than any set of attributes.
const EXTENSION_LIMIT: u64 = 1 << 20;

/// More parts than any real sparse file.
const SPARSE_LIMIT: usize = 1 << 16;

/// More extensions in a row than any writer makes.
const EXTENSIONS: usize = 8;

/// The kind of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    HardLink,
    Link,
    Directory,
    Other,
}

/// A member.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) path: Vec<u8>,
    /// The target of a link.
    pub(super) link: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) mode: u16,
    /// The size of the file, holes included.
    pub(super) size: u64,
    /// The bytes that the archive holds of it.
    pub(super) stored: u64,
    /// The parts of a sparse file, by offset and size; `None`: it is stored whole.
    pub(super) parts: Option<Vec<(u64, u64)>>,
}

/// What extensions say about the next member.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    real: Option<u64>,
    parts: Option<Vec<(u64, u64)>>,
    /// The map stands before the data (`GNU.sparse.major` is 1).
    is_inside: bool,
}

/// The reader of an archive.
pub(super) struct Tar<'s> {
    source: &'s mut dyn Source,
    /// What is left of the member, and of its padding.
    left: u64,
    padding: u64,
    at: u64,
}

impl<'s> Tar<'s> {
    pub(super) fn new(source: &'s mut dyn Source) -> Self {
        Self { source, left: 0, padding: 0, at: 0 }
    }

    /// The next member; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Member>, Fault> {
        let mut extended = Extended::default();
        for _ in 0..=EXTENSIONS {
            self.source.skip(self.left.saturating_add(self.padding)).map_err(|error| self.cut(error))?;
            self.at = self.at.saturating_add(self.left).saturating_add(self.padding);
            (self.left, self.padding) = (0, 0);
            let Some(block) = self.block()? else { return Ok(None) };
            let kind = block.get(156).copied().unwrap_or_default();
            let size = self.number(&block, 124, 12)?;
            match kind {
                b'L' | b'K' | b'x' | b'g' | b'X' => {
                    self.holds(size)?;
                    if size > EXTENSION_LIMIT {
                        return Err(self.damaged("a name or an extension is longer than any"));
                    }
                    let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
                    self.read_exact(&mut bytes)?;
                    match kind {
                        b'L' => extended.path = Some(until_nul(&bytes).to_vec()),
                        b'K' => extended.link = Some(until_nul(&bytes).to_vec()),
                        // What holds for all members is times and comments.
                        b'g' => {}
                        _ => self.records(&bytes, &mut extended)?,
                    }
                }
                _ => return self.member(&block, kind, size, extended).map(Some),
            }
        }
        Err(self.damaged("extensions without a member"))
    }

    fn member(&mut self, block: &[u8; BLOCK], kind: u8, size: u64, mut extended: Extended) -> Result<Member, Fault> {
        let path = extended.path.take().unwrap_or_else(|| name_of(block));
        let link = extended.link.take().unwrap_or_else(|| until_nul(field(block, 157, 100)).to_vec());
        let mode = u16::try_from(self.number(block, 100, 8)? & 0o7777).unwrap_or_default();
        let mut stored = extended.size.unwrap_or(size);
        let kind = match kind {
            b'0' | 0 if path.ends_with(b"/") => Kind::Directory,
            b'0' | 0 | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Link,
            b'5' => Kind::Directory,
            _ => Kind::Other,
        };
        // Only files have bytes, whatever a header says (Go's `isHeaderOnly`); of an unknown kind they are passed over.
        if matches!(kind, Kind::HardLink | Kind::Link | Kind::Directory)
            || matches!(block.get(156), Some(b'3' | b'4' | b'6'))
        {
            stored = 0;
        }
        let mut member = Member { path, link, kind, mode, size: stored, stored, parts: None };
        if block.get(156) == Some(&b'S') {
            member.parts = Some(self.old_sparse(block)?);
            member.size = self.number(block, 483, 12)?;
        } else if let Some(parts) = extended.parts.take() {
            (member.parts, member.size) = (Some(parts), extended.real.unwrap_or(stored));
        }
        self.holds(stored)?;
        if extended.is_inside && kind == Kind::File {
            member.parts = Some(self.map_inside()?);
            (member.stored, member.size) = (self.left, extended.real.unwrap_or(stored));
        }
        if let Some(parts) = &member.parts {
            let mut end = 0;
            for (at, size) in parts {
                if *at < end {
                    return Err(self.damaged("the parts of a sparse file overlap"));
                }
                end = at.saturating_add(*size);
            }
            let held = parts.iter().fold(0_u64, |sum, (_, size)| sum.saturating_add(*size));
            if end > member.size || held > member.stored {
                return Err(self.damaged("the parts of a sparse file are larger than it"));
            }
        }
        Ok(member)
    }

    /// The rest of the member, to be read.
    pub(super) fn content(&mut self) -> Content<'_, 's> {
        Content(self)
    }

    /// Where the bytes of the member lie, if they lie in a file as they are.
    pub(super) fn source(&self) -> &dyn Source {
        self.source
    }

    /// A header; `None` at the end: two blocks of zeros, or the end of the bytes between members.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, Fault> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.source.read(block.get_mut(filled..).unwrap_or_default())? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(self.damaged("it ends within a header")),
                count => filled = filled.saturating_add(count),
            }
        }
        if block.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let sum = |signed: bool| {
            let value = |(at, &byte): (usize, &u8)| match byte {
                _ if (148..156).contains(&at) => 32,
                byte if signed => i64::from(byte.cast_signed()),
                byte => i64::from(byte),
            };
            block.iter().enumerate().map(value).sum::<i64>()
        };
        let stored = i64::try_from(self.number(&block, 148, 8)?).unwrap_or(-1);
        if stored != sum(false) && stored != sum(true) {
            return Err(self.damaged("the checksum of a header is wrong"));
        }
        self.at = self.at.saturating_add(512);
        Ok(Some(block))
    }

    /// The next bytes belong to a member.
    fn holds(&mut self, size: u64) -> Result<(), Fault> {
        if size > i64::MAX.cast_unsigned() {
            return Err(self.damaged("a member is larger than any file"));
        }
        (self.left, self.padding) = (size, size.wrapping_neg() % 512);
        Ok(())
    }

    fn read_exact(&mut self, bytes: &mut [u8]) -> Result<(), Fault> {
        self.content().read_exact(bytes).map_err(|error| self.cut(error))
    }

    /// A number of a header: octal, or, with the first bit set, binary.
    fn number(&self, block: &[u8], at: usize, size: usize) -> Result<u64, Fault> {
        let field = field(block, at, size);
        if let Some((first, rest)) = field.split_first().filter(|(first, _)| **first & 0x80 != 0) {
            let (high, low) = rest.split_at(rest.len().saturating_sub(8));
            if first & 0x7f != 0 || high.iter().any(|&byte| byte != 0) {
                return Err(self.damaged("a number of a header is out of range"));
            }
            return Ok(low.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)));
        }
        let digits = until_nul(field).trim_ascii();
        let number = std::str::from_utf8(digits).ok().and_then(|digits| match digits {
            "" => Some(0),
            digits => u64::from_str_radix(digits, 8).ok(),
        });
        number.ok_or_else(|| self.damaged("a number of a header is not one"))
    }

    /// The records of a PAX header: `LENGTH KEY=VALUE\n`.
    fn records(&self, mut bytes: &[u8], extended: &mut Extended) -> Result<(), Fault> {
        let wrong = || self.damaged("a record of an extended header is damaged");
        let mut offsets: Vec<u64> = Vec::new();
        while !bytes.is_empty() && bytes.iter().any(|&byte| byte != 0) {
            let blank = bytes.iter().take(20).position(|&byte| byte == b' ').ok_or_else(wrong)?;
            let length = decimal(bytes.get(..blank).unwrap_or_default()).ok_or_else(wrong)?;
            let length = usize::try_from(length).map_err(|_| wrong())?;
            let record = bytes.get(blank.saturating_add(1)..length).ok_or_else(wrong)?;
            let record = record.strip_suffix(b"\n").ok_or_else(wrong)?;
            let equals = record.iter().position(|&byte| byte == b'=').ok_or_else(wrong)?;
            let (key, value) = (record.get(..equals).unwrap_or_default(), record.get(equals + 1..).unwrap_or_default());
            bytes = bytes.get(length..).unwrap_or_default();
            let number = || decimal(value).ok_or_else(wrong);
            match key {
                b"path" | b"GNU.sparse.name" => extended.path = Some(until_nul(value).to_vec()),
                b"linkpath" => extended.link = Some(until_nul(value).to_vec()),
                b"size" => extended.size = Some(number()?),
                b"GNU.sparse.size" | b"GNU.sparse.realsize" => extended.real = Some(number()?),
                b"GNU.sparse.major" => extended.is_inside = value == b"1",
                b"GNU.sparse.offset" => offsets.push(number()?),
                b"GNU.sparse.numbytes" => {
                    let at = offsets.pop().ok_or_else(wrong)?;
                    extended.parts.get_or_insert_default().push((at, number()?));
                }
                b"GNU.sparse.map" => {
                    let numbers: Option<Vec<u64>> = value.split(|&byte| byte == b',').map(decimal).collect();
                    extended.parts = Some(pairs(&numbers.ok_or_else(wrong)?));
                }
                _ => {}
            }
        }
        if extended.parts.as_ref().is_some_and(|parts| parts.len() > SPARSE_LIMIT) {
            return Err(self.damaged("a sparse file has too many parts"));
        }
        Ok(())
    }

    /// The parts of a sparse file in GNU's own format: four in the header, 21 in each block after it.
    fn old_sparse(&mut self, block: &[u8; BLOCK]) -> Result<Vec<(u64, u64)>, Fault> {
        let mut parts = Vec::new();
        let mut add = |tar: &Self, block: &[u8], at: usize, count: usize| -> Result<usize, Fault> {
            for entry in 0..count {
                let at = at.saturating_add(entry.saturating_mul(24));
                if field(block, at, 1) == [0] {
                    break;
                }
                parts.push((tar.number(block, at, 12)?, tar.number(block, at.saturating_add(12), 12)?));
            }
            Ok(parts.len())
        };
        add(self, block, 386, 4)?;
        let mut goes_on = block.get(482).is_some_and(|&byte| byte != 0);
        while goes_on {
            let mut more = [0; BLOCK];
            self.source.read_exact(&mut more).map_err(|error| self.cut(error))?;
            self.at = self.at.saturating_add(512);
            if add(self, &more, 0, 21)? > SPARSE_LIMIT {
                return Err(self.damaged("a sparse file has too many parts"));
            }
            goes_on = more.get(504).is_some_and(|&byte| byte != 0);
        }
        Ok(parts)
    }

    /// The map before the data of a sparse file (PAX 1.0): a count, then offsets and sizes, each on a line, in whole
    /// blocks.
    fn map_inside(&mut self) -> Result<Vec<(u64, u64)>, Fault> {
        let (mut numbers, mut line, mut count) = (Vec::new(), Vec::new(), None::<usize>);
        while count.is_none_or(|count| numbers.len() < count) {
            let mut block = [0; BLOCK];
            self.read_exact(&mut block)?;
            for byte in block {
                if byte != b'\n' {
                    line.push(byte);
                    continue;
                }
                if count.is_some_and(|count| numbers.len() >= count) {
                    break;
                }
                let wrong = || self.damaged("the map of a sparse file is damaged");
                let number = decimal(&line).ok_or_else(wrong)?;
                line.clear();
                if count.is_some() {
                    numbers.push(number);
                } else {
                    let parts = usize::try_from(number).ok().filter(|&parts| parts <= SPARSE_LIMIT);
                    count = Some(parts.ok_or_else(|| self.damaged("a sparse file has too many parts"))? * 2);
                }
            }
            if line.len() > 20 && count.is_none_or(|count| numbers.len() < count) {
                return Err(self.damaged("the map of a sparse file is damaged"));
            }
        }
        Ok(pairs(&numbers))
    }

    fn damaged(&self, what: &'static str) -> Fault {
        Fault::Tar { at: self.at, what }
    }

    fn cut(&self, error: std::io::Error) -> Fault {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => self.damaged("it ends within a member"),
            _ => Fault::Io(error),
        }
    }
}

/// The bytes that an archive stores of a member.
pub(super) struct Content<'t, 's>(&'t mut Tar<'s>);

impl Read for Content<'_, '_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let most = usize::try_from(self.0.left).unwrap_or(usize::MAX).min(bytes.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.0.source.read(bytes.get_mut(..most).unwrap_or_default())?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let passed = u64::try_from(count).unwrap_or_default();
        self.0.left = self.0.left.saturating_sub(passed);
        self.0.at = self.0.at.saturating_add(passed);
        Ok(count)
    }
}

impl Source for Content<'_, '_> {
    fn skip(&mut self, count: u64) -> std::io::Result<()> {
        if count > self.0.left {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.0.source.skip(count)?;
        self.0.left = self.0.left.saturating_sub(count);
        self.0.at = self.0.at.saturating_add(count);
        Ok(())
    }
}

fn field(block: &[u8], at: usize, size: usize) -> &[u8] {
    block.get(at..at.saturating_add(size)).unwrap_or_default()
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// The name in a header: of ustar, behind its prefix.
fn name_of(block: &[u8]) -> Vec<u8> {
    let name = until_nul(field(block, 0, 100));
    let prefix = until_nul(field(block, 345, 155));
    // GNU's headers have times where ustar has the prefix.
    if field(block, 257, 6) == b"ustar\0" && !prefix.is_empty() {
        return [prefix, b"/", name].concat();
    }
    name.to_vec()
}

fn decimal(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn pairs(numbers: &[u64]) -> Vec<(u64, u64)> {
    numbers.chunks_exact(2).filter_map(|pair| Some((*pair.first()?, *pair.last()?))).collect()
}
