//! The engine as a library: SQL in, Arrow record batches out.

use datafusion::arrow::util::pretty::pretty_format_batches;
use futures::TryStreamExt;
use vatic::Engine;

#[tokio::main]
async fn main() -> vatic::Result<()> {
    let engine = Engine::builder().build()?;
    let session = engine.session()?;
    let statements = "
        CREATE TABLE houses AS SELECT value AS area, value * 3000 + 20000 AS price FROM generate_series(40, 200);
        TRAIN MODEL price TARGET price OPTIONS (model_type = 'linear_reg') AS SELECT * FROM houses;
        SELECT area, round(predicted_price) AS price FROM predict(price, (SELECT 100 AS area));
    ";
    for statement in vatic::statements(statements) {
        let batches: Vec<_> = session.sql(statement).await?.try_collect().await?;
        let table = pretty_format_batches(&batches)?.to_string();
        use std::io::Write;
        writeln!(std::io::stdout(), "{table}")?;
    }
    Ok(())
}
