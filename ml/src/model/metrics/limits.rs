//! The limits of what an assessment keeps.

/// The most scores or errors that are kept exactly. With more, areas under curves and medians come from rounded numbers.
pub const SCORES_MAX: usize = 1 << 22;
/// Bits of rounded scores with one ranking.
const SCORE_BITS: u32 = 14;
const SCORE_BITS_MIN: u32 = 3;
/// The most exact scores between two roundings.
pub(super) const UNROUNDED_MAX: usize = 1 << 16;

/// The number of bits to which scores are rounded with this many rankings, or errors with this many lists of errors: fewer with
/// more of them, for the same total memory.
pub(super) fn score_bits(rankings: usize) -> u32 {
    SCORE_BITS
        .saturating_sub(rankings.max(1).ilog2())
        .max(SCORE_BITS_MIN)
}
