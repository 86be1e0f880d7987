//! [`Statement`] and its parts: the result of parsing.

use std::fmt;

use datafusion::sql::parser::Statement as DFStatement;
use datafusion::sql::sqlparser::ast::Ident;

use crate::access::grants::Grant;
use crate::error::Position;
use crate::model::{ModelName, ModelRef};
use crate::storage::IfTaken;

/// Our functions in FROM. The first argument is a model, or a relation ([`begins_with_relation`]).
pub(crate) const RELATION_FUNCTIONS: &[&str] = &[
    "predict",
    "evaluate",
    "confusion_matrix",
    "roc_curve",
    "pr_curve",
    "calibration_curve",
    "training_info",
    RECOMMEND,
    WINDOWS,
    NEAREST,
    SUMMARIZE,
];
/// The function in FROM that gives the best items of each user.
pub(crate) const RECOMMEND: &str = "recommend";
/// The function in FROM that makes arrays of time series.
pub(crate) const WINDOWS: &str = "windows";
/// The function in FROM that finds the nearest vectors of one relation for each of another.
pub(crate) const NEAREST: &str = "nearest";
/// The function in FROM that describes the columns of a relation by figures.
pub(crate) const SUMMARIZE: &str = "summarize";

/// Whether the first argument of a function in FROM is a relation, not a model.
pub(crate) fn begins_with_relation(function: &str) -> bool {
    matches!(function, WINDOWS | NEAREST | SUMMARIZE)
}

/// The names of the options of LOAD MODEL.
pub(crate) const LOAD_OPTIONS: &[&str] = &["device", "dtype"];

/// One statement.
#[derive(Debug, Clone)]
pub(crate) enum Statement {
    /// A statement of DataFusion's own SQL.
    DataFusion(Box<DFStatement>),
    /// `TRAIN MODEL …`
    Train(Box<TrainModel>),
    /// `CREATE MODEL … FROM …`
    Import(Box<ImportModel>),
    /// `EXPLAIN TRAIN MODEL …`
    ExplainTrain(Box<TrainModel>),
    /// `LOAD MODEL …`
    Load(LoadModel),
    /// `UNLOAD MODEL m`
    Unload(ModelRef),
    /// `EXPORT MODEL m TO …`
    Export(ExportModel),
    /// A statement about existing models.
    Model(ModelStatement),
    /// A statement about grants.
    Grant(GrantStatement),
}

/// A statement about grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GrantStatement {
    /// `GRANT … ON … TO role`
    Grant(Grant),
    /// `REVOKE … ON … FROM role`
    Revoke(Grant),
    /// `SHOW GRANTS`
    Show,
}

/// A statement about existing models.
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

/// A change by `ALTER MODEL`.
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

/// `LOAD MODEL m [OPTIONS (…)]`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LoadModel {
    pub(crate) model: ModelRef,
    pub(crate) options: Vec<(String, OptionValue)>,
}

/// `TRAIN MODEL …`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TrainModel {
    pub(crate) name: ModelName,
    pub(crate) if_taken: IfTaken,
    /// The columns of the labels; `label` if there are none.
    pub(crate) targets: Vec<String>,
    pub(crate) options: Vec<(String, OptionValue)>,
    pub(crate) comment: Option<String>,
    pub(crate) query: TrainingQuery,
}

/// `CREATE MODEL … FROM …`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ImportModel {
    pub(crate) name: ModelName,
    pub(crate) if_taken: IfTaken,
    /// The path of a directory or of one file.
    pub(crate) source: String,
    pub(crate) options: Vec<(String, OptionValue)>,
    pub(crate) comment: Option<String>,
}

/// `EXPORT [OR REPLACE] MODEL m TO 'location'`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ExportModel {
    pub(crate) model: ModelRef,
    /// Whether it may take the place of an earlier export.
    pub(crate) replaces: bool,
    /// A file whose name ends in `.onnx`, or a directory, which ends in `/`.
    pub(crate) location: String,
}

/// The text of the training query, as written.
#[derive(Debug, Clone)]
pub(crate) struct TrainingQuery {
    pub(crate) text: String,
    /// The position of the query in the statement.
    pub(crate) at: Position,
}

/// Queries are equal if their texts are, at any position.
impl PartialEq for TrainingQuery {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl TrainingQuery {
    /// Converts a position in the query to a position in the statement.
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
    /// The number as written, so that no digit is lost before the type of the option is known.
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

/// The name of an identifier in DataFusion: in lower case if it is not quoted.
pub(crate) fn folded(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}

/// The text as a SQL string literal.
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
struct Head<'a>(&'a ModelName, IfTaken);

impl fmt::Display for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name, if_taken) = self;
        match if_taken {
            IfTaken::Fail => write!(f, "MODEL {name}"),
            IfTaken::Keep => write!(f, "MODEL IF NOT EXISTS {name}"),
            IfTaken::Replace => write!(f, "OR REPLACE MODEL {name}"),
        }
    }
}

/// `OPTIONS (…)` and `COMMENT …`, each on its own line, if there are any.
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
        let head = Head(&self.name, self.if_taken);
        write!(f, "TRAIN {head}")?;
        if !self.targets.is_empty() {
            let targets = self.targets.iter().map(|name| quoted_identifier(name));
            write!(f, "\nTARGET {}", targets.collect::<Vec<_>>().join(", "))?;
        }
        let clauses = Clauses(&self.options, self.comment.as_deref());
        write!(f, "{clauses}\nAS {}", self.query.text)
    }
}

/// Parses back to the same statement.
impl fmt::Display for ImportModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = Head(&self.name, self.if_taken);
        let clauses = Clauses(&self.options, self.comment.as_deref());
        write!(f, "CREATE {head}\nFROM {}{clauses}", quoted(&self.source))
    }
}

/// Parses back to the same statement.
impl fmt::Display for ExportModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_replace = if self.replaces { "OR REPLACE " } else { "" };
        let (model, location) = (&self.model, quoted(&self.location));
        write!(f, "EXPORT {or_replace}MODEL {model} TO {location}")
    }
}
