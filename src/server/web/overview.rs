//! The first page: what runs, the newest trainings, executors and loaded models.

use super::failure::Failure;
use super::html::{Page, anchor, none, section};
use super::rows::{Rows, query};
use super::running::part;
use super::runs;
use super::visit::Visit;

/// The number of trainings that the page shows.
const RUNS: usize = 8;

pub(super) async fn page(visit: &Visit) -> Result<Page, Failure> {
    let newest = runs::newest(visit, RUNS).await?;
    let executors = query(&visit.session, "SELECT * FROM ml.executors").await?;
    let loaded = query(&visit.session, "SELECT * FROM ml.model_cache").await?;
    let all = anchor("/runs", &[], "All runs");
    let newest = format!("{newest}<p class=\"note\">{all}</p>");
    let content = format!(
        "<h1>Overview<small>vatic {}</small></h1>{}<div id=\"newest\" data-live>{}</div><div class=\"pair\">{}{}</div>",
        env!("CARGO_PKG_VERSION"),
        part(visit),
        section("Newest runs", &newest),
        section("Executors", &shown(&executors, "none")),
        section("Loaded models", &shown(&loaded, "none"))
    );
    Ok(Page {
        title: "Overview".into(),
        entry: "/",
        content,
    })
}

fn shown(rows: &Rows, missing: &str) -> String {
    match rows.is_empty() {
        true => none(missing),
        false => rows.table(),
    }
}
