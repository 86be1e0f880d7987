//! [`Candidates`]: the items among which `recommend` chooses, with their vectors: all that the model knows, or those of a query.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt32Array};
use datafusion::arrow::compute::{cast, concat_batches, filter_record_batch, take_record_batch};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
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
use crate::memory::Buffers;
use crate::model::runtime::{LoadedModel, ModelRuntime};
use crate::plan::features::input_batch;

/// Items whose vectors are computed at once.
const ITEMS_AT_ONCE: usize = 8_192;
/// The copies of the items while they are brought in order: all batches as one, its columns as bytes, and the rows in order.
const COPIES: usize = 3;
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

/// The items of a query that have a vector, in the order of [`in_order`]: that of the rows depends on the partitions which give them.
async fn items_of(
    spec: &RecommendSpec,
    runtime: &ModelRuntime,
    model: &Arc<LoadedModel>,
    items: SendableRecordBatchStream,
    held: &MemoryReservation,
) -> Result<Described> {
    let all = all_of(runtime, items, held).await?;
    let (mut width, mut values, mut known) = (0, Vec::new(), Vec::new());
    for start in (0..all.num_rows()).step_by(ITEMS_AT_ONCE) {
        let rows = ITEMS_AT_ONCE.min(all.num_rows() - start);
        let part = all.slice(start, rows);
        let inputs = &spec.sides()?.items;
        let features = input_batch(&spec.model, inputs, &spec.item_columns, &part)?;
        let opened = Arc::clone(model);
        let work = move || recommender(&opened)?.vectors(Side::Item, &features);
        let vectors = runtime.run(DeviceName::Cpu, work).await?;
        spec.check(&vectors, "an item")?;
        let count = vectors.known.iter().filter(|known| **known).count();
        held.try_grow(count * vectors.width * size_of::<f32>())?;
        width = width.max(vectors.width);
        values.extend(of_known(&vectors));
        known.extend_from_slice(&vectors.known);
    }
    let columns = filter_record_batch(&all, &BooleanArray::from(known))?;
    Ok((columns, width, values))
}

/// All rows of a query in one batch, in order.
async fn all_of(
    runtime: &ModelRuntime,
    mut items: SendableRecordBatchStream,
    held: &MemoryReservation,
) -> Result<RecordBatch> {
    let schema = items.schema();
    let (mut batches, mut buffers, mut bytes) = (Vec::new(), Buffers::default(), 0);
    while let Some(batch) = items.try_next().await? {
        let of_batch = buffers.add(&batch);
        held.try_grow((1 + COPIES) * of_batch)?;
        bytes += of_batch;
        batches.push(batch);
    }
    let sort = move || Ok(in_order(&schema, batches));
    let sorted = runtime.run(DeviceName::Cpu, sort).await??;
    held.shrink(COPIES * bytes);
    Ok(sorted)
}

/// The rows of all batches in the order of their columns, the first column first. A column of a type without an order does not count.
fn in_order(schema: &SchemaRef, batches: Vec<RecordBatch>) -> Result<RecordBatch> {
    let all = concat_batches(schema, &batches)?;
    drop(batches);
    let columns = all.columns().iter().map(|column| {
        let field = SortField::new(column.data_type().clone());
        (field, Arc::clone(column))
    });
    let has_order = |(field, _): &(SortField, ArrayRef)| {
        RowConverter::supports_fields(std::slice::from_ref(field))
    };
    let (fields, columns): (Vec<SortField>, Vec<ArrayRef>) = columns.filter(has_order).unzip();
    if fields.is_empty() {
        return Ok(all);
    }
    let rows = RowConverter::new(fields)?.convert_columns(&columns)?;
    let mut order: Vec<u32> = (0..all.num_rows() as u32).collect();
    order.sort_by(|left, right| rows.row(*left as usize).cmp(&rows.row(*right as usize)));
    Ok(take_record_batch(&all, &UInt32Array::from(order))?)
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
    use datafusion::arrow::array::{Int64Array, ListArray, StringArray};
    use datafusion::arrow::datatypes::{Field, Int32Type};

    use super::*;

    #[test]
    fn items_have_the_order_of_their_columns_whatever_the_batches() {
        let fields = [
            Field::new("id", DataType::Int64, true),
            Field::new("title", DataType::Utf8, true),
        ];
        let schema: SchemaRef = Arc::new(Schema::new(fields.to_vec()));
        let batch = |ids: &[Option<i64>], titles: &[&str]| {
            let columns: Vec<ArrayRef> = vec![
                Arc::new(Int64Array::from(ids.to_vec())),
                Arc::new(StringArray::from(titles.to_vec())),
            ];
            RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()
        };
        let expected = batch(
            &[None, Some(2), Some(2), Some(2), Some(10)],
            &["z", "a", "b", "c", "a"],
        );
        let one = batch(&[Some(10), Some(2)], &["a", "c"]);
        let other = batch(&[Some(2), None, Some(2)], &["a", "z", "b"]);
        for batches in [vec![one.clone(), other.clone()], vec![other, one]] {
            assert_eq!(in_order(&schema, batches).unwrap(), expected);
        }
        assert_eq!(in_order(&schema, vec![]).unwrap().num_rows(), 0);
    }

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
