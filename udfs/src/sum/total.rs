//! [`Total`]: sums in 128 bits, which so many rows as there can be do not fill with numbers of 64.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, PrimitiveArray, PrimitiveBuilder};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal32Type, Decimal64Type, Decimal128Type,
    DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType,
    Int64Type, TimeUnit, UInt64Type,
};
use arrow::error::ArrowError;
use datafusion_common::{DataFusionError, Result, exec_err};

/// 128 bits as Arrow has them.
pub(super) const STATE_TYPE: DataType = DataType::Decimal128(38, 0);

/// What is made of a sum.
#[derive(Debug, Clone)]
pub(super) struct Total {
    result: DataType,
    is_mean: bool,
}

/// A sum and how many values are in it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Sum {
    pub(super) total: i128,
    pub(super) count: u64,
}

impl Sum {
    pub(super) fn add(&mut self, total: i128, count: u64) -> Result<()> {
        self.total = self.total.checked_add(total).ok_or_else(too_large)?;
        self.count += count;
        Ok(())
    }

    pub(super) fn subtract(&mut self, total: i128, count: u64) -> Result<()> {
        self.total = self.total.checked_sub(total).ok_or_else(too_large)?;
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
            // DataFusion has means of decimals in a wider type.
            _ if is_mean => false,
            DataType::Int64
            | DataType::UInt64
            | DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..) => true,
            _ => false,
        };
        let result = result.clone();
        is_exact.then_some(Self { result, is_mean })
    }

    /// Numbers as 128 bits each.
    pub(super) fn values(values: &ArrayRef) -> Result<Values> {
        Ok(match values.data_type() {
            DataType::Int64 => wide::<Int64Type>(values),
            DataType::UInt64 => wide::<UInt64Type>(values),
            DataType::Decimal32(..) => wide::<Decimal32Type>(values),
            DataType::Decimal64(..) => wide::<Decimal64Type>(values),
            DataType::Decimal128(..) => values.as_primitive::<Decimal128Type>().clone(),
            DataType::Duration(TimeUnit::Second) => wide::<DurationSecondType>(values),
            DataType::Duration(TimeUnit::Millisecond) => wide::<DurationMillisecondType>(values),
            DataType::Duration(TimeUnit::Microsecond) => wide::<DurationMicrosecondType>(values),
            DataType::Duration(TimeUnit::Nanosecond) => wide::<DurationNanosecondType>(values),
            other => return exec_err!("a sum of {other} is not exact"),
        })
    }

    /// The result of each sum, NULL without values.
    pub(super) fn results(&self, sums: impl ExactSizeIterator<Item = Sum>) -> Result<ArrayRef> {
        match self.result {
            DataType::Int64 => self.told::<Int64Type>(sums),
            DataType::UInt64 => self.told::<UInt64Type>(sums),
            DataType::Decimal32(..) => self.told::<Decimal32Type>(sums),
            DataType::Decimal64(..) => self.told::<Decimal64Type>(sums),
            DataType::Decimal128(..) => self.told::<Decimal128Type>(sums),
            DataType::Duration(TimeUnit::Second) => self.told::<DurationSecondType>(sums),
            DataType::Duration(TimeUnit::Millisecond) => self.told::<DurationMillisecondType>(sums),
            DataType::Duration(TimeUnit::Microsecond) => self.told::<DurationMicrosecondType>(sums),
            DataType::Duration(TimeUnit::Nanosecond) => self.told::<DurationNanosecondType>(sums),
            _ => exec_err!("a sum of {} is not exact", self.result),
        }
    }

    fn told<T: ArrowPrimitiveType>(
        &self,
        sums: impl ExactSizeIterator<Item = Sum>,
    ) -> Result<ArrayRef>
    where
        T::Native: TryFrom<i128>,
    {
        let digits = match self.result {
            DataType::Decimal32(digits, _)
            | DataType::Decimal64(digits, _)
            | DataType::Decimal128(digits, _) => Some(u32::from(digits)),
            _ => None,
        };
        let limit = digits.and_then(|digits| 10i128.checked_pow(digits));
        let mut builder = PrimitiveBuilder::<T>::with_capacity(sums.len());
        for sum in sums {
            if sum.count == 0 {
                builder.append_null();
                continue;
            }
            let value = match self.is_mean {
                true => sum.total / i128::from(sum.count),
                false => sum.total,
            };
            let is_beyond = limit.is_some_and(|limit| value <= -limit || value >= limit);
            match T::Native::try_from(value) {
                Ok(value) if !is_beyond => builder.append_value(value),
                _ => return Err(overflow(&format!("the sum {value}"))),
            }
        }
        let array: PrimitiveArray<T> = builder.finish();
        Ok(Arc::new(array.with_data_type(self.result.clone())))
    }
}

/// Numbers of 128 bits.
pub(super) type Values = Decimal128Array;

fn wide<T: ArrowPrimitiveType>(values: &ArrayRef) -> Values
where
    T::Native: Into<i128>,
{
    values
        .as_primitive::<T>()
        .unary::<_, Decimal128Type>(Into::into)
}

/// The sum of numbers, and how many of them there are.
pub(super) fn sum_of(values: &Values) -> Result<Sum> {
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
