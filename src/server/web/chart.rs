//! [`Chart`]: lines with axes, as SVG. `page.js` shows the values under the pointer, which each line carries.

use std::fmt::Write;

use super::figures::number;
use super::html::escaped;
use super::rows::Rows;
use crate::axis::Range;

const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;
/// The most points that a line is drawn with.
const POINTS_MAX: usize = 400;
/// The number of colours of `page.css`.
const COLORS: usize = 8;

/// A line through points with finite coordinates.
#[derive(Debug)]
pub(super) struct Line {
    name: String,
    color: usize,
    is_dashed: bool,
    points: Vec<(f64, f64)>,
}

impl Line {
    pub(super) fn new(
        name: &str,
        color: usize,
        is_dashed: bool,
        points: impl Iterator<Item = (f64, f64)>,
    ) -> Self {
        let finite = points.filter(|(x, y)| x.is_finite() && y.is_finite());
        Self {
            name: name.to_owned(),
            color: color % COLORS,
            is_dashed,
            points: thinned(finite.collect()),
        }
    }

    fn class(&self) -> String {
        let dashed = if self.is_dashed { " dashed" } else { "" };
        format!("line c{}{dashed}", self.color)
    }
}

/// Every so many points, and the last one.
fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let step = points.len().div_ceil(POINTS_MAX).max(1);
    let last = points.len().saturating_sub(1);
    let kept = points.into_iter().enumerate();
    let kept = kept.filter(|(index, _)| index.is_multiple_of(step) || *index == last);
    kept.map(|(_, point)| point).collect()
}

/// A chart of lines.
#[derive(Debug)]
pub(super) struct Chart<'a> {
    /// What the chart shows, for those who hear it.
    pub(super) label: &'a str,
    /// The name of the axis below.
    pub(super) x: &'a str,
    pub(super) lines: &'a [Line],
    /// Whether both axes go from 0 to 1, with a line of equal values.
    pub(super) is_square: bool,
}

impl Chart<'_> {
    /// The chart and its legend; a sentence if no line has a point.
    pub(super) fn figure(&self) -> String {
        let lines: Vec<&Line> = self
            .lines
            .iter()
            .filter(|line| !line.points.is_empty())
            .collect();
        if lines.is_empty() {
            return super::html::none("there is nothing to draw");
        }
        let (svg, legend) = (self.svg(&lines), legend(&lines));
        format!("<figure>{svg}<figcaption><ul class=\"legend\">{legend}</ul></figcaption></figure>")
    }

    fn svg(&self, lines: &[&Line]) -> String {
        let (width, height) = match self.is_square {
            true => (480.0, 360.0),
            false => (720.0, 300.0),
        };
        let all = || lines.iter().flat_map(|line| line.points.iter());
        let whole = Range {
            low: 0.0,
            high: 1.0,
        };
        let (across, up) = match self.is_square {
            true => (whole, whole),
            false => (
                Range::of(all().map(|(x, _)| *x)).with_room(),
                Range::of(all().map(|(_, y)| *y)).with_room(),
            ),
        };
        // The axis of the values ends at marks; the one below ends with the lines.
        let (up, marks) = up.rounded();
        let x = |value: f64| LEFT + across.share(value) * (width - LEFT - RIGHT);
        let y = |value: f64| height - BOTTOM - up.share(value) * (height - TOP - BOTTOM);
        let (end, base) = (width - RIGHT, height - BOTTOM);
        let mut svg = format!(
            "<svg class=\"chart\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\" data-x=\"{}\" \
             data-top=\"{TOP}\" data-bottom=\"{base}\">",
            escaped(self.label),
            escaped(self.x)
        );
        // Writing to a string cannot fail.
        for mark in marks {
            let (at, text) = (y(mark), number(mark));
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{end}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                LEFT - 8.0,
                at + 4.0
            );
        }
        for mark in across.marks() {
            let (at, text) = (x(mark), number(mark));
            let below = base + 18.0;
            let _ = write!(
                svg,
                "<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{text}</text>"
            );
        }
        let _ = write!(
            svg,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{end}\" y1=\"{base}\" y2=\"{base}\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            (LEFT + end) / 2.0,
            height - 6.0,
            escaped(self.x)
        );
        if self.is_square {
            let _ = write!(
                svg,
                "<line class=\"even\" x1=\"{LEFT}\" y1=\"{base}\" x2=\"{end}\" y2=\"{TOP}\"/>"
            );
        }
        for line in lines {
            let points = line.points.iter();
            let places = points.map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value)));
            let values = line
                .points
                .iter()
                .map(|(at, value)| format!("{at},{value}"));
            let _ = write!(
                svg,
                "<polyline class=\"{}\" data-name=\"{}\" data-kind=\"c{}\" points=\"{}\" data-values=\"{}\"/>",
                line.class(),
                escaped(&line.name),
                line.color,
                places.collect::<Vec<_>>().join(" "),
                values.collect::<Vec<_>>().join(" ")
            );
        }
        svg.push_str("</svg>");
        svg
    }
}

fn legend(lines: &[&Line]) -> String {
    let items = lines.iter().map(|line| {
        format!(
            "<li><svg viewBox=\"0 0 26 8\" aria-hidden=\"true\"><line class=\"{}\" x1=\"1\" x2=\"25\" y1=\"4\" y2=\"4\"/></svg>{}</li>",
            line.class(),
            escaped(&line.name)
        )
    });
    items.collect()
}

/// The chart of losses by epoch.
pub(super) fn losses_figure(lines: &[Line]) -> String {
    let chart = Chart {
        label: "losses by epoch",
        x: "epoch",
        lines,
        is_square: false,
    };
    chart.figure()
}

/// The lines of the losses in the columns `epoch`, `train_loss` and `eval_loss`.
pub(super) fn losses(rows: &Rows) -> Vec<Line> {
    let line = |name: &str, column: &str, color: usize, is_dashed: bool| {
        let points = (0..rows.len()).filter_map(|row| {
            let epoch = rows.number(row, "epoch")?;
            Some((epoch, rows.number(row, column)?))
        });
        Line::new(name, color, is_dashed, points)
    };
    vec![
        line("train loss", "train_loss", 0, false),
        line("eval loss", "eval_loss", 1, true),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(points: &[(f64, f64)]) -> Line {
        Line::new("<a>", 9, true, points.iter().copied())
    }

    #[test]
    fn a_line_runs_from_corner_to_corner_and_carries_its_values() {
        let lines = [line(&[(1.0, 4.0), (2.0, f64::NAN), (3.0, 2.0)])];
        let chart = Chart {
            label: "loss",
            x: "epoch",
            lines: &lines,
            is_square: false,
        };
        let html = chart.figure();
        assert!(
            html.contains("points=\"64.0,12.0 704.0,256.0\" data-values=\"1,4 3,2\""),
            "{html}"
        );
        assert!(
            html.contains("class=\"line c1 dashed\" data-name=\"&lt;a&gt;\""),
            "{html}"
        );
        assert!(
            html.contains(">3.5</text>") && html.contains("data-bottom=\"256\""),
            "{html}"
        );
        assert!(!html.contains("style="), "{html}");
    }

    #[test]
    fn the_axis_of_the_values_ends_at_round_numbers() {
        let lines = [line(&[(1.0, 0.13), (2.0, 0.97)])];
        let html = losses_figure(&lines);
        // From 0 at the bottom to 1 at the top.
        assert!(
            html.contains("y=\"260.0\" text-anchor=\"end\">0</text>"),
            "{html}"
        );
        assert!(
            html.contains("y=\"16.0\" text-anchor=\"end\">1</text>"),
            "{html}"
        );
        assert!(html.contains("points=\"64.0,224.3 704.0,19.3\""), "{html}");
    }

    #[test]
    fn long_lines_are_thinned_and_keep_their_end() {
        let points: Vec<(f64, f64)> = (0..10_001).map(|x| (f64::from(x), 0.0)).collect();
        let drawn = line(&points);
        assert!(drawn.points.len() <= POINTS_MAX + 1);
        assert_eq!(drawn.points.last(), Some(&(10_000.0, 0.0)));
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        let lines = [line(&[])];
        let chart = Chart {
            label: "loss",
            x: "epoch",
            lines: &lines,
            is_square: true,
        };
        assert!(chart.figure().contains("nothing to draw"));
    }
}
