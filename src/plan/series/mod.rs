//! `windows(t, order => day, by => store, lags => 14, horizon => 1)`: time series as rows with arrays, which networks take.
//!
//! ```text
//! SQL ─ relation ─ arguments ─ columns ─ rows ─▶ Projection: by, order, arrays, targets
//!                                                  Filter: as many rows before and after as asked for
//!                                                    Window: PARTITION BY by ORDER BY order
//!                                                      input
//! ```
//! The plan consists of DataFusion's nodes, so it runs in parallel and on executors as explicit SQL does. Two window functions
//! are ours. `series_position` fails if two rows of a series have one place, because the arrays would then depend on chance.
//! `frame_values` is what `array_agg` is, without keeping each value of a frame as an array of its own, which would be 1,000
//! small copies per row for 1,000 lags. Long arrays are made in short batches.
//!
//! * `relation` the planner from the call to the plan
//! * `arguments` the arguments as written
//! * `columns` the columns of the input that the arguments name
//! * `rows` the plan
//! * `position`, `frame_values` the window functions
//! * `short_batches` the operator below windows with long arrays

mod arguments;
mod columns;
mod frame_values;
mod position;
mod relation;
mod rows;
mod short_batches;

pub(crate) use arguments::NAMES as WINDOWS_ARGUMENTS;
pub(crate) use frame_values::frame_values;
pub(crate) use position::series_position;
pub(crate) use relation::WindowsRelation;
pub(crate) use short_batches::{SHORT_BATCHES, ShortBatches, ShortBatchesExec};
