//! [`with_hint`]: the error of a statement, with what its text says about the mistake: a misspelt word, a text in double
//! quotes, a function of another system.

use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::script::tokenize;
use super::statement::{RELATION_FUNCTIONS, quoted};
use crate::error::{Position, SqlError, SqlState, nearest, report};

/// The words that begin a statement.
#[rustfmt::skip]
const STATEMENTS: &[&str] = &[
    "ALTER", "COPY", "CREATE", "DEALLOCATE", "DESCRIBE", "DROP", "EXECUTE", "EXPLAIN", "EXPORT", "GRANT", "INSERT",
    "LOAD", "PREPARE", "RESET", "REVOKE", "SELECT", "SET", "SHOW", "TRAIN", "UNLOAD", "VALUES", "WITH",
];
/// The words that go on with a query.
#[rustfmt::skip]
const CLAUSES: &[&str] = &[
    "EXCEPT", "FROM", "GROUP", "HAVING", "INTERSECT", "JOIN", "LIMIT", "OFFSET", "ORDER", "UNION", "WHERE",
];
/// The words after CREATE and DROP.
const OBJECTS: &[&str] = &["EXTERNAL", "INDEX", "MODEL", "SCHEMA", "TABLE", "VIEW"];
/// The words after SHOW.
#[rustfmt::skip]
const SHOWN: &[&str] = &["ALL", "COLUMNS", "FUNCTIONS", "GRANTS", "MODELS", "TABLES", "VERSIONS"];

/// What other systems write: their words in lower case, the system, and what does the same here.
#[rustfmt::skip]
const FOREIGN: &[(&str, &str, &str)] = &[
    ("ml . predict (", "BigQuery ML", "SELECT … FROM predict(m, t)"),
    ("ml . evaluate (", "BigQuery ML", "SELECT … FROM evaluate(m, t)"),
    ("ml . confusion_matrix (", "BigQuery ML", "SELECT … FROM confusion_matrix(m, t)"),
    ("ml . roc_curve (", "BigQuery ML", "SELECT … FROM roc_curve(m, t)"),
    ("ml . training_info (", "BigQuery ML", "SELECT … FROM training_info(m)"),
    ("ml . feature_info (", "BigQuery ML", "DESCRIBE MODEL m"),
    ("ml . recommend (", "BigQuery ML", "SELECT … FROM recommend(m, users)"),
    ("ml . generate_text (", "BigQuery ML", "SELECT generate(m, text)"),
    ("ml . generate_embedding (", "BigQuery ML", "SELECT embed(m, text)"),
    ("ml . forecast (", "BigQuery ML", "predict(m, windows(t, …)) with a model of lags"),
    ("vector_search (", "BigQuery", "SELECT … FROM nearest(queries, items, top_k => n)"),
    ("create snowflake . ml .", "Snowflake", "TRAIN MODEL m TARGET y OPTIONS (model_type = '…') AS SELECT …"),
    ("! predict (", "Snowflake", "SELECT … FROM predict(m, t)"),
    ("! forecast (", "Snowflake", "predict(m, windows(t, …)) with a model of lags"),
    ("! show_evaluation_metrics (", "Snowflake", "SELECT … FROM evaluate(m)"),
    ("! show_confusion_matrix (", "Snowflake", "SELECT … FROM confusion_matrix(m, t)"),
    ("snowflake . cortex . complete (", "Snowflake", "SELECT generate(m, text)"),
    ("snowflake . cortex . embed_text_768 (", "Snowflake", "SELECT embed(m, text)"),
    ("snowflake . cortex . embed_text_1024 (", "Snowflake", "SELECT embed(m, text)"),
    ("ai_complete (", "Snowflake", "SELECT generate(m, text)"),
    ("ai_embed (", "Snowflake", "SELECT embed(m, text)"),
    ("ai_query (", "Databricks", "SELECT generate(m, text)"),
    ("pgml . train (", "PostgresML", "TRAIN MODEL m TARGET y OPTIONS (model_type = '…') AS SELECT …"),
    ("pgml . predict (", "PostgresML", "SELECT predict_value(m, a, b) or SELECT … FROM predict(m, t)"),
    ("pgml . predict_batch (", "PostgresML", "SELECT … FROM predict(m, t)"),
    ("pgml . deploy (", "PostgresML", "ALTER MODEL m SET DEFAULT_VERSION = n"),
    ("pgml . embed (", "PostgresML", "SELECT embed(m, text)"),
    ("pgml . transform (", "PostgresML", "SELECT generate(m, text) or SELECT … FROM predict(m, t)"),
];

/// The error of the statement `text`. Errors about which the text says nothing stay as they are.
pub(crate) fn with_hint(error: DataFusionError, text: &str) -> DataFusionError {
    let found = report(&error);
    match hinted(&found, text) {
        Some(message) => SqlError { message, ..found }.into(),
        None => error,
    }
}

/// The message with a hint.
fn hinted(error: &SqlError, text: &str) -> Option<String> {
    let message = error.message.as_str();
    let foreign = match error.state {
        SqlState::Syntax | SqlState::Unsupported | SqlState::Plan | SqlState::NoSuchTable => {
            foreign(text)
        }
        _ => None,
    };
    foreign.or_else(|| match error.state {
        SqlState::Syntax => misspelt(message),
        SqlState::Plan => not_shown(message).or_else(|| near_function(message)),
        SqlState::NoSuchTable => near_relation_function(message),
        SqlState::MissingColumn => {
            let near = near_column(message);
            let message = near.as_deref().unwrap_or(message);
            in_double_quotes(message, error.position, text).or(near)
        }
        _ => None,
    })
}

/// What does the same here as the statement of another system.
fn foreign(text: &str) -> Option<String> {
    let tokens = tokenize(text).ok()?;
    let words = tokens.iter().filter_map(|token| match &token.token {
        Token::Whitespace(_) | Token::EOF => None,
        Token::SingleQuotedString(_) => Some("''".to_owned()),
        word => Some(word.to_string().to_lowercase()),
    });
    let words: Vec<String> = words.collect();
    let words = format!(" {} ", words.join(" "));
    let (theirs, system, ours) = FOREIGN
        .iter()
        .find(|(theirs, ..)| words.contains(&format!(" {theirs} ")))?;
    let theirs = theirs.trim_end_matches([' ', '(', '.']).replace(" . ", ".");
    let theirs = theirs.replace("! ", "!").to_uppercase();
    Some(format!("{theirs} belongs to {system}; here it is {ours}"))
}

/// The message of the parser that it expected words and found another one, with the nearest of these words.
fn misspelt(message: &str) -> Option<String> {
    let (expected, found) = message.rsplit_once(", found")?;
    let found = found.trim_start_matches([':', ' ']);
    let expected = expected.strip_prefix("expected")?;
    let known: Vec<&str> = if expected.contains("an SQL statement") {
        STATEMENTS.to_vec()
    } else if expected.contains("object type after") {
        OBJECTS.to_vec()
    } else if expected.contains("end of") {
        CLAUSES.to_vec()
    } else {
        let words = expected.split(|c: char| !c.is_ascii_alphabetic() && c != '_');
        let is_keyword = |word: &&str| word.len() > 1 && word.chars().all(|c| !c.is_lowercase());
        words.filter(is_keyword).collect()
    };
    let is_known = known.iter().any(|word| word.eq_ignore_ascii_case(found));
    let nearest = nearest(found, known).filter(|_| !is_known)?;
    Some(format!("{message}; the nearest word is {nearest}"))
}

/// DataFusion's message about a word after SHOW that is no setting, with the words that may stand there.
fn not_shown(message: &str) -> Option<String> {
    let (name, _) = message.split_once("' is not a variable which can be viewed with 'SHOW'")?;
    let name = name.trim_start_matches('\'');
    let what = format!("there is nothing called {name} to show");
    Some(match nearest(name, SHOWN.iter().copied()) {
        Some(nearest) => format!("{what}; the nearest word is {nearest}"),
        None => format!(
            "{what}; SHOW takes a setting or one of {}",
            SHOWN.join(", ")
        ),
    })
}

/// How DataFusion's guess of a name begins.
const GUESS: &str = " Did you mean '";
const QUOTES: &str = "double quotes are for names, single quotes for text";

/// The message without DataFusion's guess if that is far from the function's name; `None` if the guess is near.
fn near_function(message: &str) -> Option<String> {
    let (name, guess) = message
        .strip_prefix("Invalid function '")?
        .split_once(GUESS)?;
    let name = name.trim_end_matches(['.', '\'']);
    let guess = guess.trim_end_matches(['?', '\'']);
    match nearest(name, [guess]) {
        Some(_) => None,
        None => Some(format!("there is no function {name}")),
    }
}

/// The message about an unknown function in FROM, with the nearest one.
fn near_relation_function(message: &str) -> Option<String> {
    let name = message.strip_prefix("table function '")?;
    let name = name.strip_suffix("' not found")?;
    let nearest = nearest(name, RELATION_FUNCTIONS.iter().copied())?;
    Some(format!("{message}; the nearest name is \"{nearest}\""))
}

/// The message without DataFusion's guess if that is far from the column's name; `None` if the guess is near.
fn near_column(message: &str) -> Option<String> {
    let (before, guess) = message.split_once(GUESS)?;
    let (guess, after) = guess.split_once("'?")?;
    let last = |name: &str| {
        let name = name.rsplit(['.', ' ']).next().unwrap_or(name);
        name.trim_matches('"').to_owned()
    };
    let name = last(before.trim_end_matches('.'));
    match nearest(&name, [last(guess).as_str()]) {
        Some(_) => None,
        None => Some(format!("{before}{after}")),
    }
}

/// The message about a missing column, if what stands there is in double quotes and like no column.
fn in_double_quotes(message: &str, at: Option<Position>, text: &str) -> Option<String> {
    let at = at?;
    let is_explained = [GUESS, "case sensitive", QUOTES]
        .iter()
        .any(|part| message.contains(part));
    if is_explained {
        return None;
    }
    let tokens = tokenize(text).ok()?;
    let token = tokens.iter().find(|token| {
        let start = token.span.start;
        (start.line, start.column) == (at.line, at.column)
    })?;
    match &token.token {
        Token::Word(word) if word.quote_style == Some('"') => Some(format!(
            "{}; {QUOTES}: {}",
            message.trim_end_matches('.'),
            quoted(&word.value)
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(state: SqlState, message: &str, text: &str) -> Option<String> {
        let position = text.find('"').map(|at| Position {
            line: 1,
            column: at as u64 + 1,
        });
        let message = message.to_owned();
        hinted(
            &SqlError {
                state,
                message,
                position,
            },
            text,
        )
    }

    #[track_caller]
    fn check(state: SqlState, message: &str, text: &str, expected: Option<&str>) {
        assert_eq!(hint(state, message, text).as_deref(), expected, "{message}");
    }

    #[test]
    fn a_misspelt_keyword_is_told_the_nearest() {
        for (message, word) in [
            ("expected: an SQL statement, found: TRIAN", Some("TRAIN")),
            ("expected: an SQL statement, found: selec", Some("SELECT")),
            ("expected: an SQL statement, found: hello", None),
            (
                "expected TARGET, OPTIONS, COMMENT or AS and a query, found TARGT",
                Some("TARGET"),
            ),
            (
                "expected the end of the statement, found FORM",
                Some("FROM"),
            ),
            ("expected the end of the statement, found FROM", None),
            (
                "expected: an object type after CREATE, found: TABEL",
                Some("TABLE"),
            ),
            ("expected MODEL, found MODLE", Some("MODEL")),
            ("expected MODEL, found the end of the statement", None),
        ] {
            let expected = word.map(|word| format!("{message}; the nearest word is {word}"));
            check(SqlState::Syntax, message, "", expected.as_deref());
        }
        check(
            SqlState::NoSuchTable,
            "table function 'predictt' not found",
            "SELECT * FROM predictt(m, t)",
            Some("table function 'predictt' not found; the nearest name is \"predict\""),
        );
        check(
            SqlState::Plan,
            "'tabels' is not a variable which can be viewed with 'SHOW'",
            "SHOW tabels",
            Some("there is nothing called tabels to show; the nearest word is TABLES"),
        );
    }

    #[test]
    fn a_guess_that_is_far_is_left_out() {
        let message = "Invalid function 'imputer'. Did you mean 'rmse'?";
        check(
            SqlState::Plan,
            message,
            "",
            Some("there is no function imputer"),
        );
        let message = "Invalid function 'sofmax'. Did you mean 'softmax'?";
        check(SqlState::Plan, message, "", None);
        let message =
            "No field named spec. Did you mean 'iris.species'? Valid fields are iris.species.";
        let expected = "No field named spec. Valid fields are iris.species.";
        check(
            SqlState::MissingColumn,
            message,
            "SELECT spec",
            Some(expected),
        );
        let message = "No field named specis. Did you mean 'iris.species'?";
        check(SqlState::MissingColumn, message, "SELECT \"specis\"", None);
    }

    #[test]
    fn a_text_in_double_quotes_is_told_so() {
        let message = "No field named \"it's\". Valid fields are t.a.";
        check(
            SqlState::MissingColumn,
            message,
            "SELECT a = \"it's\"",
            Some(
                "No field named \"it's\". Valid fields are t.a; \
                 double quotes are for names, single quotes for text: 'it''s'",
            ),
        );
    }

    #[test]
    fn statements_of_other_systems_are_told_ours() {
        let ours = |text: &str| hint(SqlState::Syntax, "expected: ), found: m", text);
        assert_eq!(
            ours("SELECT * FROM ML.PREDICT(MODEL m, TABLE t)").as_deref(),
            Some("ML.PREDICT belongs to BigQuery ML; here it is SELECT … FROM predict(m, t)")
        );
        assert!(ours("CREATE SNOWFLAKE.ML.CLASSIFICATION m(a => 1)").is_some());
        assert!(ours("SELECT m!PREDICT(x)").is_some());
        assert!(ours("SELECT 'ml.predict(' FROM xml.predict(").is_none());
    }
}
