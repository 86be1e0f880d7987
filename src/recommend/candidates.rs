//! [`Candidates`]: the items among which `recommend` chooses, with their vectors: all that the model knows, or those of a query.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::{cast, concat_batches, filter_record_batch};
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use futures::TryStreamExt;
use vatic_ml::device::DeviceName;
use vatic_ml::model::recommender::{Recommender, Side, Vectors};
use vatic_ml::model::top_k::ItemVectors;

use super::node::candidate_fields;
use super::spec::RecommendSpec;
use crate::error::{SqlState, sql_err};
use crate::memory::batch_bytes;
use crate::model::runtime::{LoadedModel, ModelRuntime};
use crate::plan::features::input_batch;

/// Items whose vectors are computed at once.
const ITEMS_AT_ONCE: usize = 8_192;
/// Memory of an item in the index of excluded items besides its value, in bytes.
const INDEX_BYTES: usize = 96;

/// The items, in one order that rows of the result refer to.
pub(super) struct Candidates {
    pub(super) model: Arc<LoadedModel>,
    /// The columns of the items as the result shows them.
    pub(super) columns: RecordBatch,
    pub(super) vectors: ItemVectors,
    /// Finds excluded items, if some are excluded.
    index: Option<Index>,
    _held: MemoryReservation,
}

impl Candidates {
    /// Loads the model, and makes the candidates of its own items, or of those of a query.
    pub(super) async fn collect(
        spec: Arc<RecommendSpec>,
        runtime: Arc<ModelRuntime>,
        items: Option<SendableRecordBatchStream>,
        held: MemoryReservation,
        cache_bytes: usize,
    ) -> Result<Self> {
        // Products of vectors are computed on the host, so the vectors are made there, too.
        let loading = runtime.load(&spec.model, DeviceName::Cpu, None, cache_bytes);
        let (model, _) = loading.await?;
        let (columns, width, values) = match items {
            None => known_items(&spec, &runtime, &model, &held).await?,
            Some(items) => items_of(&spec, &runtime, &model, items, &held).await?,
        };
        let count = columns.num_rows();
        let index_bytes = match spec.excluded_by {
            Some(column) => count * INDEX_BYTES + columns.column(column).get_array_memory_size(),
            None => 0,
        };
        held.try_grow(ItemVectors::bytes(width, count) + index_bytes)?;
        let key = spec
            .excluded_by
            .map(|column| Arc::clone(columns.column(column)));
        let work = move || Ok((ItemVectors::new(width, &values), key.map(Index::of)));
        let (vectors, index) = runtime.run(DeviceName::Cpu, work).await?;
        Ok(Self {
            model,
            columns,
            vectors,
            index: index.transpose()?,
            _held: held,
        })
    }

    /// The positions of the excluded items of each user, ascending. `lists` is the last column of the users.
    pub(super) fn excluded(&self, lists: Option<&ArrayRef>, users: usize) -> Result<Vec<Vec<u32>>> {
        match (&self.index, lists) {
            (Some(index), Some(lists)) => index.positions(lists),
            _ => Ok(vec![vec![]; users]),
        }
    }
}

/// The columns of the items, the width of their vectors, and the vectors.
type Described = (RecordBatch, usize, Vec<f32>);

/// All items that the model knows.
async fn known_items(
    spec: &RecommendSpec,
    runtime: &ModelRuntime,
    model: &Arc<LoadedModel>,
    held: &MemoryReservation,
) -> Result<Described> {
    let known = Arc::clone(model);
    let work = move || recommender(&known)?.known_items();
    let found = runtime.run(DeviceName::Cpu, work).await?;
    let (column, vectors) = found.ok_or_else(|| {
        let message = "a model without items of its own met recommend without items";
        sql_err(SqlState::Internal, message)
    })?;
    held.try_grow(column.get_array_memory_size() + vectors.values.len() * size_of::<f32>())?;
    let schema = Schema::new(candidate_fields(&spec.model, None)?);
    let columns = RecordBatch::try_new(Arc::new(schema), vec![column])?;
    Ok((columns, vectors.width, vectors.values))
}

/// The items of a query that have a vector.
async fn items_of(
    spec: &RecommendSpec,
    runtime: &ModelRuntime,
    model: &Arc<LoadedModel>,
    mut items: SendableRecordBatchStream,
    held: &MemoryReservation,
) -> Result<Described> {
    let schema = items.schema();
    let (mut batches, mut width, mut values) = (Vec::new(), 0, Vec::new());
    while let Some(batch) = items.try_next().await? {
        for start in (0..batch.num_rows()).step_by(ITEMS_AT_ONCE) {
            let rows = ITEMS_AT_ONCE.min(batch.num_rows() - start);
            let part = batch.slice(start, rows);
            let inputs = &spec.sides()?.items;
            let features = input_batch(&spec.model, inputs, &spec.item_columns, &part)?;
            let known = Arc::clone(model);
            let work = move || recommender(&known)?.vectors(Side::Item, &features);
            let vectors = runtime.run(DeviceName::Cpu, work).await?;
            spec.check(&vectors, "an item")?;
            let is_known = vectors.known.clone().into();
            let part = filter_record_batch(&part, &is_known)?;
            held.try_grow(batch_bytes(&part) + part.num_rows() * vectors.width * size_of::<f32>())?;
            width = width.max(vectors.width);
            values.extend(of_known(&vectors));
            batches.push(part);
        }
    }
    // While the batches become one, both are there.
    let bytes: usize = batches.iter().map(batch_bytes).sum();
    held.try_grow(bytes)?;
    let columns = concat_batches(&schema, &batches)?;
    held.shrink(bytes);
    Ok((columns, width, values))
}

/// The vectors of the rows that have one.
fn of_known(vectors: &Vectors) -> impl Iterator<Item = f32> {
    let rows = vectors.values.chunks_exact(vectors.width.max(1));
    let known = rows.zip(&vectors.known).filter(|(_, known)| **known);
    known.flat_map(|(vector, _)| vector.iter().copied())
}

/// The model as one that recommends.
pub(super) fn recommender(model: &LoadedModel) -> vatic_ml::Result<&dyn Recommender> {
    let wrong = || vatic_ml::Error::Internal("a model that recommends nothing".into());
    model.recommender().ok_or_else(wrong)
}

/// Finds the positions of items by the value of one of their columns.
struct Index {
    converter: RowConverter,
    data_type: DataType,
    positions: HashMap<Box<[u8]>, Vec<u32>>,
}

impl Index {
    fn of(column: ArrayRef) -> Result<Self> {
        let data_type = column.data_type().clone();
        let converter = RowConverter::new(vec![SortField::new(data_type.clone())])?;
        let rows = converter.convert_columns(&[column])?;
        let mut positions: HashMap<Box<[u8]>, Vec<u32>> = HashMap::with_capacity(rows.num_rows());
        for (position, row) in rows.iter().enumerate() {
            let key: &[u8] = row.as_ref();
            positions
                .entry(key.into())
                .or_default()
                .push(position as u32);
        }
        Ok(Self {
            converter,
            data_type,
            positions,
        })
    }

    /// The positions of the items in the list of each row, ascending.
    fn positions(&self, lists: &ArrayRef) -> Result<Vec<Vec<u32>>> {
        let lists = lists.as_list_opt::<i32>().ok_or_else(|| {
            let message = "the excluded items of a user are no list";
            sql_err(SqlState::Internal, message)
        })?;
        let values = cast(lists.values(), &self.data_type)?;
        let values = self.converter.convert_columns(&[values])?;
        let offsets = lists.value_offsets();
        let of_row = |row: usize| {
            if lists.is_null(row) {
                return vec![];
            }
            let range = offsets[row] as usize..offsets[row + 1] as usize;
            let mut found: Vec<u32> = Vec::new();
            for at in range {
                let row = values.row(at);
                let key: &[u8] = row.as_ref();
                found.extend(self.positions.get(key).into_iter().flatten());
            }
            found.sort_unstable();
            found.dedup();
            found
        };
        Ok((0..lists.len()).map(of_row).collect())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int64Array, ListArray};
    use datafusion::arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn excluded_items_are_found_wherever_they_stand() {
        let items: ArrayRef = Arc::new(Int64Array::from(vec![7, 3, 7, 5]));
        let index = Index::of(items).unwrap();
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(9)]),
            Some(vec![Some(5), Some(7), Some(5)]),
            None,
            Some(vec![Some(3)]),
        ]);
        let lists: ArrayRef = Arc::new(lists);
        let expected = [vec![], vec![0, 2, 3], vec![], vec![1]];
        for start in 0..4 {
            let found = index.positions(&lists.slice(start, 4 - start)).unwrap();
            assert_eq!(found, expected[start..]);
        }
    }
}
