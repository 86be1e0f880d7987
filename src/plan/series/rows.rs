//! [`rows`]: the plan of the rows of `windows`.

use datafusion::common::Column;
use datafusion::functions_window::expr_fn::lead;
use datafusion::logical_expr::{
    Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, WindowFrame, WindowFrameBound,
    WindowFrameUnits, lit,
};
use datafusion::scalar::ScalarValue;

use super::arguments::Arguments;
use super::columns::{Columns, Values, target_name};
use super::frame_values::frame_values;
use super::position::series_position;
use crate::error::Result;

/// One row for each row of the input that has enough rows before and after it: the columns of `by` and `order`, for each
/// column of numbers an array of the last `lags` values, and for each of them the target.
pub(super) fn rows(
    input: LogicalPlan,
    columns: &Columns,
    arguments: &Arguments,
) -> Result<LogicalPlan> {
    let windows = Windows::try_new(columns, arguments)?;
    let mut is_complete = result(&windows.position).gt_eq(lit(arguments.lags as u64));
    if let Some(last) = &windows.last {
        is_complete = is_complete.and(result(last).is_not_null());
    }
    let kept = columns.by.iter().chain([&columns.order]);
    let kept = kept.map(|column| Expr::Column(column.clone()));
    let names = columns.values.iter().map(|values| &values.column.name);
    let arrays = names.clone().zip(&windows.arrays);
    let arrays = arrays.map(|(name, array)| result(array).alias(name));
    let targets = names.zip(&windows.targets);
    let targets = targets.map(|(name, target)| result(target).alias(target_name(name)));
    LogicalPlanBuilder::from(input)
        .window(windows.all())?
        .filter(is_complete)?
        .project(kept.chain(arrays).chain(targets))?
        .build()
}

/// The window functions of a call.
struct Windows {
    position: Expr,
    /// The place of the last row of the target; NULL if the series ends before.
    last: Option<Expr>,
    arrays: Vec<Expr>,
    targets: Vec<Expr>,
}

impl Windows {
    fn try_new(columns: &Columns, arguments: &Arguments) -> Result<Self> {
        let (lags, horizon) = (arguments.lags, arguments.horizon);
        let past = frame(
            WindowFrameBound::Preceding(count(lags - 1)),
            WindowFrameBound::CurrentRow,
        );
        let future = frame(
            WindowFrameBound::Following(count(1)),
            WindowFrameBound::Following(count(horizon)),
        );
        let by: Vec<Expr> = columns.by.iter().cloned().map(Expr::Column).collect();
        let order = Expr::Column(columns.order.clone());
        let over = |call: Expr, frame: &WindowFrame| {
            call.partition_by(by.clone())
                .order_by(vec![order.clone().sort(true, false)])
                .window_frame(frame.clone())
                .build()
        };
        let later = |expr: Expr, rows: usize| over(lead(expr, Some(rows as i64), None), &future);
        let values_in = |values: &Values, frame: &WindowFrame| {
            over(frame_values().call(vec![values.expr()]), frame)
        };
        let place = [order.clone()].into_iter().chain(by.iter().cloned());
        let position = over(series_position().call(place.collect()), &past)?;
        let last = match horizon {
            0 => None,
            _ => Some(later(order.clone(), horizon)?),
        };
        let target = |values: &Values| match horizon {
            1 => later(values.expr(), 1),
            _ => values_in(values, &future),
        };
        let values = columns.values.iter();
        let arrays = values.clone().map(|values| values_in(values, &past));
        let targets = values.filter(|_| horizon > 0).map(target);
        Ok(Self {
            position,
            last,
            arrays: arrays.collect::<Result<_>>()?,
            targets: targets.collect::<Result<_>>()?,
        })
    }

    fn all(&self) -> impl Iterator<Item = Expr> {
        let places = [&self.position].into_iter().chain(&self.last);
        places.chain(&self.arrays).chain(&self.targets).cloned()
    }
}

fn frame(start: WindowFrameBound, end: WindowFrameBound) -> WindowFrame {
    WindowFrame::new_bounds(WindowFrameUnits::Rows, start, end)
}

fn count(rows: usize) -> ScalarValue {
    ScalarValue::UInt64(Some(rows as u64))
}

/// The column in which the plan has the result of a window function.
fn result(window: &Expr) -> Expr {
    Expr::Column(Column::new_unqualified(window.schema_name().to_string()))
}
