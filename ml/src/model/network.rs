//! [`ModelType`]: a type of model that TRAIN MODEL can train; [`Network`]: the differentiable function in its models.

use std::fmt::Debug;

use candle_core::Tensor;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::data::columns::{Column, Columns};
use crate::data::encode::shape::InputShape;
use crate::data::inputs::Inputs;
use crate::data::precision::Precision;
use crate::data::targets::Predictor;
use crate::graph::{Drawing, Value};
use crate::model::options::{Optimizer, TrainOptions};
use crate::model::recommender::{Side, Sides};
use crate::nn::dropout;
use crate::{Error, Result, random};

pub use crate::data::labels::Task;

/// The epochs of a descent whose number neither the options nor the model type decide.
pub(crate) const EPOCHS_DEFAULT: usize = 50;

/// A type of model that TRAIN MODEL can train. To add a type, implement this trait and append the type to
/// [`crate::models::MODEL_TYPES`], or pass it to the engine.
pub trait ModelType: Debug + Send + Sync {
    /// The value of the option `model_type`.
    fn name(&self) -> &str;
    /// The kind of prediction that a model with these options makes. The options have passed [`ModelType::check`].
    fn task(&self, options: &TrainOptions) -> Task;
    /// Refuses options that fit neither each other nor the type, before any row is read.
    ///
    /// # Errors
    /// [`Error::Invalid`] and [`Error::Unsupported`], with the remedy.
    fn check(&self, _options: &TrainOptions) -> Result<()> {
        Ok(())
    }
    /// Refuses columns that the type cannot take, before any row is read. The options have passed [`ModelType::check`].
    ///
    /// # Errors
    /// [`Error::Type`] and [`Error::Invalid`] with the column and the remedy.
    fn check_columns(&self, _columns: &Columns, _options: &TrainOptions) -> Result<()> {
        Ok(())
    }
    /// Whether its networks take a column of images as input, of the shape `input_shape`.
    fn takes_images(&self) -> bool {
        false
    }
    /// Whether its models take a text, which an encoder reads from whose weights each training starts.
    fn takes_texts(&self) -> bool {
        false
    }
    /// What a user does to get a model of the other task.
    fn other_task(&self, options: &TrainOptions) -> &str {
        match self.task(options) {
            Task::Classification => "use a regressor",
            Task::Regression => "use a classifier",
        }
    }
    /// Whether its models may predict several targets, or lists of numbers. The outputs of their network are then those of all
    /// targets side by side.
    fn takes_several_targets(&self) -> bool {
        !self.is_linear()
    }
    /// What the type says about targets.
    fn predictor<'a>(&'a self, options: &'a TrainOptions) -> Predictor<'a> {
        Predictor {
            model_type: self.name(),
            task: self.task(options),
            other_task: self.other_task(options),
            takes_several: self.takes_several_targets(),
        }
    }
    /// How many ids there are, if the numbers of this column are ids: whole numbers from 0, which reach the network as they
    /// are, and in 32 bits where the model computes in 16. Other numbers are standardised.
    fn ids(&self, _options: &TrainOptions, _column: &Column) -> Option<usize> {
        None
    }
    /// Whether the values of this column are ids of users or items, of which there may be any number. Each has weights of its own.
    fn is_key(&self, _options: &TrainOptions, _column: &Column) -> bool {
        false
    }
    /// Which columns belong to the user and which to the item, if its networks have [`Network::towers`]. The columns have passed
    /// [`ModelType::check_columns`].
    fn sides(&self, _columns: &Columns, _options: &TrainOptions) -> Option<Sides> {
        None
    }
    /// Whether its networks are products of vectors of users and items, one for each, which alternating least squares finds.
    fn is_factorization(&self) -> bool {
        false
    }
    /// Whether columns may have categories.
    fn takes_categories(&self, _options: &TrainOptions) -> bool {
        true
    }
    /// Notices for the user about options that are possible, and probably not meant.
    fn notices(&self, _options: &TrainOptions) -> Vec<String> {
        vec![]
    }
    /// Whether outputs are linear in the features, which allows exact solvers.
    fn is_linear(&self) -> bool {
        false
    }
    /// The options of the network that the type uses, among `hidden_units`, `activation`, `dropout`, `layers`, `input_shape`,
    /// `augment`, those of images, and those of users and items.
    fn network_options(&self) -> &[&str] {
        match self.is_linear() {
            true => &[],
            false => &["hidden_units", "activation", "dropout"],
        }
    }
    /// The precision in which its models compute and are stored.
    fn precision(&self) -> Precision {
        Precision::Single
    }
    /// The default weight of half the sum of squared weights; for a factorization, of half the squares of the vectors of the user and
    /// the item of a row.
    fn default_l2(&self, _train_rows: u64) -> f64 {
        0.0
    }
    /// The default number of epochs, each of so many steps, of a descent that early stopping may end.
    fn default_epochs(&self, _steps: usize) -> usize {
        EPOCHS_DEFAULT
    }
    /// The default of `ema_decay`.
    fn default_ema_decay(&self) -> f64 {
        0.0
    }
    /// The default of `refit` for a table of few rows.
    fn default_refit(&self) -> bool {
        false
    }
    /// The default optimiser.
    fn default_optimizer(&self, _shape: &InputShape, _options: &TrainOptions) -> Optimizer {
        match (self.is_linear(), self.is_factorization()) {
            (true, _) => Optimizer::Lbfgs,
            (false, true) => Optimizer::Als,
            (false, false) => Optimizer::Adamw,
        }
    }
    /// The network for this input. The number of `outputs` is the sum of those of all targets: one for a number, one for each
    /// number of a list, one for two classes, else one for each class.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the input does not fit the network.
    fn network(
        &self,
        shape: &InputShape,
        outputs: usize,
        options: &TrainOptions,
    ) -> Result<Box<dyn Network>>;
}

/// A differentiable function of features and parameters.
pub trait Network: Send + Sync {
    /// The parameters, in the order in which [`Network::forward`] takes them.
    fn parameters(&self) -> &[Parameter];
    /// The outputs `[rows, outputs]`, from the values of the parameters: one tensor, in which each target has columns. Several
    /// tensors are for models that training does not make.
    fn forward(
        &self,
        parameters: &[Tensor],
        inputs: &Inputs,
        mode: Mode<'_>,
    ) -> Result<Vec<Tensor>>;
    /// Writes the network into a graph: the outputs `[rows, outputs]`, as [`Network::forward`] predicts them.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the network has no form in ONNX.
    fn draw(&self, _drawing: &mut Drawing<'_>) -> Result<Vec<Value>> {
        Err(Error::Unsupported(
            "its network has no form in ONNX; write TO 'directory/' to export its files".into(),
        ))
    }
    /// The numbers that all layers keep for one row until the gradient is known, to estimate memory: their outputs, and what
    /// else their gradients need.
    fn numbers_per_row(&self) -> usize {
        let parameters = self.parameters().iter();
        parameters.filter_map(|spec| spec.shape.last()).sum()
    }
    /// The memory on the host that a layer takes while it works, however many rows there are.
    fn scratch_bytes(&self) -> usize {
        0
    }
    /// The factor on the learning rate of each parameter, in their order; `None` if all are 1.
    fn rates(&self) -> Option<Vec<f32>> {
        None
    }
    /// How many numbers each row of a shard adds to the fewest that a layer normalises together in a step; `None` if no layer
    /// normalises over rows.
    fn normalised_numbers(&self) -> Option<usize> {
        None
    }
    /// A description of each layer, if the network is a list of layers.
    fn layers(&self) -> Vec<LayerSummary> {
        vec![]
    }
    /// The network as two towers, if its output is the product of what they give.
    fn towers(&self) -> Option<&dyn Towers> {
        None
    }
}

/// A network whose output is the product of a vector of a user and one of an item.
pub trait Towers {
    /// The vectors `[rows, width]` of a side, of inputs that hold only the columns of that side. Their categories have the ids
    /// that they have among the columns of both sides.
    fn vectors(&self, side: Side, parameters: &[Tensor], inputs: &Inputs) -> Result<Tensor>;
}

/// The description of a layer of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerSummary {
    /// The layer as written.
    pub layer: String,
    /// The dimensions of its output for one row.
    pub output: Vec<usize>,
    /// The number of its weights that an optimiser learns.
    pub parameters: usize,
    /// Floating-point operations for one row: two for each multiplication of a product, else one for each number.
    pub flops: u64,
}

/// The purpose of a forward pass.
#[derive(Debug)]
pub enum Mode<'a> {
    /// To predict.
    Inference,
    /// To train.
    Training {
        /// The source of the random values of a step, such as the masks of dropout.
        random: &'a mut ChaCha8Rng,
        /// Takes what the rows have in place of each [`ParameterKind::Statistic`], in the order and the shapes of the
        /// parameters.
        statistics: &'a mut Vec<Tensor>,
    },
}

impl Mode<'_> {
    /// In training, the tensor with a share `rate` of its elements zeroed and the others scaled up; else the tensor as it is.
    ///
    /// # Errors
    /// [`Error::Device`] and [`Error::DeviceMemory`].
    pub fn dropout(&mut self, x: Tensor, rate: f64) -> Result<Tensor> {
        match self {
            Self::Training { random, .. } if rate > 0.0 => dropout(&x, rate, random),
            Self::Training { .. } | Self::Inference => Ok(x),
        }
    }
}

/// A named tensor of weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// The name in the model file.
    pub name: String,
    /// The dimensions.
    pub shape: Vec<usize>,
    /// The values before training.
    pub init: Init,
    /// Who finds the values.
    pub kind: ParameterKind,
}

/// Who finds the values of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterKind {
    /// An optimiser, with penalties: a weight.
    Penalised,
    /// An optimiser, without penalties: a bias.
    Free,
    /// Training measures it on the rows of each step, such as the mean of batch normalisation. No optimiser changes it.
    Statistic,
}

impl Parameter {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values before training.
    pub fn initial_values(&self, seed: u64) -> Vec<f32> {
        let mut random = random::stream(seed, &self.name, &[]);
        let bound = match self.init {
            Init::Uniform { bound } | Init::Categories { bound, .. } => bound,
            Init::Normal => return random::normal(self.len(), &mut random),
            Init::Constant { value } => return vec![value; self.len()],
        };
        let mut values: Vec<f32> = (0..self.len())
            .map(|_| (random.random::<f32>() * 2.0 - 1.0) * bound)
            .collect();
        if let Init::Categories { unseen_ids, .. } = &self.init {
            let width = self.shape[1];
            unseen_ids
                .iter()
                .for_each(|id| values[id * width..][..width].fill(0.0));
        }
        values
    }
}

/// The values of a parameter before training.
#[derive(Debug, Clone, PartialEq)]
pub enum Init {
    /// Uniform in ±bound.
    Uniform {
        /// Half the width of the interval.
        bound: f32,
    },
    /// As `Uniform`, but the rows of unseen categories are zero.
    Categories {
        /// Half the width of the interval.
        bound: f32,
        /// The rows of unseen categories.
        unseen_ids: Vec<usize>,
    },
    /// Normal, with mean 0 and variance 1.
    Normal,
    /// One value for all.
    Constant {
        /// The value.
        value: f32,
    },
}
