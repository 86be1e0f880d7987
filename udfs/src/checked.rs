//! Integer `+`, `-` and `*` that fail on overflow, where DataFusion's own operators wrap around silently.
//!
//! The engine replaces the operators by these functions. Users do not type them, so columns keep the operator's name.

use std::sync::Arc;

use arrow::array::{ArrayRef, Datum, Scalar};
use arrow::compute::kernels::numeric::{add, mul, sub};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::error::ArrowError;
use datafusion_common::{Result, ScalarValue, exec_err};
use datafusion_expr::{
    ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};

/// The functions that replace operators.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    let all = [Operator::Plus, Operator::Minus, Operator::Multiply];
    all.into_iter().filter_map(function).collect()
}

/// The function that replaces an operator.
pub fn function(operator: Operator) -> Option<Arc<ScalarUDF>> {
    let name = match operator {
        Operator::Plus => "checked_add",
        Operator::Minus => "checked_subtract",
        Operator::Multiply => "checked_multiply",
        _ => return None,
    };
    Some(Arc::new(ScalarUDF::from(Checked {
        name,
        operator,
        signature: Signature::any(2, Volatility::Immutable),
    })))
}

/// Whether a function is one of [`functions`].
pub fn is_checked(function: &ScalarUDF) -> bool {
    function.inner().is::<Checked>()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    name: &'static str,
    operator: Operator,
    signature: Signature,
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        self.name
    }

    /// The column name that the operator gives.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [left, right] => Ok(format!(
                "{} {} {}",
                left.schema_name(),
                self.operator,
                right.schema_name()
            )),
            _ => Ok(self.name.to_owned()),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [left, right] if left == right && left.is_integer() => Ok(left.clone()),
            other => exec_err!(
                "{} takes two integers of one type, found {other:?}",
                self.name
            ),
        }
    }

    /// Nullable only if an operand is nullable, like the operator, so that schemas above do not change.
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<DataType> = args
            .arg_fields
            .iter()
            .map(|field| field.data_type().clone())
            .collect();
        let is_nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        let data_type = self.return_type(&types)?;
        Ok(Arc::new(Field::new(self.name, data_type, is_nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else {
            return exec_err!("{} takes two arguments", self.name);
        };
        let (left, right) = (Operand::try_new(left)?, Operand::try_new(right)?);
        let result = self.compute(left.datum(), right.datum())?;
        match (&left, &right) {
            (Operand::One(_), Operand::One(_)) => {
                ScalarValue::try_from_array(&result, 0).map(ColumnarValue::Scalar)
            }
            _ => Ok(ColumnarValue::Array(result)),
        }
    }
}

impl Checked {
    fn compute(&self, left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, ArrowError> {
        match self.operator {
            Operator::Plus => add(left, right),
            Operator::Minus => sub(left, right),
            _ => mul(left, right),
        }
    }
}

enum Operand {
    Many(ArrayRef),
    One(Scalar<ArrayRef>),
}

impl Operand {
    fn try_new(value: &ColumnarValue) -> Result<Self> {
        Ok(match value {
            ColumnarValue::Array(array) => Self::Many(Arc::clone(array)),
            ColumnarValue::Scalar(scalar) => Self::One(Scalar::new(scalar.to_array()?)),
        })
    }

    fn datum(&self) -> &dyn Datum {
        match self {
            Self::Many(array) => array,
            Self::One(scalar) => scalar,
        }
    }
}
