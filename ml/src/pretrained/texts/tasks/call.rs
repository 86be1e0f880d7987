//! [`ports_for`]: the inputs and outputs that a model has for a call.

use super::zero_shot;
use crate::data::signature::{PortKind, Signature};
use crate::model::Batching;
use crate::model::arguments::Arguments;

/// The inputs and outputs of a model for calls with these arguments, and its batches; `signature` and `batching` are those that it was
/// opened with. `None` if the model does not take the arguments.
pub fn ports_for(
    arguments: &Arguments,
    signature: &Signature,
    batching: &Batching,
) -> Option<(Signature, Batching)> {
    match arguments {
        Arguments::ZeroShot(zero_shot) => zero_shot::ports(zero_shot, signature, batching),
        Arguments::Aggregation(_) => {
            let mut outputs = signature.outputs.iter();
            let names_parts = outputs.any(|port| port.kind == PortKind::Entities);
            names_parts.then(|| (signature.clone(), batching.clone()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::arguments::{Aggregation, ZeroShot};

    fn signature(inputs: &[&str], output: serde_json::Value) -> Signature {
        let port =
            |name: &&str| serde_json::json!({"name": name, "data_type": "Utf8", "kind": "text"});
        let inputs: Vec<serde_json::Value> = inputs.iter().map(port).collect();
        serde_json::from_value(serde_json::json!({"inputs": inputs, "outputs": [output]})).unwrap()
    }

    fn classifier(inputs: &[&str], classes: &[&str]) -> Signature {
        let classes: Vec<_> = classes
            .iter()
            .map(|class| serde_json::json!({"text": class}))
            .collect();
        let target = serde_json::json!({"name": "label", "data_type": "Utf8"});
        let kind = serde_json::json!({"label": {"target": target, "classes": classes}});
        signature(
            inputs,
            serde_json::json!({"name": "predicted_label", "data_type": "Utf8", "kind": kind}),
        )
    }

    #[test]
    fn only_a_model_of_inference_takes_labels() {
        let batching = Batching::Tokens {
            input: "text_pair".into(),
            tokens_max: 100,
        };
        let zero_shot = |multi_label: bool| {
            Arguments::ZeroShot(ZeroShot {
                labels: vec!["a".into(), "b".into(), "c".into()],
                hypothesis: ZeroShot::HYPOTHESIS.into(),
                multi_label,
            })
        };
        let pair = ["text", "text_pair"];
        let inference = classifier(&pair, &["contradiction", "Entailment"]);
        let (found, batches) = ports_for(&zero_shot(false), &inference, &batching).unwrap();
        let names: Vec<&str> = found
            .outputs
            .iter()
            .map(|port| port.name.as_str())
            .collect();
        assert_eq!(names, ["predicted_label", "predicted_label_probs"]);
        assert_eq!(found.inputs.len(), 1);
        let label = found.labels().next().unwrap();
        assert_eq!(label.classes.len(), 3);
        let expected = Batching::Tokens {
            input: "text".into(),
            tokens_max: 33,
        };
        assert_eq!(batches, expected);
        let (found, _) = ports_for(&zero_shot(true), &inference, &batching).unwrap();
        assert!(found.outputs[0].data_type.is_nested());
        for other in [
            classifier(&pair, &["good", "bad"]),
            classifier(&["text"], &["entailment", "b"]),
        ] {
            assert!(ports_for(&zero_shot(false), &other, &batching).is_none());
        }
        let aggregation = Arguments::Aggregation(Aggregation::First);
        assert!(ports_for(&aggregation, &inference, &batching).is_none());
        let tokens =
            serde_json::json!({"name": "entities", "data_type": "Utf8", "kind": "entities"});
        let tokens = signature(&["text"], tokens);
        let (found, batches) = ports_for(&aggregation, &tokens, &batching).unwrap();
        assert_eq!((found, batches), (tokens, batching));
    }
}
