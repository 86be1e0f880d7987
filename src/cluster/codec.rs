//! Wire codec of plans: [`SCANS`] encode the scans of our sources, extensions our operators, Ballista everything else.

use std::sync::Arc;

use ballista_core::serde::BallistaPhysicalExtensionCodec;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};

use crate::error::{Result, SqlState, sql_err};
use crate::extensions::SCANS;
use crate::plan::extension::PlanExtension;

/// The prefix of our operators. No protobuf message begins with these bytes: 0xFF would be a field of wire type 7.
const MARK: &[u8] = b"\xFFML\x01";

/// Writes `MARK`, the length of the name of an extension or a scan, the name, and its bytes.
#[derive(Debug)]
pub(super) struct PlanCodec {
    extensions: &'static [&'static dyn PlanExtension],
    others: BallistaPhysicalExtensionCodec,
}

impl PlanCodec {
    pub(super) fn new(extensions: &'static [&'static dyn PlanExtension]) -> Self {
        let others = BallistaPhysicalExtensionCodec::default();
        Self { extensions, others }
    }
}

impl PhysicalExtensionCodec for PlanCodec {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(ours) = bytes.strip_prefix(MARK) else {
            return self.others.try_decode(bytes, inputs, context, converter);
        };
        let damaged = || sql_err(SqlState::Internal, "an operator of a plan is damaged");
        let (length, rest) = ours.split_first().ok_or_else(damaged)?;
        let (name, payload) = rest
            .split_at_checked(usize::from(*length))
            .ok_or_else(damaged)?;
        if let Some(scan) = SCANS.iter().find(|scan| scan.name.as_bytes() == name) {
            return scan.decode(payload, context, self, converter);
        }
        let extension = self
            .extensions
            .iter()
            .find(|extension| extension.name().as_bytes() == name)
            .ok_or_else(|| {
                let name = String::from_utf8_lossy(name);
                let message =
                    format!("this build has no operator \"{name}\"; do all nodes run one build?");
                sql_err(SqlState::Internal, message)
            })?;
        extension.decode_exec(payload, inputs)
    }

    fn try_encode(
        &self,
        exec: Arc<dyn ExecutionPlan>,
        bytes: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let scan = SCANS.iter().find_map(|scan| {
            let payload = scan.encode(&exec, self, converter)?;
            Some((scan.name, payload))
        });
        let ours = scan.or_else(|| {
            self.extensions.iter().find_map(|extension| {
                let payload = extension.encode_exec(exec.as_ref())?;
                Some((extension.name(), payload))
            })
        });
        let Some((name, payload)) = ours else {
            return self.others.try_encode(exec, bytes, converter);
        };
        bytes.extend_from_slice(MARK);
        bytes.push(name.len() as u8);
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend(payload?);
        Ok(())
    }
}
