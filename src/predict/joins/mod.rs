//! Models below or above joins: where fewer rows are computed (decision 0062).
//!
//! * `rule` optimizer rule that moves a model below or above a join
//! * `chain` what stands between a model and a join: renamed and computed columns
//! * `sides` the sides of a join, which of their rows it keeps, and how many rows they have
//! * `refusals` whether a model may refuse a row that a join would leave out
//! * `failures` whether the computation of a feature may fail for such a row

mod chain;
mod failures;
mod refusals;
mod rule;
mod sides;

pub(super) use chain::is_query;
pub(super) use failures::may_fail;
pub(super) use refusals::may_refuse;
pub(crate) use rule::ModelsByJoins;
pub(super) use sides::{
    Keeps, Side, has_fewer_rows, is_semi_or_anti, keeps, keeps_each_row, sides, with_side,
};
