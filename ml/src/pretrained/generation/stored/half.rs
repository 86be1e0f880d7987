//! Numbers of 16 bits as f32.

/// The number that 16 bits stand for: the upper half of an f32.
#[inline(always)]
pub(super) fn brain(bytes: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}

/// The number that 16 bits stand for, as IEEE 754 has them.
#[inline(always)]
pub(super) fn half(bytes: [u8; 2]) -> f32 {
    /// 2^112: the difference of the exponents' biases.
    const SHIFT: f32 = f32::from_bits(0x7780_0000);
    let bits = u32::from(u16::from_le_bytes(bytes));
    let sign = (bits & 0x8000) << 16;
    let magnitude = f32::from_bits((bits & 0x7FFF) << 13) * SHIFT;
    // The largest exponent stands for infinity and NaN.
    let special = match bits & 0x7C00 == 0x7C00 {
        true => 0x7F80_0000,
        false => 0,
    };
    f32::from_bits(magnitude.to_bits() | special | sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_those_of_ieee_754() {
        for (bits, expected) in [
            (0x0000u16, 0.0),
            (0x3C00, 1.0),
            (0xC000, -2.0),
            (0x7BFF, 65_504.0),
            (0x0400, 2f32.powi(-14)),
            (0x0001, 2f32.powi(-24)),
            (0x83FF, -1_023.0 * 2f32.powi(-24)),
            (0x7C00, f32::INFINITY),
            (0xFC00, f32::NEG_INFINITY),
        ] {
            assert_eq!(half(bits.to_le_bytes()), expected, "{bits:x}");
        }
        assert!(half(0x7E01u16.to_le_bytes()).is_nan());
        assert_eq!(half(0x8000u16.to_le_bytes()).to_bits(), 0x8000_0000);
    }

    #[test]
    fn brain_floats_are_upper_halves() {
        assert_eq!(brain(0x3FC0u16.to_le_bytes()), 1.5);
        assert_eq!(brain(0xC000u16.to_le_bytes()), -2.0);
    }
}
