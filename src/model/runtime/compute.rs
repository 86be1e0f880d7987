//! The types that models compute in: those that a statement asks for and a model does not have are refused.

use vatic_ml::device::DeviceName;
use vatic_ml::model::compute::ComputeType;

use super::loaded::LoadedModel;
use crate::error::{Result, SqlState, sql_err};
use crate::model::ResolvedModel;

/// Refuses a type that needs a GPU for a model on the processor.
pub(crate) fn check_device(compute: Option<ComputeType>, device: DeviceName) -> Result<()> {
    match compute {
        Some(compute) if compute.needs_gpu() && device == DeviceName::Cpu => {
            let message = format!(
                "dtype \"{compute}\" needs a GPU; leave out dtype, or use device => 'cuda'"
            );
            Err(sql_err(SqlState::Unsupported, message))
        }
        Some(_) | None => Ok(()),
    }
}

/// Refuses a loaded model that computes in another type than the wanted one.
pub(super) fn check_type(
    compute: Option<ComputeType>,
    model: &ResolvedModel,
    loaded: &LoadedModel,
) -> Result<()> {
    let own = loaded.compute_type();
    match compute {
        Some(other) if other != own => {
            let message = format!(
                "models of type {} compute in {own}, not {other}; leave out dtype",
                model.manifest.model_type()
            );
            Err(sql_err(SqlState::Unsupported, message))
        }
        Some(_) | None => Ok(()),
    }
}
