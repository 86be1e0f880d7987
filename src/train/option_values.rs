//! Values of options: numbers in a range, names, lists. An error names the option and what it takes.

use vatic_ml::data::augment::{AUGMENTATIONS, AugmentationKind, Augmentations};
use vatic_ml::device::DeviceName;

use crate::error::{Result, SqlState, ml_err, sql_err, with_cause};
use crate::sql::OptionValue;

const UNITS_MAX: u64 = 65_536;
const DIMENSIONS_MAX: usize = 6;
const COLUMNS_MAX: usize = 10_000;

pub(super) fn expected(
    name: &str,
    expected: &str,
    found: &OptionValue,
) -> datafusion::common::DataFusionError {
    let message = format!("option \"{name}\" is {found}; expected {expected}");
    sql_err(SqlState::InvalidParameter, message)
}

pub(super) fn model_type(value: &OptionValue, known: &[&str]) -> Result<String> {
    let found = text("model_type", value)?.to_lowercase();
    if known.contains(&found.as_str()) {
        return Ok(found);
    }
    let what = format!(
        "model type \"{found}\" does not exist; use one of {}",
        known.join(", ")
    );
    Err(sql_err(
        SqlState::InvalidParameter,
        with_cause(what, &found, known.iter().copied()),
    ))
}

pub(super) fn whole(name: &str, value: &OptionValue, min: u64, max: u64) -> Result<u64> {
    let found = match value {
        OptionValue::Number(text) => text
            .parse::<u64>()
            .ok()
            .filter(|number| (min..=max).contains(number)),
        _ => None,
    };
    found.ok_or_else(|| expected(name, &format!("a whole number from {min} to {max}"), value))
}

pub(super) type Range = (fn(f64) -> bool, &'static str);

pub(super) fn below_one() -> Range {
    (
        |number| (0.0..1.0).contains(&number),
        "a number from 0 to below 1",
    )
}

pub(super) fn between_zero_and_one() -> Range {
    (
        |number| number > 0.0 && number < 1.0,
        "a number above 0 and below 1",
    )
}

pub(super) fn above_zero() -> Range {
    (
        |number| number > 0.0 && number.is_finite(),
        "a number above 0",
    )
}

pub(super) fn above_zero_to_one() -> Range {
    (
        |number| number > 0.0 && number <= 1.0,
        "a number above 0, up to 1",
    )
}

pub(super) fn from_zero() -> Range {
    (
        |number| number >= 0.0 && number.is_finite(),
        "a number from 0",
    )
}

pub(super) fn any() -> Range {
    (f64::is_finite, "a number")
}

pub(super) fn number(name: &str, value: &OptionValue, range: fn() -> Range) -> Result<f64> {
    let (is_valid, description) = range();
    let found = match value {
        OptionValue::Number(text) => text.parse::<f64>().ok().filter(|number| is_valid(*number)),
        _ => None,
    };
    found.ok_or_else(|| expected(name, description, value))
}

/// A number, or a list of numbers.
pub(super) fn numbers(name: &str, value: &OptionValue, range: fn() -> Range) -> Result<Vec<f64>> {
    match value {
        OptionValue::List(values) if !values.is_empty() => values
            .iter()
            .map(|value| number(name, value, range))
            .collect(),
        OptionValue::List(_) => Err(expected(name, "a number, or a list of them", value)),
        one => Ok(vec![number(name, one, range)?]),
    }
}

pub(super) fn boolean(name: &str, value: &OptionValue) -> Result<bool> {
    match value {
        OptionValue::Boolean(value) => Ok(*value),
        _ => Err(expected(name, "true or false", value)),
    }
}

pub(super) fn text<'a>(name: &str, value: &'a OptionValue) -> Result<&'a str> {
    match value {
        OptionValue::Text(text) => Ok(text),
        _ => Err(expected(name, "a name", value)),
    }
}

pub(super) fn one_of<'a>(name: &str, value: &OptionValue, known: &[&'a str]) -> Result<&'a str> {
    let found = text(name, value)?.to_lowercase();
    let of = || expected(name, &format!("one of {}", known.join(", ")), value);
    known
        .iter()
        .copied()
        .find(|known| *known == found)
        .ok_or_else(of)
}

pub(super) fn named<T: Copy>(name: &str, value: &OptionValue, known: &[(&str, T)]) -> Result<T> {
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    let found = one_of(name, value, &names)?;
    let position = names.iter().position(|name| *name == found);
    position
        .map(|position| known[position].1)
        .ok_or_else(|| expected(name, "a name", value))
}

pub(super) fn device(name: &str, value: &OptionValue) -> Result<DeviceName> {
    let device = DeviceName::parse(&text(name, value)?.to_lowercase());
    device.ok_or_else(|| expected(name, DeviceName::EXPECTED, value))
}

pub(super) fn hidden_units(value: &OptionValue) -> Result<Vec<usize>> {
    let name = "hidden_units";
    match value {
        OptionValue::List(values) if !values.is_empty() && values.len() <= 100 => values
            .iter()
            .map(|value| Ok(whole(name, value, 1, UNITS_MAX)? as usize))
            .collect(),
        _ => Err(expected(
            name,
            "a list of whole numbers such as [128, 128]",
            value,
        )),
    }
}

pub(super) fn layers(value: &OptionValue) -> Result<Vec<String>> {
    let name = "layers";
    let takes = "a list of layers such as ['linear(32)', 'relu', 'linear(classes)']";
    let OptionValue::List(values) = value else {
        return Err(expected(name, takes, value));
    };
    let layer = |layer: &OptionValue| match layer {
        OptionValue::Text(text) => Ok(text.clone()),
        _ => Err(expected(name, takes, value)),
    };
    values.iter().map(layer).collect()
}

pub(super) fn input_shape(value: &OptionValue) -> Result<Vec<usize>> {
    let name = "input_shape";
    match value {
        OptionValue::List(values) if values.len() > DIMENSIONS_MAX => {
            let takes = format!("at most {DIMENSIONS_MAX} sizes, such as [1, 28, 28]");
            Err(expected(name, &takes, value))
        }
        OptionValue::List(values) if !values.is_empty() => values
            .iter()
            .map(|value| Ok(whole(name, value, 1, UNITS_MAX)? as usize))
            .collect(),
        _ => Err(expected(
            name,
            "a list of whole numbers such as [1, 28, 28]",
            value,
        )),
    }
}

/// The names of columns.
pub(super) fn columns(name: &str, value: &OptionValue) -> Result<Vec<String>> {
    let takes = "a list of columns such as ['id', 'age']";
    let OptionValue::List(values) = value else {
        return Err(expected(name, takes, value));
    };
    if values.is_empty() || values.len() > COLUMNS_MAX {
        return Err(expected(name, takes, value));
    }
    let column = |column: &OptionValue| match column {
        OptionValue::Text(text) => Ok(text.clone()),
        _ => Err(expected(name, takes, value)),
    };
    values.iter().map(column).collect()
}

pub(super) fn augment(value: &OptionValue) -> Result<Vec<String>> {
    let name = "augment";
    let takes = "a list such as ['flip', 'shift(0.1)']";
    let OptionValue::List(values) = value else {
        return Err(expected(name, takes, value));
    };
    let text = |value: &OptionValue| match value {
        OptionValue::Text(text) => Ok(text.clone()),
        other => Err(expected(name, takes, other)),
    };
    let texts = values.iter().map(text).collect::<Result<Vec<String>>>()?;
    for text in &texts {
        let found = text.split('(').next().unwrap_or_default().trim();
        let found = found.to_lowercase();
        if !Augmentations::has(&found) {
            let written: Vec<&str> = AUGMENTATIONS.iter().map(|kind| kind.written).collect();
            let what = format!(
                "there is no augmentation \"{found}\"; use {}",
                written.join(", ")
            );
            let known = AUGMENTATIONS.iter().map(AugmentationKind::name);
            let message = with_cause(what, &found, known);
            return Err(sql_err(SqlState::InvalidParameter, message));
        }
    }
    Augmentations::read(&texts).map_err(ml_err)?;
    Ok(texts)
}

pub(super) fn class_weights(value: &OptionValue) -> Result<Vec<(String, f64)>> {
    let takes = "a list such as [('yes', 5.0), ('no', 1.0)]";
    weights("class_weights", takes, value)
}

pub(super) fn target_weights(value: &OptionValue) -> Result<Vec<(String, f64)>> {
    let takes = "a list such as [('price', 2.0), ('kind', 1.0)]";
    weights("target_weights", takes, value)
}

fn weights(name: &str, takes: &str, value: &OptionValue) -> Result<Vec<(String, f64)>> {
    let wrong = || expected(name, takes, value);
    let OptionValue::List(pairs) = value else {
        return Err(wrong());
    };
    let mut weights: Vec<(String, f64)> = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let OptionValue::Tuple(parts) = pair else {
            return Err(wrong());
        };
        let [label, weight] = parts.as_slice() else {
            return Err(wrong());
        };
        let label = match label {
            OptionValue::Text(label) | OptionValue::Number(label) => label.clone(),
            OptionValue::Boolean(label) => label.to_string(),
            _ => return Err(wrong()),
        };
        if weights.iter().any(|(known, _)| *known == label) {
            let message = format!("{name} names \"{label}\" twice; keep one of them");
            return Err(sql_err(SqlState::InvalidParameter, message));
        }
        weights.push((label, number(name, weight, above_zero)?));
    }
    Ok(weights)
}
