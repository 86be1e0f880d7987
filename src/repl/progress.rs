//! The progress line: epoch, losses, rows a second and remaining time of a training; elapsed time and rows of a query.
//! The line appears after a delay, so that it does not flicker for short statements. Without a terminal, progress is lines of
//! their own: of long trainings, or with `--progress always` of all statements.

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
/// The time between two lines of a training, in the log of a job.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// The time between two lines with `--progress always`.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// How progress is shown on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Nothing,
    /// A line of a terminal that changes.
    Bar,
    /// Lines of their own, about trainings that take long.
    TrainingLines,
    /// Lines of their own, about all statements.
    Lines,
}

impl Shown {
    fn new(when: When, is_terminal: bool) -> Self {
        match when {
            When::Never => Self::Nothing,
            When::Auto | When::Always if is_terminal => Self::Bar,
            When::Auto => Self::TrainingLines,
            When::Always => Self::Lines,
        }
    }
}

/// The progress of the running statement, on standard error.
#[derive(Clone)]
pub(super) struct ProgressLine {
    bar: Arc<Mutex<Option<ProgressBar>>>,
    /// The losses of the last epoch, empty before the first; `None` if nothing trains.
    last_loss: Arc<Mutex<Option<String>>>,
    /// When the next line of its own may be written.
    next_line: Arc<Mutex<Instant>>,
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
    shown: Shown,
}

impl fmt::Debug for ProgressLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgressLine")
            .field("shown", &self.shown)
            .finish_non_exhaustive()
    }
}

impl ProgressLine {
    pub(super) fn new(when: When) -> Self {
        Self {
            bar: Arc::default(),
            last_loss: Arc::default(),
            next_line: Arc::new(Mutex::new(Instant::now())),
            stage: Arc::default(),
            began: Arc::new(Mutex::new(Instant::now())),
            rows: Arc::default(),
            is_done: Arc::default(),
            notices: Arc::default(),
            has_notices: when != When::Never,
            shown: Shown::new(when, io::stderr().is_terminal()),
        }
    }

    /// Shows the elapsed time of a statement until the returned task is dropped.
    pub(super) fn waiting(&self) -> Option<SpawnedTask<()>> {
        let now = Instant::now();
        *self.began.lock().unwrap_or_else(PoisonError::into_inner) = now;
        let first_line = match self.shown {
            Shown::TrainingLines => now + LOG_EVERY,
            Shown::Nothing | Shown::Bar | Shown::Lines => now,
        };
        *self
            .next_line
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = first_line;
        self.rows.store(0, Ordering::Relaxed);
        self.is_done.store(false, Ordering::Relaxed);
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        notices.clear();
        drop(notices);
        let line = self.clone();
        matches!(self.shown, Shown::Bar | Shown::Lines).then(|| {
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
        let is_training = self
            .last_loss
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some();
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
        if let ProgressEvent::Notice { about, text } = event {
            self.notice(&format!("{about}: {text}"));
        }
        if self.shown == Shown::Nothing {
            return;
        }
        match event {
            ProgressEvent::Reading { model, rows } => {
                self.lock_loss(|loss| {
                    loss.get_or_insert_default();
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
                        is_refit,
                    },
            } => {
                let loss = self
                    .last_loss
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone()
                    .unwrap_or_default();
                let (loss, of_all) = match is_refit {
                    true => (String::new(), " on all rows"),
                    false => (loss, ""),
                };
                let message = format!(
                    "{model}: epoch {epoch} of {epochs}{of_all}{loss}, {rows_per_second:.0} rows/s, {} left",
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
                let losses = format!(", train loss {:.4}{eval}", record.train_loss);
                let message = format!("{model}: epoch {}{losses}", record.epoch);
                self.lock_loss(|loss| *loss = Some(losses));
                self.draw(message, None);
            }
            ProgressEvent::Training {
                progress: Progress::Notice(_),
                ..
            }
            | ProgressEvent::Notice { .. } => {}
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

    fn lock_loss(&self, change: impl FnOnce(&mut Option<String>)) {
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

    /// Shows a message, with the part of the work that is done.
    fn draw(&self, message: String, share: Option<f64>) {
        if self.is_done.load(Ordering::Relaxed) {
            return;
        }
        match self.shown {
            Shown::Nothing => {}
            Shown::Bar => self.draw_bar(message, share),
            Shown::TrainingLines => self.write_line(&message, LOG_EVERY),
            Shown::Lines => self.write_line(&message, LINE_EVERY),
        }
    }

    /// Writes a line, unless the last one is younger than `every`.
    fn write_line(&self, message: &str, every: Duration) {
        let mut next = self
            .next_line
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if now < *next {
            return;
        }
        *next = now + every;
        // If standard error is closed, nobody can read the line.
        let _ = writeln!(io::stderr(), "{message}");
    }

    fn draw_bar(&self, message: String, share: Option<f64>) {
        if self.elapsed() < DELAY {
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
        self.lock_loss(|loss| *loss = None);
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

#[cfg(test)]
mod tests {
    use vatic_ml::train::control::EpochRecord;

    use super::*;

    #[test]
    fn lines_come_without_a_terminal_and_a_bar_with_one() {
        for (when, in_terminal, in_pipe) in [
            (When::Auto, Shown::Bar, Shown::TrainingLines),
            (When::Always, Shown::Bar, Shown::Lines),
            (When::Never, Shown::Nothing, Shown::Nothing),
        ] {
            assert_eq!(Shown::new(when, true), in_terminal);
            assert_eq!(Shown::new(when, false), in_pipe);
        }
    }

    #[test]
    fn a_statement_says_how_long_it_runs_until_a_training_speaks_for_itself() {
        let began = Instant::now().checked_sub(2 * DELAY).unwrap();
        let line = ProgressLine {
            began: Arc::new(Mutex::new(began)),
            shown: Shown::Bar,
            ..ProgressLine::new(When::Auto)
        };
        let message = || {
            let bar = line.bar.lock().unwrap();
            bar.as_ref().map(ProgressBar::message).unwrap_or_default()
        };
        line.rows.store(7, Ordering::Relaxed);
        line.tick();
        let said = message();
        assert!(said.starts_with("running for "), "{said}");
        assert!(said.ends_with(", 7 rows; Ctrl-C cancels"), "{said}");
        line.show(&ProgressEvent::Reading {
            model: "m".to_owned(),
            rows: 3,
        });
        line.tick();
        assert_eq!(message(), "m: reading, 3 rows");
        line.clear();
        assert_eq!(message(), "");
    }

    #[test]
    fn an_epoch_follows_reading_without_a_gap() {
        let line = ProgressLine {
            shown: Shown::TrainingLines,
            ..ProgressLine::new(When::Auto)
        };
        assert!(line.waiting().is_none());
        let loss = || line.last_loss.lock().unwrap().clone();
        let model = || "m".to_owned();
        line.show(&ProgressEvent::Reading {
            model: model(),
            rows: 3,
        });
        assert_eq!(loss().as_deref(), Some(""));
        let record = EpochRecord {
            epoch: 1,
            train_loss: 0.5,
            eval_loss: None,
            learn_rate: None,
            duration_ms: 1,
        };
        line.show(&ProgressEvent::Training {
            model: model(),
            progress: Progress::Epoch(record),
        });
        assert_eq!(loss().as_deref(), Some(", train loss 0.5000"));
        line.clear();
        assert_eq!(loss(), None);
    }
}
