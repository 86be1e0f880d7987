//! A `sum` that fails on overflow, where DataFusion's `sum` wraps around: it computes in 128 or 256 bits, and only the
//! result must fit its type. `avg` of durations does the same, because its total can overflow as well.
//!
//! The functions keep DataFusion's names, types and documentation, so that its optimizer knows them.
//!
//! * `total` the arithmetic and the types that it supports; `interval` intervals as numbers
//! * `accumulator` one group, sliding windows, DISTINCT
//! * `groups` many groups

mod accumulator;
mod groups;
mod interval;
mod total;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, i256};
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::expr::AggregateFunction;
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, Expr, GroupsAccumulator, Operator,
    ReversedUDAF, SetMonotonicity, Signature, StatisticsArgs,
};

use accumulator::{Distinct, Plain};
use groups::Groups;
use total::{Total, Wide};

/// The checked function that replaces one of DataFusion's; `None` if `function` needs no replacement.
pub fn checked(function: &Arc<AggregateUDF>) -> Option<Arc<AggregateUDF>> {
    let is_checked = function.inner().is::<CheckedSum>();
    let is_mean = match function.name() {
        "sum" => false,
        "avg" => true,
        _ => return None,
    };
    let inner = Arc::clone(function);
    (!is_checked).then(|| Arc::new(AggregateUDF::from(CheckedSum { inner, is_mean })))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedSum {
    inner: Arc<AggregateUDF>,
    is_mean: bool,
}

impl CheckedSum {
    fn total(&self, result: &DataType) -> Option<Total> {
        Total::of(result, self.is_mean)
    }
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match self.total(args.return_type()) {
            Some(total) if total.is_wide() => Ok(of_one_group::<i256>(total, args.is_distinct)),
            Some(total) => Ok(of_one_group::<i128>(total, args.is_distinct)),
            None => self.inner.accumulator(args),
        }
    }

    /// Our accumulators can retract the values that leave a sliding window frame.
    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match self.total(args.return_type()) {
            Some(_) => self.accumulator(args),
            None => self.inner.create_sliding_accumulator(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let Some(total) = self.total(args.return_type()) else {
            return self.inner.state_fields(args);
        };
        let state_type = total.state_type();
        let name = |what: &str| format_state_name(args.name, what);
        Ok(match args.is_distinct {
            true => {
                let item = Field::new_list_field(state_type, true);
                vec![Arc::new(Field::new_list(name("values"), item, true))]
            }
            false => vec![
                Arc::new(Field::new(name("total"), state_type, true)),
                Arc::new(Field::new(name("count"), DataType::UInt64, true)),
            ],
        })
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        match self.total(args.return_type()) {
            Some(_) => !args.is_distinct,
            None => self.inner.groups_accumulator_supported(args),
        }
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        match self.total(args.return_type()) {
            Some(total) if total.is_wide() => Ok(Box::new(Groups::<i256>::new(total))),
            Some(total) => Ok(Box::new(Groups::<i128>::new(total))),
            None => self.inner.create_groups_accumulator(args),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner.reverse_udf()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.inner.inner().set_monotonicity(data_type)
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.inner.default_value(data_type)
    }

    /// A sum from statistics may have wrapped around.
    fn value_from_stats(&self, args: &StatisticsArgs) -> Option<ScalarValue> {
        match self.total(args.return_type) {
            Some(_) => None,
            None => self.inner.value_from_stats(args),
        }
    }

    /// `sum(x + 1)` becomes `sum(x) + count(x)` only for floats: other types could overflow in between.
    fn simplify_expr_op_literal(
        &self,
        call: &AggregateFunction,
        argument: &Expr,
        operator: Operator,
        literal: &Expr,
        is_left: bool,
    ) -> Result<Option<Expr>> {
        let is_float =
            matches!(literal, Expr::Literal(value, _) if value.data_type().is_floating());
        match is_float {
            true => self
                .inner
                .simplify_expr_op_literal(call, argument, operator, literal, is_left),
            false => Ok(None),
        }
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

fn of_one_group<N: Wide>(total: Total, is_distinct: bool) -> Box<dyn Accumulator> {
    match is_distinct {
        true => Box::new(Distinct::<N>::new(total)),
        false => Box::new(Plain::<N>::new(total)),
    }
}
