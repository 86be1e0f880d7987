//! [`ImageModel`]: a network of images as a model: a class for each image if the network ends with a classifier, and its features.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use candle_core::{DType, Device, Tensor};

use super::builder::Builder;
use super::classes::Classes;
use super::config::Config;
use super::family::{Origin, Source};
use super::image_processor::of_hugging_face;
use super::layers::Linear;
use super::preprocess::Preprocess;
use super::row_numbers::RowNumbers;
use super::timm_transform::of_timm;
use super::vectors::vector_port;
use super::weights::Weights;
use crate::data::image::Images;
use crate::data::inputs::{Inputs, RowReport};
use crate::data::signature::{Port, PortKind, Signature};
use crate::device::HOST;
use crate::model::compute::ComputeType;
use crate::model::passes::in_passes;
use crate::model::vectors::vector_column;
use crate::model::{Batching, Model, Outputs, Wanted};
use crate::{Error, Result, stop};

/// The column that a model of images takes.
const IMAGE: &str = "image";

/// A network without its last layer.
pub(super) trait ImageNetwork: std::fmt::Debug + Send + Sync {
    /// The features `[rows, width]` of `images` `[rows, channels, height, width]`.
    fn features(&self, images: &Tensor) -> Result<Tensor>;
}

/// The builder of a network over the images that the files of a model describe, and the way of images to it. Images that are not
/// resized have this height and width.
pub(super) fn builder<'a>(
    source: &Source<'a>,
    size: [usize; 2],
) -> Result<(Builder<'a>, Preprocess)> {
    builder_of(source, &source.config, size)
}

/// [`builder`] of a part of a model, which has a description of its own.
pub(super) fn builder_of<'a>(
    source: &Source<'a>,
    config: &Config,
    size: [usize; 2],
) -> Result<(Builder<'a>, Preprocess)> {
    let preprocess = match source.origin {
        Origin::Timm => of_timm(config)?,
        Origin::HuggingFace => {
            let channels = config.whole("num_channels", Some(3), 1..=3)?;
            if channels == 2 {
                return Err(config.error("num_channels", "is 2; expected 1 or 3"));
            }
            of_hugging_face(source.files, channels, size)?
        }
    };
    let weights = Weights::read(source.files)?;
    let (channels, size) = (preprocess.channels(), preprocess.size());
    let builder = Builder::new(weights, source.device, channels, size);
    Ok((builder, preprocess))
}

/// What a model of images is made of.
pub(super) struct Parts {
    pub(super) preprocess: Preprocess,
    pub(super) network: Box<dyn ImageNetwork>,
    /// The numbers of the features of an image.
    pub(super) width: usize,
    /// The last layer of a classifier.
    pub(super) head: Option<Linear>,
}

impl Parts {
    /// A network with features of this width, after which comes a last layer if there are weights of this name.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for weights that do not fit.
    pub(super) fn with_head(
        builder: &mut Builder<'_>,
        preprocess: Preprocess,
        network: impl ImageNetwork + 'static,
        (width, head): (usize, &str),
    ) -> Result<Self> {
        Ok(Self {
            preprocess,
            network: Box::new(network),
            width,
            head: builder.head(head, width)?,
        })
    }
}

/// A network of images with its weights.
#[derive(Debug)]
pub(super) struct ImageModel {
    signature: Signature,
    preprocess: Preprocess,
    network: Box<dyn ImageNetwork>,
    head: Option<Linear>,
    classes: Option<Classes>,
    device: Device,
    bytes: usize,
    numbers: RowNumbers,
}

impl ImageModel {
    /// A model whose weights have all been taken, but for those that are `known` to have no effect.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for other weights, and for classes that do not fit the last layer.
    pub(super) fn open(
        source: &Source<'_>,
        builder: &Builder<'_>,
        parts: Parts,
        known: impl Fn(&str) -> bool,
    ) -> Result<Arc<dyn Model>> {
        // The number of batches of a training.
        let is_counter = |name: &str| name.ends_with(".num_batches_tracked");
        let weights = &builder.weights;
        weights.finish(&source.architecture, |name| is_counter(name) || known(name))?;
        let head = parts.head.as_ref();
        let classes = head.map(|head| Classes::of(&source.config, head.outputs()));
        let classes = classes.transpose()?;
        let image = Port {
            name: IMAGE.into(),
            data_type: DataType::Binary,
            kind: PortKind::Image,
        };
        let of_classes = classes.iter().flat_map(Classes::ports);
        Ok(Arc::new(Self {
            signature: Signature {
                inputs: vec![image],
                outputs: of_classes.chain([vector_port(parts.width)]).collect(),
            },
            preprocess: parts.preprocess,
            network: parts.network,
            head: parts.head,
            classes,
            device: source.device.clone(),
            bytes: weights.numbers() * size_of::<f32>(),
            numbers: builder.numbers(),
        }))
    }

    /// The features, and the outputs of the last layer, of some rows.
    fn pass(&self, images: &Tensor) -> Result<Vec<Tensor>> {
        let features = self.network.features(&images.to_device(&self.device)?)?;
        let head = self.head.as_ref().map(|head| head.forward(&features));
        let outputs = head.transpose()?;
        Ok([features].into_iter().chain(outputs).collect())
    }

    fn widths(&self) -> impl Iterator<Item = usize> {
        let vector = self.signature.outputs.last();
        let features = vector.map_or(0, |port| match port.kind {
            PortKind::Vector { width } => width,
            _ => 0,
        });
        [features]
            .into_iter()
            .chain(self.head.as_ref().map(Linear::outputs))
    }
}

impl Model for ImageModel {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn batching(&self) -> Batching {
        Batching::Rows
    }

    fn compute_type(&self) -> ComputeType {
        ComputeType::F32
    }

    fn encode(&self, batch: &RecordBatch) -> Result<Inputs> {
        let rows = batch.num_rows();
        let images = Images::of(batch.column(0))?;
        let name = batch.schema_ref().field(0).name();
        let channels = self.preprocess.channels();
        let mut numbers = vec![0.0f32; rows * self.preprocess.numbers()];
        let (mut valid, mut failures) = (Vec::with_capacity(rows), vec![]);
        let of_rows = numbers.chunks_exact_mut(self.preprocess.numbers());
        for (row, numbers) in of_rows.enumerate() {
            stop::check()?;
            let image = images.image(row, channels);
            let written = image.and_then(|image| match image {
                Some(image) => self.preprocess.write(image, numbers).map(|()| true),
                None => Ok(false),
            });
            valid.push(written.as_ref().is_ok_and(|is_there| *is_there));
            if let Err(cause) = written {
                failures.push((row, format!("column \"{name}\" holds no image: {cause}")));
            }
        }
        let [height, width] = self.preprocess.size();
        let tensor = Tensor::from_vec(numbers, (rows, channels, height, width), &HOST)?;
        let mut inputs = Inputs::new(rows).with(IMAGE, tensor)?;
        let valid = Some(NullBuffer::from(valid)).filter(|valid| valid.null_count() > 0);
        inputs.report.add(name, valid.as_ref(), failures);
        Ok(inputs)
    }

    fn encoding_bytes(&self, batch: &RecordBatch) -> usize {
        let Ok(images) = Images::of(batch.column(0)) else {
            return 0;
        };
        // Images of one batch are read one after the other.
        let resizing = |size: [usize; 2]| self.preprocess.resizing_bytes(size);
        let channels = self.preprocess.channels();
        let of_rows =
            (0..batch.num_rows()).map(|row| images.resized_bytes(row, channels, resizing));
        of_rows.max().unwrap_or(0)
    }

    /// The features `[rows, width]`, and the outputs of the last layer `[rows, outputs]` of a classifier.
    fn forward(&self, inputs: &Inputs) -> Result<Vec<Tensor>> {
        let rows = inputs.rows();
        let images = inputs
            .get(IMAGE)
            .ok_or_else(|| Error::Internal("a model of images without images".into()))?;
        if rows == 0 {
            let empty = |width: usize| Ok(Tensor::zeros((0, width), DType::F32, &self.device)?);
            return self.widths().map(empty).collect();
        }
        let pass = |range: Range<usize>| -> Result<Vec<Tensor>> {
            self.pass(&images.narrow(0, range.start, range.len())?)
        };
        in_passes(rows, self.numbers.pass_rows(&self.device), pass)
    }

    fn outputs(&self, computed: &[Tensor], report: RowReport, wanted: &Wanted) -> Result<Outputs> {
        let probabilities = match (&self.classes, computed) {
            (Some(classes), [_, logits]) => {
                classes.probabilities(&logits.flatten_all()?.to_vec1::<f32>()?)
            }
            _ => vec![],
        };
        // With a NaN no class is the most probable.
        let count = self.head.as_ref().map_or(1, Linear::outputs);
        let is_known = |row: &[f64]| row.iter().all(|probability| !probability.is_nan());
        let known: NullBuffer = probabilities.chunks(count).map(is_known).collect();
        let known = Some(&known).filter(|known| known.null_count() > 0);
        let of_classes = NullBuffer::union(report.valid.as_ref(), known);
        let column = |output: &usize| -> Result<ArrayRef> {
            let valid = of_classes.as_ref();
            match (&self.signature.outputs[*output].kind, &self.classes) {
                (PortKind::Label { .. }, Some(classes)) => {
                    classes.labels(&probabilities, wanted.threshold, valid)
                }
                (PortKind::Probabilities { .. }, Some(classes)) => {
                    classes.lists(&probabilities, wanted.top_k, valid)
                }
                _ => vector_column(&computed[0], report.valid.as_ref()),
            }
        };
        Ok(Outputs {
            columns: wanted.outputs.iter().map(column).collect::<Result<_>>()?,
            scores: if wanted.scores { probabilities } else { vec![] },
            report,
        })
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn working_bytes(&self, rows: usize) -> usize {
        let number = size_of::<f32>();
        let [features, outputs] = {
            let mut widths = self.widths();
            [(); 2].map(|()| widths.next().unwrap_or(0))
        };
        let of_row = self.preprocess.numbers() * number
            // A vector as a tensor and as a column.
            + 2 * features * number
            // A probability takes a number, a label and a position in a list.
            + outputs * 4 * size_of::<f64>();
        self.numbers.bytes(&self.device, rows) + rows * of_row
    }
}
