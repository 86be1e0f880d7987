//! The list of trainings, which can be filtered, sorted and compared.

use super::failure::Failure;
use super::figures::{duration, number, state, time};
use super::html::{Column, Page, anchor, column, escaped, search, table};
use super::rows::{Rows, query};
use super::sorted::Sorted;
use super::visit::Visit;
use crate::error::Result;
use crate::sql::quoted;

/// The number of trainings that the list shows.
const RUNS_MAX: usize = 500;
const STATUSES: [&str; 4] = ["running", "succeeded", "failed", "cancelled"];

const LIST: Sorted = Sorted {
    columns: &[
        ("model", "", "model_name, version"),
        ("version", "n", "version"),
        ("status", "", "status"),
        ("started", "", "started_at"),
        ("duration", "n", "ms"),
        ("epochs", "n rare", "epochs"),
        ("loss", "n", "loss"),
        ("metric", "rare", "value"),
    ],
    first: ("started", true),
};

/// The list of all trainings.
pub(super) async fn page(visit: &Visit) -> Result<Page, Failure> {
    let by = LIST.order(visit);
    let filter = filter(visit.fields.get("find"), visit.fields.get("status"));
    let text = format!("{} {filter} ORDER BY {by} LIMIT {RUNS_MAX}", select());
    let rows = query(&visit.session, &text).await?;
    let mut columns = vec![column("", "pick")];
    columns.extend(LIST.heads(visit));
    let lines = (0..rows.len()).map(|row| {
        let id = escaped(rows.text(row, "run_id"));
        let mut cells = vec![format!(
            "<input type=\"checkbox\" name=\"run\" value=\"{id}\" aria-label=\"compare\">"
        )];
        cells.extend(cells_of(&rows, row));
        cells
    });
    let list = table(&columns, &lines.collect::<Vec<_>>());
    let content = format!(
        "<h1>Runs</h1><section>{}<form method=\"get\" action=\"/compare\">{list}\
         <p><button>Compare the chosen</button></p></form></section>",
        filters(visit)
    );
    Ok(Page {
        title: "Runs".into(),
        entry: "/runs",
        content,
    })
}

/// The newest trainings, as a table.
pub(super) async fn newest(visit: &Visit, count: usize) -> Result<String> {
    let text = format!("{} ORDER BY started_at DESC LIMIT {count}", select());
    let rows = query(&visit.session, &text).await?;
    let heads = LIST.columns.iter();
    let heads: Vec<Column> = heads.map(|(name, class, _)| column(name, class)).collect();
    let lines = (0..rows.len()).map(|row| cells_of(&rows, row));
    Ok(table(&heads, &lines.collect::<Vec<_>>()))
}

/// Every training with its time in milliseconds, its last loss and its main metric.
fn select() -> String {
    let now = chrono::Utc::now().timestamp_millis();
    format!(
        "SELECT * FROM (SELECT r.run_id, r.model_name, r.version, r.status, r.error, r.started_at, r.training_sql, \
         coalesce(arrow_cast(r.ended_at, 'Int64'), {now}) - arrow_cast(r.started_at, 'Int64') AS ms, e.epochs, e.loss, m.metric, m.value \
         FROM ml.training_runs r LEFT JOIN (SELECT run_id, max(epoch) AS epochs, \
         last_value(coalesce(eval_loss, train_loss) ORDER BY epoch) AS loss FROM ml.training_metrics GROUP BY run_id) e \
         ON e.run_id = r.run_id LEFT JOIN (SELECT model_name, version, first_value(metric ORDER BY metric) AS metric, \
         first_value(value ORDER BY metric) AS value FROM ml.metrics WHERE metric IN ('accuracy', 'r2', 'ndcg_at_10') \
         GROUP BY model_name, version) m ON m.model_name = r.model_name AND m.version = r.version)"
    )
}

fn filter(find: &str, status: &str) -> String {
    let mut conditions = Vec::new();
    for word in find.split_whitespace() {
        let word = quoted(&word.to_lowercase());
        let texts = "lower(concat(model_name, ' ', coalesce(error, ''), ' ', training_sql))";
        conditions.push(format!("strpos({texts}, {word}) > 0"));
    }
    if STATUSES.contains(&status) {
        conditions.push(format!("status = {}", quoted(&status.to_uppercase())));
    }
    match conditions.is_empty() {
        true => String::new(),
        false => format!("WHERE {}", conditions.join(" AND ")),
    }
}

fn filters(visit: &Visit) -> String {
    let options = STATUSES.iter().map(|status| {
        let selected = match *status == visit.fields.get("status") {
            true => " selected",
            false => "",
        };
        format!("<option{selected}>{status}</option>")
    });
    format!(
        "<form class=\"bar\" method=\"get\" action=\"/runs\" data-instant>{}<select name=\"status\" aria-label=\"status\">\
         <option value=\"\">any status</option>{}</select><button>Filter</button></form>",
        search(visit, "model, error or SQL"),
        options.collect::<String>()
    )
}

fn cells_of(rows: &Rows, row: usize) -> Vec<String> {
    let text = |column: &str| rows.text(row, column);
    let metric = match rows.number(row, "value") {
        Some(value) => format!("{} {}", escaped(text("metric")), number(value)),
        None => String::new(),
    };
    vec![
        anchor("/run", &[("id", text("run_id"))], text("model_name")),
        escaped(text("version")),
        state(text("status")),
        time(text("started_at")),
        duration(rows.number(row, "ms").unwrap_or_default() / 1_000.0),
        escaped(text("epochs")),
        rows.figure(row, "loss"),
        metric,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_a_text_in_the_query() {
        assert_eq!(filter("", "nonsense"), "");
        let typed = filter("It's x", "failed");
        assert!(typed.starts_with("WHERE strpos(lower("), "{typed}");
        assert!(typed.contains(", 'it''s') > 0 AND strpos("), "{typed}");
        assert!(
            typed.ends_with(", 'x') > 0 AND status = 'FAILED'"),
            "{typed}"
        );
    }
}
