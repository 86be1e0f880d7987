//! The limits of what an assessment keeps.

/// The most scores or errors that are kept exactly. With more, areas under curves and medians come from rounded numbers.
pub const SCORES_MAX: usize = 1 << 22;
/// Bits of rounded scores with one ranking. With several rankings, scores have fewer bits, for the same total memory.
pub(super) const SCORE_BITS: u32 = 14;
/// The most exact scores between two roundings.
pub(super) const UNROUNDED_MAX: usize = 1 << 16;
