//! [`ManifestV1`]: the manifest format from before models had ports. All such manifests describe trainings.

use chrono::{DateTime, Utc};
use datafusion::arrow::datatypes::DataType;
use serde::Deserialize;
use vatic_ml::artifact::{ModelFile, TRAINED};
use vatic_ml::data::columns::{Column, Columns};
use vatic_ml::data::labels::Labels;
use vatic_ml::model::Batching;
use vatic_ml::model::options::TrainOptions;
use vatic_ml::model::trained::signature;

use super::manifest::{MANIFEST_FORMAT, Manifest, Origin, RunSummary, Trained};

/// A manifest of format 1.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ManifestV1 {
    #[expect(dead_code, reason = "read before the rest")]
    format_version: u32,
    run_id: String,
    created_at: DateTime<Utc>,
    engine: String,
    #[serde(rename = "signature")]
    columns: Columns,
    labels: Labels,
    options: TrainOptions,
    training_sql: String,
    run: RunSummary,
    files: Vec<ModelFile>,
}

impl TryFrom<ManifestV1> for Manifest {
    type Error = vatic_ml::Error;

    fn try_from(old: ManifestV1) -> vatic_ml::Result<Self> {
        let widths = old.columns.features.iter().map(width);
        Ok(Self {
            format_version: MANIFEST_FORMAT,
            created_at: old.created_at,
            engine: old.engine,
            format: TRAINED.into(),
            signature: signature(&old.columns, widths, &[old.labels])?,
            batching: Batching::Rows,
            layers: vec![],
            prompts: vec![],
            facts: vec![],
            sides: None,
            origin: Origin::Trained(Box::new(Trained {
                run_id: old.run_id,
                statement: old.training_sql,
                options: old.options,
                run: old.run,
            })),
            files: old.files,
        })
    }
}

/// The number of values per row of the column, if its type determines it.
fn width(column: &Column) -> usize {
    match column.data_type {
        DataType::FixedSizeList(_, width) => width as usize,
        _ => 0,
    }
}
