//! The progress line: epoch, losses, rows a second and remaining time of a training; elapsed time and rows of a query.
//! The line appears after a delay, so that it does not flicker for short statements.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use datafusion::common::runtime::SpawnedTask;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use vatic_ml::train::control::Progress;

use super::settings::When;
use crate::progress::{ProgressEvent, ProgressListener};

const DRAWS_PER_SECOND: u8 = 10;
/// How long a statement runs before the line appears.
const DELAY: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(200);

/// The progress line on standard error, if that is a terminal.
#[derive(Clone)]
pub(super) struct ProgressLine {
    bar: Arc<Mutex<Option<ProgressBar>>>,
    last_loss: Arc<Mutex<String>>,
    /// The stage of a query on a cluster.
    stage: Arc<Mutex<String>>,
    /// The start of the statement, for the delay of the line.
    began: Arc<Mutex<Instant>>,
    /// The number of rows of the query so far.
    rows: Arc<AtomicUsize>,
    /// Whether all rows have arrived or rows are written to the screen as they arrive.
    is_done: Arc<AtomicBool>,
    /// Notices of the statement that were shown.
    notices: Arc<Mutex<Vec<String>>>,
    has_notices: bool,
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
    pub(super) fn new(when: When) -> Self {
        Self {
            bar: Arc::default(),
            last_loss: Arc::default(),
            stage: Arc::default(),
            began: Arc::new(Mutex::new(Instant::now())),
            rows: Arc::default(),
            is_done: Arc::default(),
            notices: Arc::default(),
            has_notices: when != When::Never,
            is_shown: match when {
                When::Auto => io::stderr().is_terminal(),
                When::Always => true,
                When::Never => false,
            },
        }
    }

    /// Shows the elapsed time of a statement until the returned task is dropped.
    pub(super) fn waiting(&self) -> Option<SpawnedTask<()>> {
        *self.began.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.rows.store(0, Ordering::Relaxed);
        self.is_done.store(false, Ordering::Relaxed);
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        notices.clear();
        drop(notices);
        let line = self.clone();
        self.is_shown.then(|| {
            SpawnedTask::spawn(async move {
                loop {
                    tokio::time::sleep(TICK).await;
                    line.tick();
                }
            })
        })
    }

    fn tick(&self) {
        let elapsed = self.elapsed();
        let is_training = !self
            .last_loss
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty();
        if elapsed < DELAY || is_training {
            return;
        }
        let rows = match self.rows.load(Ordering::Relaxed) {
            0 => String::new(),
            rows => format!(", {rows} rows"),
        };
        let stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let stage = match stage.as_str() {
            "" => String::new(),
            stage => format!(", {stage}"),
        };
        let seconds = duration(elapsed.as_secs_f64());
        self.draw(
            format!("running for {seconds}{stage}{rows}; Ctrl-C cancels"),
            None,
        );
    }

    fn elapsed(&self) -> Duration {
        let began = self.began.lock().unwrap_or_else(PoisonError::into_inner);
        began.elapsed()
    }

    /// The listener that a session calls with events.
    pub(super) fn listener(&self) -> ProgressListener {
        let line = self.clone();
        Arc::new(move |event| line.show(&event))
    }

    /// Writes a notice of the statement, once.
    fn notice(&self, text: &str) {
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        if self.has_notices && !notices.iter().any(|said| said == text) {
            notices.push(text.to_owned());
            self.clear();
            // If standard error is closed, nobody can read the notice.
            let _ = writeln!(io::stderr(), "notice: {text}");
        }
    }

    fn show(&self, event: &ProgressEvent) {
        if let ProgressEvent::Training {
            model,
            progress: Progress::Notice(text),
        } = event
        {
            self.notice(&format!("{model}: {text}"));
        }
        if !self.is_shown {
            return;
        }
        match event {
            ProgressEvent::Reading { model, rows } => {
                self.lock_loss(|loss| {
                    if loss.is_empty() {
                        loss.push(' ');
                    }
                });
                self.draw(format!("{model}: reading, {rows} rows"), None)
            }
            ProgressEvent::Training {
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
            ProgressEvent::Training {
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
            ProgressEvent::Training {
                progress: Progress::Notice(_),
                ..
            } => {}
            ProgressEvent::Waiting { what } => self.set_stage(format!("waiting for {what}")),
            ProgressEvent::Stages {
                stages,
                stages_done,
                tasks,
                tasks_done,
            } => {
                let stage = (stages_done + 1).min(*stages);
                self.set_stage(match tasks {
                    0 => format!("stage {stage} of {stages}"),
                    _ => format!("stage {stage} of {stages}, {tasks_done} of {tasks} tasks"),
                });
            }
            ProgressEvent::Done => self.clear(),
        }
    }

    fn lock_loss(&self, change: impl FnOnce(&mut String)) {
        change(
            &mut self
                .last_loss
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    fn set_stage(&self, stage: String) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    fn draw(&self, message: String, share: Option<f64>) {
        if self.elapsed() < DELAY || self.is_done.load(Ordering::Relaxed) {
            return;
        }
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

    /// Removes the line, so that the following output begins on a clean line.
    pub(super) fn clear(&self) {
        if let Some(bar) = self
            .bar
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            bar.finish_and_clear();
        }
        self.lock_loss(String::clear);
        self.stage
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Counts the rows of a stream. Removes the line at the end of the stream, or at its first rows if `are_shown`.
    pub(super) fn watch(
        &self,
        rows: SendableRecordBatchStream,
        are_shown: bool,
    ) -> SendableRecordBatchStream {
        use futures::StreamExt;
        let schema = rows.schema();
        let (line, at_end) = (self.clone(), self.clone());
        let rows = rows.inspect(move |batch| {
            if let Ok(batch) = batch {
                line.rows.fetch_add(batch.num_rows(), Ordering::Relaxed);
            }
            if are_shown {
                line.end();
            }
        });
        // An empty stream that removes the line when it is polled.
        let end = futures::stream::once(async move { at_end.end() });
        let rows = rows.chain(end.filter_map(|()| std::future::ready(None)));
        Box::pin(RecordBatchStreamAdapter::new(schema, rows))
    }

    fn end(&self) {
        self.is_done.store(true, Ordering::Relaxed);
        self.clear();
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
