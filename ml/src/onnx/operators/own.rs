//! [`Operator`]: an operator of ours, and what makes it one of tract's: rules that infer the outputs of a graph, and a node of
//! the graph that runs.

use std::fmt::Debug;
use std::sync::Arc;

use tract_onnx::tract_hir::internal::{
    DatumType, EvalContext, EvalOp, Expansion, InferenceOp, InferenceResult, IntoExp, Op, OutletId,
    Solver, SpecialOps, StaticName, TDim, TValue, TVec, Tensor, TensorProxy, TractError,
    TractResult, TypedFact, TypedModel, TypedOp, expand,
};

/// The type and the shape of a tensor that is not computed yet.
#[derive(Debug, Clone)]
pub(in crate::onnx) struct Shaped {
    pub(in crate::onnx) datum_type: DatumType,
    pub(in crate::onnx) shape: TVec<TDim>,
}

impl Shaped {
    pub(super) fn new(datum_type: DatumType, shape: impl IntoIterator<Item = TDim>) -> Self {
        Self {
            datum_type,
            shape: shape.into_iter().collect(),
        }
    }

    fn of(fact: &TypedFact) -> Self {
        Self::new(fact.datum_type, fact.shape.iter().cloned())
    }
}

/// An operator of a graph.
pub(in crate::onnx) trait Operator: Debug + Send + Sync + 'static {
    fn name(&self) -> &'static str;

    fn output_count(&self) -> usize {
        1
    }

    /// The outputs for these inputs.
    ///
    /// # Errors
    /// If the operator does not take such inputs.
    fn outputs(&self, inputs: &[Shaped]) -> TractResult<Vec<Shaped>>;

    /// The operator in a form that runs on inputs of these types, if that is another one.
    ///
    /// # Errors
    /// If the operator does not take such inputs.
    fn prepared(&self, _inputs: &[Shaped]) -> TractResult<Option<Arc<dyn Operator>>> {
        Ok(None)
    }

    /// # Errors
    /// [`RowFailure`] if a row is the cause.
    fn run(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>>;
}

/// A row for which an operator has no output.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(in crate::onnx) struct RowFailure(pub(in crate::onnx) String);

/// The error for an attribute that is not as the operator needs it.
pub(super) fn wrong(operator: &str, problem: impl std::fmt::Display) -> TractError {
    TractError::msg(format!("{operator} {problem}"))
}

/// What tract's reader of graphs wants of an operator.
pub(super) type Built = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// The operator for a graph.
pub(super) fn built(operator: impl Operator) -> Built {
    Ok((expand(Inferred(Arc::new(operator))), vec![]))
}

/// The operator for a graph whose types are known.
pub(super) fn node_of(operator: impl Operator) -> Box<dyn TypedOp> {
    Box::new(Running(Arc::new(operator)))
}

/// The operator while the types of a graph are inferred.
#[derive(Debug, Clone)]
struct Inferred(Arc<dyn Operator>);

impl Expansion for Inferred {
    fn name(&self) -> StaticName {
        self.0.name().into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.0.output_count())
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        let types = inputs.iter().map(|input| (&input.datum_type).bex());
        solver.given_all(types, move |solver, types: Vec<DatumType>| {
            let shapes = inputs.iter().map(|input| &input.shape);
            solver.given_all(shapes, move |solver, shapes: Vec<TVec<TDim>>| {
                let known = types.iter().zip(shapes);
                let known = known.map(|(of, shape)| Shaped::new(*of, shape));
                let known: Vec<Shaped> = known.collect();
                for (proxy, output) in outputs.iter().zip(self.0.outputs(&known)?) {
                    solver.equals(&proxy.datum_type, output.datum_type)?;
                    solver.equals(&proxy.shape, output.shape)?;
                }
                Ok(())
            })
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let known = inputs.iter().map(|input| {
            let fact = model.outlet_fact(*input)?;
            Ok(Shaped::of(fact))
        });
        let known = known.collect::<TractResult<Vec<Shaped>>>()?;
        let prepared = self.0.prepared(&known)?;
        let operator = prepared.unwrap_or_else(|| Arc::clone(&self.0));
        model.wire_node(prefix, Running(operator), inputs)
    }
}

/// The operator as a node of a graph that runs.
#[derive(Debug, Clone)]
struct Running(Arc<dyn Operator>);

impl PartialEq for Running {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Running {}

impl Op for Running {
    fn name(&self) -> StaticName {
        self.0.name().into()
    }

    fn as_typed(&self) -> Option<&dyn TypedOp> {
        Some(self)
    }
}

impl EvalOp for Running {
    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let inputs: Vec<&Tensor> = inputs.iter().map(|input| &**input).collect();
        let outputs = self.0.run(&inputs)?;
        Ok(outputs.into_iter().map(TValue::from).collect())
    }

    fn eval_out_of_plan(&self, inputs: TVec<TValue>) -> TractResult<Option<TVec<TValue>>> {
        let outputs = EvalOp::eval(self, &EvalContext::out_of_plan(), inputs)?;
        Ok(Some(outputs))
    }
}

impl TypedOp for Running {
    fn as_op(&self) -> &dyn Op {
        self
    }

    fn as_op_mut(&mut self) -> &mut dyn Op {
        self
    }

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let known: Vec<Shaped> = inputs.iter().map(|fact| Shaped::of(fact)).collect();
        let outputs = self.0.outputs(&known)?.into_iter();
        let facts = outputs.map(|output| TypedFact::dt_shape(output.datum_type, output.shape));
        Ok(facts.collect())
    }
}
