//! MD5 (RFC 1321), for dpkg records nothing stronger. It finds accidents, not attacks.

/// Left rotations of the four rounds.
const ROTATIONS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// The digest of `bytes`.
pub(super) fn digest(bytes: &[u8]) -> [u8; 16] {
    let mut state = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    let constants = constants();
    let (blocks, rest) = bytes.as_chunks::<64>();
    for block in blocks {
        state = mix(state, block, &constants);
    }
    let mut tail = rest.to_vec();
    tail.push(0x80);
    while tail.len() % 64 != 56 {
        tail.push(0);
    }
    let bits = u64::try_from(bytes.len()).unwrap_or_default().wrapping_mul(8);
    tail.extend(bits.to_le_bytes());
    for block in tail.as_chunks::<64>().0 {
        state = mix(state, block, &constants);
    }
    let mut out = [0; 16];
    for (to, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *to = word.to_le_bytes();
    }
    out
}

/// The integer parts of 2³² × |sin i|.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // It is below 2³² and not negative.
fn constants() -> [u32; 64] {
    let mut constants = [0; 64];
    let mut at = 0.0_f64;
    for constant in &mut constants {
        at += 1.0;
        *constant = (at.sin().abs() * 4_294_967_296.0) as u32;
    }
    constants
}

fn mix(state: [u32; 4], block: &[u8; 64], constants: &[u32; 64]) -> [u32; 4] {
    let mut words = [0; 16];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    // The four words of the state, which the RFC calls a, b, c and d.
    let mut now = state;
    for (step, constant) in constants.iter().enumerate() {
        let [first, b, c, d] = now;
        let (value, word) = match step / 16 {
            0 => ((b & c) | (!b & d), step),
            1 => ((d & b) | (!d & c), 5 * step + 1),
            2 => (b ^ c ^ d, 3 * step + 5),
            _ => (c ^ (b | !d), 7 * step),
        };
        let sum = first.wrapping_add(value).wrapping_add(*constant).wrapping_add(words[word % 16]);
        let rotated = b.wrapping_add(sum.rotate_left(ROTATIONS[step / 16 % 4][step % 4]));
        now = [d, rotated, b, c];
    }
    for (word, before) in now.iter_mut().zip(state) {
        *word = word.wrapping_add(before);
    }
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test suite of RFC 1321, §A.5, and lengths round a block's edge.
    #[test]
    fn known_digests() {
        let hex = |bytes: &[u8]| digest(bytes).map(|byte| format!("{byte:02x}")).concat();
        let cases = [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("a", "0cc175b9c0f1b6a831c399e269772661"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "57edf4a22be3c955ac49da2e2107b67a",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(hex(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(hex(&[b'a'; 64]), "014842d480b571495a4a0363793f7367");
        assert_eq!(hex(&[b'a'; 56]), "3b0c8ac703f828b04c6c197006d17218");
    }
}
