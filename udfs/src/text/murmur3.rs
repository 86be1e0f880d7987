//! MurmurHash3 of 32 bits with seed 0, which scikit-learn's `FeatureHasher` takes for the numbers of words.
//!
//! Austin Appleby's function `MurmurHash3_x86_32` is in the public domain.

/// The hash of bytes.
pub(super) fn murmur3(bytes: &[u8]) -> u32 {
    let mut hash = 0_u32;
    let (blocks, rest) = bytes.as_chunks::<4>();
    for block in blocks {
        hash ^= scrambled(*block);
        hash = hash
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64);
    }
    if !rest.is_empty() {
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        hash ^= scrambled(last);
    }
    // The function counts bytes modulo 2^32.
    mixed(hash ^ bytes.len() as u32)
}

fn scrambled(block: [u8; 4]) -> u32 {
    u32::from_le_bytes(block)
        .wrapping_mul(0xcc9e_2d51)
        .rotate_left(15)
        .wrapping_mul(0x1b87_3593)
}

fn mixed(mut hash: u32) -> u32 {
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::murmur3;

    /// The numbers of `sklearn.utils.murmurhash3_32(text, seed=0, positive=True)`, of texts of every length modulo 4.
    #[test]
    fn hashes_are_those_of_scikit_learn() {
        for (text, hash) in [
            ("", 0),
            ("a", 1_009_084_850),
            ("it", 2_126_841_918),
            ("not", 572_399_988),
            ("good", 115_441_729),
            ("awful", 2_862_605_585),
            ("not bad", 1_610_904_436),
            ("don't", 1_355_513_161),
            ("straße", 2_095_602_437),
            ("the film was not bad at all", 1_913_759_793),
        ] {
            assert_eq!(murmur3(text.as_bytes()), hash, "{text}");
        }
    }
}
