//! Values of constant expressions, and the moments that they mean, in nanoseconds since 1970 as 128-bit integers.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use datafusion::arrow::compute::kernels::cast_utils::string_to_datetime;
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use vatic_udfs::time::nanoseconds;

const DAY: i128 = 86_400_000_000_000;

/// The value of a literal or of a cast literal; its text if it is a timestamp that no unit holds with all digits.
pub(super) fn value(expr: &Expr) -> Option<ScalarValue> {
    match expr {
        Expr::Literal(value, _) if !value.is_null() => Some(value.clone()),
        Expr::Alias(alias) => value(&alias.expr),
        Expr::Cast(cast) => {
            let inner = value(&cast.expr)?;
            let data_type = cast.field.data_type();
            let cast = inner.cast_to(data_type).ok();
            cast.or_else(|| is_beyond(&inner, data_type).then_some(inner))
        }
        _ => None,
    }
}

/// Whether a value is the text of a local time that the type cannot hold.
fn is_beyond(value: &ScalarValue, data_type: &DataType) -> bool {
    if !is_text(value) || *data_type != DataType::Timestamp(TimeUnit::Nanosecond, None) {
        return false;
    }
    // A text with an offset from UTC would mean something else beside a column that has a zone.
    let (time, shifted) = (moment(value, None), moment(value, Some("+01:00")));
    time != shifted && time.is_some_and(|time| i64::try_from(time).is_err())
}

pub(super) fn is_text(value: &ScalarValue) -> bool {
    matches!(
        value,
        ScalarValue::Utf8(_) | ScalarValue::Utf8View(_) | ScalarValue::LargeUtf8(_)
    )
}

/// The moment that a value means beside a timestamp of this zone; `None` if it means no moment, or an ambiguous one.
pub(super) fn moment(value: &ScalarValue, zone: Option<&str>) -> Option<i128> {
    let timestamp = |value: i64, unit: TimeUnit, own: &Option<Arc<str>>| {
        // If the two zones do not mean the same, DataFusion decides.
        let means_the_same = is_utc(zone) && is_utc(own.as_deref()) || zone == own.as_deref();
        means_the_same.then(|| i128::from(value) * i128::from(nanoseconds(unit)))
    };
    match value {
        ScalarValue::TimestampSecond(Some(value), own) => timestamp(*value, TimeUnit::Second, own),
        ScalarValue::TimestampMillisecond(Some(value), own) => {
            timestamp(*value, TimeUnit::Millisecond, own)
        }
        ScalarValue::TimestampMicrosecond(Some(value), own) => {
            timestamp(*value, TimeUnit::Microsecond, own)
        }
        ScalarValue::TimestampNanosecond(Some(value), own) => {
            timestamp(*value, TimeUnit::Nanosecond, own)
        }
        ScalarValue::Date32(Some(days)) if zone.is_none() => Some(i128::from(*days) * DAY),
        ScalarValue::Utf8(Some(text))
        | ScalarValue::Utf8View(Some(text))
        | ScalarValue::LargeUtf8(Some(text)) => {
            let zone: Tz = zone.unwrap_or("UTC").parse().ok()?;
            let time = string_to_datetime(&zone, text).ok()?;
            let seconds = i128::from(time.timestamp());
            Some(seconds * 1_000_000_000 + i128::from(time.timestamp_subsec_nanos()))
        }
        _ => None,
    }
}

fn is_utc(zone: Option<&str>) -> bool {
    matches!(zone, None | Some("UTC" | "+00:00"))
}

/// The timestamp of a moment, if the unit holds the moment without loss.
pub(super) fn timestamp(
    moment: i128,
    unit: TimeUnit,
    zone: Option<Arc<str>>,
) -> Option<ScalarValue> {
    let factor = i128::from(nanoseconds(unit));
    if moment % factor != 0 {
        return None;
    }
    let value = Some(i64::try_from(moment / factor).ok()?);
    Some(match unit {
        TimeUnit::Second => ScalarValue::TimestampSecond(value, zone),
        TimeUnit::Millisecond => ScalarValue::TimestampMillisecond(value, zone),
        TimeUnit::Microsecond => ScalarValue::TimestampMicrosecond(value, zone),
        TimeUnit::Nanosecond => ScalarValue::TimestampNanosecond(value, zone),
    })
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::Cast;
    use datafusion::prelude::lit;

    use super::*;

    #[test]
    fn a_far_timestamp_with_all_digits_is_its_text() {
        let of = |text: &str| {
            let nanoseconds = DataType::Timestamp(TimeUnit::Nanosecond, None);
            value(&Expr::Cast(Cast::new(Box::new(lit(text)), nanoseconds)))
        };
        let far = "9999-12-31 00:00:00.0000001";
        assert_eq!(of(far), Some(ScalarValue::from(far)));
        let near = Some(ScalarValue::TimestampNanosecond(Some(1), None));
        assert_eq!(of("1970-01-01 00:00:00.000000001"), near);
        assert_eq!(of("9999-12-31 00:00:00.0000001+02:00"), None);
        assert_eq!(of("soon"), None);
    }

    #[test]
    fn a_moment_keeps_every_digit_and_every_year() {
        let text = |text: &str| moment(&ScalarValue::from(text), None);
        assert_eq!(text("1970-01-01 00:00:00.000000001"), Some(1));
        assert_eq!(
            text("9999-12-31 23:59:59.999999999"),
            Some(253_402_300_799_999_999_999)
        );
        assert_eq!(text("0001-01-01"), Some(-62_135_596_800_000_000_000));
        assert_eq!(text("soon"), None);
    }

    #[test]
    fn a_timestamp_that_would_lose_digits_is_none() {
        let at = |moment, unit| timestamp(moment, unit, None);
        assert_eq!(at(1_001, TimeUnit::Microsecond), None);
        assert_eq!(
            at(1_000, TimeUnit::Microsecond),
            Some(ScalarValue::TimestampMicrosecond(Some(1), None))
        );
        assert_eq!(at(i128::from(i64::MAX) + 1, TimeUnit::Nanosecond), None);
    }
}
