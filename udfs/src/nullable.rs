//! `nullable_value(x)`: x with a nullable type. The engine wraps sub-queries that may have no row; users do not type it.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion_common::{Result, internal_err};
use datafusion_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

/// The function `nullable_value`.
pub fn nullable() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Nullable {
        signature: Signature::any(1, Volatility::Immutable),
    }))
}

/// Whether a function is [`nullable`].
pub fn is_nullable(function: &ScalarUDF) -> bool {
    function.inner().is::<Nullable>()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Nullable {
    signature: Signature,
}

impl ScalarUDFImpl for Nullable {
    fn name(&self) -> &str {
        "nullable_value"
    }

    /// The column name of the argument.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [value] => Ok(value.schema_name().to_string()),
            _ => internal_err!("nullable_value takes one value"),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [data_type] => Ok(data_type.clone()),
            _ => internal_err!("nullable_value takes one value"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        match args.arg_fields {
            [field] => Ok(Arc::new(field.as_ref().clone().with_nullable(true))),
            _ => internal_err!("nullable_value takes one value"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match <[ColumnarValue; 1]>::try_from(args.args) {
            Ok([value]) => Ok(value),
            Err(_) => internal_err!("nullable_value takes one value"),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;

    use super::*;

    #[test]
    fn a_value_that_is_never_null_may_be_null() {
        let function = nullable();
        let given = Arc::new(Field::new("x", DataType::Int64, false));
        let args = ReturnFieldArgs {
            arg_fields: &[Arc::clone(&given)],
            scalar_arguments: &[None],
        };
        let field = function.return_field_from_args(args).unwrap();
        assert!(field.is_nullable() && is_nullable(&function));
        assert_eq!(field.data_type(), given.data_type());
    }
}
