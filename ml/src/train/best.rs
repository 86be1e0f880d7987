//! [`Best`]: the weights of the best epoch, for early stopping.

/// Epochs without progress before early stopping.
pub(crate) const PATIENCE: usize = 5;

/// The weights of the best epoch, and the number of epochs without progress.
pub(crate) struct Best {
    pub(crate) weights: Vec<f32>,
    pub(crate) loss: f64,
    /// The loss at the last progress.
    pub(crate) mark: f64,
    pub(crate) epochs_since: usize,
}

impl Best {
    pub(crate) fn new(weights: Vec<f32>) -> Self {
        Self {
            weights,
            loss: f64::INFINITY,
            mark: f64::INFINITY,
            epochs_since: 0,
        }
    }

    /// Records the loss of an epoch, keeps the weights if they are the best, and returns whether progress has stalled.
    pub(crate) fn record(&mut self, loss: f64, weights: &[f32], min_rel_progress: f64) -> bool {
        if loss < self.loss {
            self.loss = loss;
            self.weights.copy_from_slice(weights);
        }
        if loss < self.mark * (1.0 - min_rel_progress) || self.mark.is_infinite() {
            self.mark = loss;
            self.epochs_since = 0;
        } else {
            self.epochs_since += 1;
        }
        self.epochs_since >= PATIENCE
    }
}
