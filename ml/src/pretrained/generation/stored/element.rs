//! [`Element`]: a type of numbers in a file, and its numbers as f32.
//!
//! The layouts of the blocks are those of GGUF: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use super::half::{brain, half};
use super::{blocks, k_blocks};
use crate::simd::simd_fn;

/// A type of numbers. All but the first three are blocks of small whole numbers with common scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

impl Element {
    /// Every type with its name and its number in GGUF.
    const ALL: [(Self, &'static str, u32); 13] = [
        (Self::F32, "F32", 0),
        (Self::F16, "F16", 1),
        (Self::Q4_0, "Q4_0", 2),
        (Self::Q4_1, "Q4_1", 3),
        (Self::Q5_0, "Q5_0", 6),
        (Self::Q5_1, "Q5_1", 7),
        (Self::Q8_0, "Q8_0", 8),
        (Self::Q2K, "Q2_K", 10),
        (Self::Q3K, "Q3_K", 11),
        (Self::Q4K, "Q4_K", 12),
        (Self::Q5K, "Q5_K", 13),
        (Self::Q6K, "Q6_K", 14),
        (Self::BF16, "BF16", 30),
    ];

    /// The type of this number in GGUF.
    pub(crate) fn of_gguf(number: u32) -> Option<Self> {
        let mut all = Self::ALL.iter();
        let found = all.find(|(_, _, known)| *known == number);
        found.map(|(element, _, _)| *element)
    }

    /// The names of all types.
    pub(crate) fn names() -> String {
        Self::ALL.map(|(_, name, _)| name).join(", ")
    }

    /// The numbers and the bytes of a block.
    pub(crate) fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::BF16 => (1, 2),
            Self::Q4_0 => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q8_0 => (32, 34),
            Self::Q2K => (256, 84),
            Self::Q3K => (256, 110),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
        }
    }

    /// The bytes of so many numbers; `None` if they are no whole blocks.
    pub(crate) fn bytes(self, numbers: usize) -> Option<usize> {
        let (of_block, bytes) = self.block();
        match numbers.is_multiple_of(of_block) {
            true => (numbers / of_block).checked_mul(bytes),
            false => None,
        }
    }
}

simd_fn! {
    /// Writes the numbers of whole blocks.
    pub(super) fn decode<'a>(element: Element, bytes: &'a [u8], to: &'a mut [f32]) {
        match element {
            Element::F32 => each::<4, 1>(bytes, to, |bytes, to| to[0] = f32::from_le_bytes(*bytes)),
            Element::F16 => each::<2, 1>(bytes, to, |bytes, to| to[0] = half(*bytes)),
            Element::BF16 => each::<2, 1>(bytes, to, |bytes, to| to[0] = brain(*bytes)),
            Element::Q4_0 => each::<18, 32>(bytes, to, blocks::q4_0),
            Element::Q4_1 => each::<20, 32>(bytes, to, blocks::q4_1),
            Element::Q5_0 => each::<22, 32>(bytes, to, blocks::q5_0),
            Element::Q5_1 => each::<24, 32>(bytes, to, blocks::q5_1),
            Element::Q8_0 => each::<34, 32>(bytes, to, blocks::q8_0),
            Element::Q2K => each::<84, 256>(bytes, to, k_blocks::q2),
            Element::Q3K => each::<110, 256>(bytes, to, k_blocks::q3),
            Element::Q4K => each::<144, 256>(bytes, to, k_blocks::q4),
            Element::Q5K => each::<176, 256>(bytes, to, k_blocks::q5),
            Element::Q6K => each::<210, 256>(bytes, to, k_blocks::q6),
        }
    }
}

/// Each block of `BYTES` bytes as `NUMBERS` numbers.
#[inline(always)]
fn each<const BYTES: usize, const NUMBERS: usize>(
    bytes: &[u8],
    to: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [f32; NUMBERS]),
) {
    let blocks = bytes.as_chunks::<BYTES>().0.iter();
    let numbers = to.as_chunks_mut::<NUMBERS>().0.iter_mut();
    blocks
        .zip(numbers)
        .for_each(|(block, to)| decode(block, to));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Blocks {
        bytes: Vec<u8>,
        numbers: Vec<f32>,
    }

    /// Random blocks, and their numbers by the Python package `gguf` (`tests/it/fixtures/generation.py`).
    #[test]
    fn numbers_of_blocks_are_those_of_gguf() {
        let fixture = include_str!("../../../../tests/it/fixtures/blocks.json");
        let fixture: BTreeMap<String, Blocks> = serde_json::from_str(fixture).unwrap();
        assert_eq!(fixture.len(), Element::ALL.len());
        for (element, name, number) in Element::ALL {
            assert_eq!(Element::of_gguf(number), Some(element));
            let Blocks { bytes, numbers } = &fixture[name];
            assert_eq!(element.bytes(numbers.len()), Some(bytes.len()), "{name}");
            let mut found = vec![0.0; numbers.len()];
            decode(element, bytes, &mut found);
            for (found, expected) in found.iter().zip(numbers) {
                let error = (found - expected).abs();
                assert!(
                    error <= 1e-6 * expected.abs(),
                    "{name}: {found}, expected {expected}"
                );
            }
        }
    }

    #[test]
    fn numbers_that_are_no_whole_blocks_have_no_bytes() {
        assert_eq!(Element::Q4_0.bytes(33), None);
        assert_eq!(Element::Q6K.bytes(128), None);
        assert_eq!(Element::Q4K.bytes(512), Some(288));
        assert_eq!(Element::F32.bytes(usize::MAX), None);
    }
}
