//! Several trainings side by side: losses, metrics, and the options in which they differ.

use super::chart::{Line, losses_figure};
use super::failure::Failure;
use super::figures::number;
use super::html::{Page, anchor, error, escaped, section};
use super::rows::{Rows, query};
use super::visit::Visit;
use crate::sql::{quoted, training_parts};

/// The number of trainings that are compared.
const RUNS_MAX: usize = 8;

/// The trainings that the reader chose by `run`, and those of the versions chosen by `version` (`model@version`).
pub(super) async fn page(visit: &Visit) -> Result<Page, Failure> {
    let runs = chosen(visit).await?;
    let named = runs.iter().map(|run| run.label.as_str());
    let title = named.collect::<Vec<_>>().join(", ");
    let content = match runs.is_empty() {
        true => error("choose trainings in the list of runs, or versions on the page of a model"),
        false => {
            let losses = losses(visit, &runs).await?;
            let metrics = metrics(visit, &runs).await?;
            format!(
                "{}{}{}{}",
                section("Loss", &losses),
                section("Metrics", &metrics),
                section("Options", &side_by_side("option", &runs, &options(&runs))),
                queries(&runs)
            )
        }
    };
    Ok(Page {
        title: "Comparison".into(),
        entry: "/runs",
        content: format!("<h1>{}</h1>{content}", escaped(&title)),
    })
}

/// A training that is compared.
struct Run {
    id: String,
    /// `model@version`, or the model and when the training began.
    label: String,
    version: String,
    sql: String,
}

async fn chosen(visit: &Visit) -> Result<Vec<Run>, Failure> {
    let ids = texts(visit.fields.all("run"));
    let versions = texts(visit.fields.all("version"));
    let text = format!(
        "SELECT run_id, version, model_name, concat(model_name, '@', version) AS label, started_at, training_sql \
         FROM ml.training_runs WHERE run_id IN ({ids}) OR concat(model_name, '@', version) IN ({versions}) \
         ORDER BY started_at DESC LIMIT {RUNS_MAX}"
    );
    let rows = query(&visit.session, &text).await?;
    let runs = (0..rows.len()).map(|row| {
        let text = |column: &str| rows.text(row, column);
        let time = text("started_at").get(11..19).unwrap_or_default();
        Run {
            id: text("run_id").to_owned(),
            label: match text("version") {
                "" => format!("{} of {time}", text("model_name")),
                _ => text("label").to_owned(),
            },
            version: text("version").to_owned(),
            sql: text("training_sql").to_owned(),
        }
    });
    Ok(runs.collect())
}

/// SQL literals of texts; NULL if there are none, since a list is not empty.
fn texts<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let literals: Vec<String> = texts.map(quoted).collect();
    match literals.is_empty() {
        true => "NULL".into(),
        false => literals.join(", "),
    }
}

async fn losses(visit: &Visit, runs: &[Run]) -> Result<String, Failure> {
    let text = format!(
        "SELECT run_id, epoch, train_loss, eval_loss FROM ml.training_metrics WHERE run_id IN ({}) ORDER BY epoch",
        texts(runs.iter().map(|run| run.id.as_str()))
    );
    let rows = query(&visit.session, &text).await?;
    let lines = runs.iter().enumerate().flat_map(|(index, run)| {
        [("train", "train_loss", false), ("eval", "eval_loss", true)].map(
            |(split, column, dashed)| {
                let of_run = (0..rows.len()).filter(|row| rows.text(*row, "run_id") == run.id);
                let points = of_run.filter_map(|row| {
                    Some((rows.number(row, "epoch")?, rows.number(row, column)?))
                });
                Line::new(&format!("{} {split}", run.label), index, dashed, points)
            },
        )
    });
    let lines: Vec<Line> = lines.collect();
    Ok(losses_figure(&lines))
}

async fn metrics(visit: &Visit, runs: &[Run]) -> Result<String, Failure> {
    let text = format!(
        "SELECT concat(model_name, '@', version) AS label, concat(metric, ' (', split, ')') AS metric, value \
         FROM ml.metrics WHERE concat(model_name, '@', version) IN ({})",
        texts(runs.iter().map(|run| run.label.as_str()))
    );
    let rows = query(&visit.session, &text).await?;
    Ok(side_by_side("metric", runs, &by_metric(runs, &rows)))
}

/// For each name, a value of each training.
type Lines = Vec<(String, Vec<String>)>;

fn by_metric(runs: &[Run], rows: &Rows) -> Lines {
    let mut lines = Lines::new();
    for row in 0..rows.len() {
        let metric = rows.text(row, "metric");
        let place = runs
            .iter()
            .position(|run| run.label == rows.text(row, "label"));
        let (Some(place), Some(value)) = (place, rows.number(row, "value")) else {
            continue;
        };
        line(&mut lines, metric, runs.len())[place] = number(value);
    }
    lines
}

fn options(runs: &[Run]) -> Lines {
    let mut lines = Lines::new();
    for (place, run) in runs.iter().enumerate() {
        let parts = training_parts(&run.sql);
        for (name, value) in parts.map_or(vec![], |parts| parts.options) {
            line(&mut lines, &name, runs.len())[place] = value;
        }
    }
    lines
}

/// The values of a name, which is added if it is new.
fn line<'a>(lines: &'a mut Lines, name: &str, count: usize) -> &'a mut Vec<String> {
    let known = lines.iter().position(|(known, _)| known == name);
    let place = known.unwrap_or_else(|| {
        lines.push((name.to_owned(), vec![String::new(); count]));
        lines.len() - 1
    });
    &mut lines[place].1
}

/// A table with a column for each training; lines whose values differ stand out.
fn side_by_side(what: &str, runs: &[Run], lines: &[(String, Vec<String>)]) -> String {
    if lines.is_empty() {
        return super::html::none("none");
    }
    let heads = runs.iter().map(|run| {
        let label = match run.version.is_empty() {
            true => anchor("/run", &[("id", &run.id)], &run.label),
            false => anchor("/version", &[("model", &run.label)], &run.label),
        };
        format!("<th>{label}</th>")
    });
    let mut html = format!(
        "<div class=\"scroll\"><table><thead><tr><th>{what}</th>{}</tr></thead><tbody>",
        heads.collect::<String>()
    );
    for (name, values) in lines {
        let differs = values.iter().any(|value| *value != values[0]);
        let class = if differs { " class=\"differs\"" } else { "" };
        let cells = values
            .iter()
            .map(|value| format!("<td>{}</td>", escaped(value)));
        let cells: String = cells.collect();
        html.push_str(&format!(
            "<tr{class}><td>{}</td>{cells}</tr>",
            escaped(name)
        ));
    }
    html.push_str("</tbody></table></div>");
    html
}

/// The statement of each training.
fn queries(runs: &[Run]) -> String {
    let shown = runs.iter().map(|run| {
        let link = anchor("/run", &[("id", &run.id)], &run.label);
        format!("<p>{link}</p><pre>{}</pre>", escaped(&run.sql))
    });
    section("Statements", &shown.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_side_by_side_and_differences_stand_out() {
        let run = |version: &str, epochs: u32| Run {
            id: "1".into(),
            label: format!("m@{version}"),
            version: version.into(),
            sql: format!(
                "TRAIN MODEL m OPTIONS (model_type = 'linear_reg', epochs = {epochs}) AS SELECT 1"
            ),
        };
        let runs = [run("2", 5), run("1", 7)];
        let html = side_by_side("option", &runs, &options(&runs));
        assert!(
            html.contains("<tr><td>model_type</td><td>&#39;linear_reg&#39;</td>"),
            "{html}"
        );
        assert!(
            html.contains("<tr class=\"differs\"><td>epochs</td><td>5</td><td>7</td></tr>"),
            "{html}"
        );
    }

    #[test]
    fn no_text_is_null() {
        assert_eq!(texts([].into_iter()), "NULL");
        assert_eq!(texts(["a'b", "c"].into_iter()), "'a''b', 'c'");
    }
}
