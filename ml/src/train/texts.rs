//! Texts of a training become numbers before anything else is learnt: their vectors, if the encoder is frozen, else their tokens.
//!
//! ```text
//! shards in hash order ─ windows of rows ─ base's tokens ─┬─ base ─▶ vectors      (once, not in each epoch)
//!                                                         └─ padded to the longest text of all ranks
//! ```
//! The windows depend on the order of the rows alone, so the numbers are the same for any number of ranks.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, FixedSizeListArray, RecordBatch, StringArray, UInt32Array, new_empty_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::{concat, interleave};
use arrow::datatypes::{DataType, Field};
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::collective::Collective;
use crate::data::columns::Column;
use crate::data::inputs::Inputs;
use crate::model::Model;
use crate::model::options::Freeze;
use crate::model::text::{vector_column, vector_type};
use crate::model::text_base::{TextBase, padded_ids};
use crate::train::control::{Control, ReservedMemory};
use crate::train::raw::{RawRows, RawShard};
use crate::train::spec::TrainSpec;
use crate::{Error, Result};

/// The rows whose texts are read at once.
const WINDOW_ROWS: usize = 256;
/// The column of texts among the features, which are one.
const TEXT: usize = 0;

/// What numbers a training has in place of its texts.
pub(crate) struct Numbered<'a> {
    /// With the column of numbers.
    pub(crate) spec: Cow<'a, TrainSpec>,
    pub(crate) raw: Vec<RawShard>,
    /// The memory that is reserved for the numbers.
    pub(crate) held: Option<ReservedMemory>,
}

/// The rows of a training with numbers in place of texts, if its base encodes texts; else as they are.
///
/// # Errors
/// [`Error::Invalid`] for a text that the encoder does not take; [`Error::Memory`]; [`Error::Cancelled`]; those of the collective.
pub(crate) fn numbered<'a>(
    spec: &'a TrainSpec,
    raw: Vec<RawShard>,
    collective: &dyn Collective,
    helpers: &ThreadPool,
    control: &Control,
) -> Result<Numbered<'a>> {
    let model = spec.base.as_deref();
    let Some((model, encoder)) = model.and_then(|model| Some((model, model.text_base()?))) else {
        return Ok(Numbered {
            spec: Cow::Borrowed(spec),
            raw,
            held: None,
        });
    };
    let texts = Texts {
        model,
        encoder,
        helpers,
        control,
    };
    let sides = raw.iter().flat_map(|shard| [&shard.train, &shard.eval]);
    let (data_type, columns, held) = match spec.options.text.freeze {
        Freeze::Encoder => texts.vectors(sides, spec)?,
        Freeze::Embeddings | Freeze::None => texts.tokens(sides, collective)?,
    };
    let mut columns = columns.into_iter();
    let mut side = |rows: RawRows| match columns.next() {
        Some(column) => rows.with_column(TEXT, &column),
        None => Err(Error::Internal(
            "rows without numbers of their texts".into(),
        )),
    };
    let raw = raw.into_iter().map(|shard| {
        Ok(RawShard {
            train: side(shard.train)?,
            eval: side(shard.eval)?,
            ..shard
        })
    });
    let raw = raw.collect::<Result<Vec<_>>>()?;
    let mut spec = spec.clone();
    if let Some(Column { data_type: of, .. }) = spec.columns.features.get_mut(TEXT) {
        *of = data_type;
    }
    Ok(Numbered {
        spec: Cow::Owned(spec),
        raw,
        held,
    })
}

/// The type of a column of numbers, the column of each side of each shard, and the memory that is reserved for them.
type Numbers = (DataType, Vec<ArrayRef>, Option<ReservedMemory>);

/// An encoder and what reads texts with it.
struct Texts<'a> {
    model: &'a dyn Model,
    encoder: &'a dyn TextBase,
    helpers: &'a ThreadPool,
    control: &'a Control,
}

impl Texts<'_> {
    /// The vectors of texts.
    fn vectors<'r>(
        &self,
        sides: impl Iterator<Item = &'r RawRows>,
        spec: &TrainSpec,
    ) -> Result<Numbers> {
        let pooling = spec.options.text.pooling;
        let empty: ArrayRef = Arc::new(StringArray::from(Vec::<&str>::new()));
        let nothing = self.encode(empty)?;
        let width = self.encoder.vectors(&nothing, pooling)?.dim(1)?;
        let data_type = vector_type(width);
        let sides: Vec<&RawRows> = sides.collect();
        let rows: usize = sides.iter().map(|rows| rows.rows()).sum();
        let bytes = rows * width * size_of::<f32>();
        // The windows and their column are there at once.
        let held = self.control.reserve(2 * bytes, "the vectors of texts")?;
        let mut columns = Vec::with_capacity(sides.len());
        for rows in sides {
            let windows = self.windows(rows, |inputs| {
                let vectors = self.encoder.vectors(inputs, pooling)?;
                vector_column(&vectors, inputs.report.valid.clone())
            })?;
            columns.push(joined(&windows, &data_type)?);
        }
        Ok((data_type, columns, held))
    }

    /// The tokens of texts, padded to the longest of all ranks.
    fn tokens<'r>(
        &self,
        sides: impl Iterator<Item = &'r RawRows>,
        collective: &dyn Collective,
    ) -> Result<Numbers> {
        let mut found: Vec<Vec<Window>> = vec![];
        for rows in sides {
            found.push(self.windows(rows, |inputs| {
                Ok(Window {
                    ids: self.encoder.ids(inputs)?,
                    valid: inputs.report.valid.clone(),
                })
            })?);
        }
        let windows = || found.iter().flatten();
        let longest = windows().flat_map(|window| &window.ids).map(Vec::len).max();
        let ours = longest.unwrap_or(0) as u64;
        let all = collective.all_gather(ours.to_le_bytes().to_vec())?;
        let lengths = all
            .iter()
            .filter_map(|of| <[u8; 8]>::try_from(of.as_slice()).ok());
        let longest = lengths.map(u64::from_le_bytes).max().unwrap_or(0);
        let width = (longest as usize).max(1);
        let rows: usize = windows().map(|window| window.ids.len()).sum();
        let bytes = rows * width * size_of::<u32>();
        let held = self.control.reserve(2 * bytes, "the tokens of texts")?;
        let data_type = DataType::FixedSizeList(item(), width as i32);
        let mut columns = Vec::with_capacity(found.len());
        for windows in &found {
            let arrays = windows.iter().map(|window| window.padded(width));
            let arrays = arrays.collect::<Result<Vec<ArrayRef>>>()?;
            columns.push(joined(&arrays, &data_type)?);
        }
        Ok((data_type, columns, held))
    }

    /// What `of` makes of the texts of some rows after the other, on as many threads as there are.
    fn windows<T: Send>(
        &self,
        rows: &RawRows,
        of: impl Fn(&Inputs) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let texts: Vec<&dyn Array> = rows
            .parts
            .iter()
            .map(|part| part.column(TEXT).as_ref())
            .collect();
        let places: Vec<(usize, usize)> = texts
            .iter()
            .enumerate()
            .flat_map(|(part, texts)| (0..texts.len()).map(move |row| (part, row)))
            .collect();
        let window = |places: &[(usize, usize)]| {
            self.control.stop.check()?;
            let inputs = self.encode(interleave(&texts, places)?)?;
            if let Some((_, cause)) = inputs.report.failures.first() {
                return Err(Error::Invalid(cause.clone()));
            }
            of(&inputs)
        };
        let work = || {
            places
                .par_chunks(WINDOW_ROWS)
                .map(window)
                .collect::<Result<Vec<T>>>()
        };
        self.helpers.install(work)
    }

    fn encode(&self, texts: ArrayRef) -> Result<Inputs> {
        let batch = RecordBatch::try_from_iter_with_nullable([("text", texts, true)])?;
        self.model.encode(&batch)
    }
}

/// The tokens of some rows.
struct Window {
    ids: Vec<Vec<u32>>,
    valid: Option<NullBuffer>,
}

impl Window {
    fn padded(&self, width: usize) -> Result<ArrayRef> {
        let ids = self.ids.iter().flat_map(|ids| padded_ids(ids, width));
        let ids = Arc::new(UInt32Array::from_iter_values(ids));
        let lists = FixedSizeListArray::try_new(item(), width as i32, ids, self.valid.clone())?;
        Ok(Arc::new(lists))
    }
}

fn item() -> Arc<Field> {
    Arc::new(Field::new_list_field(DataType::UInt32, true))
}

/// One array of some, which may be none.
fn joined(arrays: &[ArrayRef], data_type: &DataType) -> Result<ArrayRef> {
    if arrays.is_empty() {
        return Ok(new_empty_array(data_type));
    }
    let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
    Ok(concat(&arrays)?)
}
