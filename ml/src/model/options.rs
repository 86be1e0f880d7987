//! The options of TRAIN MODEL with their defaults.

use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::data::image::{ImageOptions, ImageReader};
use crate::data::labels::Task;
use crate::data::precision::Precision;
use crate::data::types::is_image;
use crate::device::DeviceName;
use crate::named::named_enum;
use crate::nn::Activation;

/// The options of a training. The code that reads the text of an option checks its range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainOptions {
    /// The name of the model type.
    pub model_type: String,
    /// The widths of the hidden layers.
    pub hidden_units: Vec<usize>,
    /// The layers of a sequential model, as written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<String>,
    /// The dimensions of the numbers of a row; the numbers as a vector if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub input_shape: Vec<usize>,
    /// How images become inputs of the shape `input_shape`.
    #[serde(default, skip_serializing_if = "ImageOptions::is_default")]
    pub image: ImageOptions,
    /// The random changes of the images of training rows, as written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub augment: Vec<String>,
    /// The activation function between layers.
    pub activation: Activation,
    /// The share of hidden units left out at each step, in `[0, 1)`.
    pub dropout: f64,
    /// The loss that a network minimises; that of its task if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<LossName>,
    /// The share of a label that cross-entropy spreads evenly over all classes, in `[0, 1)`.
    #[serde(default)]
    pub label_smoothing: f64,
    /// The exponent of the focal loss; 2 if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub focal_gamma: Option<f64>,
    /// The difference up to which the Huber loss is a square, in the label's units; 1 if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub huber_delta: Option<f64>,
    /// The share of the labels below the predictions of the quantile loss, between 0 and 1; 0.5 if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantile: Option<f64>,
    /// Factors of the losses of targets, as (name, factor); 1 for the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub target_weights: Vec<(String, f64)>,
    /// Rows of one step over all ranks; chosen from the number of rows if `None`.
    pub batch_size: Option<usize>,
    /// Passes over the training rows, at most; if `None`, chosen by the model type, or 500 iterations of a full-batch solver.
    pub epochs: Option<usize>,
    /// The step size of the optimiser.
    pub learn_rate: f64,
    /// The optimiser or solver; chosen by the model type if `None`.
    pub optimizer: Option<Optimizer>,
    /// How the learning rate changes over the epochs.
    pub lr_schedule: Schedule,
    /// Weight of the sum of absolute weights beside the mean loss.
    pub l1_reg: f64,
    /// Weight of half the sum of squared weights beside the mean loss; chosen by the model type if `None`.
    pub l2_reg: Option<f64>,
    /// The share of the learning rate by which adamw shrinks weights at each step, apart from the gradient.
    #[serde(default)]
    pub weight_decay: f64,
    /// The share of its old value that the moving average of the weights keeps at a step, in `[0, 1)`; without an average if 0,
    /// chosen by the model type if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema_decay: Option<f64>,
    /// Gradients with a larger norm are scaled down to this norm.
    pub clip_norm: Option<f64>,
    /// Whether to stop when the evaluation loss no longer falls.
    pub early_stop: bool,
    /// The relative fall of the loss that counts as progress.
    pub min_rel_progress: f64,
    /// Whether a second training takes all rows, for as many epochs as were best; chosen by the model type and the rows if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refit: Option<bool>,
    /// No epoch begins after this many seconds.
    pub max_runtime_s: Option<f64>,
    /// Weights of the classes, as (label as text, weight).
    pub class_weights: Vec<(String, f64)>,
    /// Whether classes weigh inversely to their frequency.
    pub auto_class_weights: bool,
    /// How evaluation rows are chosen.
    pub data_split: DataSplit,
    /// Seeds everything random.
    pub seed: u64,
    /// The treatment of rows with a NULL.
    pub null_handling: NullHandling,
    /// The number of ids that the values of a category with too many values share; an error if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_buckets: Option<u32>,
    /// Epochs between two checkpoints; a minute if `None`. Only a cluster writes checkpoints.
    pub checkpoint_every: Option<usize>,
    /// Number of ranks, at most the number of shards. If `None`: the setting `vatic.workers`, else most slots, or all cores.
    pub workers: Option<usize>,
    /// Number of virtual shards.
    pub shards: Option<usize>,
    /// The device of the training.
    #[serde(default)]
    pub device: DeviceName,
    /// The precision of the weights; the precision of the model type if `None`.
    #[serde(default)]
    pub precision: Option<Precision>,
    /// The model whose weights the training starts from; random weights if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_model: Option<BaseModel>,
    /// How a model of texts uses the encoder that it starts from.
    #[serde(default, skip_serializing_if = "TextOptions::is_default")]
    pub text: TextOptions,
    /// The share of the steps over which the learning rate rises from near zero, in `[0, 1)`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub warmup: f64,
    /// The columns of the user of a model that recommends; `user_id` if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub user_cols: Vec<String>,
    /// The columns of the item of a model that recommends; `item_id` if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub item_cols: Vec<String>,
    /// The length of the vectors of users and items; 16 if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_factors: Option<usize>,
    /// What the target says about a user and an item; `explicit` if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feedback: Option<Feedback>,
    /// How much more an observed pair counts for each unit of its strength, with implicit feedback; 40 if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wals_alpha: Option<f64>,
}

fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

/// How a model of texts uses the encoder that it starts from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextOptions {
    /// What stays as it is in the encoder.
    pub freeze: Freeze,
    /// How the vectors of tokens become that of a text; as in the encoder's own embeddings if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooling: Option<TextPooling>,
    /// The factor on the learning rate of a layer, from that of the layer behind it, in `(0, 1]`.
    pub layer_decay: f64,
}

impl Default for TextOptions {
    fn default() -> Self {
        Self {
            freeze: Freeze::Encoder,
            pooling: None,
            layer_decay: 1.0,
        }
    }
}

impl TextOptions {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

named_enum! {
    /// What stays as it is in the encoder of a model of texts.
    Freeze {
        /// All of it.
        Encoder = "encoder",
        /// What comes before its first layer.
        Embeddings = "embeddings",
        /// Nothing.
        None = "none",
    }
}

named_enum! {
    /// How the vectors of tokens become that of a text.
    TextPooling {
        /// Their mean.
        Mean = "mean",
        /// That of the first token.
        Cls = "cls",
    }
}

/// The version of a model that a training starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseModel {
    /// The model with its version, as messages show it.
    pub model: String,
    /// The SHA-256 of the description of the version.
    pub sha256: String,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            model_type: String::new(),
            hidden_units: vec![128, 128],
            layers: Vec::new(),
            input_shape: Vec::new(),
            image: ImageOptions::default(),
            augment: Vec::new(),
            activation: Activation::Relu,
            dropout: 0.0,
            loss: None,
            label_smoothing: 0.0,
            focal_gamma: None,
            huber_delta: None,
            quantile: None,
            target_weights: Vec::new(),
            batch_size: None,
            epochs: None,
            learn_rate: 1e-3,
            optimizer: None,
            lr_schedule: Schedule::Constant,
            l1_reg: 0.0,
            l2_reg: None,
            weight_decay: 0.0,
            ema_decay: None,
            clip_norm: None,
            early_stop: true,
            min_rel_progress: 1e-3,
            refit: None,
            max_runtime_s: None,
            class_weights: Vec::new(),
            auto_class_weights: false,
            data_split: DataSplit::Hash { eval_fraction: 0.2 },
            seed: 0,
            null_handling: NullHandling::Error,
            hash_buckets: None,
            checkpoint_every: None,
            workers: None,
            shards: None,
            device: DeviceName::default(),
            precision: None,
            base_model: None,
            text: TextOptions::default(),
            warmup: 0.0,
            user_cols: Vec::new(),
            item_cols: Vec::new(),
            num_factors: None,
            feedback: None,
            wals_alpha: None,
        }
    }
}

impl TrainOptions {
    /// How images become pixels of the shape `input_shape`.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) if it is no shape of images.
    pub fn image_reader(&self) -> Result<ImageReader> {
        ImageReader::new(&self.input_shape, &self.image)
    }

    /// The columns of the user of a model that recommends.
    pub fn user_columns(&self) -> Vec<&str> {
        named_or(&self.user_cols, "user_id")
    }

    /// The columns of the item of a model that recommends.
    pub fn item_columns(&self) -> Vec<&str> {
        named_or(&self.item_cols, "item_id")
    }

    /// The length of the vectors of users and items.
    pub fn factors(&self) -> usize {
        self.num_factors.unwrap_or(FACTORS_DEFAULT)
    }

    /// How much more an observed pair counts for each unit of its strength; `None` if the feedback is explicit.
    pub fn implicit_alpha(&self) -> Option<f64> {
        let is_implicit = self.feedback == Some(Feedback::Implicit);
        is_implicit.then(|| self.wals_alpha.unwrap_or(ALPHA_DEFAULT))
    }

    /// The type in which a column of images of this type is part of the rows of a training: its pixels, as many bytes in each
    /// row. `None` for another column.
    pub fn pixels_type(&self, data_type: &DataType) -> Option<DataType> {
        let reader = self.image_reader().ok()?;
        let numbers = reader.numbers() as i32;
        is_image(data_type).then_some(DataType::FixedSizeBinary(numbers))
    }
}

/// The length of the vectors of users and items if no other is chosen.
const FACTORS_DEFAULT: usize = 16;
/// As in Hu, Koren and Volinsky, "Collaborative filtering for implicit feedback datasets", 2008.
const ALPHA_DEFAULT: f64 = 40.0;

fn named_or<'a>(names: &'a [String], default: &'a str) -> Vec<&'a str> {
    match names {
        [] => vec![default],
        names => names.iter().map(String::as_str).collect(),
    }
}

named_enum! {
    /// What a target says about a user and an item.
    Feedback {
        /// How much the user likes the item: a rating.
        Explicit = "explicit",
        /// How often the user took the item: more is surer, and what is not there is not liked.
        Implicit = "implicit",
    }
}

named_enum! {
    /// The loss that a network minimises.
    LossName {
        /// Minus the logarithm of the probability of the right class.
        CrossEntropy = "cross_entropy",
        /// Cross-entropy that counts a row less the likelier its class is already.
        Focal = "focal",
        /// The squared difference.
        Mse = "mse",
        /// The absolute difference.
        Mae = "mae",
        /// The squared difference of near labels, the absolute difference of far ones.
        Huber = "huber",
        /// The pinball loss, whose minimum is a quantile.
        Quantile = "quantile",
        /// The Poisson deviance of a count.
        Poisson = "poisson",
    }
}

impl LossName {
    /// The task that the loss is for.
    pub fn task(self) -> Task {
        match self {
            Self::CrossEntropy | Self::Focal => Task::Classification,
            Self::Mse | Self::Mae | Self::Huber | Self::Quantile | Self::Poisson => {
                Task::Regression
            }
        }
    }

    /// The loss of a task if no other is chosen.
    pub fn default_of(task: Task) -> Self {
        match task {
            Task::Classification => Self::CrossEntropy,
            Task::Regression => Self::Mse,
        }
    }
}

named_enum! {
    /// The optimiser or solver that finds the weights.
    Optimizer {
        /// Solves the normal equations once, in f64; `linear_reg` only.
        NormalEquation = "normal_equation",
        /// Limited-memory BFGS on all rows at once, in f64; linear models only.
        Lbfgs = "lbfgs",
        /// Adam with decoupled weight decay.
        Adamw = "adamw",
        /// Stochastic gradient descent with momentum 0.9.
        Sgd = "sgd",
        /// Alternating least squares: exact for users while items stay, and the other way round; `matrix_factorization` only.
        Als = "als",
    }
}

named_enum! {
    /// How the learning rate changes over the epochs.
    Schedule {
        /// The rate stays the same.
        Constant = "constant",
        /// Half a cosine from the full rate to zero.
        Cosine = "cosine",
        /// A straight line from the full rate to zero.
        Linear = "linear",
        /// A tenth of the rate after each third of the epochs.
        Step = "step",
    }
}

named_enum! {
    /// The treatment of training rows with a NULL.
    NullHandling {
        /// The training fails and names the columns with NULLs.
        Error = "error",
        /// The rows are left out and counted.
        Skip = "skip",
        /// Numbers become the mean, categories the most frequent value; a NULL label is still an error.
        Impute = "impute",
    }
}

/// How evaluation rows are chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataSplit {
    /// By a hash of the row and its number among equal rows, so that a share of each class and of equal rows evaluates.
    Hash {
        /// The share of rows kept for evaluation.
        eval_fraction: f64,
    },
    /// By a boolean column: TRUE is an evaluation row.
    Column {
        /// The name of the column, which is not a feature.
        name: String,
    },
    /// Every row trains.
    None,
}

impl DataSplit {
    /// Whether some rows may evaluate.
    pub fn evaluates(&self) -> bool {
        match self {
            Self::Hash { eval_fraction } => *eval_fraction > 0.0,
            Self::Column { .. } => true,
            Self::None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_earlier_builds_have_the_loss_of_their_task() {
        let mut options = serde_json::to_value(TrainOptions::default()).unwrap();
        let fields = options.as_object_mut().unwrap();
        assert!(!fields.contains_key("loss"));
        fields.remove("label_smoothing");
        let read: TrainOptions = serde_json::from_value(options).unwrap();
        assert_eq!(read, TrainOptions::default());
    }
}
