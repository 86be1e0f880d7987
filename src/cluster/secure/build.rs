//! [`BUILD`]: the name of this build. Processes of other builds are refused, since plans and messages would not fit.

use std::sync::LazyLock;

use ballista_core::BALLISTA_VERSION;
use datafusion::DATAFUSION_VERSION;
use sha2::{Digest, Sha256};

/// The files that decide what travels between the machines, and how it is computed there. Two builds of one version
/// that differ in them have different names.
const SOURCES: &[&str] = &[
    include_str!("../codec.rs"),
    include_str!("../collective.rs"),
    include_str!("../errors.rs"),
    include_str!("../rendezvous/message.rs"),
    include_str!("../task.rs"),
    include_str!("greeting.rs"),
    include_str!("pass.rs"),
    include_str!("../../config.rs"),
    include_str!("../../error.rs"),
    include_str!("../../evaluate/codec.rs"),
    include_str!("../../extensions.rs"),
    include_str!("../../plan/chance/fence.rs"),
    include_str!("../../plan/csv/codec.rs"),
    include_str!("../../plan/once/mod.rs"),
    include_str!("../../plan/orders/known_order.rs"),
    include_str!("../../plan/sample/mod.rs"),
    include_str!("../../predict/codec.rs"),
    include_str!("../../train/codec.rs"),
    include_str!("../../train/task.rs"),
];

/// The version, and a hash of [`SOURCES`] and of the versions of Ballista and DataFusion: `vatic 0.1.0 (1f70512c)`.
pub(super) static BUILD: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    let versions = [BALLISTA_VERSION, DATAFUSION_VERSION];
    for text in versions.iter().chain(SOURCES) {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    let hash: [u8; 32] = hash.finalize().into();
    let hash: String = hash[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("vatic {} ({hash})", env!("CARGO_PKG_VERSION"))
});
