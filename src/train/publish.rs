//! What a training made becomes a version. Ranks only write files.

use std::sync::atomic::Ordering;

use vatic_ml::artifact::sha256;

use super::task::BlobGuard;
use crate::access::Access;
use crate::error::{Result, SqlState, report};
use crate::model::{MANIFEST_FILE, Manifest, ModelRegistry, NewVersion, Publish};
use crate::sql::TrainModel;

/// Makes the files and the manifest last, then lets the registry name them.
pub(crate) fn publish(
    registry: &ModelRegistry,
    access: &Access,
    statement: &TrainModel,
    manifest: &Manifest,
    target: &BlobGuard,
) -> Result<u64> {
    let failed = |error: std::io::Error| crate::error::io_err(&target.place, &error);
    let content = serde_json::to_vec_pretty(manifest).map_err(|error| failed(error.into()))?;
    let place = target.place.join(MANIFEST_FILE);
    place.create(&content).map_err(failed)?;
    let how = if statement.or_replace {
        Publish::Replace
    } else {
        Publish::New
    };
    // From here on the files must stay: a failure to answer does not mean that nothing was published.
    target.is_kept.store(true, Ordering::Relaxed);
    let new = NewVersion {
        directory: target.name.clone(),
        sha256: sha256(&content),
        comment: statement.comment.clone(),
        how,
        ownership: access.new_ownership(),
    };
    let published = registry.publish_for(access, &statement.name, &new);
    if let Err(error) = &published
        && report(error).state == SqlState::ModelExists
    {
        target.is_kept.store(false, Ordering::Relaxed);
    }
    published
}
