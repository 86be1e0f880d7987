//! The wire codec of a scan of CSV files: our read options, then the scan in DataFusion's encoding.

use std::sync::Arc;

use datafusion::common::DataFusionError;
use datafusion::datasource::physical_plan::{
    CsvSource, FileScanConfig, FileScanConfigBuilder, FileSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::PhysicalPlanNode;
use prost::Message;

use super::options::ReadOptions;
use super::source::CsvTableSource;
use crate::error::{Result, SqlState, sql_err};
use crate::plan::extension::{from_wire, to_wire};
use crate::plan::scans::file_scan;

/// The name of the scan on the wire.
pub(crate) const NAME: &str = "csv";

/// The bytes of a scan; `None` if the plan is another operator.
pub(crate) fn encode(
    plan: &Arc<dyn ExecutionPlan>,
    codec: &dyn PhysicalExtensionCodec,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Option<Result<Vec<u8>>> {
    let config = file_scan(plan.as_ref())?;
    let source = config.file_source.downcast_ref::<CsvTableSource>()?;
    Some(encode_scan(config, source, codec, converter))
}

fn encode_scan(
    config: &FileScanConfig,
    source: &CsvTableSource,
    codec: &dyn PhysicalExtensionCodec,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<Vec<u8>> {
    let standard: Arc<dyn FileSource> = Arc::new(CsvSource::new(source.table_schema().clone()));
    let scan = with_source(config, projected(standard, source)?);
    let node = converter.execution_plan_to_proto(&scan, codec)?;
    let options = to_wire(source.options.as_ref())?;
    let mut bytes = (options.len() as u32).to_le_bytes().to_vec();
    bytes.extend(options);
    bytes.extend(node.encode_to_vec());
    Ok(bytes)
}

/// The scan that these bytes encode.
pub(crate) fn decode(
    bytes: &[u8],
    context: &TaskContext,
    codec: &dyn PhysicalExtensionCodec,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<Arc<dyn ExecutionPlan>> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
    let (options, node) = rest
        .split_at_checked(u32::from_le_bytes(*length) as usize)
        .ok_or_else(damaged)?;
    let options: ReadOptions = from_wire(options)?;
    let node = PhysicalPlanNode::decode(node).map_err(|_| damaged())?;
    let context = PhysicalPlanDecodeContext::new(context, codec);
    let plan = converter.proto_to_execution_plan(&node, &context)?;
    let config = file_scan(plan.as_ref()).ok_or_else(damaged)?;
    let standard = config.file_source.as_ref();
    let source = CsvTableSource::new(Arc::new(options), standard.table_schema().clone());
    Ok(with_source(config, projected(Arc::new(source), standard)?))
}

fn damaged() -> DataFusionError {
    sql_err(SqlState::Internal, "the plan of a CSV scan is damaged")
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
