//! Numbers, times and states as they are read.

use super::html::escaped;

/// A number with as many digits as people compare.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if value.fract() == 0.0 && size < 1e15 {
        return format!("{value:.0}");
    }
    match (1e-3..1e6).contains(&size) {
        true => {
            let text = format!("{value:.4}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        false => format!("{value:.3e}"),
    }
}

pub(super) fn duration(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{seconds:.1} s");
    }
    let seconds = seconds.round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        _ => format!("{}:{:02} h", seconds / 3_600, seconds / 60 % 60),
    }
}

/// A moment, which `page.js` shows in the reader's time zone.
pub(super) fn time(text: &str) -> String {
    let moment = text.split('.').next().unwrap_or_default();
    let shown = moment.replace('T', " ");
    let (moment, shown) = (escaped(moment), escaped(shown.trim_end_matches('Z')));
    match moment.is_empty() {
        true => String::new(),
        false => format!(
            "<time datetime=\"{}Z\">{shown}</time>",
            moment.trim_end_matches('Z')
        ),
    }
}

/// The status of a training.
pub(super) fn state(status: &str) -> String {
    let (class, shown) = (escaped(status), escaped(&status.to_lowercase()));
    format!("<span class=\"state {class}\">{shown}</span>")
}

/// Large figures with what they are, as HTML and text.
pub(super) fn headline(figures: &[(String, &str)]) -> String {
    let shown = figures.iter().filter(|(value, _)| !value.is_empty());
    let shown = shown
        .map(|(value, name)| format!("<div><b>{value}</b><span>{}</span></div>", escaped(name)));
    format!("<div class=\"figures\">{}</div>", shown.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_people_compare() {
        for (value, expected) in [
            (0.0, "0"),
            (42.0, "42"),
            (0.5, "0.5"),
            (0.123_456, "0.1235"),
            (1.5e-7, "1.500e-7"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn times_are_readable_without_a_script() {
        assert_eq!(
            time("2026-11-28T04:30:08.362Z"),
            "<time datetime=\"2026-11-28T04:30:08Z\">2026-11-28 04:30:08</time>"
        );
        assert_eq!(
            time("2026-11-28T04:30:08Z"),
            time("2026-11-28T04:30:08.362Z")
        );
        assert_eq!(time(""), "");
        for (seconds, expected) in [
            (2.44, "2.4 s"),
            (41.0, "41 s"),
            (62.0, "1:02 min"),
            (3_720.0, "1:02 h"),
        ] {
            assert_eq!(duration(seconds), expected);
        }
    }
}
