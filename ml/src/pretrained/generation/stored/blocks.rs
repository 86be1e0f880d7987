//! Blocks of 32 numbers with one scale, some also with a smallest number.
//!
//! ```text
//! q4_0  scale (f16), 16 bytes: the numbers 0 to 15 in the low halves, 16 to 31 in the high halves; the middle is 8
//! q4_1  scale, least (f16), 16 bytes
//! q5_0  scale, 32 fifth bits, 16 bytes; the middle is 16
//! q5_1  scale, least, 32 fifth bits, 16 bytes
//! q8_0  scale, 32 bytes
//! ```

use super::half::half;

/// The numbers of a block.
type Numbers = [f32; 32];

/// The value `of` each whole number in 16 bytes, `fifth` being their bits 4.
#[inline(always)]
fn write(bytes: &[u8], fifth: u32, to: &mut Numbers, of: impl Fn(f32) -> f32) {
    let (low, high) = to.split_at_mut(16);
    let halves = low.iter_mut().zip(high);
    for (place, ((low, high), byte)) in (0u32..).zip(halves.zip(bytes)) {
        let byte = u32::from(*byte);
        let bit = |place: u32| ((fifth >> place) & 1) << 4;
        *low = of(((byte & 15) | bit(place)) as f32);
        *high = of(((byte >> 4) | bit(place + 16)) as f32);
    }
}

#[inline(always)]
pub(super) fn q4_0(block: &[u8; 18], to: &mut Numbers) {
    let [s0, s1, bytes @ ..] = block;
    let scale = half([*s0, *s1]);
    write(bytes, 0, to, |whole| scale * (whole - 8.0));
}

#[inline(always)]
pub(super) fn q4_1(block: &[u8; 20], to: &mut Numbers) {
    let [s0, s1, l0, l1, bytes @ ..] = block;
    let (scale, least) = (half([*s0, *s1]), half([*l0, *l1]));
    write(bytes, 0, to, |whole| scale * whole + least);
}

#[inline(always)]
pub(super) fn q5_0(block: &[u8; 22], to: &mut Numbers) {
    let [s0, s1, f0, f1, f2, f3, bytes @ ..] = block;
    let scale = half([*s0, *s1]);
    let fifth = u32::from_le_bytes([*f0, *f1, *f2, *f3]);
    write(bytes, fifth, to, |whole| scale * (whole - 16.0));
}

#[inline(always)]
pub(super) fn q5_1(block: &[u8; 24], to: &mut Numbers) {
    let [s0, s1, l0, l1, f0, f1, f2, f3, bytes @ ..] = block;
    let (scale, least) = (half([*s0, *s1]), half([*l0, *l1]));
    let fifth = u32::from_le_bytes([*f0, *f1, *f2, *f3]);
    write(bytes, fifth, to, |whole| scale * whole + least);
}

#[inline(always)]
pub(super) fn q8_0(block: &[u8; 34], to: &mut Numbers) {
    let [s0, s1, bytes @ ..] = block;
    let scale = half([*s0, *s1]);
    for (to, byte) in to.iter_mut().zip(bytes) {
        *to = scale * f32::from(*byte as i8);
    }
}
