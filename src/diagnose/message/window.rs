//! The beginning and the end of a text of any length.
//!
//! Takes bytes piece by piece; keeps the first and the last of them, and drops the middle.

/// Bytes kept of the beginning: the first error of a chain comes early.
pub(crate) const HEAD: usize = 1 << 20;

/// Bytes kept of the end: the last output of a program.
pub(crate) const TAIL: usize = 4 << 20;

/// The kept parts of a text.
#[derive(Debug, Clone, Default)]
pub struct Window {
    head: Vec<u8>,
    /// Up to twice the kept length, so that moving it is cheap.
    tail: Vec<u8>,
    skipped: u64,
}

impl Window {
    /// The kept bytes of the beginning, and of the end.
    pub const LIMITS: (u64, u64) = (HEAD as u64, TAIL as u64);

    /// An empty window.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        let room = HEAD.saturating_sub(self.head.len()).min(piece.len());
        let (first, rest) = piece.split_at(room);
        self.head.extend_from_slice(first);
        let over = rest.len().saturating_sub(TAIL);
        let (gone, kept) = rest.split_at(over);
        if over > 0 {
            self.forget(self.tail.len());
        }
        self.skipped = self.skipped.saturating_add(gone.len() as u64);
        self.tail.extend_from_slice(kept);
        if self.tail.len() > 2 * TAIL {
            self.forget(self.tail.len() - TAIL);
        }
    }

    /// Counts bytes that nothing read.
    pub fn skip(&mut self, count: u64) {
        self.skipped = self.skipped.saturating_add(count);
    }

    fn forget(&mut self, count: usize) {
        self.tail.drain(..count);
        self.skipped = self.skipped.saturating_add(count as u64);
    }

    /// The kept text; a line break replaces the dropped part.
    #[must_use]
    pub fn text(mut self) -> Vec<u8> {
        if self.tail.len() > TAIL {
            self.forget(self.tail.len() - TAIL);
        }
        if self.skipped > 0 {
            self.head.push(b'\n');
        }
        self.head.append(&mut self.tail);
        self.head
    }

    /// The number of dropped and unread bytes. [`Window::text`] may leave out some more.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped.saturating_add(self.tail.len().saturating_sub(TAIL) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_kept() {
        for size in [1, 1000, HEAD, 3 * TAIL] {
            let total = HEAD + 5 * TAIL;
            let bytes: Vec<u8> = (0..total).map(|at| b"0123456789abcdef"[(at / 7) % 16]).collect();
            // Only the beginning is processed byte by byte.
            let bytes = if size == 1 { &bytes[..HEAD / 8] } else { &bytes };
            let mut window = Window::new();
            for piece in bytes.chunks(size) {
                window.push(piece);
                assert!(window.head.len() + window.tail.len() <= HEAD + 2 * TAIL + size.min(TAIL));
            }
            let whole = bytes.len() <= HEAD + TAIL;
            assert_eq!(window.skipped(), if whole { 0 } else { (bytes.len() - HEAD - TAIL) as u64 });
            let expected =
                if whole { bytes.to_vec() } else { [&bytes[..HEAD], b"\n", &bytes[bytes.len() - TAIL..]].concat() };
            assert!(window.text() == expected, "{size}");
        }
    }
}
