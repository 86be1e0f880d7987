//! Tests of OPTIONS: values, and what fits the model type.

use std::sync::Arc;

use vatic_ml::data::encode::shape::InputShape;
use vatic_ml::model::network::{Network, Task};

use super::*;
use crate::sql::{Statement, parse};

fn read(options: &str) -> Result<TrainOptions> {
    let text = format!("TRAIN MODEL m OPTIONS ({options}) AS SELECT 1");
    let Some(Statement::Train(train)) = parse(&text)? else {
        panic!("{text}")
    };
    let model_types = ModelTypes::with(vec![Arc::new(Line)]);
    Ok(train_options(&train.options, &model_types, None)?.0)
}

/// A linear regression of a third party.
#[derive(Debug)]
struct Line;

impl ModelType for Line {
    fn name(&self) -> &str {
        "line"
    }

    fn task(&self, _options: &TrainOptions) -> Task {
        Task::Regression
    }

    fn is_linear(&self) -> bool {
        true
    }

    fn network(
        &self,
        _shape: &InputShape,
        _outputs: usize,
        _options: &TrainOptions,
    ) -> vatic_ml::Result<Box<dyn Network>> {
        unreachable!("nothing is trained here")
    }
}

#[test]
fn an_added_type_takes_the_options_that_its_task_and_its_network_allow() {
    for optimizer in ["lbfgs", "normal_equation"] {
        assert!(read(&format!("model_type = 'line', optimizer = '{optimizer}'")).is_ok());
    }
    for (option, needs) in [
        ("class_weights = [('a', 2)]", "a classifier"),
        (
            "hidden_units = [8]",
            "model_type = 'dnn_classifier' or 'dnn_regressor' or 'cnn_classifier' or 'cnn_regressor' or 'text_classifier' or 'text_regressor' or 'two_tower'; leave it out",
        ),
        ("batch_size = 8", "optimizer = 'adamw' or 'sgd'"),
    ] {
        let error = read(&format!("model_type = 'line', {option}")).unwrap_err();
        let message = crate::error::report(&error).message;
        assert!(message.contains(needs), "{option}: {message}");
    }
}

fn error(options: &str) -> String {
    crate::error::report(&read(&format!("model_type = 'dnn_classifier', {options}")).unwrap_err())
        .message
}

#[test]
fn options_are_read_with_their_types() {
    let options = read(
        "model_type = dnn_classifier, hidden_units = [8], dropout = 0.5, seed = 7, early_stop = false, \
         class_weights = [('a', 2), (1, 0.5)], data_split_col = 'held_out'",
    )
    .unwrap();
    assert_eq!(options.hidden_units, [8]);
    assert_eq!(
        options.class_weights,
        [("a".to_owned(), 2.0), ("1".to_owned(), 0.5)]
    );
    assert_eq!(
        options.data_split,
        DataSplit::Column {
            name: "held_out".into()
        }
    );
    assert!(!options.early_stop && options.seed == 7);
}

#[test]
fn values_out_of_range_name_the_option_and_its_range() {
    for name in ["epochs", "batch_size", "workers"] {
        for value in [
            "0",
            "-1",
            "1e30",
            "1.5",
            "'a'",
            "true",
            "99999999999999999999",
        ] {
            let message = error(&format!("{name} = {value}"));
            assert!(
                message.contains(name) && message.contains("whole number from 1"),
                "{value}: {message}"
            );
        }
    }
    for value in ["0", "-1", "'NaN'", "1e999"] {
        let message = error(&format!("learn_rate = {value}"));
        assert!(
            message.contains("learn_rate") && message.contains("above 0"),
            "{value}: {message}"
        );
    }
    assert!(error("dropout = 1").contains("below 1"));
    assert!(error("hidden_units = []").contains("a list of whole numbers"));
    assert!(error("hidden_units = [0]").contains("whole number from 1"));
    assert!(error("layers = 'relu'").contains("a list of layers such as"));
    assert!(error("layers = [3]").contains("a list of layers such as"));
    assert!(error("input_shape = []").contains("a list of whole numbers such as [1, 28, 28]"));
    assert!(error("input_shape = [0]").contains("whole number from 1"));
    let sizes = error("input_shape = [1, 1, 1, 1, 1, 1, 1]");
    assert!(sizes.contains("expected at most 6 sizes"), "{sizes}");
}

#[test]
fn options_of_a_network_need_a_type_that_uses_them() {
    let message = |options: &str| crate::error::report(&read(options).unwrap_err()).message;
    let layers = "model_type = sequential, layers = ['linear(classes)']";
    assert!(read(layers).is_ok());
    let dropout = message(&format!("{layers}, dropout = 0.1"));
    assert!(dropout.contains("it needs model_type = 'dnn_classifier' or"));
    for model_type in [
        layers,
        "model_type = cnn_regressor, input_shape = [1, 8, 8]",
    ] {
        let hashed = message(&format!("{model_type}, hash_buckets = 8"));
        assert!(hashed.contains("it needs a model type that takes categories"));
    }
    let regressor = "model_type = sequential, layers = ['linear(1)'], auto_class_weights = true";
    assert!(message(regressor).contains("it needs a classifier"));
    assert!(error("layers = ['relu']").contains("it needs model_type = 'sequential';"));
    assert!(error("input_shape = [1, 8, 8]").contains("'cnn_classifier' or 'cnn_regressor'"));
    let cnn = "model_type = cnn_regressor, input_shape = [1, 8, 8], hidden_units = [16]";
    assert!(read(cnn).is_ok());
}

#[test]
fn options_of_images_are_read_and_checked() {
    let cnn = "model_type = cnn_regressor, input_shape = [3, 8, 8]";
    let options = read(&format!(
        "{cnn}, image_resize = 'pad', image_filter = LANCZOS, image_mean = [0.485, 0.456, 0.406], image_std = 0.5, \
         augment = ['flip', 'color(0.1)']"
    ))
    .unwrap();
    assert_eq!(options.image.resize, ImageResize::Pad);
    assert_eq!(options.image.filter, Filter::Lanczos);
    assert_eq!(options.image.mean, [0.485, 0.456, 0.406]);
    assert_eq!(options.image.std, [0.5]);
    assert_eq!(options.augment, ["flip", "color(0.1)"]);
    let message = |option: &str| {
        let error = read(&format!("{cnn}, {option}")).unwrap_err();
        crate::error::report(&error).message
    };
    for (option, expected) in [
        ("image_resize = 'cover'", "one of crop, pad, stretch"),
        ("image_filter = 'cubic'", "bicubic, lanczos"),
        ("image_mean = []", "a number, or a list of them"),
        ("image_std = [0.5, 0]", "a number above 0"),
        ("augment = 'flip'", "a list such as ['flip', 'shift(0.1)']"),
        (
            "augment = ['rotat(3)']",
            "there is no augmentation \"rotat\"; use flip, shift(share), crop(share), rotate(degrees), colour(strength); \
             the nearest name is \"rotate\"",
        ),
        (
            "augment = ['shift(3)']",
            "share is 3; expected a number from 0 to 1",
        ),
    ] {
        let message = message(option);
        assert!(message.contains(expected), "{option}: {message}");
    }
    assert!(error("augment = ['flip']").contains("it needs model_type = 'sequential' or"));
    let vector = "model_type = sequential, layers = ['linear(1)'], augment = ['flip']";
    let error = crate::error::report(&read(vector).unwrap_err()).message;
    assert!(error.contains("needs input_shape = [channels,"), "{error}");
}

#[test]
fn losses_fit_their_task_and_their_options() {
    let read =
        |model_type: &str, options: &str| read(&format!("model_type = {model_type}, {options}"));
    for (model_type, options) in [
        ("dnn_classifier", "label_smoothing = 0.1"),
        (
            "dnn_classifier",
            "loss = 'cross_entropy', label_smoothing = 0",
        ),
        ("dnn_classifier", "loss = FOCAL, focal_gamma = 0"),
        ("dnn_regressor", "loss = 'huber', huber_delta = 0.5"),
        ("dnn_regressor", "loss = 'quantile', quantile = 0.9"),
        ("sequential", "loss = 'poisson', layers = ['linear(1)']"),
        ("sequential", "loss = 'focal', layers = ['linear(classes)']"),
    ] {
        assert!(read(model_type, options).is_ok(), "{model_type}, {options}");
    }
    let options = read("dnn_regressor", "loss = 'quantile', quantile = 0.9").unwrap();
    let expected = (Some(LossName::Quantile), Some(0.9));
    assert_eq!((options.loss, options.quantile), expected);
    for (model_type, options, expected) in [
        (
            "dnn_classifier",
            "loss = 'mea'",
            "one of cross_entropy, focal, mse",
        ),
        (
            "dnn_classifier",
            "loss = 'mae'",
            "loss = 'mae' does not fit this dnn_classifier, which is a classifier; use one of cross_entropy, focal",
        ),
        (
            "sequential",
            "loss = 'focal', layers = ['linear(1)']",
            "which is a regressor; use one of mse, mae, huber, quantile, poisson, or end the layers with 'linear(classes)'",
        ),
        (
            "dnn_classifier",
            "loss = 'focal', label_smoothing = 0.1",
            "\"label_smoothing\" has no effect on this dnn_classifier: it needs a classifier with loss = 'cross_entropy'",
        ),
        (
            "dnn_classifier",
            "focal_gamma = 2",
            "a classifier with loss = 'focal'",
        ),
        (
            "dnn_regressor",
            "huber_delta = 2",
            "a regressor with loss = 'huber'",
        ),
        (
            "dnn_regressor",
            "loss = mae, quantile = 0.5",
            "a regressor with loss = 'quantile'",
        ),
        (
            "linear_reg",
            "loss = 'mae'",
            "no effect on this linear_reg: it needs a network",
        ),
        ("logistic_reg", "loss = 'mae'", "it needs a network"),
        (
            "logistic_reg",
            "label_smoothing = 0.1",
            "it needs a network",
        ),
        (
            "dnn_regressor",
            "loss = quantile, quantile = 1",
            "a number above 0 and below 1",
        ),
        (
            "dnn_regressor",
            "loss = huber, huber_delta = 0",
            "a number above 0",
        ),
        (
            "dnn_classifier",
            "loss = focal, focal_gamma = -1",
            "a number from 0",
        ),
        (
            "dnn_classifier",
            "label_smoothing = 1",
            "a number from 0 to below 1",
        ),
    ] {
        let error = read(model_type, options).unwrap_err();
        let message = crate::error::report(&error).message;
        assert!(message.contains(expected), "{options}: {message}");
    }
}

#[test]
fn a_slip_gets_the_nearest_name() {
    assert!(error("learning_rate = 1").contains("nearest name is \"learn_rate\""));
    assert!(error("huber_detla = 1").contains("nearest name is \"huber_delta\""));
    assert!(error("activation = 'rleu'").contains("relu, gelu"));
    assert!(error("freeze = 'all'").contains("one of encoder, embeddings, none"));
    assert!(error("pooling = 'max'").contains("one of mean, cls"));
    assert!(error("layer_decay = 0").contains("a number above 0, up to 1"));
    assert!(error("warmup = 1").contains("a number from 0 to below 1"));
    assert!(
        error("warm_start = true")
            .ends_with("; base_model = 'model' starts from the weights of a model")
    );
    assert!(error("num_trials = 20").ends_with("compare ml.metrics"));
    assert!(error("lr = 0.1").ends_with("; learn_rate is the step size"));
    assert!(error("base_model = 3").contains("expected a name"));
    let message = crate::error::report(&read("model_type = 'dnn_clasifier'").unwrap_err()).message;
    assert!(
        message.contains("nearest name is \"dnn_classifier\""),
        "{message}"
    );
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    assert!(error("optimizer = lbfgs").contains("only for linear_reg and logistic_reg"));
    assert!(error("workers = 4, shards = 2").contains("at least as many shards"));
    assert!(
        error("data_split_method = 'none', data_split_eval_fraction = 0.1")
            .contains("only with data_split_method = 'hash'")
    );
    assert!(error("data_split_method = 'column'").contains("needs data_split_col"));
}

#[test]
fn an_option_of_another_system_is_none_of_ours() {
    for (foreign, _) in FOREIGN {
        let is_ours = OPTIONS.iter().any(|option| option.name == *foreign);
        assert!(!is_ours, "{foreign}");
    }
}
