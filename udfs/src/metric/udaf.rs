//! The aggregate function that all metrics share; its result is a double.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion_common::{Result, ScalarValue, exec_err, internal_err, not_impl_err, plan_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, Signature, Volatility,
};
use vatic_metrics::ExactSum;

use crate::doc::Doc;
use crate::vector::type_name;

/// The properties in which metrics differ.
pub(super) struct Metric {
    pub(super) doc: Doc,
    /// The types to which the arguments are coerced; `None` if the metric does not take arguments of these types.
    pub(super) coerce: fn(&[DataType]) -> Option<Vec<DataType>>,
    /// The expected arguments, for error messages.
    pub(super) takes: &'static str,
    /// The types of the intermediate state.
    pub(super) state: fn() -> Vec<DataType>,
    pub(super) accumulator: fn() -> Box<dyn Accumulator>,
}

pub(super) fn metric_function(metric: &'static Metric) -> AggregateUDF {
    AggregateUDF::from(MetricFunction {
        metric,
        signature: Signature::user_defined(Volatility::Immutable),
        documentation: metric.doc.documentation("Metrics"),
    })
}

struct MetricFunction {
    metric: &'static Metric,
    signature: Signature,
    documentation: Documentation,
}

impl std::fmt::Debug for MetricFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.metric.doc.name)
    }
}

// A name belongs to one function.
impl PartialEq for MetricFunction {
    fn eq(&self, other: &Self) -> bool {
        self.metric.doc.name == other.metric.doc.name
    }
}

impl Eq for MetricFunction {}

impl Hash for MetricFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.metric.doc.name.hash(state);
    }
}

impl AggregateUDFImpl for MetricFunction {
    fn name(&self) -> &str {
        self.metric.doc.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match (self.metric.coerce)(types) {
            Some(types) => Ok(types),
            None => {
                let found: Vec<String> = types.iter().map(type_name).collect();
                plan_err!(
                    "{} takes {}, found {}",
                    self.metric.doc.name,
                    self.metric.takes,
                    if found.is_empty() {
                        "nothing".to_owned()
                    } else {
                        found.join(" and ")
                    }
                )
            }
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return not_impl_err!("{} does not take DISTINCT", self.metric.doc.name);
        }
        Ok((self.metric.accumulator)())
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let types = (self.metric.state)().into_iter().enumerate();
        Ok(types
            .map(|(index, data_type)| {
                Arc::new(Field::new(
                    format!("{}[{index}]", args.name),
                    data_type,
                    true,
                ))
            })
            .collect())
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

/// An exact sum as intermediate state.
pub(super) fn sum_state(sum: &ExactSum) -> ScalarValue {
    ScalarValue::Binary(Some(sum.to_bytes()))
}

/// The exact sum in one row of intermediate states.
pub(super) fn state_sum(states: &ArrayRef, row: usize) -> Result<ExactSum> {
    match ExactSum::from_bytes(states.as_binary::<i32>().value(row)) {
        Some(sum) => Ok(sum),
        None => internal_err!("the state of a metric cannot be read; do all nodes run one build?"),
    }
}

/// Whether a binary label can have this type.
pub(super) fn is_binary_label(data_type: &DataType) -> bool {
    data_type.is_integer() || matches!(data_type, DataType::Boolean | DataType::Null)
}

/// Whether each row is positive: true or 1.
pub(super) fn positives(name: &str, labels: &ArrayRef) -> Result<BooleanArray> {
    if !labels.data_type().is_integer() {
        return Ok(cast(labels, &DataType::Boolean)?.as_boolean().clone());
    }
    let numbers = cast(labels, &DataType::Int64)?;
    let numbers = numbers.as_primitive::<Int64Type>();
    if let Some(other) = numbers
        .iter()
        .flatten()
        .find(|label| !(0..=1).contains(label))
    {
        return exec_err!(
            "{name}: labels are true and false or 1 and 0, found {other}; give a comparison such as label = {other}"
        );
    }
    Ok(numbers
        .iter()
        .map(|label| label.map(|label| label == 1))
        .collect())
}
