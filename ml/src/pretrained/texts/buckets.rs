//! [`bucket`]: distances between tokens in buckets, which are wider the farther the tokens are from each other.
//!
//! Raffel et al., "Exploring the limits of transfer learning with a unified text-to-text transformer", 2020, section 2.1.

/// The number of buckets.
pub(crate) const BUCKETS: usize = 32;
/// The buckets of one side.
const OF_SIDE: u32 = BUCKETS as u32 / 2;
/// The distances of one side that have a bucket of their own.
const ALONE: u32 = OF_SIDE / 2;
/// From this distance on, all are in one bucket.
const DISTANCE_MAX: f64 = 128.0;

/// The bucket of a distance: the position of a key less that of its query.
pub(crate) fn bucket(distance: i64) -> u32 {
    // Keys behind their query are in the second half.
    let side = if distance > 0 { OF_SIDE } else { 0 };
    let far = distance.unsigned_abs();
    if far < u64::from(ALONE) {
        return side + far as u32;
    }
    let alone = f64::from(ALONE);
    let part = (far as f64 / alone).ln() / (DISTANCE_MAX / alone).ln();
    // What is a whole number must not be a little less than it.
    let further = (part * f64::from(OF_SIDE - ALONE) + 1e-9) as u32;
    side + (ALONE + further).min(OF_SIDE - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_transformers() {
        // `MPNetEncoder.relative_position_bucket` of transformers 5.24.
        for (distance, expected) in [
            (-200, 15),
            (-64, 14),
            (-33, 12),
            (-16, 10),
            (-8, 8),
            (-7, 7),
            (0, 0),
            (1, 17),
            (7, 23),
            (8, 24),
            (12, 25),
            (16, 26),
            (32, 28),
            (64, 30),
            (91, 31),
            (500, 31),
        ] {
            assert_eq!(bucket(distance), expected, "{distance}");
        }
    }
}
