//! Parameters of a statement: found in its tokens, and replaced by literals before the statement is parsed.
//!
//! So a parameter may be wherever a literal may be: in OPTIONS, in the arguments of `predict`, in LIMIT. A value becomes
//! one literal or one call of `arrow_cast`, so it can never become another part of the statement.

use std::ops::Range;

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::quoted;
use super::script::{LineStarts, tokenize};
use crate::error::{Result, SqlState, sql_err};

/// The parameters of a text and their places.
#[derive(Debug, Clone)]
pub(crate) struct Parameters {
    text: String,
    places: Vec<Place>,
    /// The name of each parameter, with a dollar sign: `$1`, `$2`, or `$name`.
    names: Vec<String>,
}

#[derive(Debug, Clone)]
struct Place {
    bytes: Range<usize>,
    parameter: usize,
    /// The key of the option, if the parameter is the value of an option.
    option: Option<String>,
}

impl Parameters {
    /// Finds `?`, `$1` and `$name`.
    ///
    /// # Errors
    /// If the kinds are mixed, or numbers are left out. A text that cannot be tokenised has no parameters: the parser reports
    /// its error.
    pub(crate) fn find(text: &str) -> Result<Self> {
        let mut found = Self {
            text: text.to_owned(),
            places: vec![],
            names: vec![],
        };
        let lines = LineStarts::new(text);
        let mut written = Vec::new();
        let mut options = OptionKeys::default();
        for token in tokenize(text).unwrap_or_default() {
            if let Token::Placeholder(name) = &token.token {
                let start = lines.offset_of(token.span.start);
                written.push((start..start + name.len(), name.clone(), options.key()));
            }
            options.pass(&token.token);
        }
        let are_questions = |is: bool| written.iter().any(|(_, name, _)| (name == "?") == is);
        if are_questions(true) && are_questions(false) {
            let message = "? and $1 cannot be mixed in one statement; use one of them";
            return Err(sql_err(SqlState::Syntax, message));
        }
        for (count, (bytes, name, option)) in written.into_iter().enumerate() {
            let name = match name.as_str() {
                "?" => format!("${}", count + 1),
                _ => name,
            };
            let known = found.names.iter().position(|known| *known == name);
            let parameter = known.unwrap_or_else(|| {
                found.names.push(name);
                found.names.len() - 1
            });
            found.places.push(Place {
                bytes,
                parameter,
                option,
            });
        }
        found.number()?;
        Ok(found)
    }

    /// Sorts numbered parameters by their numbers; named parameters keep the order of the text.
    fn number(&mut self) -> Result<()> {
        let number = |name: &String| name[1..].parse::<usize>().ok();
        let numbers: Vec<usize> = self.names.iter().filter_map(number).collect();
        if numbers.is_empty() {
            return Ok(());
        }
        let is_complete = (1..=self.names.len()).all(|wanted| numbers.contains(&wanted));
        if numbers.len() != self.names.len() || !is_complete {
            let message =
                "parameters are numbered from $1 on without gaps, and not mixed with names";
            return Err(sql_err(SqlState::Syntax, message));
        }
        for place in &mut self.places {
            place.parameter = number(&self.names[place.parameter]).unwrap_or(1) - 1;
        }
        self.names = (1..=self.names.len()).map(|at| format!("${at}")).collect();
        Ok(())
    }

    /// For each parameter that is the value of an option, `OPTIONS (key = ?)`, the key of the option.
    pub(crate) fn option_keys(&self) -> Vec<Option<String>> {
        let mut keys = vec![None; self.names.len()];
        for place in &self.places {
            if let Some(key) = &place.option {
                keys[place.parameter] = Some(key.clone());
            }
        }
        keys
    }

    /// The statement with `$1` for the first `?`, and with the number 1 for each parameter that is the value of an option.
    pub(crate) fn numbered_without_options(&self) -> String {
        let keys = self.option_keys();
        self.replaced(|parameter| match &keys[parameter] {
            Some(_) => "1".to_owned(),
            None => self.names[parameter].clone(),
        })
    }

    /// The name of each parameter: `$1`, `$2`, or `$name`.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The statement as written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The statement with `$1` for the first `?`, as DataFusion requires it.
    pub(crate) fn numbered(&self) -> String {
        self.replaced(|parameter| self.names[parameter].clone())
    }

    /// The statement with values in place of parameters.
    ///
    /// # Errors
    /// If there are too few or too many values, or a value of a type that SQL cannot write.
    pub(crate) fn bind(&self, values: &[ScalarValue]) -> Result<String> {
        self.check_count(values.len())?;
        let literals = values.iter().map(literal).collect::<Result<Vec<_>>>()?;
        Ok(self.replaced(|parameter| format!(" {} ", literals[parameter])))
    }

    pub(crate) fn check_count(&self, given: usize) -> Result<()> {
        if given == self.names.len() {
            return Ok(());
        }
        let message = format!(
            "the statement has {} parameters, and {given} values were bound",
            self.names.len()
        );
        Err(sql_err(SqlState::WrongParameters, message))
    }

    /// An `INSERT … VALUES` of one row, as a query over a table with a column for each parameter, of the same name; `None` for
    /// any other statement.
    pub(crate) fn insert_select(&self, table: &str) -> Option<String> {
        let tokens = tokenize(&self.text).ok()?;
        let lines = LineStarts::new(&self.text);
        let offset = |at: usize| lines.offset_of(tokens[at].span.start);
        let significant: Vec<usize> = (0..tokens.len())
            .filter(|&at| !matches!(tokens[at].token, Token::Whitespace(_) | Token::EOF))
            .filter(|&at| tokens[at].token != Token::SemiColon)
            .collect();
        let is_word = |at: usize, word: &str| matches!(&tokens[at].token, Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word));
        let first = *significant.first()?;
        let values = significant
            .iter()
            .position(|&at| is_word(at, "VALUES"))
            .filter(|_| is_word(first, "INSERT"))?;
        let open = *significant.get(values + 1)?;
        let close = *significant.last()?;
        let mut depth = 0;
        for &at in &significant[values + 1..] {
            match tokens[at].token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            // There is a second row, or text after the first row.
            if depth == 0 && at != close {
                return None;
            }
        }
        if tokens[open].token != Token::LParen || depth != 0 {
            return None;
        }
        let row = offset(open) + 1..offset(close);
        let begin = offset(significant[values]);
        let places = self.places.iter().filter(|place| {
            let is_in_row = row.start <= place.bytes.start && place.bytes.end <= row.end;
            is_in_row || place.bytes.start < begin
        });
        if places.count() != self.places.len() {
            return None;
        }
        let column = |parameter: usize| format!("\"{}\"", self.names[parameter]);
        Some(format!(
            "{}SELECT {} FROM {table}",
            self.replaced_in(0..begin, column),
            self.replaced_in(row, column)
        ))
    }

    fn replaced(&self, by: impl Fn(usize) -> String) -> String {
        self.replaced_in(0..self.text.len(), by)
    }

    fn replaced_in(&self, part: Range<usize>, by: impl Fn(usize) -> String) -> String {
        let mut text = String::with_capacity(part.len());
        let mut end = part.start;
        for place in &self.places {
            if place.bytes.start < part.start || place.bytes.end > part.end {
                continue;
            }
            text.push_str(&self.text[end..place.bytes.start]);
            text.push_str(&by(place.parameter));
            end = place.bytes.end;
        }
        text.push_str(&self.text[end..part.end]);
        text
    }
}

/// Tracks the tokens of a statement through `OPTIONS (key = value, …)`.
#[derive(Debug, Default)]
struct OptionKeys {
    /// The number of open brackets since OPTIONS; `None` before OPTIONS.
    depth: Option<usize>,
    /// The last two tokens.
    before: [Option<Token>; 2],
}

impl OptionKeys {
    /// The key of the option whose value comes next.
    fn key(&self) -> Option<String> {
        match &self.before {
            [Some(Token::Word(key)), Some(Token::Eq)]
                if self.depth.is_some_and(|depth| depth > 0) =>
            {
                Some(key.value.to_lowercase())
            }
            _ => None,
        }
    }

    fn pass(&mut self, token: &Token) {
        match token {
            Token::Whitespace(_) => return,
            Token::Word(word) if word.value.eq_ignore_ascii_case("OPTIONS") => self.depth = Some(0),
            Token::LParen => self.depth = self.depth.map(|depth| depth + 1),
            Token::RParen => {
                self.depth = self
                    .depth
                    .and_then(|depth| depth.checked_sub(1))
                    .filter(|depth| *depth > 0)
            }
            _ => {}
        }
        self.before.swap(0, 1);
        self.before[1] = Some(token.clone());
    }
}

/// SQL that gives the same value of the same type.
fn literal(value: &ScalarValue) -> Result<String> {
    let data_type = value.data_type();
    let cast = |text: String| format!("arrow_cast({text}, {})", quoted(&data_type.to_string()));
    if value.is_null() {
        return Ok(match data_type {
            DataType::Null => "NULL".into(),
            _ => cast("NULL".into()),
        });
    }
    Ok(match value {
        ScalarValue::Boolean(Some(value)) => value.to_string(),
        ScalarValue::Int64(Some(value)) if *value != i64::MIN => value.to_string(),
        // SQL has no literals of narrower types, and an operator would compute in Int64 as with an Int64 literal.
        ScalarValue::Int8(Some(value)) => value.to_string(),
        ScalarValue::Int16(Some(value)) => value.to_string(),
        ScalarValue::Int32(Some(value)) => value.to_string(),
        ScalarValue::Float64(Some(value)) if value.is_finite() => format!("{value:?}"),
        ScalarValue::Utf8(Some(text))
        | ScalarValue::LargeUtf8(Some(text))
        | ScalarValue::Utf8View(Some(text)) => quoted(text),
        ScalarValue::Binary(Some(bytes))
        | ScalarValue::LargeBinary(Some(bytes))
        | ScalarValue::BinaryView(Some(bytes)) => hex(bytes),
        ScalarValue::FixedSizeBinary(_, Some(bytes)) => cast(hex(bytes)),
        ScalarValue::Dictionary(_, value) => literal(value)?,
        ScalarValue::List(array) => list(&array.value(0), &data_type)?,
        ScalarValue::LargeList(array) => list(&array.value(0), &data_type)?,
        ScalarValue::FixedSizeList(array) => list(&array.value(0), &data_type)?,
        ScalarValue::Struct(array) => {
            let mut fields = Vec::new();
            for (field, column) in array.fields().iter().zip(array.columns()) {
                fields.push(quoted(field.name()));
                fields.push(literal(&ScalarValue::try_from_array(column, 0)?)?);
            }
            format!("named_struct({})", fields.join(", "))
        }
        _ => match whole_number(value)? {
            Some(number) => cast(number),
            None => cast(quoted(&as_text(value)?)),
        },
    })
}

fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("X'{digits}'")
}

fn list(items: &ArrayRef, data_type: &DataType) -> Result<String> {
    let items = (0..items.len())
        .map(|at| literal(&ScalarValue::try_from_array(items, at)?))
        .collect::<Result<Vec<_>>>()?;
    Ok(format!(
        "arrow_cast([{}], {})",
        items.join(", "),
        quoted(&data_type.to_string())
    ))
}

/// The number that stands for a time exactly; `None` for other types.
fn whole_number(value: &ScalarValue) -> Result<Option<String>> {
    let data_type = match value.data_type() {
        DataType::Timestamp(..)
        | DataType::Time64(_)
        | DataType::Date64
        | DataType::Duration(_) => DataType::Int64,
        DataType::Date32 | DataType::Time32(_) => DataType::Int32,
        _ => return Ok(None),
    };
    let number = value.cast_to(&data_type)?;
    Ok(Some(match data_type {
        DataType::Int32 => format!("arrow_cast({number}, 'Int32')"),
        _ => number.to_string(),
    }))
}

fn as_text(value: &ScalarValue) -> Result<String> {
    let array = value.to_array()?;
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(&array, &options)?;
    Ok(formatter.value(0).try_to_string()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(text: &str, values: &[ScalarValue]) -> String {
        Parameters::find(text).unwrap().bind(values).unwrap()
    }

    #[test]
    fn question_marks_are_numbered_in_order_and_not_found_in_strings() {
        let text = "SELECT ?, '?', \"?\" -- ?\n, ? /* ? */";
        let parameters = Parameters::find(text).unwrap();
        assert_eq!(
            parameters.numbered(),
            "SELECT $1, '?', \"?\" -- ?\n, $2 /* ? */"
        );
    }

    #[test]
    fn numbers_give_the_order_also_beyond_nine() {
        let text: Vec<String> = (1..=11).rev().map(|at| format!("${at}")).collect();
        let parameters = Parameters::find(&text.join("+")).unwrap();
        assert_eq!(parameters.names()[1], "$2");
        assert_eq!(parameters.names()[10], "$11");
        let values: Vec<ScalarValue> = (1..=11).map(|at| ScalarValue::Int64(Some(at))).collect();
        assert!(parameters.bind(&values).unwrap().starts_with(" 11 + 10 +"));
    }

    #[test]
    fn values_of_options_know_their_key() {
        let text =
            "TRAIN MODEL m OPTIONS (epochs = ?, layers = [1, (2)], seed=?) AS SELECT a = ? FROM t";
        let parameters = Parameters::find(text).unwrap();
        let keys = parameters.option_keys();
        let keys: Vec<Option<&str>> = keys.iter().map(Option::as_deref).collect();
        assert_eq!(keys, [Some("epochs"), Some("seed"), None]);
        assert_eq!(
            parameters.numbered_without_options(),
            "TRAIN MODEL m OPTIONS (epochs = 1, layers = [1, (2)], seed=1) AS SELECT a = $3 FROM t"
        );
    }

    #[test]
    fn mixed_parameters_and_gaps_are_errors() {
        for text in ["SELECT ?, $1", "SELECT $2", "SELECT $1, $a"] {
            assert!(Parameters::find(text).is_err(), "{text}");
        }
        assert_eq!(
            Parameters::find("SELECT $b, $a, $b").unwrap().names(),
            ["$b", "$a"]
        );
    }

    #[test]
    fn a_value_stays_a_value() {
        let text = ScalarValue::Utf8(Some("'; DROP TABLE t; --".into()));
        assert_eq!(
            bound("SELECT ?", &[text]),
            "SELECT  '''; DROP TABLE t; --' "
        );
        let minus = ScalarValue::Int64(Some(-1));
        assert_eq!(bound("SELECT 1-?", &[minus]), "SELECT 1- -1 ");
    }

    #[test]
    fn one_row_of_values_becomes_a_query() {
        let rewritten = |text: &str| Parameters::find(text).unwrap().insert_select("r");
        assert_eq!(
            rewritten("INSERT INTO t (a, b) VALUES (?, upper(?) || 'x');").unwrap(),
            "INSERT INTO t (a, b) SELECT \"$1\", upper(\"$2\") || 'x' FROM r"
        );
        assert_eq!(rewritten("INSERT INTO t VALUES (?), (?)"), None);
        assert_eq!(rewritten("SELECT ?"), None);
        assert_eq!(rewritten("INSERT INTO t SELECT ?"), None);
    }
}
