//! The clauses of CREATE INDEX.

use std::collections::HashSet;

use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CreateIndex, Expr, Ident, IndexColumn, IndexType, ObjectName, Value,
};

use crate::error::{Result, SqlState, sql_err, with_cause};
use crate::plan::nearest::Metric;
use crate::plan::nearest::index::GraphOptions;
use crate::sql::folded;
use crate::storage::IfTaken;

const USAGE: &str = "use CREATE INDEX name ON table USING hnsw (column) WITH (metric = 'cosine', m = 16, ef_construction = 200)";
/// The options of an index.
const OPTIONS: [&str; 3] = ["metric", "m", "ef_construction"];
/// The maxima of `m` and of `ef_construction`.
const M_MAX: usize = 128;
const EF_CONSTRUCTION_MAX: usize = 10_000;
/// The length of a name in bytes.
const NAME_BYTES_MAX: usize = 200;

/// A CREATE INDEX whose clauses were checked.
pub(super) struct Declared {
    pub(super) name: String,
    pub(super) table: ObjectName,
    pub(super) column: String,
    pub(super) options: GraphOptions,
    pub(super) if_taken: IfTaken,
}

impl Declared {
    /// Reads a statement, each field of it: a clause that has no effect is refused.
    pub(super) fn try_new(statement: CreateIndex) -> Result<Self> {
        let CreateIndex {
            name,
            table_name,
            using,
            columns,
            unique,
            concurrently,
            if_not_exists,
            include,
            nulls_distinct,
            with,
            predicate,
            index_options,
            alter_options,
        } = statement;
        for (is_there, clause) in [
            (unique, "UNIQUE"),
            (concurrently, "CONCURRENTLY"),
            (!include.is_empty(), "INCLUDE"),
            (nulls_distinct.is_some(), "NULLS DISTINCT"),
            (predicate.is_some(), "WHERE"),
            (!index_options.is_empty(), "a clause after the columns"),
            (!alter_options.is_empty(), "ALGORITHM or LOCK"),
        ] {
            if is_there {
                let message = format!("{clause} of CREATE INDEX is not supported; leave it out");
                return Err(sql_err(SqlState::Unsupported, message));
            }
        }
        match &using {
            Some(IndexType::Custom(kind)) if folded(kind) == "hnsw" => {}
            Some(other) => {
                let message = format!("there is no index USING {other}; {USAGE}");
                return Err(sql_err(SqlState::Unsupported, message));
            }
            None => {
                let message = format!("an index needs USING hnsw; {USAGE}");
                return Err(sql_err(SqlState::Unsupported, message));
            }
        }
        let name = match name.as_ref().map(|name| name.0.as_slice()) {
            Some([part]) => part.as_ident().map(folded),
            _ => None,
        };
        let name = name.ok_or_else(|| {
            let message = format!("an index needs a name without a schema, as it belongs to that of its table; {USAGE}");
            sql_err(SqlState::Syntax, message)
        })?;
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            let message = format!("the name of an index has 1 to {NAME_BYTES_MAX} bytes");
            return Err(sql_err(SqlState::InvalidName, message));
        }
        Ok(Self {
            name,
            table: table_name,
            column: folded(only_column(&columns)?),
            options: options(&with)?,
            if_taken: IfTaken::from_clauses(false, if_not_exists)?,
        })
    }
}

/// The column of an index, without an order or a class of operators.
fn only_column(columns: &[IndexColumn]) -> Result<&Ident> {
    if let [
        IndexColumn {
            column,
            operator_class: None,
        },
    ] = columns
        && let Expr::Identifier(name) = &column.expr
        && column.options.asc.is_none()
        && column.options.nulls_first.is_none()
        && column.with_fill.is_none()
    {
        return Ok(name);
    }
    let message = format!("an index is on one column, without an order; {USAGE}");
    Err(sql_err(SqlState::Unsupported, message))
}

/// The options in WITH.
fn options(with: &[Expr]) -> Result<GraphOptions> {
    let mut options = GraphOptions {
        metric: Metric::Cosine,
        m: 16,
        ef_construction: 200,
        threads: 1,
    };
    let mut given = HashSet::new();
    for option in with {
        let (name, value) = option_of(option)?;
        match name.as_str() {
            "metric" => options.metric = metric(value)?,
            "m" => options.m = number("m", value, 2, M_MAX)?,
            "ef_construction" => {
                options.ef_construction = number("ef_construction", value, 1, EF_CONSTRUCTION_MAX)?;
            }
            _ => {
                let what = format!("an index has no option {name}");
                return Err(invalid(with_cause(what, &name, OPTIONS)));
            }
        }
        if given.contains(&name) {
            return Err(sql_err(
                SqlState::Syntax,
                format!("option {name} is given twice"),
            ));
        }
        given.insert(name);
    }
    Ok(options)
}

/// The name and the value of `name = value`.
fn option_of(option: &Expr) -> Result<(String, &Value)> {
    if let Expr::BinaryOp {
        left,
        op: BinaryOperator::Eq,
        right,
    } = option
        && let (Expr::Identifier(name), Expr::Value(value)) = (left.as_ref(), right.as_ref())
    {
        return Ok((folded(name), &value.value));
    }
    let message = format!("found {option} among the options of an index; {USAGE}");
    Err(sql_err(SqlState::Syntax, message))
}

fn metric(value: &Value) -> Result<Metric> {
    let found = match value {
        Value::SingleQuotedString(text) => Metric::named(text),
        _ => None,
    };
    found.ok_or_else(|| {
        let expected = Metric::names();
        invalid(format!("option metric is {value}; expected {expected}"))
    })
}

fn number(name: &str, value: &Value, min: usize, max: usize) -> Result<usize> {
    let found = match value {
        Value::Number(text, _) => text.parse().ok(),
        _ => None,
    };
    let found = found.filter(|number| (min..=max).contains(number));
    found.ok_or_else(|| {
        invalid(format!(
            "option {name} is {value}; expected a whole number from {min} to {max}"
        ))
    })
}

fn invalid(message: String) -> DataFusionError {
    sql_err(SqlState::InvalidParameter, message)
}
