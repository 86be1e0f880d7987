//! The wire form of a scan of CSV files: our read options.

use std::sync::Arc;

use datafusion::datasource::physical_plan::FileSource;
use datafusion::datasource::table_schema::TableSchema;

use super::options::ReadOptions;
use super::source::CsvTableSource;
use crate::error::Result;
use crate::plan::extension::{from_wire, to_wire};
use crate::plan::scans::WireSource;

pub(crate) const SOURCE: WireSource = WireSource {
    name: "csv",
    options,
    source,
};

fn options(source: &dyn FileSource) -> Option<Result<Vec<u8>>> {
    let source = source.downcast_ref::<CsvTableSource>()?;
    Some(to_wire(source.options.as_ref()))
}

fn source(options: &[u8], schema: TableSchema) -> Result<Arc<dyn FileSource>> {
    let options: ReadOptions = from_wire(options)?;
    Ok(Arc::new(CsvTableSource::new(Arc::new(options), schema)))
}
