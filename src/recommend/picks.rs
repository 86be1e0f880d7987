//! [`picks_of`]: the best items of some users as rows.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, UInt32Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use vatic_ml::model::recommender::Vectors;
use vatic_ml::model::top_k::top_k;

use super::candidates::{Candidates, recommender};
use crate::error::ml_err;

/// The rows of some users, and how many users have none of the candidates.
pub(super) struct Picked {
    pub(super) rows: RecordBatch,
    pub(super) unknown: usize,
}

/// The best `k` items of each user: rows of its columns, the item's, rank and score. A user without any has one row in which these
/// are NULL. `columns` holds the columns of the users, `lists` their excluded items.
pub(super) fn picks_of(
    columns: &[ArrayRef],
    lists: Option<&ArrayRef>,
    vectors: &Vectors,
    candidates: &Candidates,
    k: usize,
    schema: &SchemaRef,
) -> Result<Picked> {
    let users = vectors.known.len();
    let excluded = candidates.excluded(lists, users)?;
    let known: Vec<usize> = (0..users).filter(|user| vectors.known[*user]).collect();
    let of_known = known
        .iter()
        .flat_map(|user| &vectors.values[user * vectors.width..][..vectors.width]);
    let of_known: Vec<f32> = of_known.copied().collect();
    let excluded: Vec<Vec<u32>> = known.iter().map(|user| excluded[*user].clone()).collect();
    let picks = top_k(&of_known, &excluded, &candidates.vectors, k).map_err(ml_err)?;
    let model = recommender(&candidates.model).map_err(ml_err)?;
    let mut found = known.into_iter().zip(picks).peekable();
    let (mut of_users, mut items, mut ranks, mut scores) = (vec![], vec![], vec![], vec![]);
    let mut unknown = 0;
    for user in 0..users {
        let picks = found.next_if(|(known, _)| *known == user);
        let picks = picks.map_or(vec![], |(_, picks)| picks);
        if picks.is_empty() {
            unknown += 1;
            of_users.push(user as u32);
            items.push(None);
            ranks.push(None);
            scores.push(None);
        }
        for (rank, pick) in (1..).zip(picks) {
            of_users.push(user as u32);
            items.push(Some(pick.item));
            ranks.push(Some(rank));
            scores.push(Some(model.score(pick.product)));
        }
    }
    let (of_users, items) = (UInt32Array::from(of_users), UInt32Array::from(items));
    let of_users = columns.iter().map(|column| take(column, &of_users, None));
    let of_items = candidates.columns.columns().iter();
    let of_items = of_items.map(|column| take(column, &items, None));
    let mut all = of_users.chain(of_items).collect::<Result<Vec<_>, _>>()?;
    all.push(Arc::new(Int64Array::from(ranks)));
    all.push(Arc::new(Float64Array::from(scores)));
    Ok(Picked {
        rows: RecordBatch::try_new(Arc::clone(schema), all)?,
        unknown,
    })
}
