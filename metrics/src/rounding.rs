//! Truncation of doubles to few bits, so that many doubles become equal, and integer keys in the order of doubles.

/// The number with its mantissa truncated to `bits` bits.
pub(crate) fn rounded(number: f64, bits: u32) -> f64 {
    let cut = 52 - bits.min(52);
    f64::from_bits(number.to_bits() >> cut << cut)
}

/// An integer that orders numbers as [`f64::total_cmp`] does.
pub(crate) fn key(number: f64) -> u64 {
    let bits = number.to_bits();
    match bits >> 63 {
        0 => bits | (1 << 63),
        _ => !bits,
    }
}

/// The number of a key.
pub(crate) fn number(key: u64) -> f64 {
    f64::from_bits(match key >> 63 {
        1 => key & !(1 << 63),
        _ => !key,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_numbers_and_give_them_back() {
        let numbers = [
            f64::NEG_INFINITY,
            -2.5,
            -0.0,
            0.0,
            1e-300,
            0.5,
            1.0,
            f64::INFINITY,
        ];
        let keys = numbers.map(key);
        assert!(keys.is_sorted());
        assert_eq!(
            keys.map(number).map(f64::to_bits),
            numbers.map(f64::to_bits)
        );
        assert!(number(key(f64::NAN)).is_nan());
    }
}
