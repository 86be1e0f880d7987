//! Statements after parsing.

use std::fmt;

use datafusion::sql::parser::Statement as DFStatement;
use datafusion::sql::sqlparser::ast::Ident;

use crate::access::grants::Grant;
use crate::error::Position;
use crate::model::{ModelName, ModelRef};

/// Functions in FROM whose first argument is a model.
pub(crate) const RELATION_FUNCTIONS: &[&str] =
    &["predict", "evaluate", "confusion_matrix", "training_info"];

/// One statement.
#[derive(Debug, Clone)]
pub(crate) enum Statement {
    /// DataFusion's.
    DataFusion(Box<DFStatement>),
    /// `TRAIN MODEL …`
    Train(Box<TrainModel>),
    /// `CREATE MODEL … FROM …`
    Import(Box<ImportModel>),
    /// `EXPLAIN TRAIN MODEL …`
    ExplainTrain(Box<TrainModel>),
    /// About models that exist.
    Model(ModelStatement),
    /// About who may use what.
    Grant(GrantStatement),
}

/// A statement about who may use what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GrantStatement {
    /// `GRANT … ON … TO role`
    Grant(Grant),
    /// `REVOKE … ON … FROM role`
    Revoke(Grant),
    /// `SHOW GRANTS`
    Show,
}

/// A statement about models that exist.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ModelStatement {
    /// `SHOW MODELS [LIKE pattern]`
    ShowModels { like: Option<String> },
    /// `SHOW VERSIONS IN MODEL m`
    ShowVersions(ModelName),
    /// `DESCRIBE MODEL m`
    Describe(ModelRef),
    /// `SHOW CREATE MODEL m`
    ShowCreate(ModelRef),
    /// `ALTER MODEL m …`
    Alter(ModelName, AlterModel),
    /// `DROP MODEL m …`
    Drop(DropModel),
}

/// What `ALTER MODEL` changes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum AlterModel {
    /// `SET DEFAULT_VERSION = n`
    DefaultVersion(u64),
    /// `VERSION n SET ALIAS = a`
    Alias { version: u64, alias: String },
    /// `RENAME TO name`
    Rename(ModelName),
    /// `SET COMMENT = text`
    Comment(String),
}

/// `DROP MODEL [IF EXISTS] m [VERSION n]`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DropModel {
    pub(crate) name: ModelName,
    pub(crate) if_exists: bool,
    pub(crate) version: Option<u64>,
}

/// `TRAIN MODEL …`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TrainModel {
    pub(crate) name: ModelName,
    pub(crate) or_replace: bool,
    pub(crate) if_not_exists: bool,
    /// The label; the column `label` if `None`.
    pub(crate) target: Option<String>,
    pub(crate) options: Vec<(String, OptionValue)>,
    pub(crate) comment: Option<String>,
    pub(crate) query: TrainingQuery,
}

/// `CREATE MODEL … FROM …`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ImportModel {
    pub(crate) name: ModelName,
    pub(crate) or_replace: bool,
    pub(crate) if_not_exists: bool,
    /// A directory, or one file.
    pub(crate) source: String,
    pub(crate) options: Vec<(String, OptionValue)>,
    pub(crate) comment: Option<String>,
}

/// The query of a training as written.
#[derive(Debug, Clone)]
pub(crate) struct TrainingQuery {
    pub(crate) text: String,
    /// Where it begins in the statement.
    pub(crate) at: Position,
}

/// Where a query stands makes it no other.
impl PartialEq for TrainingQuery {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl TrainingQuery {
    /// A position in the query as one in the statement.
    pub(crate) fn position_of(&self, Position { line, column }: Position) -> Position {
        let column = if line == 1 {
            column + self.at.column - 1
        } else {
            column
        };
        Position {
            line: line + self.at.line - 1,
            column,
        }
    }
}

/// The value of an option.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum OptionValue {
    Boolean(bool),
    /// As written, so that nothing is lost before the option is known.
    Number(String),
    Text(String),
    List(Vec<OptionValue>),
    /// `('label', 2.0)`
    Tuple(Vec<OptionValue>),
}

impl fmt::Display for OptionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separated = |values: &[OptionValue]| {
            values
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        };
        match self {
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Number(text) => f.write_str(text),
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::List(values) => write!(f, "[{}]", separated(values)),
            Self::Tuple(values) => write!(f, "({})", separated(values)),
        }
    }
}

/// An identifier as DataFusion keeps it.
pub(crate) fn folded(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}

/// The text as a SQL string.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn quoted_identifier(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if is_plain {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// `OR REPLACE MODEL name`, `MODEL IF NOT EXISTS name`
struct Head<'a>(&'a ModelName, bool, bool);

impl fmt::Display for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name, or_replace, if_not_exists) = self;
        let or_replace = if *or_replace { "OR REPLACE " } else { "" };
        let if_not_exists = if *if_not_exists { "IF NOT EXISTS " } else { "" };
        write!(f, "{or_replace}MODEL {if_not_exists}{name}")
    }
}

/// ` OPTIONS (…) COMMENT …` on lines of their own, as far as there are any.
struct Clauses<'a>(&'a [(String, OptionValue)], Option<&'a str>);

impl fmt::Display for Clauses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(options, comment) = self;
        if !options.is_empty() {
            let options: Vec<String> = options
                .iter()
                .map(|(key, value)| format!("{key} = {value}"))
                .collect();
            write!(f, "\nOPTIONS ({})", options.join(", "))?;
        }
        match comment {
            Some(comment) => write!(f, "\nCOMMENT {}", quoted(comment)),
            None => Ok(()),
        }
    }
}

/// Parses back to the same statement.
impl fmt::Display for TrainModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = Head(&self.name, self.or_replace, self.if_not_exists);
        write!(f, "TRAIN {head}")?;
        if let Some(target) = &self.target {
            write!(f, "\nTARGET {}", quoted_identifier(target))?;
        }
        let clauses = Clauses(&self.options, self.comment.as_deref());
        write!(f, "{clauses}\nAS {}", self.query.text)
    }
}

/// Parses back to the same statement.
impl fmt::Display for ImportModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = Head(&self.name, self.or_replace, self.if_not_exists);
        let clauses = Clauses(&self.options, self.comment.as_deref());
        write!(f, "CREATE {head}\nFROM {}{clauses}", quoted(&self.source))
    }
}
