//! [`Total`]: sums in more bits than any number of rows can fill: 128 bits for 64-bit numbers, 256 for 128-bit numbers.

use std::fmt::Display;
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Decimal256Array, PrimitiveArray, PrimitiveBuilder,
};
use arrow::datatypes::{
    ArrowNativeTypeOp, ArrowPrimitiveType, DataType, Decimal32Type, Decimal64Type, Decimal128Type,
    Decimal256Type, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType,
    DurationSecondType, Int64Type, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit,
    IntervalYearMonthType, TimeUnit, UInt64Type, i256,
};
use arrow::error::ArrowError;
use datafusion_common::{DataFusionError, Result, ScalarValue, exec_err};

use super::interval;

/// The result type of a sum, and whether the result is the mean.
#[derive(Debug, Clone)]
pub(super) struct Total {
    result: DataType,
    is_mean: bool,
}

/// A number type in which sums are computed.
pub(super) trait Wide: ArrowNativeTypeOp + Display + Eq + Hash + From<i128> {
    /// The Arrow type of the number.
    type Arrow: ArrowPrimitiveType<Native = Self>;

    /// The Arrow data type of totals and values in partial states.
    const STATE_TYPE: DataType;

    /// Converts values to numbers of this type.
    fn values(values: &ArrayRef) -> Result<Values<Self>>;

    /// The result of each sum, NULL for a sum without values.
    fn results(total: &Total, sums: impl ExactSizeIterator<Item = Sum<Self>>) -> Result<ArrayRef>;

    /// The number as a scalar of a partial state.
    fn scalar(self) -> ScalarValue;
}

pub(super) type Values<N> = PrimitiveArray<<N as Wide>::Arrow>;

/// A sum and the number of its values.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Sum<N> {
    pub(super) total: N,
    pub(super) count: u64,
}

impl<N: Wide> Sum<N> {
    pub(super) fn add(&mut self, total: N, count: u64) -> Result<()> {
        self.total = self.total.add_checked(total).map_err(|_| too_large())?;
        self.count += count;
        Ok(())
    }

    pub(super) fn subtract(&mut self, total: N, count: u64) -> Result<()> {
        self.total = self.total.sub_checked(total).map_err(|_| too_large())?;
        self.count -= count;
        Ok(())
    }
}

fn too_large() -> DataFusionError {
    overflow("a sum")
}

fn overflow(what: &str) -> DataFusionError {
    ArrowError::ArithmeticOverflow(what.to_owned()).into()
}

impl Total {
    /// `None` for results that are not exact, such as floats.
    pub(super) fn of(result: &DataType, is_mean: bool) -> Option<Self> {
        let is_exact = match result {
            DataType::Duration(_) => true,
            // DataFusion computes means of decimals in a wider type.
            _ if is_mean => false,
            DataType::Int64
            | DataType::UInt64
            | DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..)
            | DataType::Interval(_) => true,
            _ => false,
        };
        let result = result.clone();
        is_exact.then_some(Self { result, is_mean })
    }

    /// Whether the sum needs 256 bits: two decimals of 38 digits can overflow 128 bits.
    pub(super) fn is_wide(&self) -> bool {
        matches!(
            self.result,
            DataType::Decimal128(..) | DataType::Decimal256(..) | DataType::Interval(_)
        )
    }

    pub(super) fn state_type(&self) -> DataType {
        match self.is_wide() {
            true => i256::STATE_TYPE,
            false => i128::STATE_TYPE,
        }
    }

    fn told<T: ArrowPrimitiveType, N: Wide>(
        &self,
        sums: impl ExactSizeIterator<Item = Sum<N>>,
        narrow: impl Fn(N) -> Option<T::Native>,
    ) -> Result<ArrayRef> {
        let digits = match self.result {
            DataType::Decimal32(digits, _)
            | DataType::Decimal64(digits, _)
            | DataType::Decimal128(digits, _)
            | DataType::Decimal256(digits, _) => Some(u32::from(digits)),
            _ => None,
        };
        let limit = digits.and_then(|digits| N::from(10_i128).pow_checked(digits).ok());
        let mut builder = PrimitiveBuilder::<T>::with_capacity(sums.len());
        for sum in sums {
            if sum.count == 0 {
                builder.append_null();
                continue;
            }
            let value = match self.is_mean {
                true => sum.total.div_wrapping(N::from(i128::from(sum.count))),
                false => sum.total,
            };
            let is_beyond =
                limit.is_some_and(|limit| value <= limit.neg_wrapping() || value >= limit);
            match narrow(value) {
                Some(value) if !is_beyond => builder.append_value(value),
                _ => return Err(self.beyond(value)),
            }
        }
        let array: PrimitiveArray<T> = builder.finish();
        Ok(Arc::new(array.with_data_type(self.result.clone())))
    }

    fn beyond(&self, value: impl Display) -> DataFusionError {
        match self.result {
            // The packed number of an interval means nothing to users.
            DataType::Interval(_) => overflow("a sum of intervals"),
            _ => overflow(&format!("the sum {value}")),
        }
    }
}

impl Wide for i128 {
    type Arrow = Decimal128Type;

    const STATE_TYPE: DataType = DataType::Decimal128(38, 0);

    fn values(values: &ArrayRef) -> Result<Decimal128Array> {
        Ok(match values.data_type() {
            DataType::Int64 => widened::<Int64Type, Self>(values),
            DataType::UInt64 => widened::<UInt64Type, Self>(values),
            DataType::Decimal32(..) => widened::<Decimal32Type, Self>(values),
            DataType::Decimal64(..) => widened::<Decimal64Type, Self>(values),
            DataType::Duration(unit) => match unit {
                TimeUnit::Second => widened::<DurationSecondType, Self>(values),
                TimeUnit::Millisecond => widened::<DurationMillisecondType, Self>(values),
                TimeUnit::Microsecond => widened::<DurationMicrosecondType, Self>(values),
                TimeUnit::Nanosecond => widened::<DurationNanosecondType, Self>(values),
            },
            other => return exec_err!("a sum of {other} is not exact"),
        })
    }

    fn results(total: &Total, sums: impl ExactSizeIterator<Item = Sum<Self>>) -> Result<ArrayRef> {
        match &total.result {
            DataType::Int64 => total.told::<Int64Type, Self>(sums, narrowed),
            DataType::UInt64 => total.told::<UInt64Type, Self>(sums, narrowed),
            DataType::Decimal32(..) => total.told::<Decimal32Type, Self>(sums, narrowed),
            DataType::Decimal64(..) => total.told::<Decimal64Type, Self>(sums, narrowed),
            DataType::Duration(unit) => match unit {
                TimeUnit::Second => total.told::<DurationSecondType, Self>(sums, narrowed),
                TimeUnit::Millisecond => {
                    total.told::<DurationMillisecondType, Self>(sums, narrowed)
                }
                TimeUnit::Microsecond => {
                    total.told::<DurationMicrosecondType, Self>(sums, narrowed)
                }
                TimeUnit::Nanosecond => total.told::<DurationNanosecondType, Self>(sums, narrowed),
            },
            other => exec_err!("a sum of {other} is not exact"),
        }
    }

    fn scalar(self) -> ScalarValue {
        ScalarValue::Decimal128(Some(self), 38, 0)
    }
}

impl Wide for i256 {
    type Arrow = Decimal256Type;

    const STATE_TYPE: DataType = DataType::Decimal256(76, 0);

    fn values(values: &ArrayRef) -> Result<Decimal256Array> {
        Ok(match values.data_type() {
            DataType::Decimal128(..) => widened::<Decimal128Type, Self>(values),
            DataType::Decimal256(..) => values.as_primitive::<Decimal256Type>().clone(),
            DataType::Interval(unit) => interval::values(values, *unit),
            other => return exec_err!("a sum of {other} is not exact"),
        })
    }

    fn results(total: &Total, sums: impl ExactSizeIterator<Item = Sum<Self>>) -> Result<ArrayRef> {
        match &total.result {
            DataType::Decimal128(..) => total.told::<Decimal128Type, Self>(sums, Self::to_i128),
            DataType::Decimal256(..) => total.told::<Decimal256Type, Self>(sums, Some),
            DataType::Interval(unit) => match unit {
                IntervalUnit::YearMonth => {
                    total.told::<IntervalYearMonthType, Self>(sums, interval::year_month)
                }
                IntervalUnit::DayTime => {
                    total.told::<IntervalDayTimeType, Self>(sums, interval::day_time)
                }
                IntervalUnit::MonthDayNano => {
                    total.told::<IntervalMonthDayNanoType, Self>(sums, interval::month_day_nano)
                }
            },
            other => exec_err!("a sum of {other} is not exact"),
        }
    }

    fn scalar(self) -> ScalarValue {
        ScalarValue::Decimal256(Some(self), 76, 0)
    }
}

fn widened<T: ArrowPrimitiveType, N: Wide>(values: &ArrayRef) -> Values<N>
where
    T::Native: Into<i128>,
{
    values.as_primitive::<T>().unary::<_, N::Arrow>(|value| {
        let value: i128 = value.into();
        N::from(value)
    })
}

fn narrowed<T: TryFrom<i128>>(value: i128) -> Option<T> {
    T::try_from(value).ok()
}

/// The sum and the count of the values that are not NULL.
pub(super) fn sum_of<N: Wide>(values: &Values<N>) -> Result<Sum<N>> {
    let mut sum = Sum::default();
    match values.null_count() {
        0 => {
            for value in values.values() {
                sum.add(*value, 1)?;
            }
        }
        _ => {
            for value in values.iter().flatten() {
                sum.add(value, 1)?;
            }
        }
    }
    Ok(sum)
}
