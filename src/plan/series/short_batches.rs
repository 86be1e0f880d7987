//! [`SHORT_BATCHES`]: the optimizer rule for windows that make an array of each frame; [`ShortBatchesExec`]: its operator.
//!
//! ```text
//! FilterExec                                   FilterExec, which gathers 104 rows
//!   BoundedWindowAggExec: frame_values(x)  ─▶    BoundedWindowAggExec: frame_values(x)
//!     SortExec                                     ShortBatchesExec: rows_max=104
//!                                                    SortExec
//! ```
//! A batch of 8,192 arrays of 5,000 numbers has 327 MB. DataFusion copies it several times, and no memory limit counts that.
//! Batches that fit into the cache of a core take a tenth of the memory and a sixth of the time. `plan/short_filters.rs` keeps
//! the filter above from gathering more.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{WindowFrame, WindowFrameBound, WindowFrameUnits};
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::BoundedWindowAggExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, replace_children_if_necessary,
};
use datafusion::scalar::ScalarValue;
use futures::{StreamExt, stream};

use crate::error::Result;
use crate::plan::display::write_operator;
use crate::plan::divided::divided;
use crate::plan::extension::{PlanExtension, from_wire, only_input, to_wire};
use crate::plan::one_input::one_input;
use crate::plan::replace_rule::ReplaceRule;
use crate::plan::scans::rows_of_arrays;

/// Windows whose batches may have as many rows stay as they are: it is the size of DataFusion's batches.
const ROWS_USUAL: usize = 8_192;

pub(crate) const SHORT_BATCHES: ReplaceRule = ReplaceRule {
    name: "ShortBatches",
    other: with_short_batches,
};

/// A window above short batches.
fn with_short_batches(exec: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(window) = exec.downcast_ref::<BoundedWindowAggExec>() else {
        return Ok(None);
    };
    let input = window.input();
    let Some(rows_max) = rows_max(window)?.filter(|_| !input.is::<ShortBatchesExec>()) else {
        return Ok(None);
    };
    let short = ShortBatchesExec {
        input: Arc::clone(input),
        rows_max,
    };
    let window = replace_children_if_necessary(Arc::clone(exec), vec![Arc::new(short)])?;
    Ok(Some(window))
}

/// The most rows of a batch of a window, if the arrays of its frames are long.
fn rows_max(window: &BoundedWindowAggExec) -> Result<Option<usize>> {
    let mut bytes = 0usize;
    for expr in window.window_expr() {
        let field = expr.field()?;
        if let DataType::List(element) = field.data_type() {
            let width = element.data_type().primitive_width();
            let width = width.unwrap_or(size_of::<u64>());
            let of_frame = frame_rows(expr.get_window_frame()).saturating_mul(width);
            bytes = bytes.saturating_add(of_frame);
        }
    }
    Ok(rows_of_arrays(bytes).filter(|rows| *rows < ROWS_USUAL))
}

/// The most rows of a frame whose bounds are numbers of rows; 0 for another frame.
fn frame_rows(frame: &WindowFrame) -> usize {
    let bounds = (offset(&frame.start_bound), offset(&frame.end_bound));
    match (frame.units, bounds) {
        (WindowFrameUnits::Rows, (Some(start), Some(end))) => {
            usize::try_from(end - start + 1).unwrap_or(0)
        }
        _ => 0,
    }
}

/// How many rows behind the current row a bound is.
fn offset(bound: &WindowFrameBound) -> Option<i128> {
    match bound {
        WindowFrameBound::Preceding(ScalarValue::UInt64(rows)) => {
            rows.map(|rows| -i128::from(rows))
        }
        WindowFrameBound::CurrentRow => Some(0),
        WindowFrameBound::Following(ScalarValue::UInt64(rows)) => rows.map(i128::from),
        WindowFrameBound::Preceding(_) | WindowFrameBound::Following(_) => None,
    }
}

/// Cuts batches into parts of at most `rows_max` rows.
#[derive(Debug)]
pub(crate) struct ShortBatchesExec {
    input: Arc<dyn ExecutionPlan>,
    rows_max: usize,
}

impl ShortBatchesExec {
    pub(crate) fn rows_max(&self) -> usize {
        self.rows_max
    }

    fn with_input(&self, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let rows_max = self.rows_max;
        Ok(Arc::new(Self { input, rows_max }))
    }
}

impl DisplayAs for ShortBatchesExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_operator(
            f,
            format,
            "ShortBatchesExec",
            format_args!("rows_max={}", self.rows_max),
        )
    }
}

impl ExecutionPlan for ShortBatchesExec {
    fn name(&self) -> &str {
        "ShortBatchesExec"
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    one_input!(in_order);

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let rows_max = self.rows_max;
        let batches = self.input.execute(partition, context)?;
        let schema = batches.schema();
        let short = batches.flat_map(move |batch| stream::iter(divided(batch, rows_max)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, short)))
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}

/// The plan extension for [`ShortBatchesExec`].
#[derive(Debug)]
pub(crate) struct ShortBatches;

impl PlanExtension for ShortBatches {
    fn name(&self) -> &'static str {
        "short_batches"
    }

    fn encode_exec(&self, exec: &dyn ExecutionPlan) -> Option<Result<Vec<u8>>> {
        let exec = exec.downcast_ref::<ShortBatchesExec>()?;
        Some(to_wire(&exec.rows_max))
    }

    fn decode_exec(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(ShortBatchesExec {
            input: only_input(inputs)?,
            rows_max: from_wire(bytes)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::record_batch::RecordBatch;
    use datafusion::physical_plan::{collect, displayable};

    use super::*;
    use crate::Engine;

    #[tokio::test(flavor = "multi_thread")]
    async fn long_arrays_are_made_in_short_batches() {
        let engine = Engine::builder().build().unwrap();
        let session = engine.session().unwrap();
        let rows = "(SELECT value AS t, value * 0.5 AS x FROM generate_series(1, 2000))";
        for (arguments, rows_max, waiting, count) in [
            ("lags => 14, horizon => 7", ROWS_USUAL, 7, 1_980),
            ("lags => 1000", 524, 0, 1_001),
            ("lags => 600, horizon => 400", 524, 400, 1_001),
            ("lags => 10000", 64, 0, 0),
        ] {
            let query = format!("SELECT * FROM windows({rows}, order => t, {arguments})");
            let plan = session.plan_query(&query).await.unwrap();
            let plan = session.physical_plan(&plan).await.unwrap();
            let text = displayable(plan.as_ref()).indent(false).to_string();
            let is_short = text.contains(&format!("ShortBatchesExec: rows_max={rows_max}\n"));
            assert_eq!(is_short, rows_max < ROWS_USUAL, "{arguments}: {text}");
            let context = session.context().task_ctx();
            let batches = collect(plan, context).await.unwrap();
            let counts = batches.iter().map(RecordBatch::num_rows);
            assert_eq!(counts.clone().sum::<usize>(), count, "{arguments}");
            // The last batch also has the rows that waited for those behind them.
            let largest = counts.max().unwrap_or(0);
            assert!(largest <= rows_max + waiting, "{arguments}: {largest}");
        }
    }

    #[test]
    fn frames_count_their_rows() {
        let rows = |rows: u64| ScalarValue::UInt64(Some(rows));
        let count = |units, start, end| frame_rows(&WindowFrame::new_bounds(units, start, end));
        let (before, here) = (WindowFrameBound::Preceding, WindowFrameBound::CurrentRow);
        let behind = WindowFrameBound::Following;
        let by_rows = WindowFrameUnits::Rows;
        assert_eq!(count(by_rows, before(rows(13)), here.clone()), 14);
        assert_eq!(count(by_rows, behind(rows(1)), behind(rows(7))), 7);
        assert_eq!(count(by_rows, behind(rows(7)), behind(rows(1))), 0);
        let all = before(ScalarValue::UInt64(None));
        assert_eq!(count(by_rows, all, here.clone()), 0);
        let by_values = WindowFrameUnits::Range;
        assert_eq!(count(by_values, before(rows(13)), here), 0);
    }
}
