//! One training: its losses, time left, metrics, options and statement.

use super::chart::{losses, losses_figure};
use super::failure::Failure;
use super::figures::{duration, headline, number, state, time};
use super::html::{Page, anchor, column, error, escaped, list, none, section, table};
use super::rows::{Rows, query};
use super::running::{Running, running};
use super::visit::Visit;
use crate::error::Result;
use crate::sql::{quoted, training_parts};

pub(super) async fn page(visit: &Visit) -> Result<Page, Failure> {
    let id = visit.fields.get("id");
    let text = format!(
        "SELECT *, arrow_cast(started_at, 'Int64') AS started_ms, arrow_cast(ended_at, 'Int64') AS ended_ms \
         FROM ml.training_runs WHERE run_id = {}",
        quoted(id)
    );
    let rows = query(&visit.session, &text).await?;
    if rows.is_empty() {
        return Err(Failure::missing("the training"));
    }
    let run = Run { rows: &rows };
    let mut content = format!(
        "<h1>{} {}<small>run {}</small></h1>",
        escaped(&run.label()),
        state(run.text("status")),
        escaped(id)
    );
    match running_of(visit, &run) {
        Some(running) => content.push_str(&now(visit, &run, &running)),
        None => content.push_str(&ended(visit, &run).await?),
    }
    content.push_str(&statement(&run));
    Ok(Page {
        title: format!("Run of {}", run.label()),
        entry: "/runs",
        content,
    })
}

/// The row of a training.
struct Run<'a> {
    rows: &'a Rows,
}

impl Run<'_> {
    fn text(&self, column: &str) -> &str {
        self.rows.text(0, column)
    }

    /// The model, with the version that the training made.
    fn label(&self) -> String {
        match self.text("version") {
            "" => self.text("model_name").to_owned(),
            version => format!("{}@{version}", self.text("model_name")),
        }
    }

    fn is_running(&self) -> bool {
        self.text("status") == "RUNNING"
    }

    fn seconds(&self) -> f64 {
        let number = |column: &str| self.rows.number(0, column);
        let now = chrono::Utc::now().timestamp_millis() as f64;
        let started = number("started_ms").unwrap_or(now);
        (number("ended_ms").unwrap_or(now) - started) / 1_000.0
    }
}

/// The statement that trains, if it runs in this server.
fn running_of(visit: &Visit, run: &Run<'_>) -> Option<Running> {
    let mut found = match run.is_running() {
        true => running(visit),
        false => vec![],
    };
    found.retain(|running| running.model() == Some(run.text("model_name")));
    // Of several trainings of one model, the one that began at the same time.
    let apart = |running: &Running| (running.seconds() - run.seconds()).abs();
    let nearest = |left: &Running, right: &Running| apart(left).total_cmp(&apart(right));
    found.into_iter().min_by(nearest)
}

/// The parts of a training that runs, which the reader's browser keeps up to date.
fn now(visit: &Visit, run: &Run<'_>, running: &Running) -> String {
    let mut figures = vec![(duration(run.seconds()), "so far")];
    figures.extend(running.figures());
    let back = super::fields::link("/run", &[("id", run.text("run_id"))]);
    let bar = running.bar();
    let cancel = running.cancel_form(visit, ("stop", "Cancel the training"), &back);
    format!(
        "<div id=\"run\" data-live>{}{}{}</div>",
        headline(&figures),
        section("Progress", &format!("{bar}{cancel}")),
        section("Loss", &losses_figure(&running.losses()))
    )
}

/// The parts of a training that has ended, or runs elsewhere.
async fn ended(visit: &Visit, run: &Run<'_>) -> Result<String> {
    let epochs = format!(
        "SELECT epoch, train_loss, eval_loss FROM ml.training_metrics WHERE run_id = {} ORDER BY epoch",
        quoted(run.text("run_id"))
    );
    let epochs = query(&visit.session, &epochs).await?;
    let metrics = metrics(visit, run).await?;
    let last = epochs.len().saturating_sub(1);
    let mut figures = vec![
        (duration(run.seconds()), "duration"),
        (number(epochs.len() as f64), "epochs"),
        (epochs.figure(last, "train_loss"), "train loss"),
        (epochs.figure(last, "eval_loss"), "eval loss"),
        (time(run.text("started_at")), "started"),
    ];
    if epochs.is_empty() {
        figures.remove(1);
    }
    let mut html = headline(&figures);
    // A training that was running when the page was made has ended; its page changes as a whole.
    html.push_str("<div id=\"run\" data-ended></div>");
    if !run.text("error").is_empty() {
        html.push_str(&error(run.text("error")));
    }
    if run.is_running() {
        html.push_str(&none(
            "it runs in another process, which keeps its losses until its end",
        ));
    } else if !epochs.is_empty() {
        html.push_str(&section("Loss", &losses_figure(&losses(&epochs))));
    }
    if !metrics.is_empty() {
        let lines = (0..metrics.len()).map(|row| {
            let text = |column: &str| escaped(metrics.text(row, column));
            vec![text("metric"), text("split"), metrics.figure(row, "value")]
        });
        let columns = [
            column("metric", ""),
            column("rows", ""),
            column("value", "n"),
        ];
        let shown = table(&columns, &lines.collect::<Vec<_>>());
        html.push_str(&section("Metrics", &shown));
    }
    Ok(html)
}

async fn metrics(visit: &Visit, run: &Run<'_>) -> Result<Rows> {
    let Some(version) = run.rows.number(0, "version") else {
        return Ok(Rows::default());
    };
    let text = format!(
        "SELECT metric, split, value FROM ml.metrics WHERE model_name = {} AND version = {version}",
        quoted(run.text("model_name"))
    );
    query(&visit.session, &text).await
}

/// The options and the statement.
fn statement(run: &Run<'_>) -> String {
    let text = run.text("training_sql");
    let mut html = String::new();
    if let Some(parts) = training_parts(text) {
        html.push_str(&section("Options", &list(&parts.options)));
    }
    let mut links = anchor("/sql", &[("sql", text)], "Open in the editor");
    if !run.text("version").is_empty() {
        let version = anchor("/version", &[("model", &run.label())], "The version");
        links.push_str(&format!(" · {version}"));
    }
    let model = anchor(
        "/model",
        &[("model", run.text("model_name"))],
        "All versions",
    );
    links.push_str(&format!(" · {model}"));
    let shown = format!("<pre>{}</pre><p>{links}</p>", escaped(text));
    html.push_str(&section("Statement", &shown));
    html
}
