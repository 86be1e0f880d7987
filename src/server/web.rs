//! A read-only HTML page of the server's activity, with the same logins as the other calls.
//!
//! Each part is a query that runs as the viewing user, so it shows what that user may see.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{Float64Type, Int64Type};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use vatic_ml::train::control::Progress;

use super::auth::Identity;
use super::sessions::Client;
use super::state::Server;
use crate::error::{Result, report};
use crate::progress::ProgressEvent;
use crate::session::Session;

/// The tables of the page: a heading, and a query.
const TABLES: &[(&str, &str)] = &[
    (
        "Trainings",
        "SELECT model_name AS model, version, status, started_at, ended_at, error FROM ml.training_runs \
         ORDER BY started_at DESC LIMIT 20",
    ),
    (
        "Models",
        "SELECT model_schema AS schema, model_name AS model, version, is_default AS \"default\", model_type AS type, \
         train_rows, metrics, created_at FROM information_schema.model_versions ORDER BY 1, 2, 3 DESC LIMIT 200",
    ),
    ("Executors", "SELECT * FROM ml.executors"),
    ("Loaded models", "SELECT * FROM ml.model_cache"),
];
const CURVES: &str = "SELECT model_name, run_id, epoch, train_loss FROM ml.training_metrics WHERE run_id IN \
                      (SELECT run_id FROM ml.training_runs ORDER BY started_at DESC LIMIT 6) ORDER BY run_id, epoch";
const STYLE: &str = "body{font:14px/1.4 system-ui,sans-serif;margin:2em auto;max-width:70em;padding:0 1em;color:#222;\
    background:#fff}h1{font-size:1.4em}h2{font-size:1.1em;margin-top:2em}table{border-collapse:collapse;width:100%}\
    th,td{text-align:left;padding:.3em .6em;border-bottom:1px solid #ddd;vertical-align:top}th{color:#666}\
    figure{display:inline-block;margin:0 1.5em 1em 0}figcaption{color:#666}code{white-space:pre-wrap}.none{color:#888}\
    @media(prefers-color-scheme:dark){body{color:#ddd;background:#161616}th,td{border-color:#333}}";

/// Serves the page at `/` only.
pub(super) fn router(server: Arc<Server>) -> axum::Router {
    axum::Router::new()
        .route("/", axum::routing::get(page))
        .with_state(server)
}

async fn page(State(server): State<Arc<Server>>, headers: HeaderMap) -> Response {
    let Ok(identity) = server.auth.identify_person(&headers).await else {
        let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"vatic\"")];
        return (StatusCode::UNAUTHORIZED, challenge, "log in").into_response();
    };
    let protection = [
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'",
        ),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    match server.sessions.session_of(&server.auth, &identity) {
        Ok(session) => {
            let html = render(&server, &identity, &session).await;
            (protection, Html(html)).into_response()
        }
        Err(status) => (StatusCode::FORBIDDEN, status.message().to_owned()).into_response(),
    }
}

async fn render(server: &Server, identity: &Identity, session: &Session) -> String {
    let mut html = format!(
        "<!DOCTYPE html><html lang=\"en\"><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"5\">\
         <title>Vatic</title><style>{STYLE}</style><h1>Vatic {}</h1>",
        env!("CARGO_PKG_VERSION")
    );
    html.push_str(&statements(server, identity, session));
    for (heading, query) in TABLES {
        html.push_str(&format!("<h2>{heading}</h2>"));
        match rows(session, query).await {
            Ok(batches) => html.push_str(&table(&batches)),
            Err(error) => none(&mut html, &report(&error).message),
        }
        if *heading == "Trainings" {
            let batches = rows(session, CURVES).await.unwrap_or_default();
            html.push_str(&past_curves(&batches));
        }
    }
    html
}

async fn rows(session: &Session, query: &str) -> Result<Vec<RecordBatch>> {
    session.sql(query).await?.try_collect().await
}

/// The running statements: one's own, and for an administrator everybody's.
fn statements(server: &Server, identity: &Identity, session: &Session) -> String {
    let sees_all = matches!(session.access(), crate::access::Access::All);
    let is_seen = |client: &Arc<Client>| sees_all || client.identity.user == identity.user;
    let mut html = "<h2>Statements</h2>".to_owned();
    let mut lines = String::new();
    let mut curves = String::new();
    for client in server
        .sessions
        .all()
        .iter()
        .filter(|client| is_seen(client))
    {
        for ticketed in client.running() {
            let user = client.identity.user.as_deref().unwrap_or("anybody");
            let _ = write!(
                lines,
                "<tr><td>{}<td>{:.0} s<td><code>{}</code>",
                escaped(user),
                ticketed.seconds(),
                escaped(&ticketed.shown)
            );
            let losses: Vec<f64> = ticketed.seen().epochs.iter().filter_map(loss).collect();
            if !losses.is_empty() {
                curves.push_str(&curve(&ticketed.shown, &losses));
            }
        }
    }
    match lines.is_empty() {
        true => none(&mut html, "no statement is running"),
        false => {
            html.push_str("<table><tr><th>user<th>for<th>statement");
            html.push_str(&lines);
            html.push_str("</table>");
            html.push_str(&curves);
        }
    }
    html
}

fn loss(event: &ProgressEvent) -> Option<f64> {
    match event {
        ProgressEvent::Training {
            progress: Progress::Epoch(epoch),
            ..
        } => Some(epoch.train_loss),
        _ => None,
    }
}

fn table(batches: &[RecordBatch]) -> String {
    let mut html = String::new();
    if batches.iter().all(|batch| batch.num_rows() == 0) {
        none(&mut html, "none");
        return html;
    }
    html.push_str("<table><tr>");
    for field in batches[0].schema().fields() {
        html.push_str(&format!("<th>{}", escaped(field.name())));
    }
    let options = FormatOptions::default();
    for batch in batches {
        let columns = batch.columns().iter();
        let columns = columns.filter_map(|column| ArrayFormatter::try_new(column, &options).ok());
        let columns: Vec<_> = columns.collect();
        for row in 0..batch.num_rows() {
            html.push_str("<tr>");
            for column in &columns {
                html.push_str(&format!("<td>{}", escaped(&column.value(row).to_string())));
            }
        }
    }
    html.push_str("</table>");
    html
}

fn none(html: &mut String, text: &str) {
    html.push_str(&format!("<p class=\"none\">{}</p>", escaped(text)));
}

/// A curve for each run in the rows of `CURVES`.
fn past_curves(batches: &[RecordBatch]) -> String {
    let mut runs: Vec<(String, String, Vec<f64>)> = Vec::new();
    for batch in batches {
        let (names, ids) = (
            batch.column(0).as_string_opt::<i32>(),
            batch.column(1).as_string_opt::<i32>(),
        );
        let epochs = batch.column(2).as_primitive_opt::<Int64Type>();
        let losses = batch.column(3).as_primitive_opt::<Float64Type>();
        let (Some(names), Some(ids), Some(_), Some(losses)) = (names, ids, epochs, losses) else {
            continue;
        };
        for row in 0..batch.num_rows() {
            let (name, id) = (names.value(row), ids.value(row));
            match runs.last_mut().filter(|(_, known, _)| known == id) {
                Some((.., known)) => known.push(losses.value(row)),
                None => runs.push((name.to_owned(), id.to_owned(), vec![losses.value(row)])),
            }
        }
    }
    let drawn = runs.iter().filter(|(.., losses)| losses.len() > 1);
    drawn.map(|(name, _, losses)| curve(name, losses)).collect()
}

/// The training loss by epoch, as an SVG figure.
fn curve(name: &str, losses: &[f64]) -> String {
    const WIDTH: f64 = 260.0;
    const HEIGHT: f64 = 80.0;
    let finite = losses.iter().copied().filter(|loss| loss.is_finite());
    let (low, high) = finite.fold((f64::MAX, f64::MIN), |(low, high), loss| {
        (low.min(loss), high.max(loss))
    });
    let span = if high > low { high - low } else { 1.0 };
    let steps = (losses.len() - 1).max(1) as f64;
    let points = losses
        .iter()
        .enumerate()
        .filter(|(_, loss)| loss.is_finite());
    let points: Vec<String> = points
        .map(|(epoch, loss)| {
            let x = epoch as f64 / steps * WIDTH;
            let y = HEIGHT - (loss - low) / span * HEIGHT;
            format!("{x:.1},{y:.1}")
        })
        .collect();
    let name: String = name.chars().take(60).collect();
    let name = escaped(&name);
    format!(
        "<figure><svg width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"-2 -2 264 84\" role=\"img\" \
         aria-label=\"training loss of {name}\"><polyline fill=\"none\" stroke=\"#4477aa\" stroke-width=\"2\" \
         points=\"{}\"/></svg><figcaption>{name}: loss {:.4} after {} epochs</figcaption></figure>",
        points.join(" "),
        losses.last().copied().unwrap_or_default(),
        losses.len()
    )
}

/// Escapes text for HTML.
fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '&' => html.push_str("&amp;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_is_no_html() {
        let html = curve("<script>\"'&", &[1.0, f64::NAN, 0.5]);
        assert!(html.contains("&lt;script&gt;&quot;&#39;&amp;"));
        assert!(html.contains("points=\"0.0,0.0 260.0,80.0\""), "{html}");
    }
}
