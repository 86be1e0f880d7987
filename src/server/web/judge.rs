//! How a version does on rows: metrics, and for classes a confusion matrix, ROC and calibration.

use super::chart::{Chart, Line};
use super::execute::{Executed, execute};
use super::figures::number;
use super::html::{error, escaped, section};
use super::rows::Rows;
use super::visit::Visit;
use crate::sql::quoted;

/// The labels that a matrix or a chart has room for.
const LABELS_MAX: usize = 30;
/// The points of a curve that are drawn.
const POINTS: usize = 200;

/// A version, and the rows to judge it on.
pub(super) struct Judged<'a> {
    /// `model@version`
    pub(super) model: &'a str,
    /// A table, or a query.
    pub(super) rows: &'a str,
    /// The target, if the reader chose one of several.
    pub(super) target: &'a str,
    /// Whether the version predicts classes.
    pub(super) has_classes: bool,
}

impl Judged<'_> {
    /// A call of a table function on these rows.
    fn call(&self, function: &str) -> String {
        let rows = self.rows.trim().trim_end_matches(';').trim_end();
        let relation = match rows.contains(char::is_whitespace) {
            // A query that ends with a comment needs a new line.
            true => format!("({rows}\n)"),
            false => rows.to_owned(),
        };
        let target = match self.target {
            // The metrics are those of all targets.
            target if target.is_empty() || function == "evaluate" => String::new(),
            target => format!(", target => {}", quoted(target)),
        };
        format!("{function}({}, {relation}{target})", quoted(self.model))
    }

    /// About `POINTS` points of each label's curve, with its last one.
    fn curve(&self, function: &str, (x, y): (&str, &str), order: &str) -> String {
        format!(
            "SELECT label, {x} AS x, {y} AS y FROM (SELECT label, {x}, {y}, CAST(row_number() OVER (PARTITION BY label \
             ORDER BY {order}) AS BIGINT) AS place, count(*) OVER (PARTITION BY label) AS points FROM {}) \
             WHERE (place - 1) % greatest(1, points / {POINTS}) = 0 OR place = points ORDER BY label, place",
            self.call(function)
        )
    }
}

/// Judges a version on rows; an error stands in the place of what it is about.
pub(super) async fn judge(visit: &Visit, judged: &Judged<'_>) -> String {
    let metrics = format!("SELECT * FROM {}", judged.call("evaluate"));
    let metrics = match execute(visit, &metrics, LABELS_MAX).await {
        Ok(metrics) => metrics.rows.rounded().table(),
        // What is wrong with the rows is wrong for the other functions too.
        Err(status) => return section("Metrics on these rows", &error(status.message())),
    };
    let mut html = section("Metrics on these rows", &metrics);
    if !judged.has_classes {
        return html;
    }
    let counts = format!("SELECT * FROM {}", judged.call("confusion_matrix"));
    let counts = execute(visit, &counts, (LABELS_MAX + 1) * LABELS_MAX).await;
    html.push_str(&section("Confusion matrix", &shown(counts, matrix)));
    let roc = judged.curve(
        "roc_curve",
        ("false_positive_rate", "true_positive_rate"),
        "threshold DESC",
    );
    let roc = execute(visit, &roc, 2 * POINTS * LABELS_MAX).await;
    let calibration = judged.curve(
        "calibration_curve",
        ("mean_probability", "observed_rate"),
        "mean_probability",
    );
    let calibration = execute(visit, &calibration, 2 * POINTS * LABELS_MAX).await;
    let roc = shown(roc, |rows| curves(rows, "ROC", "false positive rate"));
    let calibration = shown(calibration, |rows| {
        curves(rows, "calibration", "predicted probability")
    });
    html.push_str(&format!(
        "<div class=\"pair\">{}{}</div>",
        section("ROC", &roc),
        section("Calibration", &calibration)
    ));
    html
}

fn shown(executed: Result<Executed, tonic::Status>, draw: impl FnOnce(&Rows) -> String) -> String {
    match executed {
        Ok(executed) if executed.is_cut => error("there are too many labels to draw"),
        Ok(executed) => draw(&executed.rows),
        Err(status) => error(status.message()),
    }
}

/// A line for each label.
fn curves(rows: &Rows, label: &str, x: &str) -> String {
    let mut labels: Vec<&str> = (0..rows.len()).map(|row| rows.text(row, "label")).collect();
    labels.dedup();
    let lines = labels.iter().enumerate().map(|(index, label)| {
        let of_label = (0..rows.len()).filter(|row| rows.text(*row, "label") == *label);
        let points =
            of_label.filter_map(|row| Some((rows.number(row, "x")?, rows.number(row, "y")?)));
        Line::new(label, index, false, points)
    });
    let lines: Vec<Line> = lines.collect();
    let chart = Chart {
        label,
        x,
        lines: &lines,
        is_square: true,
    };
    chart.figure()
}

/// The counts of pairs of labels, shaded by their share of the rows with their expected label.
fn matrix(rows: &Rows) -> String {
    let mut predicted: Vec<&str> = Vec::new();
    let mut expected: Vec<&str> = Vec::new();
    for row in 0..rows.len() {
        for (known, column) in [
            (&mut expected, "expected_label"),
            (&mut predicted, "predicted_label"),
        ] {
            let label = rows.text(row, column);
            if !known.contains(&label) {
                known.push(label);
            }
        }
    }
    let count = |from: &str, to: &str| {
        let mut places = 0..rows.len();
        let found = places.find(|row| {
            rows.text(*row, "expected_label") == from && rows.text(*row, "predicted_label") == to
        });
        found
            .and_then(|row| rows.number(row, "rows"))
            .unwrap_or(0.0)
    };
    let heads = predicted
        .iter()
        .map(|label| format!("<th>{}</th>", escaped(label)));
    let mut html = format!(
        "<div class=\"scroll\"><table class=\"matrix\"><thead><tr><th>expected, predicted</th>{}<th>right</th></tr></thead><tbody>",
        heads.collect::<String>()
    );
    let (mut all, mut all_right) = (0.0, 0.0);
    for from in expected.iter().copied() {
        let total: f64 = predicted.iter().map(|to| count(from, to)).sum();
        let right = if predicted.contains(&from) {
            count(from, from)
        } else {
            0.0
        };
        let name = if from.is_empty() { "(unseen)" } else { from };
        html.push_str(&format!("<tr><th>{}</th>", escaped(name)));
        for to in predicted.iter().copied() {
            let cell = count(from, to);
            let kind = if from == to { "r" } else { "w" };
            let level = (cell / total.max(1.0) * 5.0).ceil();
            html.push_str(&format!(
                "<td class=\"{kind}{level}\">{}</td>",
                number(cell)
            ));
        }
        html.push_str(&format!("<td>{}</td></tr>", percent(right, total)));
        all += total;
        all_right += right;
    }
    html.push_str(&format!(
        "</tbody></table></div><p class=\"note\">{} of {} rows are right, {}.</p>",
        number(all_right),
        number(all),
        percent(all_right, all)
    ));
    html
}

fn percent(part: f64, whole: f64) -> String {
    match whole > 0.0 {
        true => format!("{:.1} %", 100.0 * part / whole),
        false => "-".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray};
    use datafusion::arrow::record_batch::RecordBatch;

    use super::*;

    fn judged<'a>(rows: &'a str, target: &'a str) -> Judged<'a> {
        Judged {
            model: "m@1",
            rows,
            target,
            has_classes: true,
        }
    }

    #[test]
    fn rows_are_a_table_or_a_query() {
        assert_eq!(judged("t;", "").call("evaluate"), "evaluate('m@1', t)");
        let call = judged("SELECT 1 -- x", "a'b").call("roc_curve");
        assert_eq!(
            call,
            "roc_curve('m@1', (SELECT 1 -- x\n), target => 'a''b')"
        );
    }

    #[test]
    fn a_matrix_is_shaded_by_row() {
        let expected = StringArray::from(vec![Some("<a>"), Some("<a>"), None, None]);
        let predicted = StringArray::from(vec!["<a>", "b", "<a>", "b"]);
        let counts = Int64Array::from(vec![3, 1, 0, 2]);
        let columns = [
            ("expected_label", Arc::new(expected) as ArrayRef),
            ("predicted_label", Arc::new(predicted) as ArrayRef),
            ("rows", Arc::new(counts) as ArrayRef),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let html = matrix(&Rows::try_new(&batch.schema(), &[batch]).unwrap());
        let row = "<tr><th>&lt;a&gt;</th><td class=\"r4\">3</td><td class=\"w2\">1</td><td>75.0 %</td></tr>";
        assert!(html.contains(row), "{html}");
        let unseen = "<tr><th>(unseen)</th><td class=\"w0\">0</td><td class=\"w5\">2</td><td>0.0 %</td></tr>";
        assert!(
            html.contains(unseen) && html.contains("3 of 6 rows are right, 50.0 %"),
            "{html}"
        );
    }
}
