//! A run of one row of zeros when a model is opened. It finds operators that cannot compute in the types of the graph, which would
//! otherwise fail at the first prediction. Other failures say nothing about the graph: zeros need not be a row of its kind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tract_onnx::pb::{ModelProto, NodeProto};
use tract_onnx::tract_core::plan::eval;
use tract_onnx::tract_hir::internal::{
    DatumType, SymbolValues, TValue, TVec, Tensor, TractError, TractResult, TypedFact,
    TypedSimplePlan,
};

use super::graph::{described, domain};
use super::operators::list::OTHER_LIBRARY;
use super::operators::own::RowFailure;
use super::operators::tensors::text_tensor;
use super::plan::{cannot_run, one_line};
use crate::worker::catch;
use crate::{Error, Result, stop};

/// The length of the lists of the row, which a kernel of a convolution fits into.
pub(super) const LENGTH: usize = 8;
/// A run that takes longer is not finished.
const RUN_MAX: Duration = Duration::from_secs(10);

/// What tract says of an operator that does not compute in a type.
const OF_TYPES: [&str; 10] = [
    " does not support ",
    " is not a number",
    " is not float-like",
    " is not signed",
    "Tensor datum type error",
    "Unsupported type ",
    "Unsupported input type ",
    "Unsupported datum type ",
    "not implemented for type ",
    "only supports f32 and f16",
];

/// A node that cannot compute in its types.
struct Unfit {
    node: String,
    cause: String,
}

/// Checks that the operators of a graph compute in its types. `values` has the number of rows and the lengths of lists.
///
/// # Errors
/// [`Error::Unsupported`] naming the first operator that does not, with its opset; [`Error::Cancelled`].
pub(super) fn check(
    file: &str,
    model: &ModelProto,
    plan: &Arc<TypedSimplePlan>,
    values: &SymbolValues,
) -> Result<()> {
    let mut unfit = None;
    let ended = catch(|| Ok(run(plan, values, &mut unfit)));
    if let Some(Unfit { node, cause }) = unfit {
        let operator = operator(model, &node).unwrap_or(node);
        let problem = format!(
            "{operator} cannot compute in the types of the graph: {cause}; {OTHER_LIBRARY}"
        );
        return Err(cannot_run(file, &problem));
    }
    let error = ended.ok().and_then(TractResult::err);
    let error = error.as_ref().and_then(TractError::downcast_ref::<Error>);
    match error {
        Some(Error::Cancelled) => Err(Error::Cancelled),
        _ => Ok(()),
    }
}

/// Runs the row. A node that fails for another reason than its types has zeros as its outputs.
fn run(
    plan: &Arc<TypedSimplePlan>,
    values: &SymbolValues,
    unfit: &mut Option<Unfit>,
) -> TractResult<()> {
    let model = plan.model();
    let inputs = model.inputs.iter();
    let inputs = inputs.map(|input| zeros(model.outlet_fact(*input)?, values));
    let inputs = inputs.collect::<TractResult<TVec<TValue>>>()?;
    let start = Instant::now();
    let mut state = plan.spawn()?;
    state.run_plan_with_eval(
        inputs,
        |context, op_state, node, inputs| -> TractResult<TVec<TValue>> {
            stop::check().map_err(TractError::new)?;
            if start.elapsed() > RUN_MAX {
                return Err(TractError::msg("the row takes too long"));
            }
            let evaluated = catch(|| Ok(eval(context, op_state, node, inputs)));
            let cause = match evaluated {
                Ok(Ok(outputs)) => return Ok(outputs),
                Ok(Err(error)) => cause_in_types(&error),
                // A panic is most often a value that the graph was not made for.
                Err(_) => None,
            };
            if let Some(cause) = cause {
                let node = node.name.clone();
                let error = TractError::msg(cause.clone());
                *unfit = Some(Unfit { node, cause });
                return Err(error);
            }
            let outputs = node.outputs.iter();
            outputs.map(|output| zeros(&output.fact, values)).collect()
        },
    )?;
    Ok(())
}

/// The cause of a failure in one line, if it is a type.
fn cause_in_types(error: &TractError) -> Option<String> {
    let is_of_row = error.downcast_ref::<RowFailure>().is_some();
    let cause = error.root_cause().to_string();
    let is_of_types = OF_TYPES.iter().any(|text| cause.contains(text));
    (is_of_types && !is_of_row).then(|| one_line(&cause))
}

/// A tensor of zeros or of empty texts.
fn zeros(fact: &TypedFact, values: &SymbolValues) -> TractResult<TValue> {
    let shape = fact.shape.eval_to_usize(values)?;
    let tensor = match fact.datum_type {
        DatumType::String => {
            let count = shape.iter().product();
            text_tensor(&shape, vec![String::new(); count])?
        }
        other => Tensor::zero_dt(other, &shape)?,
    };
    Ok(tensor.into())
}

/// The operator of a node of tract, with its opset and its output.
fn operator(model: &ModelProto, name: &str) -> Option<String> {
    let nodes = model.graph.as_ref()?.node.iter();
    let nodes = nodes.filter_map(|node| Some((named_by(node, name)?, node)));
    let (_, node) = nodes.max_by_key(|(length, _)| *length)?;
    let output = node.output.iter().find(|output| !output.is_empty())?;
    let of = domain(&node.domain);
    let mut opsets = model.opset_import.iter();
    let opset = opsets.find(|opset| domain(&opset.domain) == of);
    let version = opset.map(|opset| opset.version);
    let operator = described(of, &node.op_type, version);
    Some(format!("{operator}, output \"{output}\","))
}

/// The length of what a node of tract has its name from, if it is of this operator. An operator becomes one or more nodes, whose names
/// begin with its first output; with a number and its type if it has no first output.
fn named_by(node: &NodeProto, name: &str) -> Option<usize> {
    let first = node.output.first().filter(|output| !output.is_empty());
    if let Some(first) = first {
        return name.starts_with(first.as_str()).then_some(first.len());
    }
    let (number, rest) = name.split_once('-')?;
    let is_number = number.parse::<usize>().is_ok();
    (is_number && rest.starts_with(&node.op_type)).then_some(number.len())
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::attribute_proto::AttributeType;
    use tract_onnx::pb::{AttributeProto, OperatorSetIdProto, tensor_proto};

    use super::super::examples::{input, model, node};
    use super::super::graph::{Runner, checked};
    use super::super::tract_plan::TractPlan;
    use super::*;
    use crate::stop::Stop;

    const DOUBLE: i32 = tensor_proto::DataType::Double as i32;
    const TEXT: i32 = tensor_proto::DataType::String as i32;

    fn opened(elem_type: i32, dims: &[&str], nodes: Vec<NodeProto>) -> Result<()> {
        let mut model = model(vec![input("x", elem_type, dims)], nodes, &["y"]);
        model.opset_import.push(OperatorSetIdProto {
            domain: "com.microsoft".into(),
            version: 1,
        });
        let graph = checked("m.onnx", model, Runner::Tract)?;
        TractPlan::of("m.onnx", &graph).map(|_| ())
    }

    fn quick_gelu(from: &str) -> NodeProto {
        node("QuickGelu", "com.microsoft", &[from], &["y"])
    }

    const REFUSED: &str = "m.onnx: this build cannot run the model: com.microsoft.QuickGelu (opset 1), output \"y\", cannot compute in \
                           the types of the graph: Sigmoid does not support F64; onnxruntime may run it: import it with OPTIONS \
                           (format = 'onnxruntime')";

    #[test]
    fn an_operator_that_does_not_compute_in_its_types_is_named_when_the_model_is_opened() {
        let single = tensor_proto::DataType::Float as i32;
        for dims in [&["N", "4"][..], &["2", "4"], &["N", "length"], &["N"]] {
            let error = opened(DOUBLE, dims, vec![quick_gelu("x")]).unwrap_err();
            assert!(matches!(error, Error::Unsupported(_)), "{error}");
            assert_eq!(error.to_string(), REFUSED, "{dims:?}");
            opened(single, dims, vec![quick_gelu("x")]).unwrap();
        }
    }

    #[test]
    fn a_node_is_of_the_operator_with_the_longest_output_that_it_begins_with() {
        let nodes = vec![
            node("Neg", "", &["x"], &["y"]),
            node("Erf", "", &["y"], &["y1"]),
            node("LSTM", "", &["y1"], &["", "z"]),
        ];
        let model = model(vec![], nodes, &["z"]);
        for (name, expected) in [
            ("y", Some("Neg (opset 15), output \"y\",")),
            ("y.low", Some("Neg (opset 15), output \"y\",")),
            ("y1.exp", Some("Erf (opset 15), output \"y1\",")),
            ("7-LSTM.scan", Some("LSTM (opset 15), output \"z\",")),
            ("7-GRU", None),
            ("constant", None),
        ] {
            assert_eq!(operator(&model, name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn a_row_of_zeros_that_fails_is_no_reason_to_refuse_a_model() {
        let cast = |to: i32| {
            let mut cast = node("Cast", "", &["x"], &["number"]);
            cast.attribute.push(AttributeProto {
                name: "to".into(),
                r#type: AttributeType::Int as i32,
                i: to.into(),
                ..AttributeProto::default()
            });
            cast
        };
        // An empty text is no number.
        let neg = node("Neg", "", &["number"], &["y"]);
        opened(TEXT, &["N", "1"], vec![cast(DOUBLE), neg]).unwrap();
        // The operators behind one that fails are checked, too.
        let error = opened(TEXT, &["N", "1"], vec![cast(DOUBLE), quick_gelu("number")]);
        assert_eq!(error.unwrap_err().to_string(), REFUSED);
    }

    #[test]
    fn functions_of_a_number_compute_in_double_precision() {
        for name in [
            "Erf",
            "Gelu",
            "HardSwish",
            "LeakyRelu",
            "Mish",
            "Round",
            "Sigmoid",
            "Softplus",
            "Swish",
        ] {
            opened(DOUBLE, &["N", "4"], vec![node(name, "", &["x"], &["y"])]).unwrap();
        }
    }

    #[test]
    fn a_request_to_stop_ends_the_run() {
        let stop = Stop::default();
        stop.ask();
        let nodes = vec![node("Neg", "", &["x"], &["y"])];
        let opened = stop.watch(|| opened(DOUBLE, &["N", "4"], nodes));
        assert!(matches!(opened, Err(Error::Cancelled)), "{opened:?}");
    }
}
