//! [`OPTIONS`]: every option of TRAIN with its accepted values, default and description. To add an option, add it here, to
//! `Reader::set` in `options.rs`, to `TrainOptions` of `ml`, and to `docs/sql.md`.

use datafusion::arrow::datatypes::DataType;

/// An option of TRAIN.
#[derive(Debug, Clone)]
pub struct TrainOption {
    /// The name.
    pub name: &'static str,
    /// The accepted values.
    pub takes: &'static str,
    /// The default.
    pub default: &'static str,
    /// The description.
    pub description: &'static str,
    /// The type of a value that a client binds to the option.
    pub data_type: DataType,
}

/// All options.
pub const OPTIONS: &[TrainOption] = &[
    TrainOption {
        name: "model_type",
        takes: "name",
        default: "required",
        description: "what to train",
        data_type: DataType::Utf8,
    },
    TrainOption {
        name: "hidden_units",
        takes: "list of whole numbers",
        default: "[128, 128]",
        description: "widths of the hidden layers of a dnn or two_tower model, and of the layers after the convolutions of a cnn model",
        data_type: DataType::Utf8,
    },
    TrainOption {
        name: "layers",
        takes: "list of layers",
        default: "required for sequential",
        description: "layers of a sequential model, from input to output",
        data_type: DataType::Utf8,
    },
    TrainOption {
        name: "input_shape",
        takes: "list of whole numbers",
        default: "a vector; required for a cnn model",
        description: "dimensions of the numbers of a row for a sequential or cnn model, such as [1, 28, 28]: channels, height, width",
        data_type: DataType::Utf8,
    },
    TrainOption {
        name: "image_resize",
        takes: "crop, pad, stretch",
        default: "crop",
        description: "what becomes of images whose sides have another ratio than input_shape",
        data_type: DataType::Utf8,
    },
    TrainOption {
        name: "image_filter",
        takes: "nearest, box, bilinear, hamming, bicubic, lanczos",
        default: "bilinear",
        description: "filter that resizes images",
        data_type: DataType::Utf8,
    },
    TrainOption {
        name: "image_mean",
        takes: "number, or list with one for each channel",
        default: "that of the training rows",
        description: "mean of the levels of images, from 0 to 1, which is subtracted",
        data_type: DataType::Utf8,
    },
    TrainOption {
        name: "image_std",
        takes: "number above 0, or list with one for each channel",
        default: "that of the training rows",
        description: "deviation of the levels of images, from 0 to 1, by which they are divided",
        data_type: DataType::Utf8,
    },
    TrainOption {
        name: "augment",
        takes: "list of augmentations",
        default: "none",
        description: "random changes of the images of training rows, drawn for each row and epoch",
        data_type: DataType::Utf8,
    },
    TrainOption {
        name: "activation",
        takes: "relu, gelu, silu, tanh, sigmoid, leaky_relu",
        default: "relu",
        description: "activation function between layers",
        data_type: DataType::Utf8,
    },
    TrainOption {
        name: "dropout",
        takes: "number from 0 to below 1",
        default: "0",
        description: "fraction of hidden units left out at each step",
        data_type: DataType::Float64,
    },
    TrainOption {
        name: "loss",
        takes: "cross_entropy, focal, mse, mae, huber, quantile, poisson",
        default: "cross_entropy, or mse for a regressor",
        description: "what a network minimises",
        data_type: DataType::Utf8,
    },
    TrainOption {
        name: "label_smoothing",
        takes: "number from 0 to below 1",
        default: "0",
        description: "fraction of a label that loss cross_entropy spreads evenly over all classes",
        data_type: DataType::Float64,
    },
    TrainOption {
        name: "focal_gamma",
        takes: "number from 0",
        default: "2",
        description: "how much less loss focal counts rows whose label is likely already; with 0 it is cross_entropy",
        data_type: DataType::Float64,
    },
    TrainOption {
        name: "huber_delta",
        takes: "number above 0",
        default: "1",
        description: "error from which loss huber grows like an absolute error, in the label's units",
        data_type: DataType::Float64,
    },
    TrainOption {
        name: "quantile",
        takes: "number above 0 and below 1",
        default: "0.5",
        description: "fraction of the labels below the predictions of loss quantile",
        data_type: DataType::Float64,
    },
    TrainOption {
        name: "target_weights",
        takes: "list of ('target', weight)",
        default: "all 1",
        description: "factors of the losses of several targets",
        data_type: DataType::Utf8,
    },
    TrainOption {
        name: "batch_size",
        takes: "whole number",
        default: "rows / 64, from 32 to 1024",
        description: "rows of one step, over all workers",
        data_type: DataType::Int64,
    },
    TrainOption {
        name: "epochs",
        takes: "whole number",
        default: "50, or 500 iterations of lbfgs, or 20 of als",
        description: "maximum number of passes over the rows",
        data_type: DataType::Int64,
    },
    TrainOption {
        name: "learn_rate",
        takes: "number above 0",
        default: "0.001",
        description: "step size",
        data_type: DataType::Float64,
    },
    TrainOption {
        name: "optimizer",
        takes: "adamw, sgd, lbfgs, normal_equation, als",
        default: "by model type",
        description: "algorithm that finds the weights",
        data_type: DataType::Utf8,
    },
    TrainOption {
        name: "lr_schedule",
        takes: "constant, cosine, linear, step",
        default: "constant",
        description: "how the learning rate decreases",
        data_type: DataType::Utf8,
    },
    TrainOption {
        name: "l1_reg",
        takes: "number from 0",
        default: "0",
        description: "factor of the sum of absolute weights that is added to the mean loss",
        data_type: DataType::Float64,
    },
    TrainOption {
        name: "l2_reg",
        takes: "number from 0",
        default: "0, or 1 / rows for logistic_reg, or 0.1 for matrix_factorization",
        description: "factor of half the sum of squared weights that is added to the mean loss",
        data_type: DataType::Float64,
    },
    TrainOption {
        name: "weight_decay",
        takes: "number from 0",
        default: "0",
        description: "fraction of learn_rate by which adamw shrinks weights at each step, independent of the gradient",
        data_type: DataType::Float64,
    },
    TrainOption {
        name: "clip_norm",
        takes: "number above 0",
        default: "none",
        description: "maximum norm of the gradient",
        data_type: DataType::Float64,
    },
    TrainOption {
        name: "early_stop",
        takes: "boolean",
        default: "true",
        description: "stop when the evaluation loss stalls, and keep the weights of the best epoch",
        data_type: DataType::Boolean,
    },
    TrainOption {
        name: "min_rel_progress",
        takes: "number from 0 to below 1",
        default: "0.001",
        description: "relative decrease of the loss that counts as progress",
        data_type: DataType::Float64,
    },
    TrainOption {
        name: "max_runtime_s",
        takes: "number above 0",
        default: "none",
        description: "number of seconds from the start of the statement after which no new epoch begins",
        data_type: DataType::Float64,
    },
    TrainOption {
        name: "class_weights",
        takes: "list of ('label', weight)",
        default: "all 1",
        description: "weights of the rows of each class",
        data_type: DataType::Utf8,
    },
    TrainOption {
        name: "auto_class_weights",
        takes: "boolean",
        default: "false",
        description: "weigh classes inversely to their frequency",
        data_type: DataType::Boolean,
    },
    TrainOption {
        name: "data_split_method",
        takes: "hash, column, none",
        default: "hash",
        description: "how evaluation rows are chosen",
        data_type: DataType::Utf8,
    },
    TrainOption {
        name: "data_split_eval_fraction",
        takes: "number from 0 to below 1",
        default: "0.2",
        description: "fraction of evaluation rows with method hash",
        data_type: DataType::Float64,
    },
    TrainOption {
        name: "data_split_col",
        takes: "column name",
        default: "none",
        description: "boolean column for method column: true marks an evaluation row",
        data_type: DataType::Utf8,
    },
    TrainOption {
        name: "seed",
        takes: "whole number",
        default: "0",
        description: "seeds everything random",
        data_type: DataType::Int64,
    },
    TrainOption {
        name: "null_handling",
        takes: "error, skip, impute",
        default: "error",
        description: "treatment of rows with a NULL",
        data_type: DataType::Utf8,
    },
    TrainOption {
        name: "hash_buckets",
        takes: "whole number",
        default: "none",
        description: "number of weights that the values of a category share by their hash if there are over 10,000 values, instead of an error; 1 to 10,000,000",
        data_type: DataType::Int64,
    },
    TrainOption {
        name: "checkpoint_every",
        takes: "whole number",
        default: "60 seconds",
        description: "epochs between two checkpoints, from which a network on a cluster resumes when a machine is lost",
        data_type: DataType::Int64,
    },
    TrainOption {
        name: "workers",
        takes: "whole number",
        default: "one for each core",
        description: "ranks that train together",
        data_type: DataType::Int64,
    },
    TrainOption {
        name: "shards",
        takes: "whole number",
        default: "8; 1 on a GPU",
        description: "virtual shards; results depend on this number, not on workers, which never exceeds it",
        data_type: DataType::Int64,
    },
    TrainOption {
        name: "device",
        takes: "auto, cpu, cuda, cuda:N",
        default: "auto",
        description: "where to train; auto is the first GPU, or the processor without one and for linear models",
        data_type: DataType::Utf8,
    },
    TrainOption {
        name: "dtype",
        takes: "f32, f64",
        default: "f32, or f64 for linear_reg",
        description: "type of the weights; must be the type that the model type uses",
        data_type: DataType::Utf8,
    },
    TrainOption {
        name: "user_col",
        takes: "column name",
        default: "user_id",
        description: "column of the users of a matrix_factorization",
        data_type: DataType::Utf8,
    },
    TrainOption {
        name: "item_col",
        takes: "column name",
        default: "item_id",
        description: "column of the items of a matrix_factorization",
        data_type: DataType::Utf8,
    },
    TrainOption {
        name: "user_cols",
        takes: "list of column names",
        default: "['user_id']",
        description: "columns of the user of a two_tower",
        data_type: DataType::Utf8,
    },
    TrainOption {
        name: "item_cols",
        takes: "list of column names",
        default: "['item_id']",
        description: "columns of the item of a two_tower",
        data_type: DataType::Utf8,
    },
    TrainOption {
        name: "num_factors",
        takes: "whole number",
        default: "16",
        description: "length of the vectors of users and items",
        data_type: DataType::Int64,
    },
    TrainOption {
        name: "feedback_type",
        takes: "explicit, implicit",
        default: "explicit",
        description: "what the target of a matrix_factorization is: ratings, or how often a user took an item",
        data_type: DataType::Utf8,
    },
    TrainOption {
        name: "wals_alpha",
        takes: "number above 0",
        default: "40",
        description: "how much more an observed pair counts for each unit of its strength, with implicit feedback",
        data_type: DataType::Float64,
    },
    TrainOption {
        name: "base_model",
        takes: "model, such as 'm@3'",
        default: "random weights",
        description: "model whose weights the training starts from",
        data_type: DataType::Utf8,
    },
    TrainOption {
        name: "freeze",
        takes: "encoder, embeddings, none",
        default: "encoder",
        description: "what stays as it is in the encoder of a text model",
        data_type: DataType::Utf8,
    },
    TrainOption {
        name: "pooling",
        takes: "mean, cls",
        default: "as embed",
        description: "how the vectors of tokens become that of a text in a text model",
        data_type: DataType::Utf8,
    },
    TrainOption {
        name: "layer_decay",
        takes: "number above 0, up to 1",
        default: "1",
        description: "factor on the learning rate of a layer of the encoder, from that of the layer behind it",
        data_type: DataType::Float64,
    },
    TrainOption {
        name: "warmup",
        takes: "number from 0 to below 1",
        default: "0",
        description: "fraction of the steps in which the learning rate rises to learn_rate, before lr_schedule",
        data_type: DataType::Float64,
    },
];

/// Options of other systems, with what does the same here.
pub(super) const FOREIGN: &[(&str, &str)] = &[
    (
        "warm_start",
        "base_model = 'model' starts from the weights of a model",
    ),
    (
        "max_iterations",
        "epochs is the number of passes or iterations",
    ),
    ("input_label_cols", "TARGET names the labels"),
    ("rating_col", "TARGET names the column of ratings"),
];

/// The type of a value that a client binds to an option; `None` for an unknown option.
pub(crate) fn option_type(name: &str) -> Option<DataType> {
    let option = OPTIONS.iter().find(|option| option.name == name)?;
    Some(option.data_type.clone())
}
