//! [`TractPlan`]: a graph that tract has read, inferred and optimised, and the memory of a run.

use std::sync::Arc;

use tract_onnx::pb::ModelProto;
use tract_onnx::tract_core::plan::eval;
use tract_onnx::tract_hir::internal::{
    InferenceModelExt, Symbol, SymbolValues, TDim, TValue, TVec, TractError, TypedFact, TypedModel,
    TypedSimplePlan,
};

use super::graph::Graph;
use super::inputs::{Batch, ROWS, length_name};
use super::operators::list::{OTHER_LIBRARY, reader};
use super::operators::own::RowFailure;
use super::plan::{Failed, Plan, Shape, cannot_run, one_line};
use super::trial;
use crate::worker::catch;
use crate::{Error, Result, stop};

/// A row that takes more memory between two operators is refused.
const ROW_BYTES_MAX: usize = 4 << 30;

/// A graph that tract runs.
#[derive(Debug)]
pub(super) struct TractPlan {
    plan: Arc<TypedSimplePlan>,
    rows: Symbol,
    lengths: Vec<Symbol>,
    batch: Batch,
    mixes_rows: bool,
}

impl TractPlan {
    /// # Errors
    /// [`Error::Unsupported`] if tract cannot infer the types of the graph, or cannot compute in them.
    pub(super) fn of(file: &str, graph: &Graph) -> Result<Self> {
        let prepared = catch(|| prepared(file, graph));
        let (plan, rows, lengths) = prepared.map_err(|error| match error {
            // A panic of tract, which expects graphs that an exporter wrote.
            Error::Internal(problem) => cannot_run(file, &format!("{problem}; {OTHER_LIBRARY}")),
            other => other,
        })?;
        let plan = Self {
            plan,
            rows,
            lengths,
            batch: graph.batch,
            mixes_rows: graph.mixes_rows,
        };
        let bytes = plan.bytes(1, &vec![1; graph.lengths]);
        if bytes >= ROW_BYTES_MAX {
            return Err(Error::Unsupported(format!(
                "{file} takes {bytes} bytes of memory for a row"
            )));
        }
        let lengths = vec![trial::LENGTH; graph.lengths];
        if plan.bytes(1, &lengths) < ROW_BYTES_MAX {
            trial::check(file, &graph.model, &plan.plan, &plan.values(1, &lengths))?;
        }
        Ok(plan)
    }

    fn is_input(&self, node: usize) -> bool {
        let inputs = &self.plan.model().inputs;
        inputs.iter().any(|input| input.node == node)
    }

    fn values(&self, rows: usize, lengths: &[usize]) -> SymbolValues {
        let mut values = SymbolValues::default();
        values.set(&self.rows, rows as i64);
        for (symbol, length) in self.lengths.iter().zip(lengths) {
            values.set(symbol, *length as i64);
        }
        values
    }
}

impl Plan for TractPlan {
    fn batch(&self) -> Batch {
        self.batch
    }

    fn mixes_rows(&self) -> bool {
        self.mixes_rows
    }

    fn lengths(&self) -> usize {
        self.lengths.len()
    }

    fn outputs(&self, rows: usize, lengths: &[usize]) -> Result<Vec<Shape>> {
        let values = self.values(rows, lengths);
        let size = |dim: &TDim| usize::try_from(dim.maybe_eval_to_i64(&values)?).ok();
        let model = self.plan.model();
        let shape = |fact: &TypedFact| Shape {
            datum_type: fact.datum_type,
            sizes: fact.shape.iter().map(size).collect(),
            written: format!("{:?}", fact.shape),
        };
        let outputs = model.outputs.iter();
        let facts = outputs.map(|output| model.outlet_fact(*output).map(shape));
        let shapes = facts.collect::<Result<Vec<Shape>, TractError>>();
        shapes.map_err(|error| Error::Internal(error.to_string()))
    }

    fn bytes(&self, rows: usize, lengths: &[usize]) -> usize {
        let values = self.values(rows, lengths);
        let (model, order) = (self.plan.model(), self.plan.order_without_consts());
        let of_node = |node: usize| -> usize {
            let outputs = model.node(node).outputs.iter();
            let bytes = outputs.map(|output| {
                let elements = output.fact.shape.volume().maybe_eval_to_i64(&values);
                let elements = usize::try_from(elements.unwrap_or(0)).unwrap_or(0);
                elements.saturating_mul(output.fact.datum_type.size_of())
            });
            bytes.fold(0, usize::saturating_add)
        };
        let mut last_step = vec![None; model.nodes().len()];
        for (step, node) in order.iter().enumerate() {
            let inputs = model.node(*node).inputs.iter();
            inputs.for_each(|input| last_step[input.node] = Some(step));
        }
        for output in &model.outputs {
            last_step[output.node] = None;
        }
        let (mut live, mut most) = (0usize, 0usize);
        for (step, node) in order.iter().enumerate() {
            live = live.saturating_add(of_node(*node));
            most = most.max(live);
            let mut done: Vec<usize> = model.node(*node).inputs.iter().map(|i| i.node).collect();
            done.sort_unstable();
            done.dedup();
            // Constants are not in the order, and are part of the model.
            for node in done
                .into_iter()
                .filter(|node| last_step[*node] == Some(step))
            {
                let is_constant = model.node(node).inputs.is_empty() && !self.is_input(node);
                live = live.saturating_sub(if is_constant { 0 } else { of_node(node) });
            }
        }
        most
    }

    /// Looks before each operator whether the statement was cancelled.
    fn run(&self, inputs: TVec<TValue>) -> Result<TVec<TValue>, Failed> {
        let run = || -> Result<TVec<TValue>, Failed> {
            // A state of its own, because a failed run leaves one that cannot run again.
            let mut state = self.plan.spawn().map_err(|error| failure(&error))?;
            let outputs = state.run_plan_with_eval(inputs, |context, op_state, node, values| {
                stop::check().map_err(TractError::new)?;
                eval(context, op_state, node, values)
            });
            outputs.map_err(|error| failure(&error))
        };
        // A panic is most often a value that the graph was not made for, such as an index beyond the end.
        let caught = catch(|| Ok(run()));
        caught.unwrap_or_else(|panic| Err(Failed::Row(panic.to_string())))
    }
}

fn failure(error: &TractError) -> Failed {
    if let Some(error) = error.downcast_ref::<Error>() {
        return Failed::All(error.clone());
    }
    match error.downcast_ref::<RowFailure>() {
        Some(failure) => Failed::Row(failure.to_string()),
        None => Failed::Row(format!("the model failed: {}", cause(error))),
    }
}

/// The innermost cause in one line.
fn cause(error: &TractError) -> String {
    one_line(&error.root_cause().to_string())
}

/// The error for a graph that tract does not take: the operator at which it gave up, as far as tract says so.
fn not_taken(file: &str, model: &ModelProto, error: &TractError) -> Error {
    let operator = operator(model, error).map_or(String::new(), |operator| format!("{operator}: "));
    let cause = cause(error);
    cannot_run(file, &format!("{operator}{cause}; {OTHER_LIBRARY}"))
}

/// The operator that an error names, with its output. Nodes of a graph without names have the names of their first outputs.
fn operator(model: &ModelProto, error: &TractError) -> Option<String> {
    let nodes = &model.graph.as_ref()?.node;
    let with_output = |name: &str| {
        let mut nodes = nodes.iter();
        let node = nodes.find(|node| node.output.first().is_some_and(|output| output == name))?;
        Some(format!("{} (output \"{name}\")", node.op_type))
    };
    // While the operators of a graph are built, errors end with their types in parentheses.
    let built = |text: &str| {
        let (_, operator) = text.strip_suffix(')')?.rsplit_once('(')?;
        let mut nodes = nodes.iter();
        let is_one = nodes.any(|node| node.op_type == operator);
        is_one.then(|| operator.to_owned())
    };
    error.chain().find_map(|cause| {
        let text = cause.to_string();
        let mut quoted = text.split('"').skip(1).step_by(2);
        quoted.find_map(with_output).or_else(|| built(&text))
    })
}

type Prepared = (Arc<TypedSimplePlan>, Symbol, Vec<Symbol>);

fn prepared(file: &str, graph: &Graph) -> Result<Prepared> {
    let cannot = |error: TractError| not_taken(file, &graph.model, &error);
    let parsed = reader().parse(&graph.model, None).map_err(cannot)?;
    if let Some(name) = parsed.unresolved_inputs.first() {
        return Err(Error::Corrupt(format!(
            "{file}: nothing defines \"{name}\""
        )));
    }
    let typed: TypedModel = parsed.model.into_typed().map_err(cannot)?;
    let rows = typed.sym(ROWS);
    let lengths = (0..graph.lengths).map(|length| typed.sym(&length_name(length)));
    let lengths = lengths.collect();
    // A graph that tract fails to optimise may still run.
    let optimised = typed.clone().into_optimized();
    let model = optimised.unwrap_or_else(|error| {
        tracing::warn!(file, error = %cause(&error), "a model is not optimised");
        typed
    });
    let plan = TypedSimplePlan::new(model).map_err(cannot)?;
    Ok((plan, rows, lengths))
}
