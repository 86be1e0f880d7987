//! [`runs`]: the levels of a page of Parquet, which are runs of one level and groups of eight levels in bits: "RLE/Bit-Packing Hybrid" in
//! the specification (<https://github.com/apache/parquet-format/blob/master/Encodings.md>). The decoder of the crate parquet is not
//! public, and its readers of columns give each level by itself.

/// Calls `each` with a level and how often it follows, until these are `count` levels of `width` bits: 1, 2, 4 or 8. `None` if the
/// bytes end before, or once `each` gives it.
pub(super) fn runs(
    bytes: &[u8],
    width: usize,
    count: usize,
    mut each: impl FnMut(u8, usize) -> Option<()>,
) -> Option<()> {
    let (mut rest, mut left) = (bytes, count);
    while left > 0 {
        let (header, after) = number(rest)?;
        let length = usize::try_from(header >> 1).ok()?;
        if length == 0 {
            return None;
        }
        let levels = match header & 1 {
            0 => {
                let (level, after) = after.split_first()?;
                let levels = length.min(left);
                each(*level, levels)?;
                rest = after;
                levels
            }
            _ => {
                // The last group may be cut off behind its last level.
                let groups = length.checked_mul(width)?.min(after.len());
                let (groups, after) = after.split_at(groups);
                let levels = length.checked_mul(8)?.min(left);
                packed(groups, width, levels, &mut each)?;
                rest = after;
                levels
            }
        };
        left -= levels;
    }
    Some(())
}

/// The levels in groups of bits.
fn packed(
    groups: &[u8],
    width: usize,
    levels: usize,
    mut each: impl FnMut(u8, usize) -> Option<()>,
) -> Option<()> {
    let mask = u8::MAX >> (8 - width);
    for level in 0..levels {
        let bit = level * width;
        let byte = groups.get(bit / 8)?;
        each((byte >> (bit % 8)) & mask, 1)?;
    }
    Some(())
}

/// A number in bytes of seven bits, the lowest first, and the bytes behind it.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (at, byte) in bytes.iter().take(9).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(bytes: &[u8], width: usize, count: usize) -> Option<Vec<(u8, usize)>> {
        let mut found = Vec::new();
        runs(bytes, width, count, |level, times| {
            found.push((level, times));
            Some(())
        })?;
        Some(found)
    }

    // The bytes of the examples are those of "Encodings.md" of the format.
    #[test]
    fn runs_and_groups_follow_each_other() {
        // A run of 200 times 3, whose length has two bytes: 200 << 1 = 0b11_0010000.
        assert_eq!(levels(&[0x90, 0x03, 3], 2, 200), Some(vec![(3, 200)]));
        // A group of eight levels 0, 1, 1, 1, 1, 1, 1, 1, and a run of four times 1.
        let list = [0x03, 0b1111_1110, 0x08, 1];
        let mut expected = vec![(0, 1)];
        expected.extend([(1, 1); 7]);
        expected.push((1, 4));
        assert_eq!(levels(&list, 1, 12), Some(expected));
        // Levels of two bits: 3, 2, 1, 0 and four more.
        let found = levels(&[0x03, 0b0001_1011, 0xff], 2, 5).unwrap();
        assert_eq!(found, [(3, 1), (2, 1), (1, 1), (0, 1), (3, 1)]);
        // A run that is longer than the page.
        assert_eq!(levels(&[0x90, 0x03, 3], 2, 7), Some(vec![(3, 7)]));
        assert_eq!(levels(&[], 2, 0), Some(vec![]));
    }

    #[test]
    fn damaged_bytes_have_no_levels() {
        for bytes in [
            &[][..],
            &[0x90],
            &[0x90, 0x03],
            &[0x00, 1],
            &[0x05, 0xff],
            &[0xff; 12],
        ] {
            assert_eq!(levels(bytes, 2, 16), None, "{bytes:?}");
        }
        assert_eq!(runs(&[0x90, 0x03, 3], 2, 200, |_, _| None), None);
    }
}
