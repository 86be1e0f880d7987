//! An own SQL function and an own model type.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Float64Array};
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use futures::TryStreamExt;
use vatic::Engine;
use vatic::ml::data::encode::tabular::InputShape;
use vatic::ml::model::network::{ModelType, Network, Task};
use vatic::ml::model::options::{Optimizer, TrainOptions};
use vatic::ml::models::Mlp;
use vatic::ml::nn::Activation;

/// `tiny_net`: a classifier of one small layer, for data of few rows.
#[derive(Debug)]
struct TinyNet;

impl ModelType for TinyNet {
    fn name(&self) -> &str {
        "tiny_net"
    }

    fn task(&self) -> Task {
        Task::Classification
    }

    fn default_optimizer(&self, _shape: &InputShape, _options: &TrainOptions) -> Optimizer {
        Optimizer::Adamw
    }

    fn network(
        &self,
        shape: &InputShape,
        outputs: usize,
        options: &TrainOptions,
    ) -> Box<dyn Network> {
        let options = TrainOptions {
            activation: Activation::Tanh,
            ..options.clone()
        };
        Box::new(Mlp::new(shape, &[4], outputs, &options))
    }
}

/// `celsius(fahrenheit DOUBLE) -> DOUBLE`
fn celsius(arguments: &[ColumnarValue]) -> vatic::Result<ColumnarValue> {
    let arrays = ColumnarValue::values_to_arrays(arguments)?;
    let degrees = arrays[0].as_primitive::<Float64Type>();
    let converted: Float64Array = degrees.unary(|fahrenheit| (fahrenheit - 32.0) / 1.8);
    Ok(ColumnarValue::Array(Arc::new(converted) as ArrayRef))
}

#[tokio::main]
async fn main() -> vatic::Result<()> {
    let double = DataType::Float64;
    let function = create_udf(
        "celsius",
        vec![double.clone()],
        double,
        Volatility::Immutable,
        Arc::new(celsius),
    );
    let engine = Engine::builder()
        .model_type(Arc::new(TinyNet))
        .function(function)
        .build()?;
    let session = engine.session()?;
    let statements = "
        CREATE TABLE days AS SELECT value AS id, celsius(value) AS temperature, value > 70 AS is_warm
        FROM generate_series(1, 140);
        TRAIN MODEL warm TARGET is_warm OPTIONS (model_type = 'tiny_net', learn_rate = 0.05)
        AS SELECT temperature, is_warm FROM days;
        SELECT predicted_is_warm FROM predict(warm, (SELECT celsius(100) AS temperature));
    ";
    for statement in vatic::statements(statements) {
        let batches: Vec<_> = session.sql(statement).await?.try_collect().await?;
        let table = pretty_format_batches(&batches)?.to_string();
        use std::io::Write;
        writeln!(std::io::stdout(), "{table}")?;
    }
    Ok(())
}
