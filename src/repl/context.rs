//! The syntactic context at the cursor, found from tokens, since a parser accepts only complete statements.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::arguments::named_arguments;
use super::command_list::{COMMANDS, Takes};
use crate::sql::{NEAREST, RELATION_FUNCTIONS, SUMMARIZE, WINDOWS};

/// The kind of text that may follow at the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Context {
    /// A command of the shell.
    Command,
    /// An argument of a command.
    Argument(Takes),
    /// A path in quotes.
    Path,
    /// The name of an option of TRAIN or LOAD MODEL.
    OptionName,
    /// A value of this option, in quotes.
    OptionValue(String),
    /// A value of this option, before its quote.
    BareOptionValue(String),
    /// A named argument of this function, or another argument.
    ArgumentName(String),
    /// One of these words.
    Words(&'static [&'static str]),
    /// What SHOW shows: one of [`SHOWN`], or a setting.
    Shown,
    /// A value of this named argument of a table function, in quotes.
    ArgumentValue(String),
    /// A setting, after SET or SHOW.
    Setting,
    Table,
    Model,
    /// A column of this table or alias.
    ColumnOf(String),
    /// Keywords, functions, tables, and columns of the tables that the statement names.
    Any,
}

/// What SHOW shows, besides settings.
pub(super) const SHOWN: &[&str] = &[
    "ALL",
    "COLUMNS FROM",
    "CREATE MODEL",
    "FUNCTIONS",
    "GRANTS",
    "MODELS",
    "TABLES",
    "VERSIONS IN MODEL",
];

/// The words of a statement: identifiers and keywords as typed, signs, and strings with their quotes.
fn words(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let _ = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location_into_buf(&mut tokens);
    let tokens = tokens.iter().map(|token| &token.token);
    let words = tokens.filter(|token| !matches!(token, Token::Whitespace(_)));
    words.map(ToString::to_string).collect()
}

/// The context at the end of `text`, and the unfinished word there.
pub(super) fn context(text: &str) -> (Context, String) {
    let trimmed = text.trim_start();
    if trimmed.starts_with('\\') || trimmed.starts_with('.') {
        return command_context(trimmed);
    }
    if let Some(open) = open_quote(text) {
        return quoted_context(&text[..open], &text[open + 1..]);
    }
    let is_word = |c: char| c.is_alphanumeric() || "_.@".contains(c);
    let start = text.rfind(|c| !is_word(c)).map_or(0, |at| {
        at + text[at..].chars().next().map_or(1, char::len_utf8)
    });
    let word = &text[start..];
    let before = words(&text[..start]);
    let is = |back: usize, word: &str| {
        before
            .len()
            .checked_sub(back)
            .and_then(|at| before.get(at))
            .is_some_and(|found| found.eq_ignore_ascii_case(word))
    };
    let is_any = |back: usize, words: &[&str]| words.iter().any(|word| is(back, word));
    let context = if is_in_options(&before) {
        match before.as_slice() {
            [.., name, equals] if equals == "=" => Context::BareOptionValue(name.to_lowercase()),
            [.., last] if last == "(" || last == "," => Context::OptionName,
            _ => Context::Any,
        }
    } else if let Some(words) = after_alter(&before) {
        Context::Words(words)
    } else if is(1, "SHOW") && before.len() == 1 && !word.contains('.') {
        Context::Shown
    } else if is(1, "(") && is_any(2, &[WINDOWS, NEAREST, SUMMARIZE]) {
        Context::Table
    } else if is(1, "(") && is_any(2, RELATION_FUNCTIONS) {
        Context::Model
    } else if is(1, ",") && is(3, "(") && is_any(4, RELATION_FUNCTIONS) && !is(4, WINDOWS) {
        Context::Table
    } else if let Some(function) = open_call(&before).filter(|_| is(1, ",")) {
        Context::ArgumentName(function)
    } else if is_any(1, &["SET", "RESET"]) || (is(1, "SHOW") && word.contains('.')) {
        Context::Setting
    } else if is(1, "MODEL") && (is(4, "EXPORT") || !is_any(2, &["TRAIN", "CREATE", "REPLACE"])) {
        Context::Model
    } else if is_any(
        1,
        &[
            "FROM",
            "JOIN",
            "INTO",
            "TABLE",
            "DESCRIBE",
            "SUMMARIZE",
            "VIEW",
            "COPY",
        ],
    ) {
        Context::Table
    } else if let Some((qualifier, _)) = word.rsplit_once('.') {
        Context::ColumnOf(qualifier.to_owned())
    } else {
        Context::Any
    };
    (context, word.to_owned())
}

fn command_context(text: &str) -> (Context, String) {
    let Some(end) = text.find(char::is_whitespace) else {
        return (Context::Command, text.to_owned());
    };
    let name = &text[..end];
    let command = COMMANDS
        .iter()
        .find(|command| command.names.contains(&name));
    let argument = text[end..]
        .rsplit(char::is_whitespace)
        .next()
        .unwrap_or_default();
    let is_first = text[end..].split_whitespace().count() <= usize::from(!argument.is_empty());
    let takes = match command.map(|command| command.takes) {
        Some(Takes::PrintSetting) if !is_first => {
            let is_format = text[end..].split_whitespace().next() == Some("format");
            if is_format {
                Takes::Format
            } else {
                Takes::Nothing
            }
        }
        Some(takes) => takes,
        None => Takes::Nothing,
    };
    (Context::Argument(takes), argument.to_owned())
}

/// The position of an unclosed single quote.
fn open_quote(text: &str) -> Option<usize> {
    let mut open = None;
    for (at, c) in text.char_indices().filter(|(_, c)| *c == '\'') {
        open = match open {
            None => Some(at),
            Some(_) => None,
        };
        debug_assert_eq!(c, '\'');
    }
    open
}

fn quoted_context(before: &str, begun: &str) -> (Context, String) {
    let before = words(before);
    let context = match before.as_slice() {
        [.., name, equals] if equals == "=" && is_in_options(&before) => {
            Context::OptionValue(name.to_lowercase())
        }
        [.., name, arrow] if arrow == "=>" => Context::ArgumentValue(name.to_lowercase()),
        _ => Context::Path,
    };
    (context, begun.to_owned())
}

/// What may follow in ALTER MODEL behind the name of the model.
fn after_alter(before: &[String]) -> Option<&'static [&'static str]> {
    let is = |at: usize, word: &str| {
        let found = before.get(at);
        found.is_some_and(|found| found.eq_ignore_ascii_case(word))
    };
    if !is(0, "ALTER") || !is(1, "MODEL") || before.len() < 3 {
        return None;
    }
    let last = before.len() - 1;
    let is_after_name = !before[2..]
        .iter()
        .enumerate()
        .any(|(at, word)| match at % 2 {
            0 => word == ".",
            _ => word != ".",
        });
    if is_after_name && last.is_multiple_of(2) {
        return Some(&["RENAME TO", "SET", "VERSION"]);
    }
    match is(last, "SET") {
        true if (3..last).any(|at| is(at, "VERSION")) => Some(&["ALIAS ="]),
        true => Some(&["COMMENT =", "DEFAULT_VERSION ="]),
        false if is(last - 1, "VERSION") => Some(&["SET ALIAS ="]),
        false => None,
    }
}

/// The function of the last open parenthesis, if it has named arguments.
fn open_call(before: &[String]) -> Option<String> {
    let mut depth = 0;
    for (at, word) in before.iter().enumerate().rev() {
        match word.as_str() {
            ")" | "]" => depth += 1,
            "(" | "[" if depth > 0 => depth -= 1,
            "(" => {
                let function = before.get(at.checked_sub(1)?)?.to_lowercase();
                return (!named_arguments(&function).is_empty()).then_some(function);
            }
            "[" => return None,
            _ => {}
        }
    }
    None
}

/// Whether the last open parenthesis belongs to the OPTIONS of a statement about a model.
fn is_in_options(before: &[String]) -> bool {
    let is_of_model = before.iter().any(|word| word.eq_ignore_ascii_case("MODEL"));
    let mut depth = 0;
    for (at, word) in before.iter().enumerate().rev() {
        match word.as_str() {
            ")" => depth += 1,
            "(" if depth == 0 => {
                let is_options = at > 0 && before[at - 1].eq_ignore_ascii_case("OPTIONS");
                return is_options && is_of_model;
            }
            "(" => depth -= 1,
            _ => {}
        }
    }
    false
}

/// The tables in FROM and JOIN, with their aliases. A call of `windows` counts as the table that it takes.
pub(super) fn tables_in(statement: &str) -> Vec<(String, String)> {
    let words = words(statement);
    let mut tables = Vec::new();
    for (at, word) in words.iter().enumerate() {
        if !["FROM", "JOIN", "INTO", "UPDATE"]
            .iter()
            .any(|k| word.eq_ignore_ascii_case(k))
        {
            continue;
        }
        let mut at = at + 1;
        let is_at = |at: usize, expected: &str| {
            let word = words.get(at);
            word.is_some_and(|word| word.eq_ignore_ascii_case(expected))
        };
        let takes_table = [WINDOWS, NEAREST, SUMMARIZE]
            .iter()
            .any(|function| is_at(at, function));
        if takes_table && is_at(at + 1, "(") {
            at += 2;
        }
        let Some(mut name) = words.get(at).filter(|name| is_name(name)).cloned() else {
            continue;
        };
        while words.get(at + 1).is_some_and(|dot| dot == ".") {
            at += 2;
            name = format!("{name}.{}", words.get(at).map_or("", String::as_str));
        }
        let mut alias = words.get(at + 1);
        if alias.is_some_and(|word| word.eq_ignore_ascii_case("AS")) {
            alias = words.get(at + 2);
        }
        let alias = alias.filter(|alias| is_name(alias) && !is_keyword(alias));
        let short = name.rsplit('.').next().unwrap_or(&name).to_owned();
        tables.push((alias.cloned().unwrap_or(short), name));
    }
    tables
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '"')
}

fn is_keyword(word: &str) -> bool {
    matches!(Token::make_word(word, None), Token::Word(word) if word.keyword != Keyword::NoKeyword)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Context, word: &str) {
        assert_eq!(context(text), (expected, word.to_owned()), "{text}");
    }

    #[test]
    fn the_place_decides_what_is_offered() {
        check("", Context::Any, "");
        check("sel", Context::Any, "sel");
        check("SELECT * FROM pe", Context::Table, "pe");
        check("SELECT a FROM x JOIN ", Context::Table, "");
        check("SELECT p.na", Context::ColumnOf("p".into()), "p.na");
        check("SELECT * FROM predict(", Context::Model, "");
        check("SELECT * FROM predict(m, t", Context::Table, "t");
        check("SELECT * FROM windows(", Context::Table, "");
        let named = |function: &str| Context::ArgumentName(function.into());
        check("SELECT * FROM windows(t, or", named("windows"), "or");
        check("SELECT * FROM predict(m, t, ", named("predict"), "");
        check("SELECT embed(m, f(a), tr", named("embed"), "tr");
        check("SELECT * FROM predict(m, (SELECT a, b", Context::Any, "b");
        check("SELECT * FROM windows(t, by => [a, ", Context::Any, "");
        check("SELECT lower(a, b", Context::Any, "b");
        check("DROP MODEL ch", Context::Model, "ch");
        check("UNLOAD MODEL ch", Context::Model, "ch");
        check("LOAD MODEL m OPTIONS (de", Context::OptionName, "de");
        check("EXPORT MODEL ch", Context::Model, "ch");
        check("EXPORT OR REPLACE MODEL ch", Context::Model, "ch");
        check("TRAIN OR REPLACE MODEL ch", Context::Any, "ch");
        check("EXPORT MODEL m TO 'models/m", Context::Path, "models/m");
        check("TRAIN MODEL ch", Context::Any, "ch");
        check("SET vatic.ba", Context::Setting, "vatic.ba");
        check("SHOW mo", Context::Shown, "mo");
        check("SHOW vatic.ba", Context::Setting, "vatic.ba");
        check("ALTER MODEL m", Context::Model, "m");
        let words = Context::Words;
        let after_name: &[&str] = &["RENAME TO", "SET", "VERSION"];
        check("ALTER MODEL m ", words(after_name), "");
        check("ALTER MODEL s.m se", words(after_name), "se");
        let set: &[&str] = &["COMMENT =", "DEFAULT_VERSION ="];
        check("ALTER MODEL s.m SET de", words(set), "de");
        check("ALTER MODEL m VERSION 3 ", words(&["SET ALIAS ="]), "");
        check("ALTER MODEL m VERSION 3 SET ", words(&["ALIAS ="]), "");
        let train = "TRAIN MODEL m TARGET y OPTIONS (";
        check(train, Context::OptionName, "");
        check(
            &format!("{train}epochs = 3, lea"),
            Context::OptionName,
            "lea",
        );
        check(
            &format!("{train}model_type = 'dnn"),
            Context::OptionValue("model_type".into()),
            "dnn",
        );
        check(
            &format!("{train}activation = "),
            Context::BareOptionValue("activation".into()),
            "",
        );
        check(
            &format!("{train}epochs = 3) AS SELECT * FROM "),
            Context::Table,
            "",
        );
        check(
            "SELECT * FROM predict(m, t, dtype => 'b",
            Context::ArgumentValue("dtype".into()),
            "b",
        );
        check("COPY t TO 'out/a", Context::Path, "out/a");
        check("SELECT 'it''s' FROM ", Context::Table, "");
    }

    #[test]
    fn commands_take_what_they_take() {
        check("\\ti", Context::Command, "\\ti");
        check(".mo", Context::Command, ".mo");
        check("\\d pe", Context::Argument(Takes::Table), "pe");
        check("\\pset fo", Context::Argument(Takes::PrintSetting), "fo");
        check("\\pset format cs", Context::Argument(Takes::Format), "cs");
        check("\\pset null ", Context::Argument(Takes::Nothing), "");
        check("\\i exa", Context::Argument(Takes::Path), "exa");
    }

    #[test]
    fn tables_are_found_with_their_aliases() {
        let found =
            tables_in("SELECT  FROM people p JOIN s.houses AS h ON true JOIN \"Big\" WHERE x");
        let expected = [("p", "people"), ("h", "s.houses"), ("\"Big\"", "\"Big\"")];
        let expected = expected.map(|(alias, name)| (alias.to_owned(), name.to_owned()));
        assert_eq!(found, expected);
        let found = tables_in("SELECT  FROM windows(s.sales, order => ");
        assert_eq!(found, [("sales".to_owned(), "s.sales".to_owned())]);
    }
}
