//! Pieces of HTML: escaping, tables, and the frame of a page. Texts of others are escaped where they enter.

use super::fields::link;
use super::visit::Visit;

/// A page before it is put into its frame.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// The title, as text.
    pub(super) title: String,
    /// The path of the entry of the navigation that the page belongs to.
    pub(super) entry: &'static str,
    /// What stands below the navigation, as HTML.
    pub(super) content: String,
}

/// The entries of the navigation.
const ENTRIES: &[(&str, &str)] = &[
    ("/", "Overview"),
    ("/runs", "Runs"),
    ("/models", "Models"),
    ("/tables", "Tables"),
    ("/sql", "SQL"),
];

/// Escapes text for HTML, also for attributes in quotes.
pub(super) fn escaped(text: &str) -> String {
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

/// The whole document.
pub(super) fn document(page: &Page, reader: &str) -> String {
    let entries = ENTRIES.iter().map(|(path, name)| {
        let current = match *path == page.entry {
            true => " aria-current=\"page\"",
            false => "",
        };
        format!("<a href=\"{path}\"{current}>{name}</a>")
    });
    let entries: String = entries.collect();
    format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{} - Vatic</title>\
         <link rel=\"stylesheet\" href=\"/page.css\"><link rel=\"icon\" href=\"/icon.svg\">\
         <script src=\"/page.js\" defer></script></head><body><header><div><a class=\"brand\" href=\"/\">Vatic</a>\
         <nav>{entries}</nav><span class=\"who\">{}</span></div></header><main>{}</main></body></html>",
        escaped(&page.title),
        escaped(reader),
        page.content
    )
}

/// A link to a path with fields.
pub(super) fn anchor(path: &str, fields: &[(&str, &str)], text: &str) -> String {
    let to = escaped(&link(path, fields));
    format!("<a href=\"{to}\">{}</a>", escaped(text))
}

/// A part of a page with a heading.
pub(super) fn section(heading: &str, content: &str) -> String {
    format!("<section><h2>{}</h2>{content}</section>", escaped(heading))
}

/// A sentence where content is missing.
pub(super) fn none(text: &str) -> String {
    format!("<p class=\"none\">{}</p>", escaped(text))
}

/// An error that stands on its page.
pub(super) fn error(text: &str) -> String {
    format!("<p class=\"error\">{}</p>", escaped(text))
}

/// The field by which a form shows that it is of this reader.
pub(super) fn token(visit: &Visit) -> String {
    hidden("token", &visit.token)
}

pub(super) fn hidden(name: &str, value: &str) -> String {
    let value = escaped(value);
    format!("<input type=\"hidden\" name=\"{name}\" value=\"{value}\">")
}

/// A column of a table.
#[derive(Debug)]
pub(super) struct Column {
    /// The heading, as HTML.
    pub(super) head: String,
    /// The class of its cells: `n` for numbers, `rare` for what a phone leaves out.
    pub(super) class: &'static str,
}

/// A column with a heading and a class.
pub(super) fn column(head: &str, class: &'static str) -> Column {
    Column {
        head: escaped(head),
        class,
    }
}

/// A table of cells in HTML; rows may be filtered by what is typed into a field for the list.
pub(super) fn table(columns: &[Column], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return none("none");
    }
    let class = |class: &str| match class {
        "" => String::new(),
        class => format!(" class=\"{class}\""),
    };
    let heads = columns
        .iter()
        .map(|column| format!("<th{}>{}</th>", class(column.class), column.head));
    let heads: String = heads.collect();
    let mut html =
        format!("<div class=\"scroll\"><table id=\"list\"><thead><tr>{heads}</tr></thead><tbody>");
    for row in rows {
        html.push_str("<tr>");
        for (column, cell) in columns.iter().zip(row) {
            html.push_str(&format!("<td{}>{cell}</td>", class(column.class)));
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div>");
    html
}

/// Names and values, both as text.
pub(super) fn list(pairs: &[(String, String)]) -> String {
    if pairs.is_empty() {
        return none("none");
    }
    let pairs = pairs
        .iter()
        .map(|(name, value)| format!("<dt>{}</dt><dd>{}</dd>", escaped(name), escaped(value)));
    format!("<dl>{}</dl>", pairs.collect::<String>())
}

/// A search field that filters the rows of the page's list, and finds in all rows when it is sent.
pub(super) fn search(visit: &Visit, hint: &str) -> String {
    let found = escaped(visit.fields.get("find"));
    format!(
        "<input type=\"search\" name=\"find\" value=\"{found}\" placeholder=\"{hint}\" aria-label=\"find\" data-filters=\"list\">"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_others_are_no_html() {
        let page = Page {
            title: "<script>".into(),
            entry: "/runs",
            content: anchor("/run", &[("id", "\"><b>")], "'&'"),
        };
        let html = document(&page, "<i>");
        assert!(html.contains("<title>&lt;script&gt; - Vatic"));
        assert!(html.contains("<a href=\"/run?id=%22%3E%3Cb%3E\">&#39;&amp;&#39;</a>"));
        assert!(html.contains("&lt;i&gt;") && !html.contains("<i>"));
        assert!(html.contains("<a href=\"/runs\" aria-current=\"page\">"));
    }

    #[test]
    fn a_table_has_the_classes_of_its_columns() {
        let columns = [column("<a>", ""), column("b", "n")];
        let html = table(&columns, &[vec!["1".into(), "2".into()]]);
        assert!(
            html.contains("<th>&lt;a&gt;</th><th class=\"n\">b</th>"),
            "{html}"
        );
        assert!(html.contains("<td>1</td><td class=\"n\">2</td>"), "{html}");
        assert_eq!(table(&columns, &[]), "<p class=\"none\">none</p>");
    }
}
