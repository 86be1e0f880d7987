//! The list of models, and the versions of one model.

use super::chart::{Chart, Line};
use super::failure::Failure;
use super::figures::{number, time};
use super::html::{Page, anchor, column, escaped, search, section, table};
use super::rows::{Rows, query};
use super::sorted::Sorted;
use super::visit::Visit;
use crate::model::ModelName;
use crate::sql::quoted;
use crate::storage::DEFAULT_SCHEMA;

/// The number of models or versions that a list shows.
const SHOWN_MAX: usize = 500;
/// The metrics of a version that its line in a list shows.
const METRICS_SHOWN: usize = 3;
/// The metrics by which versions are compared first.
const MAIN: [&str; 3] = ["accuracy", "r2", "ndcg_at_10"];

const LIST: Sorted = Sorted {
    columns: &[
        ("model", "", "model_schema, model_name"),
        ("type", "", "model_type"),
        ("default", "n", "default_version"),
        ("versions", "n", "version_count"),
        ("comment", "rare", "comment"),
        ("created", "", "created_at"),
    ],
    first: ("model", false),
};

/// The list of models.
pub(super) async fn page(visit: &Visit) -> Result<Page, Failure> {
    let by = LIST.order(visit);
    let find = quoted(&visit.fields.get("find").trim().to_lowercase());
    let text = format!(
        "SELECT * FROM information_schema.models WHERE strpos(lower(concat(model_schema, '.', model_name, ' ', \
         coalesce(model_type, ''), ' ', coalesce(comment, ''))), {find}) > 0 ORDER BY {by} LIMIT {SHOWN_MAX}"
    );
    let rows = query(&visit.session, &text).await?;
    let lines = (0..rows.len()).map(|row| {
        let text = |column: &str| rows.text(row, column);
        let name = short(text("model_schema"), text("model_name"));
        vec![
            anchor("/model", &[("model", &name)], &name),
            escaped(text("model_type")),
            escaped(text("default_version")),
            escaped(text("version_count")),
            escaped(text("comment")),
            time(text("created_at")),
        ]
    });
    let content = format!(
        "<h1>Models</h1><section><form class=\"bar\" method=\"get\" action=\"/models\">{}<button>Filter</button></form>{}</section>",
        search(visit, "name, type or comment"),
        table(&LIST.heads(visit), &lines.collect::<Vec<_>>())
    );
    Ok(Page {
        title: "Models".into(),
        entry: "/models",
        content,
    })
}

/// The versions of a model.
pub(super) async fn versions(visit: &Visit) -> Result<Page, Failure> {
    let missing = || Failure::missing("the model");
    let name = ModelName::parse(visit.fields.get("model")).map_err(|_| missing())?;
    let text = format!(
        "SELECT version, aliases, is_default, model_type, train_rows, metrics, created_at \
         FROM information_schema.model_versions WHERE model_schema = {} AND model_name = {} \
         ORDER BY version DESC LIMIT {SHOWN_MAX}",
        quoted(&name.schema),
        quoted(&name.name)
    );
    let rows = query(&visit.session, &text).await?;
    if rows.is_empty() {
        return Err(missing());
    }
    let name = name.short();
    let content = format!(
        "<h1>{}<small>{}</small></h1>{}{}",
        escaped(&name),
        escaped(rows.text(0, "model_type")),
        section("Versions", &list(&rows, &name)),
        progress(&rows)
    );
    Ok(Page {
        title: name,
        entry: "/models",
        content,
    })
}

/// The versions, which can be chosen for a comparison.
fn list(rows: &Rows, name: &str) -> String {
    let lines = (0..rows.len()).map(|row| {
        let text = |column: &str| rows.text(row, column);
        let label = format!("{name}@{}", text("version"));
        let shown = match text("is_default") {
            "true" => format!("{} (default)", text("version")),
            _ => text("version").to_owned(),
        };
        let metrics = metrics(text("metrics")).into_iter().take(METRICS_SHOWN);
        let metrics = metrics.map(|(metric, value)| format!("{metric} {}", number(value)));
        vec![
            format!(
                "<input type=\"checkbox\" name=\"version\" value=\"{}\" aria-label=\"compare\">",
                escaped(&label)
            ),
            anchor("/version", &[("model", &label)], &shown),
            escaped(text("aliases").trim_matches(['[', ']'])),
            escaped(text("train_rows")),
            escaped(&metrics.collect::<Vec<_>>().join(", ")),
            time(text("created_at")),
        ]
    });
    let columns = [
        column("", "pick"),
        column("version", ""),
        column("aliases", "rare"),
        column("training rows", "n"),
        column("metrics", ""),
        column("created", ""),
    ];
    format!(
        "<form method=\"get\" action=\"/compare\">{}<p><button>Compare the chosen</button></p></form>",
        table(&columns, &lines.collect::<Vec<_>>())
    )
}

/// The main metric by version, if several versions have it.
fn progress(rows: &Rows) -> String {
    let of_rows = (0..rows.len()).rev().map(|row| {
        let version = rows.number(row, "version").unwrap_or_default();
        (version, metrics(rows.text(row, "metrics")))
    });
    let of_rows: Vec<(f64, Vec<(String, f64)>)> = of_rows.collect();
    let newest = of_rows.last().and_then(|(_, metrics)| main_metric(metrics));
    let Some((metric, _)) = newest else {
        return String::new();
    };
    let points: Vec<(f64, f64)> = of_rows
        .iter()
        .filter_map(|(version, metrics)| {
            let found = metrics.iter().find(|(name, _)| name == metric);
            found.map(|(_, value)| (*version, *value))
        })
        .collect();
    if points.len() < 2 {
        return String::new();
    }
    let label = format!("{metric} by version");
    let lines = [Line::new(metric, 0, false, points.into_iter())];
    let chart = Chart {
        label: &label,
        x: "version",
        lines: &lines,
        is_square: false,
    };
    section(&label, &chart.figure())
}

/// The metrics that `information_schema.model_versions` has as JSON.
pub(super) fn metrics(json: &str) -> Vec<(String, f64)> {
    let map = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(json);
    let pairs = map.unwrap_or_default().into_iter();
    pairs
        .filter_map(|(name, value)| Some((name, value.as_f64()?)))
        .collect()
}

/// The metric by which a version is compared first.
pub(super) fn main_metric(metrics: &[(String, f64)]) -> Option<&(String, f64)> {
    let is_main = |(name, _): &&(String, f64)| MAIN.contains(&name.as_str());
    metrics.iter().find(is_main).or_else(|| metrics.first())
}

/// A name without the default schema.
pub(super) fn short(schema: &str, name: &str) -> String {
    match schema == DEFAULT_SCHEMA {
        true => name.to_owned(),
        false => format!("{schema}.{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_keep_their_order_and_the_main_one_is_found() {
        let found = metrics("{\"rmse\":2.5,\"r2\":0.5}");
        assert_eq!(found[0], ("rmse".to_owned(), 2.5));
        assert_eq!(main_metric(&found).unwrap().0, "r2");
        assert_eq!(main_metric(&metrics("{\"recall\":1}")).unwrap().1, 1.0);
        assert!(metrics("").is_empty() && main_metric(&[]).is_none());
    }
}
