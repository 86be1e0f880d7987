//! The commands `\df` and `\h`: functions, their documentation, and the statements.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, StringArray};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::logical_expr::Documentation;

use super::arguments::{described, named_arguments};
use super::complete::table_functions;
use super::shell::Shell;
use crate::error::{Result, SqlState, sql_err, with_cause};
use crate::session::answer::rows;
use crate::train::OPTIONS;

/// The statements, for `\h`.
const STATEMENTS: &str = "\
TRAIN [OR REPLACE] MODEL name TARGET column, … OPTIONS (model_type = '…', …) AS query
CREATE [OR REPLACE] MODEL name FROM 'directory or file' OPTIONS (format = '…', licence = '…')
SELECT … FROM predict(model, table | (query)), evaluate(model [, input]), confusion_matrix(model, input), training_info(model)
SELECT … FROM roc_curve(model, input), pr_curve(model, input), calibration_curve(model, input)
SELECT … FROM recommend(model, users [, top_k => n] [, exclude => table | (query)] [, items => table | (query)])
SELECT … FROM windows(table | (query), order => column, by => column, columns => [column, …], lags => n, horizon => n)
SELECT … FROM nearest(queries, items, top_k => n, metric => 'cosine' | 'l2' | 'inner_product')
SELECT … FROM read_images('folder/' | 'folder/*.jpg' | 's3://bucket/folder/')
SELECT … FROM 'file.csv' | 'folder/*.parquet' | 's3://bucket/folder/'
SELECT … FROM read_csv('file' [, header => true, delim => ',', null => 'NA', sample_size => n, …])
SELECT … FROM read_json('file' [, sample_size => n, newline_delimited => true]), read_parquet('file' [, partitions => ['name', …]])
SUMMARIZE table | query, SELECT … FROM summarize(table | (query))
SHOW MODELS, SHOW VERSIONS IN MODEL name, DESCRIBE MODEL name, SHOW CREATE MODEL name
ALTER MODEL name SET DEFAULT_VERSION = n | VERSION n SET ALIAS = name | RENAME TO name | SET COMMENT = '…'
DROP MODEL [IF EXISTS] name [VERSION n]
LOAD MODEL name OPTIONS (device = 'auto' | 'cpu' | 'cuda'), UNLOAD MODEL name
EXPORT [OR REPLACE] MODEL name TO 'file.onnx' | 'directory/'
CREATE EXTERNAL TABLE name STORED AS PARQUET | CSV | JSON LOCATION '…', CREATE TABLE, CREATE VIEW, INSERT INTO, COPY … TO '…', COPY table FROM '…'
SHOW TABLES, DESCRIBE table | query, EXPLAIN [ANALYZE] statement, SET setting = value, SHOW setting, PREPARE, EXECUTE
docs/sql.md has all of them with examples.
";

/// Every function of expressions: its name, its kind, and its documentation.
fn known(shell: &Shell) -> Vec<(String, &'static str, Option<Documentation>)> {
    let state = shell.session().context().state();
    let mut known = Vec::new();
    for (name, function) in state.scalar_functions() {
        known.push((name.clone(), "scalar", function.documentation().cloned()));
    }
    for (name, function) in state.aggregate_functions() {
        known.push((name.clone(), "aggregate", function.documentation().cloned()));
    }
    for (name, function) in state.window_functions() {
        known.push((name.clone(), "window", function.documentation().cloned()));
    }
    known
}

/// Lists the functions whose names contain `part`.
pub(super) async fn list(shell: &mut Shell, part: &str) -> Result<()> {
    let first_line = |docs: Documentation| {
        let line = docs.description.lines().next();
        line.unwrap_or_default().to_owned()
    };
    let described = known(shell).into_iter().map(|(name, kind, docs)| {
        let text = docs.map(first_line).unwrap_or_default();
        (name, kind, text)
    });
    let relations = table_functions(shell.session()).into_iter().map(|name| {
        let text = "a table function, used in FROM".to_owned();
        (name, "relation", text)
    });
    let part = part.to_lowercase();
    let mut found: Vec<_> = described.chain(relations).collect();
    found.retain(|(name, ..)| name.contains(&part));
    found.sort();
    let column = |values: Vec<String>| Arc::new(StringArray::from(values)) as ArrayRef;
    let names = column(found.iter().map(|(name, ..)| name.clone()).collect());
    let kinds = found.iter().map(|(_, kind, _)| (*kind).to_owned());
    let kinds = column(kinds.collect());
    let texts = column(found.into_iter().map(|(.., text)| text).collect());
    let batch =
        RecordBatch::try_from_iter([("name", names), ("kind", kinds), ("description", texts)])?;
    shell.write(rows(batch)).await
}

/// Describes a function, or lists the statements.
pub(super) fn help(shell: &mut Shell, name: Option<&str>) -> Result<()> {
    let Some(name) = name else {
        return shell.print(STATEMENTS.trim_end());
    };
    let name = name.trim_end_matches(['(', ')']).to_lowercase();
    let call = format!("{name}(");
    let mut lines = STATEMENTS.lines();
    if table_functions(shell.session()).contains(&name)
        && let Some(line) = lines.find(|line| line.contains(&call))
    {
        return shell.print(&format!("{line}{}", arguments(&name)));
    }
    if let Some(text) = statement_help(&name) {
        return shell.print(&text);
    }
    let known = known(shell);
    let Some((.., docs)) = known.iter().find(|(known, ..)| *known == name) else {
        let what = format!("there is no function \"{name}\"");
        let names = known.iter().map(|(name, ..)| name.as_str());
        let message = with_cause(what, &name, names);
        return Err(sql_err(SqlState::NoSuchModel, message));
    };
    let Some(docs) = docs else {
        return shell.print(&format!("{name}: a function without documentation"));
    };
    let mut text = format!("{}\n  {}\n", docs.syntax_example, docs.description.trim());
    for (argument, meaning) in docs.arguments.iter().flatten() {
        text.push_str(&format!("  {argument}: {}\n", meaning.trim()));
    }
    text.push_str(arguments(&name).trim_start_matches('\n'));
    if let Some(example) = &docs.sql_example {
        let example = example.replace("```sql", "").replace("```", "");
        text.push_str(&format!("\n{}\n", example.trim()));
    }
    shell.print(text.trim_end())
}

/// A line for each named argument of a function.
fn arguments(function: &str) -> String {
    let names = named_arguments(function).iter();
    let lines = names.map(|name| format!("\n  {name:<16} => {}", described(function, name)));
    lines.collect()
}

/// The statements that begin with a word, and the options of TRAIN.
fn statement_help(name: &str) -> Option<String> {
    if !name.starts_with(char::is_alphabetic) {
        return None;
    }
    let begins = |line: &&str| {
        line.split(", ").any(|statement| {
            let start = statement.get(..name.len());
            let is_word =
                !statement[start.map_or(0, str::len)..].starts_with(char::is_alphanumeric);
            is_word && start.is_some_and(|start| start.eq_ignore_ascii_case(name))
        })
    };
    let lines: Vec<&str> = STATEMENTS.lines().filter(begins).collect();
    if lines.is_empty() {
        return None;
    }
    let mut text = lines.join("\n");
    if name == "train" {
        for option in OPTIONS {
            let (takes, default) = (option.takes, option.default);
            text.push_str(&format!(
                "\n  {:<24} {} ({takes}; default {default})",
                option.name, option.description
            ));
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_found_by_their_first_word() {
        let train = statement_help("train").unwrap();
        assert!(train.starts_with("TRAIN [OR REPLACE] MODEL"), "{train}");
        let option = "\n  learn_rate               step size (number above 0; default 0.001)";
        assert!(train.contains(option), "{train}");
        let unload = statement_help("unload").unwrap();
        assert!(unload.contains("UNLOAD MODEL name"), "{unload}");
        assert_eq!(statement_help("tra"), None);
        assert_eq!(statement_help("…"), None);
        let predict = arguments("predict");
        assert!(
            predict.contains("\n  threshold        => minimum probability"),
            "{predict}"
        );
    }
}
