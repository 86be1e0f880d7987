//! The operators that a graph may have: those of tract, and ours in the place of some.

use std::collections::HashSet;
use std::sync::LazyLock;

use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;

use super::own::Built;
use super::{
    array_feature_extractor, binarizer, cast, element_wise, feature_vectorizer, imputer, is_nan,
    label_encoder, linear_classifier, linear_regressor, one_hot_encoder, scaler, svm_classifier,
    svm_regressor, trees,
};

type Build = fn(&ParsingContext, &NodeProto) -> Built;

/// Our operators, with their domains.
const OURS: &[(&str, &str, Build)] = &[
    (ML, "ArrayFeatureExtractor", array_feature_extractor::build),
    (ML, "Binarizer", binarizer::build),
    ("", "Cast", cast::build),
    ("", "Erf", element_wise::build),
    (ML, "FeatureVectorizer", feature_vectorizer::build),
    ("", "Gelu", element_wise::build),
    ("", "HardSwish", element_wise::build),
    (ML, "Imputer", imputer::build),
    ("", "IsInf", is_nan::infinite),
    ("", "IsNaN", is_nan::nan),
    (ML, "LabelEncoder", label_encoder::build),
    ("", "LeakyRelu", element_wise::build),
    (ML, "LinearClassifier", linear_classifier::build),
    (ML, "LinearRegressor", linear_regressor::build),
    (ML, "OneHotEncoder", one_hot_encoder::build),
    ("", "Round", element_wise::build),
    (ML, "SVMClassifier", svm_classifier::build),
    (ML, "SVMRegressor", svm_regressor::build),
    (ML, "Scaler", scaler::build),
    ("", "Sigmoid", element_wise::build),
    ("", "Softplus", element_wise::build),
    ("", "Swish", element_wise::build),
    (ML, "TreeEnsembleClassifier", trees::classifier::build),
    (ML, "TreeEnsembleRegressor", trees::regressor::build),
];

/// The domain of operators on features.
pub(in crate::onnx) const ML: &str = "ai.onnx.ml";
/// The domain of the operators that onnxruntime adds. tract knows some.
const RUNTIME: &str = "com.microsoft";

/// Operators of tract on features that are not replaced.
const FOR_FEATURES: [&str; 2] = ["CategoryMapper", "Normalizer"];

/// Operators that give each run other outputs, so no model may have them.
const RANDOM: [&str; 6] = [
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
];
/// An operator that tract knows and a model may not have: a branch is a graph that is checked only when it runs.
const BRANCH: &str = "If";

/// What users can do about a model that tract does not run.
pub(in crate::onnx) const OTHER_LIBRARY: &str =
    "onnxruntime may run it: import it with OPTIONS (format = 'onnxruntime')";

/// The reader of graphs with all operators.
pub(in crate::onnx) fn reader() -> Onnx {
    let mut reader = tract_onnx::onnx().with_ignore_value_info(true);
    for (_, name, build) in OURS {
        reader.op_register.insert(name, *build);
    }
    reader
}

/// The names of tract's own operators.
static OF_TRACT: LazyLock<HashSet<String>> =
    LazyLock::new(|| tract_onnx::onnx().op_register.0.into_keys().collect());

/// Whether an operator gives each run other outputs.
pub(in crate::onnx) fn is_random(domain: &str, name: &str) -> bool {
    domain.is_empty() && RANDOM.contains(&name)
}

/// Whether a graph that tract runs may have this operator.
pub(in crate::onnx) fn is_known(domain: &str, name: &str) -> bool {
    let is_ours = |of: &str| OURS.iter().any(|ours| (ours.0, ours.1) == (of, name));
    let is_for_features = is_ours(ML) || FOR_FEATURES.contains(&name);
    match domain {
        ML => is_for_features,
        "" | RUNTIME => {
            let is_refused = name == BRANCH || RANDOM.contains(&name);
            let is_tracts = OF_TRACT.contains(name) && !is_refused;
            is_ours(domain) || (is_tracts && !is_for_features)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_belongs_to_its_domain() {
        for (domain, name) in [
            ("", "MatMul"),
            ("", "Cast"),
            ("", "Scan"),
            (ML, "Scaler"),
            (ML, "Normalizer"),
            (ML, "TreeEnsembleRegressor"),
            (RUNTIME, "FastGelu"),
        ] {
            assert!(is_known(domain, name), "{domain}.{name}");
        }
        for (domain, name) in [
            ("", "Scaler"),
            ("", "Normalizer"),
            ("", "If"),
            ("", "Loop"),
            ("", "RandomNormal"),
            ("", "NoSuchOperator"),
            (ML, "MatMul"),
            (ML, "DictVectorizer"),
            (ML, "ZipMap"),
            ("my.own", "MatMul"),
        ] {
            assert!(!is_known(domain, name), "{domain}.{name}");
        }
    }

    #[test]
    fn the_reader_has_every_operator_of_ours() {
        let reader = reader();
        for (_, name, _) in OURS {
            assert!(reader.op_register.0.contains_key(*name), "{name}");
        }
        // The operators that are replaced, and those that tract lacks.
        assert!(OF_TRACT.contains("LinearClassifier") && !OF_TRACT.contains("Scaler"));
    }
}
