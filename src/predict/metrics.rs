//! [`Metrics`]: what EXPLAIN ANALYZE shows of an operator.

use datafusion::physical_plan::metrics::{
    Count, ExecutionPlanMetricsSet, MetricBuilder, RatioMetrics, Time,
};
use vatic_ml::data::inputs::RowReport;

/// The name of the number of texts whose ends were left out.
pub(super) const TRUNCATED_ROWS: &str = "truncated_rows";

#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) input_rows: Count,
    /// Rows that the model has computed.
    pub(super) computed_rows: Count,
    /// Rows that took the outputs of an equal row.
    pub(super) dedupe_hits: Count,
    /// Calls of the model.
    pub(super) batches: Count,
    pub(super) null_rows: Count,
    pub(super) failed_rows: Count,
    pub(super) truncated_rows: Count,
    pub(super) unseen_values: Count,
    /// The tokens that the model has computed, without padding.
    pub(super) tokens: Count,
    /// The rows or tokens of batches, of those that they might have.
    pub(super) fill: RatioMetrics,
    /// The share of padding if all texts of a batch are filled up to the longest.
    pub(super) padding: RatioMetrics,
    pub(super) cache_hits: Count,
    pub(super) cache_misses: Count,
    pub(super) load_time: Time,
    pub(super) compute_time: Time,
}

/// The rows that have no output: with a NULL, or refused.
pub(super) fn without_output(report: &RowReport) -> usize {
    report.null_rows() + report.failures.len()
}

impl Metrics {
    pub(super) fn new(set: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        let count = |name: &'static str| MetricBuilder::new(set).counter(name, partition);
        let ratio = |name: &'static str| MetricBuilder::new(set).ratio_metrics(name, partition);
        let time = |name: &'static str| MetricBuilder::new(set).subset_time(name, partition);
        Self {
            input_rows: count("input_rows"),
            computed_rows: count("computed_rows"),
            dedupe_hits: count("dedupe_hits"),
            batches: count("batches"),
            null_rows: count("null_rows"),
            failed_rows: count("failed_rows"),
            truncated_rows: count(TRUNCATED_ROWS),
            unseen_values: count("unseen_values"),
            tokens: count("tokens"),
            fill: ratio("fill"),
            padding: ratio("padding"),
            cache_hits: count("cache_hits"),
            cache_misses: count("cache_misses"),
            load_time: time("load_time"),
            compute_time: time("compute_time"),
        }
    }

    /// Counts the rows of one call of the model.
    pub(super) fn add_call(&self, rows: usize, report: &RowReport) {
        self.batches.add(1);
        self.computed_rows
            .add(rows.saturating_sub(without_output(report)));
        self.unseen_values.add(report.unseen);
    }

    /// Counts how full a batch is.
    pub(super) fn add_fill(&self, part: usize, total: usize) {
        self.fill.add_part(part);
        self.fill.add_total(total.max(part));
    }

    /// Counts the tokens of one call of the model, from those of each text.
    pub(super) fn add_tokens(&self, tokens: &[usize]) {
        let sum: usize = tokens.iter().sum();
        let padded = tokens.len() * tokens.iter().max().copied().unwrap_or(0);
        self.tokens.add(sum);
        self.padding.add_part(padded - sum);
        self.padding.add_total(padded);
    }

    /// Counts the rows of a batch of the input.
    pub(super) fn add_rows(&self, rows: usize, report: &RowReport) {
        self.input_rows.add(rows);
        self.null_rows.add(report.null_rows());
        self.failed_rows.add(report.failures.len());
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use futures::TryStreamExt;

    use crate::{Engine, Session};

    /// The rows of a statement as text.
    async fn text(session: &Session, statement: &str) -> String {
        let rows = session.sql(statement).await.unwrap();
        let rows: Vec<_> = rows.try_collect().await.unwrap();
        pretty_format_batches(&rows).unwrap().to_string()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_analysis_counts_texts_and_tokens() {
        let engine = Engine::builder().build().unwrap();
        let session = engine.session().unwrap();
        let import = "CREATE MODEL m FROM 'sql-tests/data/text_models/minilm'";
        text(&session, import).await;
        // Three texts of 4, 10 and, after its end is left out, 24 tokens.
        let texts = "SELECT CASE value % 3 WHEN 0 THEN 'the cat' WHEN 1 THEN 'a dog and a bird' ELSE repeat('the cat ', 30) END AS text \
                     FROM generate_series(1, 60)";
        let analyze = |arguments: &str| {
            format!("EXPLAIN ANALYZE SELECT count(embedding) FROM predict(m, ({texts}){arguments})")
        };
        let analysis = text(&session, &analyze("")).await;
        for count in [
            "computed_rows=3,",
            "dedupe_hits=57,",
            "input_rows=60,",
            "tokens=38,",
            "truncated_rows=20,",
            "fill=",
            "padding=",
        ] {
            assert!(analysis.contains(count), "{count}: {analysis}");
        }
        let analysis = text(&session, &analyze(", dedupe => 'off'")).await;
        assert!(analysis.contains("dedupe_hits=0,"), "{analysis}");
        assert!(analysis.contains("tokens=760,"), "{analysis}");
    }
}
