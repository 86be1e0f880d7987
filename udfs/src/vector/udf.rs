//! A scalar function of vectors with its type checks, so that the file of a function holds only its computation.

use std::hash::{Hash, Hasher};

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion_common::{Result, exec_err, plan_err};
use datafusion_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::vectors::{is_vector, type_name};
use crate::doc::Doc;

/// Computes the results of a function of `N` vectors for a number of rows.
type Compute<const N: usize> = fn(&[ColumnarValue; N], usize) -> Result<ArrayRef>;

/// A function of `N` vectors.
pub(super) fn vector_function<const N: usize>(
    doc: &'static Doc,
    returns: DataType,
    compute: Compute<N>,
) -> ScalarUDF {
    with_aliases(doc, &[], returns, compute)
}

/// A function of `N` vectors with further names.
pub(super) fn with_aliases<const N: usize>(
    doc: &'static Doc,
    aliases: &[&str],
    returns: DataType,
    compute: Compute<N>,
) -> ScalarUDF {
    ScalarUDF::from(VectorFunction {
        doc,
        aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
        returns,
        compute,
        signature: Signature::any(N, Volatility::Immutable),
        documentation: doc.documentation("Vector functions"),
    })
}

struct VectorFunction<const N: usize> {
    doc: &'static Doc,
    aliases: Vec<String>,
    returns: DataType,
    compute: Compute<N>,
    signature: Signature,
    documentation: Documentation,
}

impl<const N: usize> std::fmt::Debug for VectorFunction<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.doc.name)
    }
}

// A name belongs to one function.
impl<const N: usize> PartialEq for VectorFunction<N> {
    fn eq(&self, other: &Self) -> bool {
        self.doc.name == other.doc.name
    }
}

impl<const N: usize> Eq for VectorFunction<N> {}

impl<const N: usize> Hash for VectorFunction<N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.doc.name.hash(state);
    }
}

impl<const N: usize> ScalarUDFImpl for VectorFunction<N> {
    fn name(&self) -> &str {
        self.doc.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.iter().find(|data_type| !is_vector(data_type)) {
            Some(other) => plan_err!(
                "{} takes a list of numbers, found {}",
                self.doc.name,
                type_name(other)
            ),
            None => Ok(self.returns.clone()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let Ok(arguments) = <[ColumnarValue; N]>::try_from(args.args) else {
            return exec_err!("{} takes {N} arguments", self.doc.name);
        };
        Ok(ColumnarValue::Array((self.compute)(&arguments, rows)?))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}
