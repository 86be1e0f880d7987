//! [`Chart`]: lines with axes, as SVG. `page.js` shows the values under the pointer, which each line carries.

use std::fmt::Write;

use super::figures::number;
use super::html::escaped;
use super::rows::Rows;

const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;
/// The most points that a line is drawn with.
const POINTS_MAX: usize = 400;
/// The number of colours of `page.css`.
const COLORS: usize = 8;
/// About this many marks stand at an axis.
const MARKS: f64 = 5.0;

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

/// The range of an axis.
#[derive(Debug, Clone, Copy)]
struct Range {
    low: f64,
    high: f64,
}

impl Range {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        match low < high {
            true => Self { low, high },
            // A single value is in the middle.
            false => {
                let around = 0.5_f64.max(low.abs() * 1e-6);
                Self {
                    low: low - around,
                    high: low + around,
                }
            }
        }
    }

    fn share(self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    /// Round numbers in the range, about as many as `MARKS`.
    fn marks(self) -> Vec<f64> {
        let rough = (self.high - self.low) / MARKS;
        let power = 10f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|part| part * power);
        let step = steps.into_iter().find(|step| *step >= rough * 0.999);
        let step = step.unwrap_or(rough);
        let first = (self.low / step - 1e-9).ceil();
        let marks = (0..20).map(|mark| (first + f64::from(mark)) * step);
        marks
            .take_while(|mark| *mark <= self.high + step * 1e-9)
            // Without the rounding errors of the step.
            .map(|mark| (mark / step).round() * step)
            .collect()
    }
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
                Range::of(all().map(|(x, _)| *x)),
                Range::of(all().map(|(_, y)| *y)),
            ),
        };
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
        for mark in up.marks() {
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
    fn marks_are_round_numbers() {
        for (values, expected) in [
            ([0.0, 1.0], "0 0.2 0.4 0.6 0.8 1"),
            ([1.0, 40.0], "10 20 30 40"),
            ([7.0, 7.0], "6.6 6.8 7 7.2 7.4"),
            (
                [-1e300, 1e300],
                "-1.000e300 -5.000e299 0 5.000e299 1.000e300",
            ),
        ] {
            let marks = Range::of(values.into_iter()).marks();
            let marks: Vec<String> = marks.into_iter().map(number).collect();
            assert_eq!(marks.join(" "), expected);
        }
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
