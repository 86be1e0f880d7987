//! The models of a process: they run on the workers of each device, and stay loaded within a byte budget.
//!
//! ```text
//! load: from the cache, or from files ─▶ LoadedModel ─ run: a batch ─▶ workers of the device
//! ```
//! * `model_runtime` what a process has: model types, loaders, the cache, the workers, permits for batches
//! * `load` a model from the cache or from its files; `compute` refuses types that a model does not compute in
//! * `loaded` a model with its memory; `entry` a place of the cache
//! * `cache` what is in the cache, and what leaves it for lack of room
//! * `order` changes of the cache that statements ask for; `pins` keeps models in the cache, and drops them from it
//! * `run` computations of models; `workers` the threads that compute
//! * `version_files` files of a version that are read without a model

mod cache;
mod compute;
mod entry;
mod load;
mod loaded;
mod model_runtime;
mod order;
mod pins;
mod run;
mod version_files;
mod workers;

pub(crate) use self::compute::check_device;
pub(crate) use self::loaded::LoadedModel;
pub(crate) use self::model_runtime::ModelRuntime;
pub(crate) use self::order::{CacheOrder, LoadOrder, ModelCopy, Pin, PinnedVersion};
