//! Sums over the elements of two vectors, in double precision and in one order: result bits depend on nothing but the vectors.

use super::length::length;

/// The sums that are computed beside each other, in registers that hold several numbers.
const LANES: usize = 8;
/// Squares outside of these have lost digits, or products of them would.
const EXACT: std::ops::Range<f64> = 1e-140..1e140;

/// A number of a vector.
pub trait Number: Copy + Into<f64> {}

impl Number for f32 {}
impl Number for f64 {}

/// Σ `term(left, right)` over two vectors of one length.
fn sum<L: Number, R: Number>(left: &[L], right: &[R], term: impl Fn(f64, f64) -> f64) -> f64 {
    let (left, left_rest) = left.as_chunks::<LANES>();
    let (right, right_rest) = right.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (left, right) in left.iter().zip(right) {
        for ((sum, left), right) in sums.iter_mut().zip(left).zip(right) {
            *sum += term((*left).into(), (*right).into());
        }
    }
    for ((sum, left), right) in sums.iter_mut().zip(left_rest).zip(right_rest) {
        *sum += term((*left).into(), (*right).into());
    }
    sums.iter().sum()
}

/// left · right of two vectors of one length.
pub fn dot(left: &[impl Number], right: &[impl Number]) -> f64 {
    sum(left, right, |left, right| left * right)
}

/// |left - right| of two vectors of one length.
pub fn distance(left: &[impl Number], right: &[impl Number]) -> f64 {
    let square = sum(left, right, |left, right| (left - right) * (left - right));
    if EXACT.contains(&square) {
        return square.sqrt();
    }
    let pairs = left.iter().zip(right);
    length(pairs.map(|(left, right)| {
        let (left, right): (f64, f64) = ((*left).into(), (*right).into());
        left - right
    }))
}

/// left · right / (|left| |right|) of two vectors of one length, from -1 to 1; `None` if one is all zeros.
pub fn cosine(left: &[impl Number], right: &[impl Number]) -> Option<f64> {
    cosine_of_squares((left, dot(left, left)), (right, dot(right, right)))
}

/// The same for vectors of which left · left and right · right are known.
pub(super) fn cosine_of_squares(
    (left, of_left): (&[impl Number], f64),
    (right, of_right): (&[impl Number], f64),
) -> Option<f64> {
    let cosine = match EXACT.contains(&of_left) && EXACT.contains(&of_right) {
        // The root of the product: of a vector and itself, the cosine is 1 and nothing beside it.
        true => dot(left, right) / (of_left * of_right).sqrt(),
        false => cosine_of_lengths(left, right)?,
    };
    Some(cosine.clamp(-1.0, 1.0))
}

/// The cosine of vectors whose squares overflow or underflow.
fn cosine_of_lengths(left: &[impl Number], right: &[impl Number]) -> Option<f64> {
    let of_left = length(left.iter().map(|x| (*x).into()));
    let of_right = length(right.iter().map(|x| (*x).into()));
    if of_left == 0.0 || of_right == 0.0 {
        return None;
    }
    // Divided first: the product of two long vectors could overflow.
    Some(sum(left, right, |left, right| {
        (left / of_left) * (right / of_right)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Vectors longer than one round of the lanes.
    #[test]
    fn long_vectors_are_summed_to_the_end() {
        let left: Vec<f32> = (0..21).map(|k| k as f32).collect();
        let right: Vec<f64> = (0..21).map(|k| 2.0 * f64::from(k) + 1.0).collect();
        // Σ k (2k + 1) and Σ (k + 1)² for k up to 20.
        assert_eq!(dot(&left, &right), 5_950.0);
        assert_eq!(distance(&left, &right), 3_311f64.sqrt());
        let cosine = cosine(&left, &right).unwrap();
        // Σ k² = 2,870 and Σ (2k + 1)² = 12,341.
        assert!((cosine - 5_950.0 / (2_870.0f64 * 12_341.0).sqrt()).abs() < 1e-15);
    }

    #[test]
    fn the_cosine_of_a_vector_and_itself_is_1() {
        // 97 divides all numbers of the next one.
        for seed in 1..97u32 {
            let vector: Vec<f32> = (1..40)
                .map(|k| ((seed * k * k) % 97) as f32 / 97.0)
                .collect();
            assert_eq!(cosine(&vector, &vector), Some(1.0), "{seed}");
        }
    }

    #[test]
    fn neither_large_nor_small_vectors_lose_their_cosine() {
        for scale in [1e-300, 1e-160, 1.0, 1e160, 1e300] {
            let (left, right) = ([3.0 * scale, 4.0 * scale], [4.0, 3.0]);
            let found = cosine(&left, &right).unwrap();
            assert!((found - 0.96).abs() < 1e-15, "{scale}: {found}");
            let found = distance(&left, &[0.0, 0.0]);
            assert!((found / scale - 5.0).abs() < 1e-14, "{scale}: {found}");
        }
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 2.0]), None);
        assert!(cosine(&[f64::NAN], &[1.0]).unwrap().is_nan());
    }
}
