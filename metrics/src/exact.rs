//! [`ExactSum`]: a sum of doubles without rounding, so the result does not depend on the order or the grouping of the
//! terms.
//!
//! The sum is an integer in units of 2⁻¹⁰⁸⁸, which divide every double, in digits of 32 bits: a superaccumulator as
//! in Neal, "Fast exact summation using small and large superaccumulators", 2015. Doubles can reach 67 digits; the sum
//! stores only the digits between the lowest and the highest that a term has touched: usually three to six.

/// Bits of a digit.
const DIGIT: u32 = 32;
const DIGIT_MASK: i64 = (1 << DIGIT) - 1;
/// The exponent of the unit.
const UNIT: i32 = -1088;
/// Additions after which the digits are normalised to below 2³².
const ADDITIONS_MAX: u32 = 1 << 29;

/// An exact sum of doubles.
#[derive(Debug, Clone, Default)]
pub struct ExactSum {
    /// The position of the first (lowest) digit.
    first: i32,
    /// Each digit weighs 2³² times the digit before it. Sign and size are arbitrary until normalisation.
    digits: Vec<i64>,
    additions: u32,
    /// The sum of the terms that are not finite: NaN or an infinity.
    not_finite: Option<f64>,
}

impl ExactSum {
    /// Adds a term.
    pub fn add(&mut self, term: f64) {
        if !term.is_finite() {
            self.add_not_finite(term);
            return;
        }
        let bits = term.to_bits();
        let (exponent, fraction) = ((bits >> 52) as i32 & 0x7ff, bits & ((1 << 52) - 1));
        // Subnormal numbers have the exponent of the smallest normal numbers and no implicit leading bit.
        let (mantissa, exponent) = match exponent {
            0 => (fraction, 1),
            _ => (fraction | (1 << 52), exponent),
        };
        if mantissa == 0 {
            return;
        }
        let shift = exponent - 1075 - UNIT;
        let (place, offset) = (shift / DIGIT as i32, shift % DIGIT as i32);
        let shifted = u128::from(mantissa) << offset;
        let sign = if term < 0.0 { -1 } else { 1 };
        let at = self.reach(place, 3);
        for (digit, number) in self.digits[at..at + 3].iter_mut().zip(0..) {
            *digit += sign * ((shifted >> (DIGIT * number)) as i64 & DIGIT_MASK);
        }
        self.additions += 1;
        if self.additions >= ADDITIONS_MAX {
            self.normalise();
        }
    }

    /// Adds the square of a number. The square is exact if it is at least 2⁻⁹⁶⁹; a smaller square loses its last digits.
    pub fn add_square(&mut self, number: f64) {
        let square = number * number;
        self.add(square);
        if square.is_finite() {
            self.add(number.mul_add(number, -square));
        }
    }

    /// Adds the terms of another sum.
    pub fn merge(&mut self, other: &Self) {
        if let Some(term) = other.not_finite {
            self.add_not_finite(term);
        }
        let mut other = other.clone();
        other.normalise();
        self.normalise();
        let at = self.reach(other.first, other.digits.len());
        let digits = self.digits[at..].iter_mut().zip(&other.digits);
        digits.for_each(|(ours, theirs)| *ours += theirs);
        self.additions = 2;
    }

    /// The sum, rounded once; a subnormal result may be rounded twice.
    pub fn value(&self) -> f64 {
        if let Some(value) = self.not_finite {
            return value;
        }
        let (is_negative, first, digits) = self.magnitude();
        let Some((&top, _)) = digits.split_last() else {
            return 0.0;
        };
        let count = digits.len();
        let digit = |from_top: usize| match from_top < count {
            true => u128::from(digits[count - 1 - from_top]),
            false => 0,
        };
        let leading = (u128::from(top) << 64) | (digit(1) << 32) | digit(2);
        // The digits that are cut off break the tie between two equally distant doubles.
        let has_rest = digits[..count.saturating_sub(3)]
            .iter()
            .any(|digit| *digit > 0);
        let leading = (leading | u128::from(has_rest)) as f64;
        let exponent = (first + count as i32 - 3) * DIGIT as i32 + UNIT;
        let half = exponent / 2;
        let value = leading * 2f64.powi(half) * 2f64.powi(exponent - half);
        if is_negative { -value } else { value }
    }

    /// The product of two sums, exactly.
    #[must_use]
    pub fn times(&self, other: &Self) -> Self {
        if self.not_finite.is_some() || other.not_finite.is_some() {
            let not_finite = Some(self.value() * other.value());
            return Self {
                not_finite,
                ..Self::default()
            };
        }
        let (ours_negative, ours_first, ours) = self.magnitude();
        let (theirs_negative, theirs_first, theirs) = other.magnitude();
        let mut product = vec![0u32; ours.len() + theirs.len()];
        for (place, &digit) in ours.iter().enumerate() {
            let mut carry = 0u64;
            for (sum, &other) in product[place..].iter_mut().zip(theirs.iter().chain([&0])) {
                let value = u64::from(digit) * u64::from(other) + u64::from(*sum) + carry;
                *sum = value as u32;
                carry = value >> DIGIT;
            }
        }
        let sign = if ours_negative == theirs_negative {
            1
        } else {
            -1
        };
        Self {
            // The unit of the product is the square of the unit.
            first: ours_first + theirs_first + UNIT / DIGIT as i32,
            digits: product
                .into_iter()
                .map(|digit| sign * i64::from(digit))
                .collect(),
            additions: 1,
            not_finite: None,
        }
    }

    /// The difference of two sums, exactly.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut negated = other.clone();
        negated.digits.iter_mut().for_each(|digit| *digit = -*digit);
        negated.not_finite = other.not_finite.map(|value| -value);
        let mut difference = self.clone();
        difference.merge(&negated);
        difference
    }

    /// The sum as bytes, for another process.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut sum = self.clone();
        sum.normalise();
        let mut bytes = Vec::with_capacity(13 + sum.digits.len() * 8);
        bytes.push(u8::from(sum.not_finite.is_some()));
        bytes.extend(sum.not_finite.unwrap_or(0.0).to_le_bytes());
        bytes.extend(sum.first.to_le_bytes());
        sum.digits
            .iter()
            .for_each(|digit| bytes.extend(digit.to_le_bytes()));
        bytes
    }

    /// Reads the bytes of [`Self::to_bytes`]; `None` if their length is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&has_value, rest) = bytes.split_first()?;
        let (value, rest) = rest.split_first_chunk::<8>()?;
        let (first, rest) = rest.split_first_chunk::<4>()?;
        let (digits, []) = rest.as_chunks::<8>() else {
            return None;
        };
        Some(Self {
            first: i32::from_le_bytes(*first),
            digits: digits
                .iter()
                .map(|digit| i64::from_le_bytes(*digit))
                .collect(),
            additions: 1,
            not_finite: (has_value != 0).then_some(f64::from_le_bytes(*value)),
        })
    }

    /// Heap memory in bytes.
    pub fn bytes(&self) -> usize {
        self.digits.capacity() * size_of::<i64>()
    }

    fn add_not_finite(&mut self, term: f64) {
        self.not_finite = Some(self.not_finite.unwrap_or(0.0) + term);
    }

    /// Makes room for `count` digits from position `place` on and returns the index of the first of them.
    fn reach(&mut self, place: i32, count: usize) -> usize {
        if self.digits.is_empty() {
            self.first = place;
        }
        if place < self.first {
            let missing = (self.first - place) as usize;
            self.digits.splice(..0, std::iter::repeat_n(0, missing));
            self.first = place;
        }
        let at = (place - self.first) as usize;
        if at + count > self.digits.len() {
            self.digits.resize(at + count, 0);
        }
        at
    }

    /// Brings all digits into 0..2³² except the last, which carries the sign.
    fn normalise(&mut self) {
        let mut carry = 0;
        let Some((last, digits)) = self.digits.split_last_mut() else {
            return;
        };
        for digit in digits {
            let value = *digit + carry;
            *digit = value & DIGIT_MASK;
            carry = value >> DIGIT;
        }
        *last += carry;
        while let Some(&last) = self.digits.last()
            && !(-DIGIT_MASK..=DIGIT_MASK).contains(&last)
        {
            let at = self.digits.len() - 1;
            self.digits[at] = last & DIGIT_MASK;
            self.digits.push(last >> DIGIT);
        }
        self.additions = 1;
    }

    /// Whether the sum is negative, the position of its first digit, and its digits. The last digit is not zero.
    fn magnitude(&self) -> (bool, i32, Vec<u32>) {
        let mut sum = self.clone();
        sum.normalise();
        let is_negative = |sum: &Self| {
            let leading = sum.digits.iter().rev().find(|digit| **digit != 0);
            leading.is_some_and(|digit| *digit < 0)
        };
        let negative = is_negative(&sum);
        if negative {
            sum.digits.iter_mut().for_each(|digit| *digit = -*digit);
            sum.normalise();
        }
        let digits = sum.digits.iter().map(|digit| *digit as u32);
        let mut digits: Vec<u32> = digits.collect();
        while digits.last() == Some(&0) {
            digits.pop();
        }
        (negative, sum.first, digits)
    }
}

/// Sums are equal if their values are equal, whatever their digits.
impl PartialEq for ExactSum {
    fn eq(&self, other: &Self) -> bool {
        self.not_finite.map(f64::to_bits) == other.not_finite.map(f64::to_bits)
            && self.minus(other).magnitude().2.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(terms: &[f64]) -> ExactSum {
        let mut sum = ExactSum::default();
        terms.iter().for_each(|term| sum.add(*term));
        sum
    }

    /// Reproducible pseudo-random numbers.
    fn numbers(count: usize) -> Vec<f64> {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let one = |_| {
            let exponent = (next() % 200) as i32 - 100;
            let mantissa = next() as f64 / u64::MAX as f64 - 0.5;
            mantissa * 2f64.powi(exponent)
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn nothing_is_lost() {
        assert_eq!(sum(&[1e16, 1.0, -1e16]).value(), 1.0);
        assert_eq!(sum(&[1e300, 1e-300, -1e300]).value(), 1e-300);
        assert_eq!(sum(&[f64::MAX, f64::MAX, -f64::MAX]).value(), f64::MAX);
        let least = f64::from_bits(1);
        assert_eq!(sum(&[least, least]).value(), 2.0 * least);
        assert_eq!(sum(&[-0.1; 10]).value(), -1.0);
        assert_eq!(sum(&[]).value(), 0.0);
        assert_eq!(sum(&[1.0, 2f64.powi(-53)]).value(), 1.0);
        let above_half = [1.0, 2f64.powi(-53), 2f64.powi(-200)];
        assert_eq!(sum(&above_half).value(), 1.0 + f64::EPSILON);
    }

    #[test]
    fn the_order_of_terms_and_of_merges_does_not_show() {
        let terms = numbers(10_000);
        let whole = sum(&terms);
        let mut reversed = terms.clone();
        reversed.reverse();
        assert_eq!(sum(&reversed).value().to_bits(), whole.value().to_bits());
        for parts in [2, 7, 1_000] {
            let mut merged = ExactSum::default();
            for part in terms.chunks(terms.len() / parts).rev() {
                let bytes = sum(part).to_bytes();
                merged.merge(&ExactSum::from_bytes(&bytes).unwrap());
            }
            assert_eq!(merged.value().to_bits(), whole.value().to_bits());
            assert_eq!(merged, whole);
        }
        let negated: Vec<f64> = terms.iter().map(|term| -term).collect();
        let mut nothing = sum(&negated);
        nothing.merge(&whole);
        assert_eq!(nothing.value(), 0.0);
    }

    #[test]
    fn products_are_exact() {
        // (2⁵³ + 1)² needs more digits than a double has.
        let odd = sum(&[2f64.powi(53), 1.0]);
        let expected = sum(&[2f64.powi(106), 2f64.powi(54), 1.0]);
        assert_eq!(odd.times(&odd), expected);
        let negative = sum(&[-3.0]);
        assert_eq!(
            negative.times(&odd).minus(&odd.times(&negative)).value(),
            0.0
        );
        assert_eq!(negative.times(&negative).value(), 9.0);
        let mut square = ExactSum::default();
        square.add_square(0.1);
        assert_eq!(square, sum(&[0.1]).times(&sum(&[0.1])));
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        assert!(sum(&[1.0, f64::NAN]).value().is_nan());
        assert_eq!(sum(&[f64::INFINITY, 1.0]).value(), f64::INFINITY);
        assert!(sum(&[f64::INFINITY, f64::NEG_INFINITY]).value().is_nan());
        assert_eq!(ExactSum::from_bytes(&[1, 2]), None);
    }
}
