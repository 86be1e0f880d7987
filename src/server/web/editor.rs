//! The SQL editor, and the results of its statements.

use super::execute::{Executed, execute};
use super::failure::Failure;
use super::figures::{duration, number};
use super::html::{Page, anchor, error, escaped, section, token};
use super::rows::Rows;
use super::visit::Visit;
use crate::sql::script::split;

/// The rows of a result that the page shows.
const ROWS_MAX: usize = 1_000;

/// The editor; `results` are those of the last statements, as HTML.
pub(super) fn page(visit: &Visit, results: String) -> Page {
    let content = format!(
        "<h1>SQL</h1><section><form method=\"post\" action=\"/sql\" data-into=\"result\">{}<div class=\"editor\">\
         <textarea name=\"sql\" rows=\"9\" spellcheck=\"false\" autofocus aria-label=\"statements\" data-completes>\n{}</textarea></div>\
         <p><button class=\"main\">Run</button> <span class=\"note\">Ctrl-Enter runs, Ctrl-Space completes, Tab takes</span></p>\
         </form></section><div id=\"result\">{results}</div>",
        token(visit),
        escaped(visit.fields.get("sql"))
    );
    Page {
        title: "SQL".into(),
        entry: "/sql",
        content,
    }
}

/// Runs the statements of the editor in order, up to the first error.
pub(super) async fn run(visit: &Visit) -> Result<Page, Failure> {
    let pieces = split(visit.fields.get("sql"));
    let mut results = String::new();
    for piece in &pieces {
        let executed = execute(visit, piece.text, ROWS_MAX).await;
        let shown = match pieces.len() {
            1 => String::new(),
            _ => format!("<pre>{}</pre>", escaped(piece.text)),
        };
        match executed {
            Ok(executed) => results.push_str(&result(&executed, &shown)),
            Err(status) => {
                let failed = format!("{shown}{}", error(status.message()));
                results.push_str(&section("Error", &failed));
                break;
            }
        }
    }
    if pieces.is_empty() {
        results = section("Error", &error("there is no statement"));
    }
    Ok(page(visit, results))
}

/// A result under its number of rows.
fn result(executed: &Executed, statement: &str) -> String {
    let Executed {
        rows,
        is_cut,
        count,
        seconds,
    } = executed;
    let heading = match (rows.has_columns(), count) {
        (true, _) if *is_cut => format!("The first {} rows", rows.len()),
        (true, _) if rows.len() == 1 => "1 row".to_owned(),
        (true, _) => format!("{} rows", rows.len()),
        (false, Some(1)) => "1 row changed".to_owned(),
        (false, Some(count)) => format!("{count} rows changed"),
        (false, None) => "Done".to_owned(),
    };
    let time = match *seconds < 1.0 {
        true => format!("{} ms", number((seconds * 1_000.0).round())),
        false => duration(*seconds),
    };
    let shown = match rows.has_columns() {
        true => format!("{}<div data-plots>{}</div>", trained(rows), rows.table()),
        false => String::new(),
    };
    format!("<section><h2>{heading}<small>{time}</small></h2>{statement}{shown}</section>")
}

/// A link to the version that a training made.
fn trained(rows: &Rows) -> String {
    let (model, version) = (rows.text(0, "model"), rows.text(0, "version"));
    match rows.text(0, "train_rows").is_empty() || version.is_empty() {
        true => String::new(),
        false => {
            let label = format!("{model}@{version}");
            let link = anchor("/version", &[("model", &label)], &label);
            format!("<p>The version: {link}</p>")
        }
    }
}
