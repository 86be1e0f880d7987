//! The line that a training shows while it runs: epoch, losses, rows a second, time left.

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::execution::SendableRecordBatchStream;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use vatic_ml::fit::Progress;

use crate::train::{ProgressListener, TrainEvent};

const DRAWS_PER_SECOND: u8 = 10;

/// A line on standard error, if that is a terminal.
#[derive(Clone)]
pub(super) struct ProgressLine {
    bar: Arc<Mutex<Option<ProgressBar>>>,
    last_loss: Arc<Mutex<String>>,
    is_shown: bool,
}

impl fmt::Debug for ProgressLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgressLine")
            .field("is_shown", &self.is_shown)
            .finish_non_exhaustive()
    }
}

impl ProgressLine {
    pub(super) fn new() -> Self {
        Self {
            bar: Arc::default(),
            last_loss: Arc::default(),
            is_shown: io::stderr().is_terminal(),
        }
    }

    /// What a session is to call.
    pub(super) fn listener(&self) -> ProgressListener {
        let line = self.clone();
        Arc::new(move |event| line.show(&event))
    }

    fn show(&self, event: &TrainEvent) {
        if !self.is_shown {
            return;
        }
        match event {
            TrainEvent::Reading { model, rows } => {
                self.draw(format!("{model}: reading, {rows} rows"), None)
            }
            TrainEvent::Training {
                model,
                progress:
                    Progress::Step {
                        epoch,
                        epochs,
                        share,
                        rows_per_second,
                        remaining_s,
                    },
            } => {
                let loss = self
                    .last_loss
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                let message = format!(
                    "{model}: epoch {epoch} of {epochs}{loss}, {rows_per_second:.0} rows/s, {} left",
                    duration(*remaining_s)
                );
                self.draw(
                    message,
                    Some(((*epoch as f64 - 1.0) + share) / *epochs as f64),
                );
            }
            TrainEvent::Training {
                model,
                progress: Progress::Epoch(record),
            } => {
                let eval = record
                    .eval_loss
                    .map_or(String::new(), |loss| format!(", eval loss {loss:.4}"));
                let line = format!(
                    "epoch {:>3}  train loss {:.4}{eval}",
                    record.epoch, record.train_loss
                );
                *self
                    .last_loss
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) =
                    format!(", train loss {:.4}{eval}", record.train_loss);
                self.draw(format!("{model}: {line}"), None);
            }
            TrainEvent::Done => self.clear(),
        }
    }

    fn draw(&self, message: String, share: Option<f64>) {
        let mut bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(
                Some(1_000),
                ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND),
            );
            let style = ProgressStyle::with_template("{bar:20} {msg}");
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        if let Some(share) = share {
            bar.set_position((share * 1_000.0) as u64);
        }
        bar.set_message(message);
    }

    /// Takes the line away, so that what follows begins on a clean one.
    pub(super) fn clear(&self) {
        if let Some(bar) = self
            .bar
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            bar.finish_and_clear();
        }
        self.last_loss
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// The stream, before whose first row the line is taken away.
    pub(super) fn pause_on_first_row(
        &self,
        rows: SendableRecordBatchStream,
    ) -> SendableRecordBatchStream {
        use futures::StreamExt;
        let line = self.clone();
        let schema = rows.schema();
        let stream = rows.inspect(move |_| line.clear());
        Box::pin(datafusion::physical_plan::stream::RecordBatchStreamAdapter::new(schema, stream))
    }
}

fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        _ => format!("{}:{:02} h", seconds / 3_600, seconds / 60 % 60),
    }
}
