//! Blocks of 256 numbers: 16 parts of 16 numbers or 8 parts of 32, whose own scales are whole numbers with a common scale.
//!
//! ```text
//! q2  16 bytes: scale and least of each part, 4 bits each; 64 bytes of numbers; scale, scale of the least (f16)
//! q3  32 bytes of third bits; 64 bytes of numbers; 12 bytes of scales, 6 bits each; scale
//! q4  scale, scale of the least; 12 bytes: scale and least of each part, 6 bits each; 128 bytes of numbers
//! q5  scale, scale of the least; 12 bytes; 32 bytes of fifth bits; 128 bytes of numbers
//! q6  128 bytes of numbers; 64 bytes of their fifth and sixth bits; 16 scales (i8); scale
//! ```
//! 32 bytes of numbers hold 128 numbers of 2 bits, the first 32 in the lowest bits, or 64 numbers of 4 bits. In q6, 64 bytes hold
//! 128 numbers of 4 bits.

use super::half::half;

/// The numbers of a block.
type Numbers = [f32; 256];

/// The piece of `LENGTH` bytes that begins at `start`.
#[inline(always)]
fn piece<const LENGTH: usize>(block: &[u8], start: usize) -> &[u8; LENGTH] {
    let pieces = block[start..start + LENGTH].as_chunks::<LENGTH>().0;
    &pieces[0]
}

/// The scale in two bytes.
#[inline(always)]
fn scale(block: &[u8], start: usize) -> f32 {
    half(*piece(block, start))
}

#[inline(always)]
pub(super) fn q2(block: &[u8; 84], to: &mut Numbers) {
    let parts: &[u8; 16] = piece(block, 0);
    let (factor, least) = (scale(block, 80), scale(block, 82));
    for (part, to) in to.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let factor = factor * f32::from(parts[part] & 15);
        let least = least * f32::from(parts[part] >> 4);
        let bytes: &[u8; 16] = piece(block, 16 + two_bits(part));
        let shift = part / 2 % 4 * 2;
        for (to, byte) in to.iter_mut().zip(bytes) {
            *to = factor * f32::from((byte >> shift) & 3) - least;
        }
    }
}

/// Where the bytes of a part of 16 numbers begin among those of numbers of 2 bits.
#[inline(always)]
fn two_bits(part: usize) -> usize {
    part / 8 * 32 + part % 2 * 16
}

#[inline(always)]
pub(super) fn q3(block: &[u8; 110], to: &mut Numbers) {
    let packed: &[u8; 12] = piece(block, 96);
    let factor = scale(block, 108);
    for (part, to) in to.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let low = (packed[part % 8] >> (part / 8 * 4)) & 15;
        let high = (packed[8 + part % 4] >> (part / 4 * 2)) & 3;
        let factor = factor * (f32::from(low | (high << 4)) - 32.0);
        let bytes: &[u8; 16] = piece(block, 32 + two_bits(part));
        let third: &[u8; 16] = piece(block, part % 2 * 16);
        let (shift, bit) = (part / 2 % 4 * 2, part / 2);
        for (to, (byte, third)) in to.iter_mut().zip(bytes.iter().zip(third)) {
            let whole = ((byte >> shift) & 3) | (((third >> bit) & 1) << 2);
            *to = factor * (f32::from(whole) - 4.0);
        }
    }
}

/// The scale and the least of each of 8 parts, whole numbers of 6 bits in 12 bytes.
#[inline(always)]
fn scales_and_leasts(packed: &[u8; 12]) -> [(u8, u8); 8] {
    std::array::from_fn(|part| match part {
        0..4 => (packed[part] & 63, packed[part + 4] & 63),
        _ => {
            let both = packed[part + 4];
            let scale = (both & 15) | ((packed[part - 4] >> 2) & 48);
            let least = (both >> 4) | ((packed[part] >> 2) & 48);
            (scale, least)
        }
    })
}

/// Blocks of 4 bits, and of 5 if `fifth` has the other bits.
#[inline(always)]
fn write(head: &[u8; 16], fifth: &[u8; 32], bytes: &[u8; 128], to: &mut Numbers) {
    let (factor, least) = (scale(head, 0), scale(head, 2));
    let parts = scales_and_leasts(piece(head, 4));
    for (part, to) in to.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let factor = factor * f32::from(parts[part].0);
        let least = least * f32::from(parts[part].1);
        let bytes: &[u8; 32] = piece(bytes, part / 2 * 32);
        let shift = part % 2 * 4;
        for (to, (byte, fifth)) in to.iter_mut().zip(bytes.iter().zip(fifth)) {
            let whole = ((byte >> shift) & 15) | (((fifth >> part) & 1) << 4);
            *to = factor * f32::from(whole) - least;
        }
    }
}

#[inline(always)]
pub(super) fn q4(block: &[u8; 144], to: &mut Numbers) {
    write(piece(block, 0), &[0; 32], piece(block, 16), to);
}

#[inline(always)]
pub(super) fn q5(block: &[u8; 176], to: &mut Numbers) {
    write(piece(block, 0), piece(block, 16), piece(block, 48), to);
}

#[inline(always)]
pub(super) fn q6(block: &[u8; 210], to: &mut Numbers) {
    let parts: &[u8; 16] = piece(block, 192);
    let factor = scale(block, 208);
    for (part, to) in to.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let factor = factor * f32::from(parts[part] as i8);
        // A half of 128 numbers: 64 in the low bits of its bytes, 64 in the high bits.
        let low: &[u8; 16] = piece(block, part / 8 * 64 + part % 4 * 16);
        let high: &[u8; 16] = piece(block, 128 + two_bits(part));
        let (shift, pair) = (part / 4 % 2 * 4, part / 2 % 4 * 2);
        for (to, (low, high)) in to.iter_mut().zip(low.iter().zip(high)) {
            let whole = ((low >> shift) & 15) | (((high >> pair) & 3) << 4);
            *to = factor * (f32::from(whole) - 32.0);
        }
    }
}
