//! A column taken apart into numbers and categories, before anything learnt is applied: dates into their parts, arrays
//! into their elements.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, StringArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};

use crate::data::coerce::canonical_array;
use crate::data::lists::Lists;
use crate::data::signature::{FeatureKind, canonical_type};
use crate::{Error, Result};

/// The longest array a feature may be.
pub const ARRAY_LENGTH_MAX: usize = 65_536;

/// A column taken apart, before anything learnt is applied.
#[derive(Debug, Default)]
pub struct Parts {
    /// Row-major `[rows, width]`; what stands at a NULL is undefined.
    pub numbers: ScalarBuffer<f64>,
    /// Numbers a row.
    pub width: usize,
    /// The categories of the column.
    pub categories: Vec<CategoryPart>,
    /// Which rows are not NULL.
    pub valid: Option<NullBuffer>,
    /// Rows that cannot be a feature, with the cause.
    pub failures: Vec<(usize, String)>,
}

impl Parts {
    /// Whether the row has a value.
    pub fn is_valid(&self, row: usize) -> bool {
        self.valid.as_ref().is_none_or(|valid| valid.is_valid(row))
    }

    /// The same column of so many rows, of which these are failures too.
    pub(crate) fn failing(mut self, failures: &[(usize, String)], rows: usize) -> Self {
        if !failures.is_empty() {
            let mut fits = vec![true; rows];
            failures.iter().for_each(|(row, _)| fits[*row] = false);
            let fits = NullBuffer::from(fits);
            self.failures.retain(|(row, _)| fits.is_valid(*row));
            self.failures.extend_from_slice(failures);
            self.valid = NullBuffer::union(self.valid.as_ref(), Some(&fits));
        }
        self
    }
}

/// One category of each row.
#[derive(Debug)]
pub enum CategoryPart {
    /// Values to be looked up in a vocabulary.
    Text(StringArray),
    /// Positions in a vocabulary known beforehand.
    Coded(Vec<u32>, &'static [&'static str], &'static str),
}

const BOOLEANS: &[&str] = &["false", "true"];
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

/// Takes a column apart into numbers and categories.
///
/// With a `width`, arrays of another length are told in [`Parts::failures`]; without, all must have one length.
///
/// # Errors
/// [`Error::Invalid`] if arrays differ in length; a type that cannot be a feature.
pub fn parts(name: &str, array: &ArrayRef, width: Option<usize>) -> Result<Parts> {
    let array = &canonical_array(array)?;
    let valid = array.logical_nulls();
    match FeatureKind::of(name, array.data_type())? {
        FeatureKind::Number => Ok(Parts {
            numbers: to_f64(array)?.values().clone(),
            width: 1,
            valid,
            ..Parts::default()
        }),
        FeatureKind::Category if canonical_type(array.data_type()) == DataType::Boolean => {
            let array = cast(array, &DataType::Boolean)?;
            let codes = boolean_codes(array.as_boolean());
            Ok(Parts {
                categories: vec![CategoryPart::Coded(codes, BOOLEANS, "")],
                valid,
                ..Parts::default()
            })
        }
        FeatureKind::Category => {
            let text = cast(array, &DataType::Utf8)?;
            let categories = vec![CategoryPart::Text(text.as_string::<i32>().clone())];
            Ok(Parts {
                categories,
                valid,
                ..Parts::default()
            })
        }
        FeatureKind::Date => calendar_parts(array, valid, false),
        FeatureKind::Timestamp => calendar_parts(array, valid, true),
        FeatureKind::Array => array_parts(name, array, width),
    }
}

fn to_f64(array: &ArrayRef) -> Result<Float64Array> {
    Ok(cast(array, &DataType::Float64)?
        .as_primitive::<Float64Type>()
        .clone())
}

fn boolean_codes(array: &BooleanArray) -> Vec<u32> {
    array.values().iter().map(u32::from).collect()
}

fn calendar_parts(array: &ArrayRef, valid: Option<NullBuffer>, with_hour: bool) -> Result<Parts> {
    // A zoned timestamp is taken in UTC: its parts must not depend on the zone it happens to be shown in.
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
/// The year is made to begin in March, so that the leap day is the last of it.
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

fn array_parts(name: &str, array: &ArrayRef, expected: Option<usize>) -> Result<Parts> {
    let lists = Lists::of(array)?;
    let count = lists.rows.len();
    let mut valid: Vec<bool> = (0..count).map(|row| lists.is_valid(row)).collect();
    let width = match (expected, array.data_type()) {
        (Some(width), _) => width,
        (None, DataType::FixedSizeList(_, width)) => *width as usize,
        (None, _) => (0..count)
            .find(|&row| valid[row])
            .map_or(0, |row| lists.rows[row].1),
    };
    if width > ARRAY_LENGTH_MAX {
        return Err(Error::Invalid(format!(
            "column \"{name}\" holds arrays of length {width}; a feature array has at most {ARRAY_LENGTH_MAX} elements"
        )));
    }
    let mut failures = Vec::new();
    for (row, &(_, found)) in lists.rows.iter().enumerate() {
        if !valid[row] || found == width {
            continue;
        }
        if expected.is_none() {
            return Err(Error::Invalid(format!(
                "column \"{name}\" holds arrays of length {width} and of length {found}; a feature array has one length"
            )));
        }
        valid[row] = false;
        failures.push((
            row,
            format!(
                "column \"{name}\" is an array of length {found}, the model takes length {width}"
            ),
        ));
    }
    let (first, values) = lists.used_values();
    let values = to_f64(&values)?;
    let mut numbers = vec![0.0; count * width];
    for (row, &(start, _)) in lists.rows.iter().enumerate() {
        if width == 0 || !valid[row] {
            continue;
        }
        let start = start - first;
        numbers[row * width..][..width].copy_from_slice(&values.values()[start..start + width]);
        if values.null_count() > 0 {
            valid[row] = (start..start + width).all(|element| values.is_valid(element));
        }
    }
    let valid = NullBuffer::from(valid);
    let valid = (valid.null_count() > 0).then_some(valid);
    Ok(Parts {
        numbers: numbers.into(),
        width,
        categories: vec![],
        valid,
        failures,
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::Date32Array;

    use super::*;

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

    #[test]
    fn arrays_of_two_lengths_are_refused() {
        let lists = arrow::array::ListArray::from_iter_primitive::<Float64Type, _, _>([
            Some(vec![Some(1.0), Some(2.0)]),
            Some(vec![Some(1.0)]),
        ]);
        let error = parts("pixels", &(Arc::new(lists) as ArrayRef), None)
            .unwrap_err()
            .to_string();
        assert!(error.contains("length 2 and of length 1"), "{error}");
    }
}
