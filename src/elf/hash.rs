//! The two hash tables of dynamic symbols.
//!
//! Takes the bytes at `DT_GNU_HASH` or `DT_HASH`; returns the candidates for a name, in ld.so's order, and the number
//! of symbols, which no other field records. Works in place and allocates nothing.

use super::error::{ElfError, Kind};
use super::image::{Chunk, to_usize};

/// The GNU hash table (`elf/dl-setup_hash.c`): a Bloom filter, buckets and chains of hash values.
pub(super) struct GnuHash<'a> {
    bloom: Chunk<'a>,
    bloom_mask: u32,
    shift: u32,
    buckets: Chunk<'a>,
    bucket_count: u32,
    chains: Chunk<'a>,
    first: u32,
    end: Option<u32>,
}

impl<'a> GnuHash<'a> {
    /// Checks the table's extent once, so that each look-up is short.
    pub(super) fn parse(chunk: Chunk<'a>) -> Result<Self, ElfError> {
        let field = |index| chunk.u32_at(index).ok_or(chunk.out_of_bounds());
        let (bucket_count, first, bloom_words, shift) = (field(0)?, field(1)?, field(2)?, field(3)?);
        if !bloom_words.is_power_of_two() {
            return Err(chunk.malformed("the Bloom filter's size is not a power of two"));
        }
        let words = to_usize(bloom_words.into());
        let bloom = chunk.after(4, WORD)?.entries(words, BLOOM_WORD)?;
        let after_bloom = chunk.after(4, WORD)?.after(words, BLOOM_WORD)?;
        let buckets = after_bloom.entries(to_usize(bucket_count.into()), WORD)?;
        let chains = after_bloom.after(to_usize(bucket_count.into()), WORD)?;

        let mut table = Self {
            bloom,
            bloom_mask: bloom_words.wrapping_sub(1),
            shift,
            buckets,
            bucket_count,
            chains,
            first,
            end: None,
        };
        table.end = table.find_end()?;
        if let Some(end) = table.end {
            // No chain reaches past the last one's end mark.
            let count = to_usize(end.saturating_sub(first).into());
            table.chains = chains.entries(count, WORD)?;
        }
        Ok(table)
    }

    /// The index of the first hashed symbol.
    pub(super) const fn first(&self) -> u32 {
        self.first
    }

    /// The number of symbols of the object; `None` where no symbol is hashed.
    pub(super) const fn end(&self) -> Option<u32> {
        self.end
    }

    /// Symbols whose hash is `hash`.
    pub(super) fn candidates(&self, hash: u32) -> Result<Candidates<'_>, ElfError> {
        let start = if self.may_hold(hash) { self.bucket(hash)? } else { 0 };
        let state = match start.checked_sub(self.first) {
            Some(link) if start != 0 => State::Gnu { chains: &self.chains, link, hash, first: self.first },
            _ => State::Done,
        };
        Ok(Candidates(state))
    }

    fn may_hold(&self, hash: u32) -> bool {
        let word = self.bloom.u64_at(to_usize(((hash >> 6) & self.bloom_mask).into())).unwrap_or(0);
        // Shifts by 64 and more cannot occur: both amounts have six bits.
        let second = hash.checked_shr(self.shift).unwrap_or(0);
        (word >> (hash & 63)) & (word >> (second & 63)) & 1 != 0
    }

    fn bucket(&self, hash: u32) -> Result<u32, ElfError> {
        let Some(index) = hash.checked_rem(self.bucket_count) else {
            return Ok(0);
        };
        let symbol = self.buckets.u32_at(to_usize(index.into())).unwrap_or(0);
        if symbol != 0 && symbol < self.first {
            return Err(self.buckets.malformed("a bucket begins below the first hashed symbol"));
        }
        Ok(symbol)
    }

    /// One past the last symbol: where the chain of the highest bucket ends.
    fn find_end(&self) -> Result<Option<u32>, ElfError> {
        let highest = words(&self.buckets).max().unwrap_or(0);
        if highest == 0 {
            return Ok(None);
        }
        let Some(link) = highest.checked_sub(self.first) else {
            return Err(self.buckets.malformed("a bucket begins below the first hashed symbol"));
        };
        let chain = self.chains.after(to_usize(link.into()), WORD)?;
        words(&chain)
            .position(|word| word & 1 == 1)
            .and_then(|length| highest.checked_add(u32::try_from(length).ok()?)?.checked_add(1))
            .map(Some)
            .ok_or(ElfError::new(chain.table, chain.at, Kind::TooShort))
    }
}

/// The System V hash table of the gABI: buckets and chains of symbol indices.
pub(super) struct SysvHash<'a> {
    buckets: Chunk<'a>,
    bucket_count: u32,
    chains: Chunk<'a>,
    count: u32,
}

impl<'a> SysvHash<'a> {
    pub(super) fn parse(chunk: Chunk<'a>) -> Result<Self, ElfError> {
        let field = |index| chunk.u32_at(index).ok_or(chunk.out_of_bounds());
        let (bucket_count, count) = (field(0)?, field(1)?);
        let buckets = to_usize(bucket_count.into());
        Ok(Self {
            buckets: chunk.after(2, WORD)?.entries(buckets, WORD)?,
            bucket_count,
            chains: chunk.after(2, WORD)?.after(buckets, WORD)?.entries(to_usize(count.into()), WORD)?,
            count,
        })
    }

    /// The number of symbols of the object, `nchain`.
    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    /// Symbols in the bucket of `name`.
    pub(super) fn candidates(&self, name: &[u8]) -> Candidates<'_> {
        let Some(index) = sysv_hash(name).checked_rem(self.bucket_count) else {
            return Candidates(State::Done);
        };
        let symbol = self.buckets.u32_at(to_usize(index.into())).unwrap_or(0);
        Candidates(State::Sysv { chains: &self.chains, symbol, left: self.count })
    }
}

/// The symbols to compare with a name, in ld.so's order.
pub(super) struct Candidates<'t>(State<'t>);

enum State<'t> {
    Gnu { chains: &'t Chunk<'t>, link: u32, hash: u32, first: u32 },
    Sysv { chains: &'t Chunk<'t>, symbol: u32, left: u32 },
    Done,
}

impl Candidates<'_> {
    pub(super) const fn none() -> Self {
        Self(State::Done)
    }

    /// The next symbol's index; `None` at the end of the chain, and ever after.
    pub(super) fn next(&mut self) -> Result<Option<usize>, ElfError> {
        match &mut self.0 {
            State::Gnu { chains, link, hash, first } => loop {
                let index = to_usize((*link).into());
                let Some(word) = chains.u32_at(index) else {
                    let error = ElfError::out_of_bounds(chains.table, chains.at);
                    self.0 = State::Done;
                    return Err(error);
                };
                let symbol = to_usize(u64::from(*link).saturating_add((*first).into()));
                let (matches, last) = ((word ^ *hash) >> 1 == 0, word & 1 == 1);
                *link = link.saturating_add(1);
                if last {
                    self.0 = State::Done;
                    return Ok(matches.then_some(symbol));
                }
                if matches {
                    return Ok(Some(symbol));
                }
            },
            State::Sysv { symbol: 0, .. } | State::Done => Ok(None),
            State::Sysv { chains, symbol, left } => {
                let found = to_usize((*symbol).into());
                let next = chains.u32_at(found);
                match (next, left.checked_sub(1)) {
                    (Some(next), Some(fewer)) => {
                        (*symbol, *left) = (next, fewer);
                        Ok(Some(found))
                    }
                    (None, _) => {
                        let error = ElfError::out_of_bounds(chains.table, chains.at);
                        self.0 = State::Done;
                        Err(error)
                    }
                    // More links than symbols: the chain is circular.
                    (_, None) => {
                        let error = chains.malformed("a chain without an end");
                        self.0 = State::Done;
                        Err(error)
                    }
                }
            }
        }
    }
}

/// `_dl_new_hash` of glibc (`sysdeps/generic/dl-new-hash.h`), on bytes: names need not be UTF-8.
pub(super) fn gnu_hash(name: &[u8]) -> u32 {
    name.iter().fold(5381, |hash: u32, &byte| hash.wrapping_mul(33).wrapping_add(byte.into()))
}

/// The hash function of the gABI, also used for versions.
pub(super) fn sysv_hash(name: &[u8]) -> u32 {
    name.iter().fold(0, |hash: u32, &byte| {
        let hash = (hash << 4).wrapping_add(byte.into());
        (hash ^ ((hash >> 24) & 0xf0)) & 0x0fff_ffff
    })
}

fn words(chunk: &Chunk<'_>) -> impl Iterator<Item = u32> {
    chunk.bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word))
}

/// Size of a number in both tables.
const WORD: usize = 4;
/// Size of a word of the Bloom filter, in a 64-bit object.
const BLOOM_WORD: usize = 8;

#[cfg(test)]
mod tests {
    use super::{gnu_hash, sysv_hash};

    /// Values from tables that GNU ld wrote.
    #[test]
    fn hash_functions_agree_with_the_link_editor() {
        assert_eq!(gnu_hash(b""), 5381);
        assert_eq!(gnu_hash(b"printf"), 0x156b_2bb8);
        assert_eq!(sysv_hash(b""), 0);
        assert_eq!(sysv_hash(b"printf"), 0x077_905a6);
        assert_eq!(sysv_hash(b"GLIBC_2.2.5"), 0x0969_1a75);
        assert_eq!(sysv_hash(b"GLIBC_2.34"), 0x0696_91b4);
    }
}
