//! The settings `vatic.*`, set by `SET vatic.batch_size = 1000`.

use datafusion::common::config::{ConfigExtension, ConfigOptions};
use datafusion::common::extensions_options;

extensions_options! {
    /// The settings of this engine.
    pub struct VaticOptions {
        /// Rows that a model predicts at once.
        pub batch_size: usize, default = 8_192
        /// Memory for the weights of loaded models, in bytes.
        pub cache_bytes: usize, default = 1 << 30
        /// Where models run: auto or cpu.
        pub device: String, default = "auto".to_owned()
        /// Workers of a training; 0 means one for each core.
        pub workers: usize, default = 0
    }
}

impl ConfigExtension for VaticOptions {
    const PREFIX: &'static str = "vatic";
}

impl VaticOptions {
    /// The settings of a session.
    pub fn of(options: &ConfigOptions) -> Self {
        options
            .extensions
            .get::<Self>()
            .cloned()
            .unwrap_or_default()
    }
}
