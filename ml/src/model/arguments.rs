//! [`Arguments`]: what a call says of the task of a model, so that the model has other outputs than those that it was opened with.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::named::named_enum;

/// What a call says of the task of a model.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arguments {
    /// The classes of a model of natural language inference.
    ZeroShot(ZeroShot),
    /// How the tokens of a text become entities.
    Aggregation(Aggregation),
}

/// Classes that a model was not trained on. A text belongs to a class as far as a sentence with the name of the class follows from it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ZeroShot {
    /// The names of the classes, ascending, each once.
    pub labels: Vec<String>,
    /// The sentence, in which `{}` stands for the name of a class.
    pub hypothesis: String,
    /// Whether each class may apply by itself, instead of one of them.
    pub multi_label: bool,
}

impl ZeroShot {
    /// The sentence if a call gives none.
    pub const HYPOTHESIS: &str = "This example is {}.";
    /// What stands for the name of a class.
    pub const PLACE: &str = "{}";

    /// The sentence of each class.
    pub fn hypotheses(&self) -> impl Iterator<Item = String> {
        let of = |label: &String| self.hypothesis.replacen(Self::PLACE, label, 1);
        self.labels.iter().map(of)
    }
}

named_enum! {
    /// How the tokens of a text become entities.
    #[derive(Hash)]
    Aggregation {
        /// Each token is an entity, with its own label.
        None = "none",
        /// Tokens side by side with the same label are one.
        Simple = "simple",
        /// As `Simple`, of words; a word has the label of its first token.
        First = "first",
        /// As `Simple`, of words; a word has the label that is the most probable in the mean of its tokens.
        Average = "average",
        /// As `Simple`, of words; a word has the label of its most certain token.
        Max = "max",
    }
}

impl Aggregation {
    /// The way if a call names none.
    pub const DEFAULT: Self = Self::Simple;
}

impl Arguments {
    /// The name of the argument in a call.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ZeroShot(_) => "labels",
            Self::Aggregation(_) => "aggregation",
        }
    }

    /// The models that take it.
    pub fn needs(&self) -> &'static str {
        match self {
            Self::ZeroShot(_) => {
                "a model of natural language inference, which takes two texts and has a class entailment"
            }
            Self::Aggregation(_) => "a model that classifies tokens",
        }
    }
}

impl fmt::Display for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroShot(ZeroShot {
                labels,
                hypothesis,
                multi_label,
            }) => write!(
                f,
                "labels=[{}], hypothesis='{hypothesis}', multi_label={multi_label}",
                labels.join(", ")
            ),
            Self::Aggregation(aggregation) => write!(f, "aggregation={}", aggregation.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hypothesis_names_its_class_and_nothing_else() {
        let zero_shot = ZeroShot {
            labels: vec!["a {} b".into(), "sports".into()],
            hypothesis: "About {}.".into(),
            multi_label: true,
        };
        let hypotheses: Vec<String> = zero_shot.hypotheses().collect();
        assert_eq!(hypotheses, ["About a {} b.", "About sports."]);
        let shown = Arguments::ZeroShot(zero_shot).to_string();
        assert_eq!(
            shown,
            "labels=[a {} b, sports], hypothesis='About {}.', multi_label=true"
        );
    }

    #[test]
    fn arguments_travel_as_they_are() {
        for aggregation in Aggregation::ALL {
            let arguments = Arguments::Aggregation(aggregation.1);
            let text = serde_json::to_string(&arguments).unwrap();
            assert_eq!(serde_json::from_str::<Arguments>(&text).unwrap(), arguments);
        }
    }
}
