//! The statements that run now, as far as the reader may see them, and their cancelling.

use std::sync::Arc;

use arrow_flight::CancelStatus;
use vatic_ml::train::control::{EpochRecord, Progress};

use super::chart::Line;
use super::failure::Failure;
use super::figures::{duration, number};
use super::html::{column, escaped, hidden, none, section, table, token};
use super::visit::Visit;
use crate::progress::ProgressEvent;
use crate::server::actions::fraction;
use crate::server::results::{PendingResult, StatementProgress};
use crate::server::sessions::Client;

/// A running statement.
pub(super) struct Running {
    pub(super) handle: String,
    client: Arc<Client>,
    statement: Arc<PendingResult>,
    seen: StatementProgress,
}

/// The running statements: the reader's own, and for an administrator everybody's; the oldest first.
pub(super) fn running(visit: &Visit) -> Vec<Running> {
    let is_seen =
        |client: &Arc<Client>| visit.sees_all() || client.identity.user == visit.identity.user;
    let mut found = Vec::new();
    for client in visit.server.sessions.all() {
        if !is_seen(&client) {
            continue;
        }
        for (handle, statement) in client.running() {
            found.push(Running {
                handle,
                client: Arc::clone(&client),
                seen: statement.seen(),
                statement,
            });
        }
    }
    found.sort_by(|left, right| right.seconds().total_cmp(&left.seconds()));
    found
}

impl Running {
    pub(super) fn seconds(&self) -> f64 {
        self.statement.seconds()
    }

    /// The model that the statement trains.
    pub(super) fn model(&self) -> Option<&str> {
        let mut events = self.seen.last.iter().chain(self.seen.epochs.last());
        events.find_map(|event| match event {
            ProgressEvent::Reading { model, .. } | ProgressEvent::Training { model, .. } => {
                Some(model.as_str())
            }
            ProgressEvent::Notice { .. }
            | ProgressEvent::Waiting { .. }
            | ProgressEvent::Stages { .. }
            | ProgressEvent::Done => None,
        })
    }

    /// The losses of the epochs so far.
    pub(super) fn losses(&self) -> Vec<Line> {
        let records: Vec<&EpochRecord> = self.seen.epochs.iter().filter_map(record).collect();
        let train = records
            .iter()
            .map(|record| (record.epoch as f64, record.train_loss));
        let eval = records
            .iter()
            .filter_map(|record| Some((record.epoch as f64, record.eval_loss?)));
        vec![
            Line::new("train loss", 0, false, train),
            Line::new("eval loss", 1, true, eval),
        ]
    }

    /// How far the statement is, as figures with what they are.
    pub(super) fn figures(&self) -> Vec<(String, &'static str)> {
        let Some(ProgressEvent::Training {
            progress:
                Progress::Step {
                    epoch,
                    epochs,
                    rows_per_second,
                    remaining_s,
                    is_refit,
                    ..
                },
            ..
        }) = &self.seen.last
        else {
            return vec![(escaped(&self.stage()), "now")];
        };
        vec![
            (
                format!("{epoch} of {epochs}"),
                if *is_refit {
                    "epoch on all rows"
                } else {
                    "epoch"
                },
            ),
            (number(rows_per_second.round()), "rows/s"),
            (duration(*remaining_s), "left"),
        ]
    }

    /// How far the statement is, in words.
    pub(super) fn stage(&self) -> String {
        match &self.seen.last {
            Some(ProgressEvent::Training {
                progress:
                    Progress::Step {
                        epoch,
                        epochs,
                        remaining_s,
                        is_refit,
                        ..
                    },
                ..
            }) => {
                let of_all = if *is_refit { " on all rows" } else { "" };
                format!(
                    "epoch {epoch} of {epochs}{of_all}, {} left",
                    duration(*remaining_s)
                )
            }
            Some(ProgressEvent::Reading { rows, .. }) => format!("{rows} rows are read"),
            Some(ProgressEvent::Waiting { what }) => format!("waits for {what}"),
            Some(ProgressEvent::Stages {
                stages,
                stages_done,
                ..
            }) => format!("stage {} of {stages}", (stages_done + 1).min(*stages)),
            Some(ProgressEvent::Notice { text, .. }) => text.clone(),
            Some(ProgressEvent::Training { .. } | ProgressEvent::Done) | None => String::new(),
        }
    }

    /// A bar of the share that is done, if that is known.
    pub(super) fn bar(&self) -> String {
        let share = self.seen.last.as_ref().and_then(fraction);
        share.map_or(String::new(), |share| {
            let share = share.clamp(0.0, 1.0);
            format!("<progress max=\"1\" value=\"{share:.3}\"></progress>")
        })
    }

    /// A button that cancels the statement and leads back to a path.
    pub(super) fn cancel_form(
        &self,
        visit: &Visit,
        (class, text): (&str, &str),
        back: &str,
    ) -> String {
        format!(
            "<form class=\"inline\" method=\"post\" action=\"/cancel\">{}{}{}<button class=\"{class}\">{text}</button></form>",
            token(visit),
            hidden("statement", &self.handle),
            hidden("back", back)
        )
    }
}

fn record(event: &ProgressEvent) -> Option<&EpochRecord> {
    match event {
        ProgressEvent::Training {
            progress: Progress::Epoch(record),
            ..
        } => Some(record),
        _ => None,
    }
}

/// The running statements as a part that the reader's browser keeps up to date.
pub(super) fn part(visit: &Visit) -> String {
    let rows = running(visit).into_iter().map(|running| {
        let user = running.client.identity.user.as_deref();
        vec![
            format!("<code>{}</code>", escaped(&running.statement.shown)),
            escaped(user.unwrap_or("anybody")),
            duration(running.seconds()),
            format!(
                "{}<span class=\"note\">{}</span>",
                running.bar(),
                escaped(&running.stage())
            ),
            running.cancel_form(visit, ("small stop", "Cancel"), "/"),
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let columns = [
        column("statement", "wide"),
        column("user", ""),
        column("for", "n"),
        column("progress", ""),
        column("", ""),
    ];
    let content = match rows.is_empty() {
        true => none("no statement is running"),
        false => table(&columns, &rows),
    };
    format!(
        "<div id=\"running\" data-live>{}</div>",
        section("Running", &content)
    )
}

/// Cancels a statement, and returns the path to go on at.
///
/// # Errors
/// If the reader sees no such statement.
pub(super) async fn cancel(visit: &Visit) -> Result<String, Failure> {
    let handle = visit.fields.get("statement");
    let found = running(visit)
        .into_iter()
        .find(|running| running.handle == handle);
    let Some(Running {
        client, statement, ..
    }) = found
    else {
        return Err(Failure::missing("the running statement"));
    };
    // What has ended meanwhile, or is about to, is shown as it ended.
    if statement.cancel().await == CancelStatus::Cancelled {
        client.drop_ticket(handle.as_bytes());
    }
    let back = visit.fields.get("back");
    let is_ours = back.starts_with('/') && !back.starts_with("//") && !back.contains('\\');
    let back = if is_ours { back } else { "/" };
    Ok(back.to_owned())
}
