//! The functions, filters and tests of templates: those of the library, which gets values only after they are counted.
//!
//! A value may be longer when it is written than it is in memory: a list may hold another list twice, and that one a third list twice. So
//! the items of such values are counted before the library writes or compares them.

use std::sync::LazyLock;

use minijinja::machinery::Instruction;
use minijinja::value::{Rest, Value};
use minijinja::{Environment, Error, State, context};

use super::made::{
    Counted, ITEM_BYTES, check_levels, count, invalid, is_list, is_nested, write_counted, written,
};

/// The expressions that become calls; each is the name of its function, which no template can write.
const SUM: &str = "a + b";
const JOINED: &str = "a ~ b";
const PRODUCT: &str = "a * b";
const CONTAINED: &str = "a in b";
const PART: &str = "a[b:c:d]";
const SAME: &str = "a == b";
const OTHER: &str = "a != b";
const LESS: &str = "a < b";
const AT_MOST: &str = "a <= b";
const MORE: &str = "a > b";
const AT_LEAST: &str = "a >= b";

type Comparison = fn(&Value, &Value) -> bool;

const COMPARISONS: [(&str, Comparison); 6] = [
    (SAME, |a, b| a == b),
    (OTHER, |a, b| a != b),
    (LESS, |a, b| a < b),
    (AT_MOST, |a, b| a <= b),
    (MORE, |a, b| a > b),
    (AT_LEAST, |a, b| a >= b),
];

/// The library's filters that take texts, or write what they get, and make a text of about its size.
const TEXT_FILTERS: [&str; 8] = [
    "upper",
    "lower",
    "title",
    "capitalize",
    "trim",
    "escape",
    "e",
    "safe",
];
/// The library's filters that compare or copy what they get.
const CHECKED_FILTERS: [&str; 9] = [
    "split", "lines", "reverse", "sort", "dictsort", "groupby", "unique", "min", "max",
];
/// The library's filters whose results may be far larger than what they get. Known templates of chats apply them, if at all, to calls of
/// tools, which no chat has here; a filter that a template does not reach is no error.
const ABSENT_FILTERS: [&str; 7] = [
    "batch", "slice", "indent", "chain", "zip", "format", "pprint",
];
/// The library's tests that write what they get.
const TEXT_TESTS: [&str; 2] = ["startingwith", "endingwith"];
/// The library's tests that compare what they get.
const COMPARING_TESTS: [&str; 15] = [
    "eq",
    "equalto",
    "==",
    "ne",
    "!=",
    "lt",
    "lessthan",
    "<",
    "le",
    "<=",
    "gt",
    "greaterthan",
    ">",
    "ge",
    ">=",
];

/// The library with all of its filters and tests.
static LIBRARY: LazyLock<Environment<'static>> = LazyLock::new(Environment::new);

/// The function in the place of a step, and the number of its arguments.
pub(super) fn function_of(step: &Instruction) -> Option<(&'static str, u16)> {
    Some(match step {
        Instruction::Add => (SUM, 2),
        Instruction::StringConcat => (JOINED, 2),
        Instruction::Mul => (PRODUCT, 2),
        Instruction::In => (CONTAINED, 2),
        Instruction::Eq => (SAME, 2),
        Instruction::Ne => (OTHER, 2),
        Instruction::Lt => (LESS, 2),
        Instruction::Lte => (AT_MOST, 2),
        Instruction::Gt => (MORE, 2),
        Instruction::Gte => (AT_LEAST, 2),
        Instruction::Slice => (PART, 4),
        _ => return None,
    })
}

/// Adds the functions, filters and tests to an environment, and takes away `debug`, which writes all values, and [`ABSENT_FILTERS`].
pub(super) fn add(environment: &mut Environment<'static>) {
    environment.set_formatter(write_counted);
    environment.remove_global("debug");
    environment.add_function(SUM, sum);
    environment.add_function(JOINED, joined);
    environment.add_function(PRODUCT, product);
    environment.add_function(CONTAINED, contained);
    environment.add_function(PART, part);
    for (name, of) in COMPARISONS {
        environment.add_function(
            name,
            move |state: &State, left: Value, right: Value| -> Result<Value, Error> {
                let values = [left, right];
                check_compared(state, &values)?;
                let [left, right] = &values;
                Ok(Value::from(of(left, right)))
            },
        );
    }
    environment.add_filter("string", string);
    environment.add_filter("replace", replace);
    environment.add_filter("join", join);
    for name in TEXT_FILTERS {
        environment.add_filter(name, move |state: &State, args: Rest<Value>| {
            let args = as_texts(state, &args)?;
            LIBRARY.empty_state().apply_filter(name, &args)
        });
    }
    for name in CHECKED_FILTERS {
        environment.add_filter(name, move |state: &State, args: Rest<Value>| {
            check(state, &args)?;
            LIBRARY.empty_state().apply_filter(name, &args)
        });
    }
    for name in ABSENT_FILTERS {
        environment.remove_filter(name);
    }
    environment.add_test("in", is_in);
    for name in TEXT_TESTS {
        environment.add_test(name, move |state: &State, args: Rest<Value>| {
            let args = as_texts(state, &args)?;
            LIBRARY.empty_state().perform_test(name, &args)
        });
    }
    for name in COMPARING_TESTS {
        environment.add_test(name, move |state: &State, args: Rest<Value>| {
            check_compared(state, &args)?;
            LIBRARY.empty_state().perform_test(name, &args)
        });
    }
}

fn sum(state: &State, left: Value, right: Value) -> Result<Value, Error> {
    if left.as_str().is_some() && right.as_str().is_some() {
        return joined(state, left, right);
    }
    if is_list(&left) && is_list(&right) {
        let mut items = vec![];
        for item in left.try_iter()?.chain(right.try_iter()?) {
            count(state, ITEM_BYTES)?;
            items.push(item);
        }
        return Ok(Value::from(items));
    }
    of_library(state, SUM, left, right)
}

fn joined(state: &State, left: Value, right: Value) -> Result<Value, Error> {
    Ok(Value::from(written(state, &[&left, &right])?))
}

fn product(state: &State, left: Value, right: Value) -> Result<Value, Error> {
    if is_list(&left) || is_list(&right) {
        return Err(invalid("* takes no list"));
    }
    let text = left.as_str().map(|text| (text, &right));
    let text = text.or_else(|| right.as_str().map(|text| (text, &left)));
    if let Some((text, times)) = text {
        let times = times.as_usize();
        let times = times.ok_or_else(|| invalid("a text is repeated a whole number of times"))?;
        count(state, text.len().saturating_mul(times))?;
        return Ok(Value::from(text.repeat(times)));
    }
    of_library(state, PRODUCT, left, right)
}

/// Whether a list, a mapping or a text contains a value. In a text, the text of the value is looked for.
fn contained(state: &State, value: Value, container: Value) -> Result<Value, Error> {
    let value = sought(state, value, &container)?;
    of_library(state, CONTAINED, value, container)
}

/// The value of an expression of `a` and `b`, neither of which is a text that it makes longer.
fn of_library(
    state: &State,
    expression: &'static str,
    left: Value,
    right: Value,
) -> Result<Value, Error> {
    let expression = state.env().compile_expression(expression)?;
    expression.eval(context! { a => left, b => right })
}

fn is_in(state: &State, value: Value, container: Value) -> Result<bool, Error> {
    let value = sought(state, value, &container)?;
    LIBRARY
        .empty_state()
        .perform_test("in", &[value, container])
}

/// The value that is looked for in a container, after what is written or compared for it is counted.
fn sought(state: &State, value: Value, container: &Value) -> Result<Value, Error> {
    if !is_nested(&value) {
        return Ok(value);
    }
    match container.as_str() {
        Some(_) => Ok(Value::from(written(state, &[&value])?)),
        None => {
            check(state, &[value.clone(), container.clone()])?;
            Ok(value)
        }
    }
}

/// A part of a text or of a list.
fn part(
    state: &State,
    value: Value,
    start: Value,
    stop: Value,
    step: Value,
) -> Result<Value, Error> {
    let bytes = match value.as_str() {
        Some(text) => text.len(),
        None => value.len().unwrap_or(0).saturating_mul(ITEM_BYTES),
    };
    count(state, bytes)?;
    let expression = state.env().compile_expression(PART)?;
    expression.eval(context! { a => value, b => start, c => stop, d => step })
}

/// Counts the items of values that are compared, if each holds others.
fn check_compared(state: &State, values: &[Value]) -> Result<(), Error> {
    match values.iter().all(is_nested) {
        true => check(state, values),
        false => Ok(()),
    }
}

/// Counts texts, and the items of other values.
fn check(state: &State, values: &[Value]) -> Result<(), Error> {
    values.iter().try_for_each(|value| match value.as_str() {
        Some(text) => count(state, text.len()),
        None => check_levels(state, value),
    })
}

/// The values with the texts of those that hold others.
fn as_texts(state: &State, values: &[Value]) -> Result<Vec<Value>, Error> {
    let as_text = |value: &Value| -> Result<Value, Error> {
        if is_nested(value) && !value.is_kwargs() {
            return Ok(Value::from(written(state, &[value])?));
        }
        count(state, value.as_str().map_or(0, str::len))?;
        Ok(value.clone())
    };
    values.iter().map(as_text).collect()
}

fn string(state: &State, value: Value) -> Result<Value, Error> {
    match value.as_str() {
        Some(_) => Ok(value),
        None => Ok(Value::from(written(state, &[&value])?)),
    }
}

fn replace(state: &State, text: Value, from: Value, to: Value) -> Result<Value, Error> {
    let (Some(text), Some(from), Some(to)) = (text.as_str(), from.as_str(), to.as_str()) else {
        return Err(invalid("replace takes texts"));
    };
    replaced(state, text, from, to)
}

/// The text with `to` in each place of `from`.
///
/// # Errors
/// If it is too long.
pub(super) fn replaced(state: &State, text: &str, from: &str, to: &str) -> Result<Value, Error> {
    let more = text.matches(from).count().saturating_mul(to.len());
    count(state, text.len().saturating_add(more))?;
    Ok(Value::from(text.replace(from, to)))
}

fn join(state: &State, values: Value, between: Option<Value>) -> Result<Value, Error> {
    let mut text = Counted::new(state);
    for (at, value) in values.try_iter()?.enumerate() {
        let between = between.as_ref().filter(|_| at > 0);
        for part in between.into_iter().chain([&value]) {
            text.add(state, part)?;
        }
    }
    Ok(Value::from(text.into_text()?))
}
