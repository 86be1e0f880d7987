//! [`training_parts`]: what the recorded statement of a training says, for people who compare trainings.

use super::parser::parse;
use super::statement::Statement;

/// The parts of `TRAIN MODEL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrainingParts {
    /// Names and values, as written.
    pub(crate) options: Vec<(String, String)>,
    /// The query, as written.
    pub(crate) query: String,
}

/// The parts of a training's statement; `None` if the text is no such statement.
pub(crate) fn training_parts(text: &str) -> Option<TrainingParts> {
    let Statement::Train(training) = parse(text).ok()?? else {
        return None;
    };
    let options = training.options.iter();
    Some(TrainingParts {
        options: options
            .map(|(name, value)| (name.clone(), value.to_string()))
            .collect(),
        query: training.query.text.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_training_is_read_again() {
        let text = "TRAIN MODEL public.m\nTARGET y\nOPTIONS (model_type = 'linear_reg', hidden_units = [8, 4])\n\
                    AS SELECT ' AS ' AS x, y FROM t";
        let parts = training_parts(text).unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            parts.options,
            [
                pair("model_type", "'linear_reg'"),
                pair("hidden_units", "[8, 4]")
            ]
        );
        assert_eq!(parts.query, "SELECT ' AS ' AS x, y FROM t");
        assert_eq!(training_parts("SELECT 1"), None);
        assert_eq!(training_parts("nonsense"), None);
    }
}
