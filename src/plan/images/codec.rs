//! The wire form of a scan of images: it has no options.

use std::sync::Arc;

use datafusion::datasource::physical_plan::FileSource;
use datafusion::datasource::table_schema::TableSchema;

use super::source::ImageSource;
use crate::error::Result;
use crate::plan::scans::WireSource;

pub(crate) const SOURCE: WireSource = WireSource {
    name: "images",
    options,
    source,
};

fn options(source: &dyn FileSource) -> Option<Result<Vec<u8>>> {
    source.is::<ImageSource>().then(|| Ok(Vec::new()))
}

fn source(_options: &[u8], schema: TableSchema) -> Result<Arc<dyn FileSource>> {
    Ok(Arc::new(ImageSource::new(schema)))
}
