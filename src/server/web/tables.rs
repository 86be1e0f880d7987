//! The list of tables, and one table with its columns, profile and first rows.

use super::execute::execute;
use super::failure::Failure;
use super::figures::number;
use super::html::{
    Page, anchor, column, error, escaped, hidden, search, section, table as lines_of, token,
};
use super::models::short;
use super::rows::{Rows, query};
use super::sorted::Sorted;
use super::visit::Visit;
use crate::sql::quoted;

/// The number of tables that the list shows.
const TABLES_MAX: usize = 1_000;
/// The columns that a profile describes.
const COLUMNS_MAX: usize = 2_000;
/// The first rows that a profile shows.
const ROWS_SHOWN: usize = 20;

const LIST: Sorted = Sorted {
    columns: &[
        ("table", "", "table_name"),
        ("schema", "", "table_schema, table_name"),
        ("type", "", "table_type"),
        ("columns", "n", "columns"),
    ],
    first: ("table", false),
};

/// The list of tables and views.
pub(super) async fn page(visit: &Visit) -> Result<Page, Failure> {
    let by = LIST.order(visit);
    let find = quoted(&visit.fields.get("find").trim().to_lowercase());
    let all = visit.fields.get("all");
    let schemas = match all {
        "" => "AND t.table_schema NOT IN ('information_schema', 'ml')",
        _ => "",
    };
    let text = format!(
        "SELECT * FROM (SELECT t.table_schema, t.table_name, t.table_type, c.columns FROM information_schema.tables t LEFT JOIN \
         (SELECT table_schema, table_name, count(*) AS columns FROM information_schema.columns GROUP BY table_schema, table_name) c \
         ON c.table_schema = t.table_schema AND c.table_name = t.table_name \
         WHERE strpos(lower(concat(t.table_schema, '.', t.table_name)), {find}) > 0 {schemas}) ORDER BY {by} LIMIT {TABLES_MAX}"
    );
    let rows = query(&visit.session, &text).await?;
    let lines = (0..rows.len()).map(|row| {
        let text = |column: &str| rows.text(row, column);
        let (schema, name) = (text("table_schema"), text("table_name"));
        vec![
            anchor("/table", &[("schema", schema), ("name", name)], name),
            escaped(schema),
            escaped(&text("table_type").to_lowercase()),
            escaped(text("columns")),
        ]
    });
    let other = match all {
        "" => anchor("/tables", &[("all", "1")], "with the system's tables"),
        _ => anchor("/tables", &[], "without the system's tables"),
    };
    let content = format!(
        "<h1>Tables</h1><section><form class=\"bar\" method=\"get\" action=\"/tables\">{}{}<button>Filter</button>\
         <span class=\"note\">{other}</span></form>{}</section>",
        search(visit, "name"),
        hidden("all", all),
        lines_of(&LIST.heads(visit), &lines.collect::<Vec<_>>())
    );
    Ok(Page {
        title: "Tables".into(),
        entry: "/tables",
        content,
    })
}

/// A table; `profile` is what stands in the place of its columns, as HTML.
pub(super) async fn table(visit: &Visit, profile: String) -> Result<Page, Failure> {
    let (schema, name) = (visit.fields.get("schema"), visit.fields.get("name"));
    let text = format!(
        "SELECT column_name, data_type, is_nullable FROM information_schema.columns \
         WHERE table_schema = {} AND table_name = {} ORDER BY ordinal_position",
        quoted(schema),
        quoted(name)
    );
    let columns = query(&visit.session, &text).await?;
    if columns.is_empty() {
        return Err(Failure::missing("the table"));
    }
    let profile = match profile.is_empty() {
        true => section("Columns", &columns_of(&columns)),
        false => profile,
    };
    let select = format!("SELECT * FROM {} LIMIT 100", identifier(schema, name));
    let content = format!(
        "<h1>{}<small>{} columns</small></h1><form class=\"bar\" method=\"post\" action=\"/table\" data-into=\"profile\">{}{}{}\
         <button>Profile</button><span class=\"note\">{}</span></form><div id=\"profile\">{profile}</div>",
        escaped(&short(schema, name)),
        columns.len(),
        token(visit),
        hidden("schema", schema),
        hidden("name", name),
        anchor("/sql", &[("sql", &select)], "Open in the editor")
    );
    Ok(Page {
        title: name.to_owned(),
        entry: "/tables",
        content,
    })
}

fn columns_of(columns: &Rows) -> String {
    let lines = (0..columns.len()).map(|row| {
        let text = |column: &str| escaped(columns.text(row, column));
        vec![
            text("column_name"),
            text("data_type"),
            text("is_nullable").to_lowercase(),
        ]
    });
    let heads = [
        column("column", ""),
        column("type", ""),
        column("nullable", ""),
    ];
    lines_of(&heads, &lines.collect::<Vec<_>>())
}

/// The page of a table after its rows were read for a profile.
pub(super) async fn profiled(visit: &Visit) -> Result<Page, Failure> {
    let relation = identifier(visit.fields.get("schema"), visit.fields.get("name"));
    let figures = format!("SELECT * FROM summarize((SELECT * FROM {relation}))");
    let profile = match execute(visit, &figures, COLUMNS_MAX).await {
        Ok(figures) => section("Columns", &profile(&figures.rows)),
        Err(status) => section("Columns", &error(status.message())),
    };
    let first = format!("SELECT * FROM {relation} LIMIT {ROWS_SHOWN}");
    let first = match execute(visit, &first, ROWS_SHOWN).await {
        Ok(first) => format!("<div data-plots>{}</div>", first.rows.table()),
        Err(status) => error(status.message()),
    };
    table(visit, format!("{profile}{}", section("First rows", &first))).await
}

/// The figures of each column.
fn profile(figures: &Rows) -> String {
    let lines = (0..figures.len()).map(|row| {
        let text = |column: &str| escaped(figures.text(row, column));
        let number = |column: &str| figures.figure(row, column);
        let nulls = match figures.number(row, "null_percentage") {
            Some(share) => format!("{share:.1} %"),
            None => String::new(),
        };
        vec![
            text("column_name"),
            text("column_type"),
            text("min"),
            text("max"),
            number("approx_unique"),
            number("avg"),
            number("std"),
            number("q25"),
            number("q50"),
            number("q75"),
            nulls,
        ]
    });
    let heads = [
        ("column", ""),
        ("type", ""),
        ("min", "long"),
        ("max", "long"),
        ("distinct, about", "n"),
        ("mean", "n"),
        ("deviation", "n"),
        ("quarter", "n"),
        ("half", "n"),
        ("three quarters", "n"),
        ("NULL", "n"),
    ];
    let heads = heads.map(|(name, class)| column(name, class));
    let count = figures.number(0, "count").unwrap_or_default();
    format!(
        "{}<p class=\"note\">{} rows</p>",
        lines_of(&heads, &lines.collect::<Vec<_>>()),
        number(count)
    )
}

/// The name of a table in SQL.
fn identifier(schema: &str, name: &str) -> String {
    let part = |part: &str| format!("\"{}\"", part.replace('"', "\"\""));
    format!("{}.{}", part(schema), part(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_an_identifier() {
        assert_eq!(
            identifier("public", "a\"; DROP"),
            "\"public\".\"a\"\"; DROP\""
        );
    }
}
