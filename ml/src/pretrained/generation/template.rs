//! [`Template`]: a program in Jinja, of which the steps and the bytes of all texts that they make are counted.
//!
//! The library counts steps, but a step may join two copies of a text: forty of them make a text of a terabyte. So the steps that join and
//! repeat become calls of functions of this file, which count what comes of them before they make it. What a step writes is counted too, and
//! so are the filters and methods that make a text of another.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;

use minijinja::machinery::{
    CompiledTemplate, Instruction, TemplateConfig, Token, Vm, WhitespaceConfig, make_string_output,
    tokenize,
};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Object, Rest, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, context};
use serde::Serialize;

/// The name of the template in errors.
const NAME: &str = "chat";
/// The most steps of a template for a prompt; real ones take some hundred.
const STEPS_MAX: u64 = 20_000;
/// The most bytes of the texts that a template makes for a prompt: more than any model takes.
pub(super) const BYTES_MAX: usize = 64 << 20;
/// What an item of a list counts beside its own bytes.
const ITEM_BYTES: usize = 64;
/// The most levels of a value that is written.
pub(super) const LEVELS_MAX: usize = 1_000;
/// The stack of a template's thread: values may be nested as deep as there are steps, and are dropped level by level.
const STACK_BYTES: usize = 64 << 20;

/// The expressions that become calls; each is the name of its function, which no template can write.
const SUM: &str = "a + b";
const JOINED: &str = "a ~ b";
const PRODUCT: &str = "a * b";

/// The library's filters that make a text of about the size of another.
const TEXT_FILTERS: [&str; 9] = [
    "upper",
    "lower",
    "title",
    "capitalize",
    "trim",
    "split",
    "lines",
    "escape",
    "e",
];
/// The library's filters that chat templates do not need, and whose results may be far larger than what they get.
const ABSENT_FILTERS: [&str; 7] = [
    "batch", "slice", "indent", "chain", "zip", "format", "pprint",
];

/// The library with all of its filters.
static LIBRARY: LazyLock<Environment<'static>> = LazyLock::new(Environment::new);

/// A template.
pub(super) struct Template {
    environment: Environment<'static>,
    source: String,
}

impl Template {
    /// The template of this text; the environment has the functions, filters and methods that it may call.
    ///
    /// # Errors
    /// If it is no template, or if it repeats what is neither a name nor a number.
    pub(super) fn new(
        source: String,
        mut environment: Environment<'static>,
    ) -> Result<Self, Error> {
        environment.set_formatter(write_counted);
        environment.add_function(SUM, sum);
        environment.add_function(JOINED, joined);
        environment.add_function(PRODUCT, product);
        environment.add_filter("string", string);
        environment.add_filter("replace", replace);
        environment.add_filter("join", join);
        for name in TEXT_FILTERS {
            environment.add_filter(name, move |state: &State, args: Rest<Value>| {
                let texts = args.iter().filter_map(Value::as_str);
                count(state, texts.map(str::len).sum())?;
                LIBRARY.empty_state().apply_filter(name, &args)
            });
        }
        for name in ABSENT_FILTERS {
            environment.remove_filter(name);
        }
        let (_, longest) = compiled(&source)?;
        // Plain text of the template is written without a call.
        let steps = 4 * BYTES_MAX / longest.max(1);
        environment.set_fuel(Some(STEPS_MAX.min(steps as u64)));
        Ok(Self {
            environment,
            source,
        })
    }

    /// The text that the template makes of what it sees.
    ///
    /// # Errors
    /// What the template says against it, or that it takes too many steps or bytes.
    pub(super) fn text(&self, seen: &(impl Serialize + Sync)) -> Result<String, Error> {
        thread::scope(|scope| {
            let thread = thread::Builder::new()
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, || self.computed(Value::from_serialize(seen)));
            let thread = thread.map_err(|error| invalid(format!("no thread for it: {error}")))?;
            let panicked = |_| Err(invalid("its computation ended"));
            thread.join().unwrap_or_else(panicked)
        })
    }

    fn computed(&self, seen: Value) -> Result<String, Error> {
        let (template, _) = compiled(&self.source)?;
        let mut text = String::new();
        let vm = Vm::new(&self.environment);
        let mut output = make_string_output(&mut text);
        vm.eval(
            &template.instructions,
            seen,
            &template.blocks,
            &mut output,
            AutoEscape::None,
        )
        .map(drop)?;
        drop(output);
        Ok(text)
    }
}

/// The template with calls in the place of steps that make texts, and the bytes of its longest plain text.
fn compiled(source: &str) -> Result<(CompiledTemplate<'_>, usize), Error> {
    let spaces = WhitespaceConfig {
        keep_trailing_newline: false,
        lstrip_blocks: true,
        trim_blocks: true,
    };
    check_products(source, spaces)?;
    let config = TemplateConfig {
        syntax_config: SyntaxConfig,
        ws_config: spaces,
        default_auto_escape: Arc::new(|_: &str| AutoEscape::None),
    };
    let mut template = CompiledTemplate::new(NAME, source, &config)?;
    let mut longest = 0;
    let blocks = template.blocks.values_mut();
    for steps in std::iter::once(&mut template.instructions).chain(blocks) {
        let mut at = 0;
        while let Some(step) = steps.get_mut(at) {
            let function = match step {
                Instruction::Add => Some(SUM),
                Instruction::StringConcat => Some(JOINED),
                Instruction::Mul => Some(PRODUCT),
                Instruction::EmitRaw(text) => {
                    longest = longest.max(text.len());
                    None
                }
                _ => None,
            };
            if let Some(function) = function {
                *step = Instruction::CallFunction(function, Some(2));
            }
            at += 1;
        }
    }
    Ok((template, longest))
}

/// Refuses products of texts and lists that the library would compute when it reads the template, before any step is counted.
fn check_products(source: &str, spaces: WhitespaceConfig) -> Result<(), Error> {
    let is_plain =
        |token: &Token| matches!(token, Token::Ident(_) | Token::Int(_) | Token::Float(_));
    let (mut is_factor, mut is_behind) = (false, false);
    for token in tokenize(source, false, SyntaxConfig, spaces) {
        let (token, _) = token?;
        let is_product = matches!(token, Token::Mul);
        if (is_behind && !is_plain(&token)) || (is_product && !is_factor) {
            return Err(invalid("* takes names and numbers"));
        }
        (is_factor, is_behind) = (is_plain(&token), is_product);
    }
    Ok(())
}

/// The bytes that a template has made for a prompt.
#[derive(Debug, Default)]
struct Made(AtomicUsize);

impl Object for Made {}

impl Made {
    fn of(state: &State) -> Arc<Self> {
        state.get_or_set_temp_object("made", Self::default)
    }

    /// Whether so many more may be made.
    fn takes(&self, bytes: usize) -> bool {
        let before = self
            .0
            .fetch_add(bytes.min(BYTES_MAX + 1), Ordering::Relaxed);
        before.saturating_add(bytes) <= BYTES_MAX
    }
}

/// Counts bytes that are about to be made.
///
/// # Errors
/// If they are too many.
pub(super) fn count(state: &State, bytes: usize) -> Result<(), Error> {
    match Made::of(state).takes(bytes) {
        true => Ok(()),
        false => Err(full()),
    }
}

/// A text whose bytes are counted before they are kept.
pub(super) struct Counted {
    bytes: Vec<u8>,
    made: Arc<Made>,
}

impl Counted {
    pub(super) fn new(state: &State) -> Self {
        let made = Made::of(state);
        Self {
            bytes: vec![],
            made,
        }
    }

    /// # Errors
    /// If the bytes are no text.
    pub(super) fn into_text(self) -> Result<String, Error> {
        String::from_utf8(self.bytes).map_err(|error| invalid(error.to_string()))
    }
}

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.made.takes(bytes.len()) {
            return Err(io::Error::other(full()));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Write for Counted {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        io::Write::write_all(self, text.as_bytes()).map_err(|_| fmt::Error)
    }
}

/// Checks before a value is written that it ends: a namespace may have itself in an attribute.
///
/// # Errors
/// If it has more than so many levels, or too many items.
pub(super) fn check_levels(state: &State, value: &Value, levels: usize) -> Result<(), Error> {
    let is_map = value.kind() == ValueKind::Map;
    if !is_map && !is_list(value) {
        return Ok(());
    }
    let Some(levels) = levels.checked_sub(1) else {
        let max = LEVELS_MAX;
        return Err(invalid(format!(
            "its values are nested in more than {max} levels"
        )));
    };
    for item in value.try_iter()? {
        count(state, ITEM_BYTES)?;
        let item = match is_map {
            true => value.get_item(&item)?,
            false => item,
        };
        check_levels(state, &item, levels)?;
    }
    Ok(())
}

/// The values one behind the other.
fn written(state: &State, values: &[&Value]) -> Result<String, Error> {
    let mut text = Counted::new(state);
    for value in values {
        check_levels(state, value, LEVELS_MAX)?;
        fmt::Write::write_fmt(&mut text, format_args!("{value}")).map_err(|_| full())?;
    }
    text.into_text()
}

fn write_counted(output: &mut Output, state: &State, value: &Value) -> Result<(), Error> {
    match value.as_str() {
        Some(text) => {
            count(state, text.len())?;
            output.write_str(text)?;
        }
        None => output.write_str(&written(state, &[value])?)?,
    }
    Ok(())
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

fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
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
            check_levels(state, part, LEVELS_MAX)?;
            fmt::Write::write_fmt(&mut text, format_args!("{part}")).map_err(|_| full())?;
        }
    }
    Ok(Value::from(text.into_text()?))
}

fn invalid(problem: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem)
}

fn full() -> Error {
    let max = BYTES_MAX >> 20;
    invalid(format!("it makes more than {max} MiB of texts"))
}
