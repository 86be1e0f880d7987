//! [`LoadedModel`]: a model with the memory that is reserved for it.

use std::ops::Deref;
use std::sync::Arc;

use datafusion::execution::memory_pool::MemoryReservation;
use tokio_util::sync::{CancellationToken, DropGuard};
use vatic_ml::model::{Model, Wanted};

use crate::error::{Result, ml_err};

/// A model with the memory that is reserved for it. A statement may use the model longer than it is in the cache.
#[derive(Debug)]
pub(crate) struct LoadedModel {
    pub(super) model: Arc<dyn Model>,
    held: MemoryReservation,
    /// Cancels its token when the model is freed: fields are dropped in this order.
    pub(super) freed: DropGuard,
    /// The model whose weights this one uses, if it serves one call.
    _shared: Option<Arc<LoadedModel>>,
}

impl LoadedModel {
    pub(super) fn new(model: Arc<dyn Model>, held: MemoryReservation) -> Self {
        Self {
            model,
            held,
            freed: CancellationToken::new().drop_guard(),
            _shared: None,
        }
    }

    /// The model for a call: a model of its own that shares the weights, or this model.
    pub(crate) fn for_call(self: &Arc<Self>, wanted: &Wanted) -> Result<Arc<Self>> {
        let model = self.model.for_call(wanted).map_err(ml_err)?;
        Ok(match model {
            None => Arc::clone(self),
            Some(model) => self.sharing(model),
        })
    }

    /// A model that shares the weights of this one, which stays in use.
    pub(super) fn sharing(self: &Arc<Self>, model: Arc<dyn Model>) -> Arc<Self> {
        Arc::new(Self {
            model,
            held: self.held.new_empty(),
            freed: CancellationToken::new().drop_guard(),
            _shared: Some(Arc::clone(self)),
        })
    }

    /// The model for code that shares it, and lives no longer than this.
    pub(crate) fn shared(&self) -> Arc<dyn Model> {
        Arc::clone(&self.model)
    }
}

impl Deref for LoadedModel {
    type Target = dyn Model;

    fn deref(&self) -> &Self::Target {
        self.model.as_ref()
    }
}
