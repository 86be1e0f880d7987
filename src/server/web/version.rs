//! One version of a model: its figures, columns and properties, and how it is judged on rows.

use super::failure::Failure;
use super::figures::{headline, number, time};
use super::html::{Page, anchor, column, escaped, hidden, list, section, table, token};
use super::judge::{Judged, judge};
use super::models::{main_metric, metrics};
use super::rows::{Rows, query};
use super::visit::Visit;
use crate::model::{ModelRef, Selector};
use crate::sql::{quoted, training_parts};

/// A version that the reader may see.
struct Version {
    /// `model@version`
    label: String,
    /// Its row of `information_schema.model_versions`.
    row: Rows,
    /// The rows of `DESCRIBE MODEL`.
    description: Rows,
}

/// The page of a version; `judged` is how it was judged, as HTML.
pub(super) async fn page(visit: &Visit, judged: String) -> Result<Page, Failure> {
    let version = Version::find(visit).await?;
    Ok(version.page(visit, &judged))
}

/// The page after the version was judged on the rows of the form.
pub(super) async fn judged(visit: &Visit) -> Result<Page, Failure> {
    let version = Version::find(visit).await?;
    let rows = version.rows(visit);
    let asked = Judged {
        model: &version.label,
        rows: &rows,
        target: visit.fields.get("target"),
        has_classes: version.has_classes(),
    };
    let judged = Box::pin(judge(visit, &asked)).await;
    Ok(version.page(visit, &judged))
}

impl Version {
    async fn find(visit: &Visit) -> Result<Self, Failure> {
        let missing = || Failure::missing("the version");
        let model = ModelRef::parse(visit.fields.get("model")).map_err(|_| missing())?;
        let selected = match &model.selector {
            Selector::Default => "is_default".to_owned(),
            Selector::Version(version) => format!("version = {version}"),
            Selector::Alias(alias) => format!("array_has(aliases, {})", quoted(alias)),
        };
        let text = format!(
            "SELECT * FROM information_schema.model_versions WHERE model_schema = {} AND model_name = {} AND {selected}",
            quoted(&model.name.schema),
            quoted(&model.name.name)
        );
        let row = query(&visit.session, &text).await?;
        if row.is_empty() {
            return Err(missing());
        }
        let number = row.text(0, "version");
        let label = format!("{}@{number}", model.name.short());
        let described = format!("DESCRIBE MODEL {}@{number}", model.name);
        let description = query(&visit.session, &described).await?;
        Ok(Self {
            label,
            row,
            description,
        })
    }

    fn text(&self, column: &str) -> &str {
        self.row.text(0, column)
    }

    /// The rows to judge on: what the reader wrote, at first the query of the training.
    fn rows(&self, visit: &Visit) -> String {
        match visit.fields.get("rows") {
            "" => {
                let parts = training_parts(self.text("training_sql"));
                parts.map_or(String::new(), |parts| parts.query)
            }
            rows => rows.to_owned(),
        }
    }

    fn has_classes(&self) -> bool {
        (0..self.description.len()).any(|row| self.description.text(row, "name") == "classes")
    }

    fn page(&self, visit: &Visit, judged: &str) -> Page {
        let default = match self.text("is_default") {
            "true" => ", default version",
            _ => "",
        };
        let content = format!(
            "<h1>{}<small>{}{default}</small></h1>{}{}<div id=\"judged\">{judged}</div><div class=\"pair\">{}{}</div>{}",
            escaped(&self.label),
            escaped(self.text("model_type")),
            self.headline(),
            self.form(visit),
            section("Columns", &self.columns()),
            section("Properties", &list(&self.properties())),
            self.statement()
        );
        Page {
            title: self.label.clone(),
            entry: "/models",
            content,
        }
    }

    fn headline(&self) -> String {
        let metrics = metrics(self.text("metrics"));
        let main = main_metric(&metrics);
        let mut figures = vec![
            (escaped(self.text("train_rows")), "training rows"),
            (escaped(self.text("eval_rows")), "evaluation rows"),
        ];
        figures.extend(main.map(|(name, value)| (number(*value), name.as_str())));
        figures.push((time(self.text("created_at")), "created"));
        headline(&figures)
    }

    /// The form that judges the version on rows, if it has a target.
    fn form(&self, visit: &Visit) -> String {
        let targets: Vec<&str> = self.text("target").split(", ").collect();
        if targets == [""] {
            return String::new();
        }
        let choice = match targets.len() {
            1 => String::new(),
            _ => {
                let options = targets.iter().map(|name| {
                    let is_chosen = *name == visit.fields.get("target");
                    let selected = if is_chosen { " selected" } else { "" };
                    format!("<option{selected}>{}</option>", escaped(name))
                });
                let options: String = options.collect();
                format!("<select name=\"target\" aria-label=\"target\">{options}</select> ")
            }
        };
        let content = format!(
            "<p class=\"note\">A table, or a query with the features and the label; at first, the rows of the training.</p>\
             <form method=\"post\" action=\"/version\" data-into=\"judged\">{}{}<div class=\"editor\"><textarea name=\"rows\" \
             rows=\"3\" spellcheck=\"false\" aria-label=\"rows\" data-completes>\n{}</textarea></div>\
             <p>{choice}<button class=\"main\">Judge</button></p></form>",
            token(visit),
            hidden("model", &self.label),
            escaped(&self.rows(visit))
        );
        section("Judge on rows", &content)
    }

    fn columns(&self) -> String {
        let described = &self.description;
        let lines = (0..described.len()).filter_map(|row| {
            let text = |column: &str| escaped(described.text(row, column));
            let is_property = described.text(row, "kind") == "property";
            (!is_property).then(|| vec![text("name"), text("kind"), text("type")])
        });
        let columns = [column("name", ""), column("kind", ""), column("type", "")];
        table(&columns, &lines.collect::<Vec<_>>())
    }

    fn properties(&self) -> Vec<(String, String)> {
        let described = &self.description;
        let pairs = (0..described.len()).filter_map(|row| {
            let text = |column: &str| described.text(row, column).to_owned();
            let is_property = described.text(row, "kind") == "property";
            is_property.then(|| (text("name"), text("value")))
        });
        pairs.collect()
    }

    fn statement(&self) -> String {
        let text = self.text("training_sql");
        let links = [
            anchor("/sql", &[("sql", text)], "Open in the editor"),
            anchor("/compare", &[("version", &self.label)], "Its training"),
        ];
        let content = format!("<pre>{}</pre><p>{}</p>", escaped(text), links.join(" · "));
        section("Statement", &content)
    }
}
