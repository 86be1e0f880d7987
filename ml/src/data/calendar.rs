//! The parts of dates and timestamps: days or seconds since 1970 and the day of the month are numbers; month, day of the
//! week and hour are categories.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};

use crate::Result;
use crate::data::parts::{CategoryPart, Parts};

const MONTHS: &[&str] = &[
    "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12",
];
const WEEKDAYS: &[&str] = &[
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];
const HOURS: &[&str] = &[
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16",
    "17", "18", "19", "20", "21", "22", "23",
];

pub(crate) fn calendar_parts(
    array: &ArrayRef,
    valid: Option<NullBuffer>,
    with_hour: bool,
) -> Result<Parts> {
    // A timestamp with a zone is read in UTC: its parts must not depend on the zone in which it is displayed.
    let array = match array.data_type() {
        DataType::Timestamp(..) => Arc::clone(array),
        // A cast to days would round instants before 1970 up.
        DataType::Date64 => cast(array, &DataType::Timestamp(TimeUnit::Millisecond, None))?,
        _ => cast(array, &DataType::Timestamp(TimeUnit::Second, None))?,
    };
    let per_second = match array.data_type() {
        DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000_000,
        DataType::Timestamp(TimeUnit::Nanosecond, _) => 1_000_000_000,
        _ => 1,
    };
    let instants = cast(&array, &DataType::Int64)?;
    let instants = instants.as_primitive::<Int64Type>().values();
    let seconds: Vec<i64> = instants
        .iter()
        .map(|instant| instant.div_euclid(per_second))
        .collect();
    let mut numbers = Vec::with_capacity(seconds.len() * 2);
    let mut months = Vec::with_capacity(seconds.len());
    let mut weekdays = Vec::with_capacity(seconds.len());
    let mut hours = Vec::with_capacity(if with_hour { seconds.len() } else { 0 });
    for (&second, instant) in seconds.iter().zip(instants) {
        let days = second.div_euclid(86_400);
        let (month, day) = civil_from_days(days);
        let fraction = instant.rem_euclid(per_second) as f64 / per_second as f64;
        numbers.push(if with_hour {
            second as f64 + fraction
        } else {
            days as f64
        });
        numbers.push(f64::from(day));
        months.push(month - 1);
        // 1970-01-01 was a Thursday.
        weekdays.push((days + 3).rem_euclid(7) as u32);
        if with_hour {
            hours.push((second.rem_euclid(86_400) / 3_600) as u32);
        }
    }
    let mut categories = vec![
        CategoryPart::Coded(months, MONTHS, "month"),
        CategoryPart::Coded(weekdays, WEEKDAYS, "day_of_week"),
    ];
    if with_hour {
        categories.push(CategoryPart::Coded(hours, HOURS, "hour"));
    }
    Ok(Parts {
        numbers: numbers.into(),
        width: 2,
        categories,
        valid,
        failures: vec![],
    })
}

/// (month in 1..=12, day in 1..=31) of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
///
/// The computation starts the year in March, so that the leap day is the last day of the year.
fn civil_from_days(days: i64) -> (u32, u32) {
    const DAYS_OF_400_YEARS: i64 = 146_097;
    let day_of_era = (days + 719_468).rem_euclid(DAYS_OF_400_YEARS);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524
        - day_of_era / (DAYS_OF_400_YEARS - 1))
        / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (month as u32, day as u32)
}

#[cfg(test)]
mod tests {
    use arrow::array::Date32Array;

    use super::*;
    use crate::data::apart::parts;

    #[test]
    fn calendar_parts_follow_the_gregorian_calendar() {
        // 1970-01-01, 2000-02-29, 2024-12-31, 1969-12-31, 1600-03-01
        let days = [0, 11_016, 20_088, -1, -135_080];
        let expected = [(1, 1), (2, 29), (12, 31), (12, 31), (3, 1)];
        for (day, expected) in days.into_iter().zip(expected) {
            assert_eq!(civil_from_days(day), expected, "day {day}");
        }
        let array: ArrayRef = Arc::new(Date32Array::from(vec![0, 11_016]));
        let parts = parts("d", &array, None).unwrap();
        assert_eq!(parts.numbers[..], [0.0, 1.0, 11_016.0, 29.0]);
        let CategoryPart::Coded(weekdays, names, _) = &parts.categories[1] else {
            panic!("coded")
        };
        assert_eq!(
            (names[weekdays[0] as usize], names[weekdays[1] as usize]),
            ("thursday", "tuesday")
        );
    }
}
