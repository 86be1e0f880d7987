//! [`rope`]: the turns that `config.json` describes, in its form of today, `rope_parameters`, or in the one before, `rope_theta` and
//! `rope_scaling`.

use super::rope::{Pairs, Rope, Scaling};
use crate::pretrained::config::Config;
use crate::{Error, Result};

/// Whose turns are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct RopeOf<'a> {
    pub(super) config: &'a Config,
    /// The kind of layers, where kinds have turns of their own.
    pub(super) layers: Option<&'static str>,
    /// The field of the base, in the older form.
    pub(super) base_field: &'static str,
    pub(super) base: f64,
    /// Whether the older form of scaling is for these layers.
    pub(super) takes_scaling: bool,
    /// The numbers of a head.
    pub(super) head_width: usize,
    pub(super) positions_max: usize,
    /// Whether `yarn` means `longrope`, as it did in one family.
    pub(super) yarn_is_long: bool,
}

/// The turns.
///
/// # Errors
/// [`Error::Unsupported`] for a type of scaling that this build does not know; [`Error::Corrupt`] for wrong numbers.
pub(super) fn rope(of: &RopeOf<'_>) -> Result<Rope> {
    let (section, base) = section_and_base(of)?;
    if !(1.0..=1e12).contains(&base) {
        let what = format!("is {base}; expected a number from 1 to 1e12");
        return Err(section.error(of.base_field, what));
    }
    let field = "partial_rotary_factor";
    let all = of.config.number(field, 1.0)?;
    let share = section.number(field, all)?;
    let turned = (of.head_width as f64 * share) as usize;
    if !(0.0..=1.0).contains(&share) || turned < 2 || !turned.is_multiple_of(2) {
        let what = format!(
            "is {share}, which turns {turned} of the {} numbers of a head; expected an even number of them",
            of.head_width
        );
        return Err(section.error(field, what));
    }
    let scaling = scaling(of, &section, turned / 2)?;
    Ok(Rope::new(Pairs::Halves, turned, base as f32, &scaling))
}

/// The section with the type of scaling, and the base. As in transformers, a base in the section comes before one beside it, and the
/// older form before the newer one.
fn section_and_base(of: &RopeOf<'_>) -> Result<(Config, f64)> {
    let config = of.config;
    let parameters = config.section_or_empty("rope_parameters")?;
    let own = match of.layers {
        Some(layers) => parameters.section(layers)?,
        None => None,
    };
    let scaling = match of.takes_scaling {
        true => config.section("rope_scaling")?,
        false => None,
    };
    let section = own.or(scaling).unwrap_or(parameters);
    let beside = config.number(of.base_field, of.base)?;
    let base = section.number("rope_theta", beside)?;
    Ok((section, base))
}

fn scaling(of: &RopeOf<'_>, section: &Config, pairs: usize) -> Result<Scaling> {
    let name = match section.text("rope_type")? {
        Some(name) => name,
        None => section.text("type")?.unwrap_or("default"),
    };
    let positive = |name: &str, default: Option<f64>| -> Result<f64> {
        let number = section.number(name, default.unwrap_or(0.0))?;
        match number > 0.0 {
            true => Ok(number),
            false => Err(section.error(name, "is missing or not above 0")),
        }
    };
    let before = original_positions(of, section)?;
    let of_positions = of.positions_max as f64 / before as f64;
    Ok(match name {
        "default" => Scaling::None,
        "linear" => Scaling::Linear(positive("factor", None)? as f32),
        "llama3" => {
            let (low, high) = (
                positive("low_freq_factor", None)?,
                positive("high_freq_factor", None)?,
            );
            if low >= high {
                let what = format!("is {low}; expected less than high_freq_factor, {high}");
                return Err(section.error("low_freq_factor", what));
            }
            Scaling::Llama3 {
                factor: positive("factor", None)? as f32,
                low: low as f32,
                high: high as f32,
                positions: before as f32,
            }
        }
        "yarn" if !of.yarn_is_long => {
            let factor = positive("factor", Some(of_positions))?;
            Scaling::Yarn {
                factor: factor as f32,
                fast: positive("beta_fast", Some(32.0))?,
                slow: positive("beta_slow", Some(1.0))?,
                positions: before as f64,
                amplitude: yarn_amplitude(section, factor)? as f32,
                is_whole: section.flag("truncate", true)?,
            }
        }
        "longrope" | "su" | "yarn" => {
            let factors = |name: &str| -> Result<Vec<f32>> {
                let numbers = section.numbers(name, pairs)?;
                let numbers = numbers.ok_or_else(|| section.error(name, "is missing"))?;
                match numbers.iter().all(|number| *number > 0.0) {
                    true => Ok(numbers.iter().map(|number| *number as f32).collect()),
                    false => Err(section.error(name, "has a number that is not above 0")),
                }
            };
            let factor = positive("factor", Some(of_positions))?;
            let own = long_amplitude(factor, before);
            Scaling::Long {
                short: factors("short_factor")?,
                long: factors("long_factor")?,
                positions: before,
                amplitude: positive("attention_factor", Some(own))? as f32,
            }
        }
        other => {
            return Err(Error::Unsupported(format!(
                "{}: rotary positions of the type \"{other}\" are not supported; default, linear, llama3, yarn and longrope are",
                section.file()
            )));
        }
    })
}

/// The most tokens of a text before the model was extended.
fn original_positions(of: &RopeOf<'_>, section: &Config) -> Result<usize> {
    let (field, range) = ("original_max_position_embeddings", 2..=1 << 24);
    let own = section.whole(field, Some(of.positions_max.max(2)), range.clone())?;
    of.config.whole(field, Some(own), range)
}

/// The factor of turned numbers with longer texts.
pub(super) fn long_amplitude(factor: f64, positions: usize) -> f64 {
    match factor > 1.0 {
        true => (1.0 + factor.ln() / (positions as f64).ln()).sqrt(),
        false => 1.0,
    }
}

fn yarn_amplitude(section: &Config, factor: f64) -> Result<f64> {
    let of = |scale: f64| match factor > 1.0 {
        true => 0.1 * scale * factor.ln() + 1.0,
        false => 1.0,
    };
    let [above, below] = ["mscale", "mscale_all_dim"].map(|name| section.number(name, 0.0));
    let (above, below) = (above?, below?);
    let own = match above != 0.0 && below != 0.0 {
        true => of(above) / of(below),
        false => of(1.0),
    };
    section.number("attention_factor", own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(config: &str, layers: Option<&'static str>) -> Result<Rope> {
        let config = Config::parse("config.json", config.as_bytes()).unwrap();
        rope(&RopeOf {
            config: &config,
            layers,
            base_field: "rope_theta",
            base: 10_000.0,
            takes_scaling: true,
            head_width: 4,
            positions_max: 64,
            yarn_is_long: false,
        })
    }

    /// The first two turns at the position 3.
    fn turns(rope: &Rope) -> String {
        format!("{:?}", rope.turns(3, false))
    }

    #[test]
    fn both_forms_are_the_same() {
        for (today, before) in [
            ("{}", r#"{"rope_theta": 10000}"#),
            (
                r#"{"rope_parameters": {"rope_theta": 500.0}}"#,
                r#"{"rope_theta": 500.0}"#,
            ),
            (
                r#"{"rope_parameters": {"rope_theta": 500.0, "rope_type": "linear", "factor": 4}}"#,
                r#"{"rope_theta": 500.0, "rope_scaling": {"type": "linear", "factor": 4}}"#,
            ),
            // As transformers 5.24 reads files with parts of both.
            (
                r#"{"rope_parameters": {"rope_theta": 500.0}}"#,
                r#"{"rope_theta": 500.0, "rope_parameters": {"rope_type": "default"}}"#,
            ),
            (
                r#"{"rope_parameters": {"rope_theta": 500.0, "rope_type": "linear", "factor": 4}}"#,
                r#"{"rope_theta": 9.0, "rope_scaling": {"type": "linear", "factor": 4, "rope_theta": 500.0},
                    "rope_parameters": {"rope_theta": 8.0, "rope_type": "default"}}"#,
            ),
        ] {
            let (today, before) = (read(today, None).unwrap(), read(before, None).unwrap());
            assert_eq!(turns(&today), turns(&before));
        }
        let nested = r#"{"rope_parameters": {"full_attention": {"rope_theta": 7.0}, "sliding_attention": {"rope_theta": 9.0}}}"#;
        let of_layers = read(nested, Some("sliding_attention")).unwrap();
        assert_eq!(
            turns(&of_layers),
            turns(&read(r#"{"rope_theta": 9.0}"#, None).unwrap())
        );
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let scaled = |scaling: &str| format!(r#"{{"rope_scaling": {scaling}}}"#);
        for (config, expected) in [
            (
                scaled(r#"{"type": "dynamic", "factor": 2}"#),
                "of the type \"dynamic\" are not supported",
            ),
            (
                scaled(r#"{"type": "linear"}"#),
                "rope_scaling.factor is missing or not above 0",
            ),
            (
                scaled(r#"{"type": "longrope"}"#),
                "rope_scaling.short_factor is missing",
            ),
            (
                scaled(r#"{"type": "longrope", "short_factor": [1, 1], "long_factor": [1]}"#),
                "rope_scaling.long_factor is [1]; expected a list of 2 numbers",
            ),
            (
                scaled(
                    r#"{"type": "llama3", "low_freq_factor": 4, "high_freq_factor": 4, "factor": 2}"#,
                ),
                "low_freq_factor is 4; expected less than",
            ),
            (
                r#"{"partial_rotary_factor": 0.25}"#.into(),
                "turns 1 of the 4 numbers",
            ),
            (
                r#"{"rope_theta": 0}"#.into(),
                "rope_theta is 0; expected a number from 1",
            ),
        ] {
            let error = read(&config, None).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    /// By transformers 5.24: factors of 32 after 4,096 tokens.
    #[test]
    fn long_texts_have_a_greater_amplitude() {
        assert!((long_amplitude(32.0, 4_096) - 1.190_238_071_423_808).abs() < 1e-9);
        assert_eq!(long_amplitude(1.0, 4_096), 1.0);
    }
}
