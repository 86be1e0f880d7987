//! Completion with Tab: the names that may follow at the cursor, from this process or from a server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::CatalogProvider;
use datafusion::common::config::ConfigOptions;
use futures::TryStreamExt;
use vatic_ml::model::compute::ComputeType;
use vatic_ml::model::options::{Feedback, LossName, Optimizer, Schedule};
use vatic_ml::nn::Activation;

use super::arguments::named_arguments;
use super::command_list::{COMMANDS, Takes};
use super::context::{Context, SHOWN, context, tables_in};
use super::format::Format;
use super::settings::PRINT_SETTINGS;
use crate::catalog::CATALOG;
use crate::client::{Remote, RemoteTable};
use crate::session::Session;
use crate::sql::{FILE_FUNCTIONS, LOAD_OPTIONS, RELATION_FUNCTIONS, quoted};
use crate::storage::DEFAULT_SCHEMA;
use crate::train::OPTIONS;

/// The maximum time of a completion's query.
const PATIENCE: Duration = Duration::from_millis(100);
const CANDIDATES_MAX: usize = 500;

/// The devices that are offered; `cuda` is the first GPU.
const DEVICES: [&str; 3] = ["auto", "cpu", "cuda"];

/// Keywords that begin or join the parts of a statement. The hundreds of other SQL keywords would only hide these.
#[rustfmt::skip]
const KEYWORDS: &[&str] = &[
    "ALTER MODEL", "AND", "AS", "ASC", "BETWEEN", "BY", "CASE", "CAST", "COMMENT", "COPY", "CREATE EXTERNAL TABLE", "CREATE MODEL",
    "CREATE SCHEMA", "CREATE TABLE", "CREATE VIEW", "CROSS JOIN", "DEALLOCATE", "DESC", "DESCRIBE", "DESCRIBE MODEL", "DISTINCT",
    "DROP MODEL", "DROP SCHEMA", "DROP TABLE", "DROP VIEW", "ELSE", "END", "EXCEPT", "EXECUTE", "EXISTS", "EXPLAIN",
    "EXPLAIN ANALYZE", "EXPORT MODEL", "FALSE", "FILTER", "FROM", "FULL JOIN", "GROUP BY", "HAVING", "IF EXISTS", "IF NOT EXISTS",
    "ILIKE", "IN", "INNER JOIN", "INSERT INTO", "INTERSECT", "IS NOT NULL", "IS NULL", "JOIN", "LEFT JOIN", "LIKE", "LIMIT",
    "LOAD MODEL", "LOCATION", "NOT", "NULL", "NULLS FIRST", "NULLS LAST", "OFFSET", "ON", "OPTIONS", "OR", "OR REPLACE", "ORDER BY", "OVER",
    "PARTITION BY", "PREPARE", "RESET", "RIGHT JOIN", "SELECT", "SET", "SHOW", "SHOW CREATE MODEL", "SHOW MODELS", "SHOW TABLES",
    "SHOW VERSIONS IN MODEL", "STORED AS", "SUMMARIZE", "TABLE", "TARGET", "THEN", "TO", "TRAIN MODEL", "TRAIN OR REPLACE MODEL", "TRUE",
    "UNION ALL", "UNLOAD MODEL", "USING", "VALUES", "WHEN", "WHERE", "WITH",
];

/// Completion with the names of a session.
#[derive(Debug)]
pub(super) struct Completion {
    session: Session,
    remote: Option<Remote>,
    runtime: tokio::runtime::Handle,
}

impl Completion {
    pub(super) fn new(
        session: Session,
        remote: Option<Remote>,
        runtime: tokio::runtime::Handle,
    ) -> Self {
        Self {
            session,
            remote,
            runtime,
        }
    }

    /// The server's tables, if the server answers in time.
    fn remote_tables(&self, columns_of: Option<&str>) -> Option<Vec<RemoteTable>> {
        let remote = self.remote.as_ref()?;
        let asking = remote.tables(columns_of);
        let asked = async { tokio::time::timeout(PATIENCE, asking).await };
        Some(match self.runtime.block_on(asked) {
            Ok(Ok(tables)) => tables,
            Ok(Err(_)) | Err(_) => vec![],
        })
    }

    /// The first column of a query on the server, if the server answers in time.
    fn remote_texts(&self, query: &str) -> Option<Vec<String>> {
        let remote = self.remote.as_ref()?;
        let asking = async {
            let rows = remote.sql(query).await?;
            rows.try_collect::<Vec<_>>().await
        };
        let asked = async { tokio::time::timeout(PATIENCE, asking).await };
        let Ok(Ok(batches)) = self.runtime.block_on(asked) else {
            return Some(vec![]);
        };
        let texts = batches.iter().flat_map(|batch| {
            let column = batch.column(0).as_string_opt::<i32>();
            column.into_iter().flatten().flatten().map(str::to_owned)
        });
        Some(texts.collect())
    }

    /// The length of the word before the cursor, and its completions. `before` is the statement up to the cursor, `after`
    /// the rest of the statement.
    pub(super) fn candidates(&self, before: &str, after: &str) -> (usize, Vec<String>) {
        let (context, word) = context(before);
        let statement = format!("{before} {after}");
        let word_part = match &context {
            Context::ColumnOf(_) => word.rsplit('.').next().unwrap_or_default(),
            _ => &word,
        };
        let known = self.known(&context, word_part, &statement);
        let is_lower = !word_part.chars().any(char::is_uppercase);
        let mut candidates: Vec<String> = known
            .into_iter()
            .map(|candidate| match candidate {
                Candidate::Name(name) => name,
                // A keyword follows the case of the typed prefix; an empty prefix gives upper case.
                Candidate::Keyword(word) if is_lower && !word_part.is_empty() => {
                    word.to_lowercase()
                }
                Candidate::Keyword(word) => word.to_owned(),
            })
            .filter(|candidate| starts_with(candidate, word_part))
            .collect();
        candidates.sort();
        candidates.dedup();
        candidates.truncate(CANDIDATES_MAX);
        (word_part.len(), candidates)
    }

    fn known(&self, context: &Context, word: &str, statement: &str) -> Vec<Candidate> {
        let names = |names: Vec<String>| names.into_iter().map(Candidate::Name).collect();
        match context {
            Context::Command => {
                let all = COMMANDS.iter().flat_map(|command| command.names);
                names(all.map(|name| (*name).to_owned()).collect())
            }
            Context::Argument(takes) => names(self.arguments(*takes, word)),
            Context::Path => names(paths(word)),
            Context::OptionName => {
                let all: Vec<&str> = match statement.trim_start().get(..4) {
                    Some(first) if first.eq_ignore_ascii_case("LOAD") => LOAD_OPTIONS.to_vec(),
                    _ => OPTIONS.iter().map(|option| option.name).collect(),
                };
                names(all.iter().map(|name| format!("{name} = ")).collect())
            }
            Context::OptionValue(name) => names(self.option_values(name)),
            Context::BareOptionValue(name) => names(self.bare_values(name, word)),
            Context::ArgumentName(function) => {
                let named = named_arguments(function).iter();
                let named = named.map(|name| Candidate::Name(format!("{name} => ")));
                let mut known: Vec<Candidate> = named.collect();
                if !RELATION_FUNCTIONS.contains(&function.as_str()) {
                    known.extend(self.known(&Context::Any, word, statement));
                }
                known
            }
            Context::Words(words) => words.iter().map(|word| Candidate::Keyword(word)).collect(),
            Context::Shown => {
                let shown = SHOWN.iter().map(|word| Candidate::Keyword(word));
                shown
                    .chain(self.settings().into_iter().map(Candidate::Name))
                    .collect()
            }
            Context::ArgumentValue(name) => names(argument_values(name)),
            Context::Setting => names(self.settings()),
            Context::Table => {
                let functions = table_functions(&self.session).into_iter();
                let mut known = self.tables();
                known.extend(functions.map(|name| format!("{name}(")));
                names(known)
            }
            Context::Model => names(self.models()),
            Context::ColumnOf(qualifier) => {
                let of_alias = tables_in(statement);
                let table = of_alias.iter().find(|(alias, _)| alias == qualifier);
                let table = table.map_or(qualifier, |(_, table)| table);
                // The qualifier may also be a schema; its tables complete then.
                let tables = self.tables().into_iter();
                let prefix = format!("{qualifier}.");
                let mut known: Vec<String> = tables
                    .filter_map(|table| table.strip_prefix(&prefix).map(str::to_owned))
                    .collect();
                known.extend(self.columns(table));
                names(known)
            }
            Context::Any => {
                let mut known: Vec<Candidate> = KEYWORDS
                    .iter()
                    .map(|word| Candidate::Keyword(word))
                    .collect();
                let functions = self.functions().into_iter();
                known.extend(functions.map(|name| Candidate::Name(format!("{name}("))));
                let named = tables_in(statement);
                if named.is_empty() && !word.is_empty() {
                    // Before FROM is typed, columns of all tables are offered.
                    let columns = self.columns_of_all(&self.tables());
                    known.extend(columns.into_iter().map(Candidate::Name));
                }
                for (alias, table) in named {
                    known.push(Candidate::Name(alias));
                    known.extend(self.columns(&table).into_iter().map(Candidate::Name));
                }
                known
            }
        }
    }

    fn arguments(&self, takes: Takes, word: &str) -> Vec<String> {
        match takes {
            Takes::Nothing | Takes::Text | Takes::Statement => Vec::new(),
            Takes::Switch => vec!["on".into(), "off".into()],
            Takes::Table => [self.tables(), self.models()].concat(),
            Takes::Function => self.functions(),
            Takes::Path => paths(word),
            Takes::Format => Format::names(),
            Takes::PrintSetting => PRINT_SETTINGS
                .iter()
                .map(|(name, _)| (*name).to_owned())
                .collect(),
            Takes::Setting => self.settings(),
            Takes::Command => COMMANDS
                .iter()
                .map(|command| command.names[0].to_owned())
                .collect(),
        }
    }

    fn option_values(&self, name: &str) -> Vec<String> {
        let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        match name {
            "model_type" => owned(self.session.engine().runtime().model_types().names()),
            "loss" => owned(LossName::ALL.iter().map(|(name, _)| *name).collect()),
            "activation" => owned(Activation::ALL.iter().map(|(name, _)| *name).collect()),
            "optimizer" => owned(Optimizer::ALL.iter().map(|(name, _)| *name).collect()),
            "feedback_type" => owned(Feedback::ALL.iter().map(|(name, _)| *name).collect()),
            "lr_schedule" => owned(Schedule::ALL.iter().map(|(name, _)| *name).collect()),
            "data_split_method" => owned(vec!["hash", "column", "none"]),
            "null_handling" => owned(vec!["error", "skip", "impute"]),
            "device" => owned(DEVICES.to_vec()),
            "dtype" => owned(vec!["f32", "f64"]),
            _ => Vec::new(),
        }
    }

    /// The values of an option before its quote; a value that has begun needs none.
    fn bare_values(&self, name: &str, word: &str) -> Vec<String> {
        let option = OPTIONS.iter().find(|option| option.name == name);
        if option.is_some_and(|option| option.data_type == DataType::Boolean) {
            return vec!["false".into(), "true".into()];
        }
        let values = self.option_values(name).into_iter();
        match word {
            "" => values.map(|value| quoted(&value)).collect(),
            _ => values.collect(),
        }
    }

    fn settings(&self) -> Vec<String> {
        let state = self.session.context().state();
        let options: &ConfigOptions = state.config_options();
        options
            .entries()
            .into_iter()
            .map(|entry| entry.key)
            .collect()
    }

    pub(super) fn functions(&self) -> Vec<String> {
        let state = self.session.context().state();
        let mut names: Vec<String> = state.scalar_functions().keys().cloned().collect();
        names.extend(state.aggregate_functions().keys().cloned());
        names.extend(state.window_functions().keys().cloned());
        names.extend(table_functions(&self.session));
        names.sort();
        names.dedup();
        names
    }

    fn models(&self) -> Vec<String> {
        let query = "SELECT model_name FROM information_schema.models";
        if let Some(names) = self.remote_texts(query) {
            return names;
        }
        let registry = self.session.engine().registry();
        let models = registry.list().unwrap_or_default();
        models.iter().map(|(name, _)| name.short()).collect()
    }

    fn catalog(&self) -> Option<Arc<dyn CatalogProvider>> {
        self.session.context().catalog(CATALOG)
    }

    fn tables(&self) -> Vec<String> {
        if let Some(tables) = self.remote_tables(None) {
            let name = |table: &RemoteTable| qualified(&table.schema, &table.name);
            return tables.iter().map(name).collect();
        }
        let Some(catalog) = self.catalog() else {
            return Vec::new();
        };
        let mut tables = Vec::new();
        for schema in catalog.schema_names() {
            let of_schema = catalog.schema(&schema).map(|schema| schema.table_names());
            let names = of_schema.unwrap_or_default();
            tables.extend(names.iter().map(|table| qualified(&schema, table)));
        }
        tables
    }

    /// The columns of the user's tables, as many as open in time.
    fn columns_of_all(&self, tables: &[String]) -> Vec<String> {
        let began = Instant::now();
        let own = tables.iter().filter(|table| !table.contains('.'));
        own.take_while(|_| began.elapsed() < PATIENCE)
            .flat_map(|table| self.columns(table))
            .collect()
    }

    /// The columns of a table, if it opens in time.
    fn columns(&self, table: &str) -> Vec<String> {
        let (schema, table) = table.rsplit_once('.').unwrap_or((DEFAULT_SCHEMA, table));
        if let Some(tables) = self.remote_tables(Some(table.trim_matches('"'))) {
            let own = tables.into_iter().filter(|found| found.schema == schema);
            return own
                .flat_map(|table| table.columns)
                .map(|column| typed(&column))
                .collect();
        }
        let Some(schema) = self.catalog().and_then(|catalog| catalog.schema(schema)) else {
            return Vec::new();
        };
        let table = table.trim_matches('"').to_owned();
        let open = async move { tokio::time::timeout(PATIENCE, schema.table(&table)).await };
        match self.runtime.block_on(open) {
            Ok(Ok(Some(table))) => {
                let schema = table.schema();
                schema
                    .fields()
                    .iter()
                    .map(|field| typed(field.name()))
                    .collect()
            }
            _ => Vec::new(),
        }
    }
}

/// The functions in FROM.
pub(super) fn table_functions(session: &Session) -> Vec<String> {
    let state = session.context().state();
    let mut names: Vec<String> = state.table_functions().keys().cloned().collect();
    let relations = RELATION_FUNCTIONS.iter().chain(FILE_FUNCTIONS);
    names.extend(relations.map(|name| (*name).to_owned()));
    names
}

/// The values of a named argument of `predict`.
fn argument_values(name: &str) -> Vec<String> {
    let values = match name {
        "on_error" => vec!["error", "null"],
        "on_null" => vec!["error", "impute", "null"],
        "dedupe" => vec!["auto", "off", "on"],
        "metric" => vec!["cosine", "inner_product", "l2"],
        "aggregation" => vec!["average", "first", "max", "none", "simple"],
        "device" => DEVICES.to_vec(),
        "dtype" => ComputeType::ALL.iter().map(|(name, _)| *name).collect(),
        _ => Vec::new(),
    };
    values.into_iter().map(str::to_owned).collect()
}

enum Candidate {
    Name(String),
    Keyword(&'static str),
}

/// A table's name as SQL needs it, with its schema if that is not the default.
fn qualified(schema: &str, table: &str) -> String {
    match schema == DEFAULT_SCHEMA {
        true => typed(table),
        false => format!("{}.{}", typed(schema), typed(table)),
    }
}

/// An identifier as SQL needs it: in quotes unless it consists of lower case letters, digits and underscores.
fn typed(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let starts_plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    match starts_plain && name.chars().all(is_plain) {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// Whether a candidate begins with a word; the word may lack the opening quote.
fn starts_with(candidate: &str, word: &str) -> bool {
    let candidate = match word.starts_with('"') {
        true => candidate,
        false => candidate.trim_start_matches('"'),
    };
    candidate
        .get(..word.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(word))
}

/// Files and folders whose path begins with `begun`.
fn paths(begun: &str) -> Vec<String> {
    let (folder, _) = begun
        .rsplit_once('/')
        .map_or(("", begun), |(folder, name)| (folder, name));
    let prefix = if begun.contains('/') {
        format!("{folder}/")
    } else {
        String::new()
    };
    let directory = if prefix.is_empty() { "./" } else { &prefix };
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let named = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let end = if entry.path().is_dir() { "/" } else { "" };
        (!name.starts_with('.')).then(|| format!("{prefix}{name}{end}"))
    });
    named.take(CANDIDATES_MAX).collect()
}
