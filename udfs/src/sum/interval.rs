//! Intervals as numbers of 256 bits, in which each part has its own range of bits: months × 2^200 + days × 2^128 + time.
//! The sum of such numbers contains the sum of each part. The parts are then separated, and each must fit its type.

use arrow::array::{ArrayRef, AsArray, Decimal256Array};
use arrow::datatypes::{
    Decimal256Type, IntervalDayTime, IntervalDayTimeType, IntervalMonthDayNano,
    IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, i256,
};

/// The bits of the days: more than days of 32 bits fill in any possible number of rows.
const DAYS_BITS: u32 = 72;

/// Intervals of a unit as numbers.
pub(super) fn values(values: &ArrayRef, unit: IntervalUnit) -> Decimal256Array {
    match unit {
        IntervalUnit::YearMonth => values
            .as_primitive::<IntervalYearMonthType>()
            .unary::<_, Decimal256Type>(|months| packed(months, 0, 0)),
        IntervalUnit::DayTime => values
            .as_primitive::<IntervalDayTimeType>()
            .unary::<_, Decimal256Type>(|value| {
                packed(0, value.days, i64::from(value.milliseconds))
            }),
        IntervalUnit::MonthDayNano => values
            .as_primitive::<IntervalMonthDayNanoType>()
            .unary::<_, Decimal256Type>(|value| {
            packed(value.months, value.days, value.nanoseconds)
        }),
    }
}

pub(super) fn year_month(number: i256) -> Option<i32> {
    i32::try_from(parts(number).months).ok()
}

pub(super) fn day_time(number: i256) -> Option<IntervalDayTime> {
    let Parts { days, time, .. } = parts(number);
    let (days, time) = (i32::try_from(days).ok()?, i32::try_from(time).ok()?);
    Some(IntervalDayTime::new(days, time))
}

pub(super) fn month_day_nano(number: i256) -> Option<IntervalMonthDayNano> {
    let Parts { months, days, time } = parts(number);
    let (months, days) = (i32::try_from(months).ok()?, i32::try_from(days).ok()?);
    Some(IntervalMonthDayNano::new(
        months,
        days,
        i64::try_from(time).ok()?,
    ))
}

fn packed(months: i32, days: i32, time: i64) -> i256 {
    let above = (i128::from(months) << DAYS_BITS) + i128::from(days);
    i256::from_parts(0, above).wrapping_add(i256::from_i128(i128::from(time)))
}

/// Sums of the parts of intervals.
struct Parts {
    months: i128,
    days: i128,
    time: i128,
}

fn parts(number: i256) -> Parts {
    let (below, above) = number.to_parts();
    let time = below as i128;
    // A negative part has borrowed one from the part above it.
    let above = above.wrapping_add(i128::from(time < 0));
    let days = (above << (128 - DAYS_BITS)) >> (128 - DAYS_BITS);
    let months = above.wrapping_sub(days) >> DAYS_BITS;
    Parts { months, days, time }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum of the numbers contains the sum of each part, whatever the signs.
    #[test]
    fn parts_are_summed_apart() {
        let (small, large, long) = ([0, 1, -1], [i32::MIN, i32::MAX], [i64::MIN, 0, i64::MAX]);
        let counts = || small.into_iter().chain(large);
        let mut sum = i256::ZERO;
        let (mut months_sum, mut days_sum, mut time_sum) = (0, 0, 0);
        for months in counts() {
            for days in counts() {
                for time in long {
                    let number = packed(months, days, time);
                    let back = month_day_nano(number).unwrap();
                    assert_eq!(back, IntervalMonthDayNano::new(months, days, time));
                    sum = sum.checked_add(number).unwrap();
                    months_sum += i128::from(months);
                    days_sum += i128::from(days);
                    time_sum += i128::from(time);
                    let Parts { months, days, time } = parts(sum);
                    assert_eq!((months, days, time), (months_sum, days_sum, time_sum));
                }
            }
        }
    }
}
