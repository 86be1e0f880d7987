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

impl GrantStatement {
    /// Whether it is for what it changes, and not for its rows.
    pub(crate) fn is_change(&self) -> bool {
        match self {
            Self::Grant(_) | Self::Revoke(_) => true,
            Self::Show => false,
        }
    }
}

impl ModelStatement {
    /// Whether it is for what it changes, and not for its rows.
    pub(crate) fn is_change(&self) -> bool {
        match self {
            Self::Alter(..) | Self::Drop(_) => true,
            Self::ShowModels { .. }
            | Self::ShowVersions(_)
            | Self::Describe(_)
            | Self::ShowCreate(_) => false,
        }
    }
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

/// Parses back to the same statement.
impl fmt::Display for TrainModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_replace = if self.or_replace { "OR REPLACE " } else { "" };
        let if_not_exists = if self.if_not_exists {
            "IF NOT EXISTS "
        } else {
            ""
        };
        write!(f, "TRAIN {or_replace}MODEL {if_not_exists}{}", self.name)?;
        if let Some(target) = &self.target {
            write!(f, "\nTARGET {}", quoted_identifier(target))?;
        }
        if !self.options.is_empty() {
            let options: Vec<String> = self
                .options
                .iter()
                .map(|(key, value)| format!("{key} = {value}"))
                .collect();
            write!(f, "\nOPTIONS ({})", options.join(", "))?;
        }
        if let Some(comment) = &self.comment {
            write!(f, "\nCOMMENT {}", quoted(comment))?;
        }
        write!(f, "\nAS {}", self.query.text)
    }
}
