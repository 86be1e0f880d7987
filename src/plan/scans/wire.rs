//! [`WireSource`]: file scans of our own sources as bytes. DataFusion's codec knows its own sources only, so the scan travels
//! as a scan of CSV files with the same files and columns, behind the options of our source.

use std::sync::Arc;

use datafusion::common::DataFusionError;
use datafusion::datasource::physical_plan::{
    CsvSource, FileScanConfig, FileScanConfigBuilder, FileSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::PhysicalPlanNode;
use prost::Message;

use super::rule::file_scan;
use crate::error::{Result, SqlState, sql_err};

/// Makes a source of its bytes and of the columns of the table.
type Decode = fn(&[u8], TableSchema) -> Result<Arc<dyn FileSource>>;

/// A kind of source that travels.
pub(crate) struct WireSource {
    /// The name of its scans on the wire.
    pub(crate) name: &'static str,
    /// The options of a source; `None` for a source of another kind.
    pub(crate) options: fn(&dyn FileSource) -> Option<Result<Vec<u8>>>,
    /// The source of all columns with these options.
    pub(crate) source: Decode,
}

impl WireSource {
    /// The bytes of a scan; `None` if the plan is another operator.
    pub(crate) fn encode(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        codec: &dyn PhysicalExtensionCodec,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Option<Result<Vec<u8>>> {
        let config = file_scan(plan.as_ref())?;
        let options = (self.options)(config.file_source.as_ref())?;
        Some(options.and_then(|options| encode_scan(config, &options, codec, converter)))
    }

    /// The scan that these bytes encode.
    pub(crate) fn decode(
        &self,
        bytes: &[u8],
        context: &TaskContext,
        codec: &dyn PhysicalExtensionCodec,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
        let (options, node) = rest
            .split_at_checked(u32::from_le_bytes(*length) as usize)
            .ok_or_else(damaged)?;
        let node = PhysicalPlanNode::decode(node).map_err(|_| damaged())?;
        let context = PhysicalPlanDecodeContext::new(context, codec);
        let plan = converter.proto_to_execution_plan(&node, &context)?;
        let config = file_scan(plan.as_ref()).ok_or_else(damaged)?;
        let standard = config.file_source.as_ref();
        let source = (self.source)(options, standard.table_schema().clone())?;
        Ok(with_source(config, projected(source, standard)?))
    }
}

fn encode_scan(
    config: &FileScanConfig,
    options: &[u8],
    codec: &dyn PhysicalExtensionCodec,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<Vec<u8>> {
    let source = config.file_source.as_ref();
    let standard: Arc<dyn FileSource> = Arc::new(CsvSource::new(source.table_schema().clone()));
    let scan = with_source(config, projected(standard, source)?);
    let node = converter.execution_plan_to_proto(&scan, codec)?;
    let mut bytes = (options.len() as u32).to_le_bytes().to_vec();
    bytes.extend_from_slice(options);
    bytes.extend(node.encode_to_vec());
    Ok(bytes)
}

fn damaged() -> DataFusionError {
    sql_err(SqlState::Internal, "the plan of a file scan is damaged")
}

fn with_source(config: &FileScanConfig, source: Arc<dyn FileSource>) -> Arc<dyn ExecutionPlan> {
    let builder = FileScanConfigBuilder::from(config.clone()).with_source(source);
    DataSourceExec::from_data_source(builder.build())
}

/// A source of all columns with the projection of another source.
fn projected(source: Arc<dyn FileSource>, like: &dyn FileSource) -> Result<Arc<dyn FileSource>> {
    match like.projection() {
        Some(projection) => source
            .try_pushdown_projection(projection)?
            .ok_or_else(damaged),
        None => Ok(source),
    }
}
