//! The server's capabilities for `GetSqlInfo`: each value has the type that the specification gives it.

use std::sync::Arc;

use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder};
use arrow_flight::sql::{CommandGetSqlInfo, SqlInfo};
use datafusion::arrow::ARROW_VERSION;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::logical_expr::DocSection;
use tonic::Status;

use crate::catalog::images::READ_IMAGES;
use crate::session::Session;
use crate::sql::{FILE_FUNCTIONS, RELATION_FUNCTIONS};

/// Keywords of Vatic beyond those of SQL.
const KEYWORDS: &[&str] = &[
    "ALIAS",
    "COPY",
    "DESCRIBE",
    "EVALUATE",
    "EXPLAIN",
    "EXTERNAL",
    "MODEL",
    "MODELS",
    "OPTIONS",
    "PREDICT",
    "REPLACE",
    "SHOW",
    "STORED",
    "SUMMARIZE",
    "TARGET",
    "TRAIN",
    "VERSION",
    "VERSIONS",
];
/// Unquoted identifiers are folded to lower case; quoted ones are kept.
const CASE_LOWER: i32 = 3;
const CASE_SENSITIVE: i32 = 0;
/// Bitmasks with the lowest bits set.
const BOTH: i32 = 0b11;
const ALL_THREE: i32 = 0b111;
const ALL_FOUR: i32 = 0b1111;

/// The codes of the facts with list values.
const LISTS: std::ops::RangeInclusive<u32> =
    SqlInfo::SqlKeywords as u32..=SqlInfo::SqlSupportsConvert as u32;

pub(super) fn schema() -> SchemaRef {
    Arc::new(SqlInfoDataBuilder::schema().clone())
}

/// The requested facts, or all of them.
pub(super) fn answer(
    session: &Session,
    command: &CommandGetSqlInfo,
) -> Result<RecordBatch, Status> {
    let facts = facts(session, &command.info)?;
    // An unknown fact is left out without an error.
    Ok(command.clone().into_builder(&facts).build()?)
}

fn facts(session: &Session, wanted: &[u32]) -> Result<SqlInfoData, Status> {
    let mut facts = SqlInfoDataBuilder::new();
    texts(&mut facts);
    booleans(&mut facts);
    numbers(&mut facts);
    // Every connection asks for a fact or two; few ask for the names of hundreds of functions.
    if wanted.is_empty() || wanted.iter().any(|fact| LISTS.contains(fact)) {
        lists(&mut facts, session);
    }
    Ok(facts.build()?)
}

fn texts(facts: &mut SqlInfoDataBuilder) {
    for (fact, value) in [
        (SqlInfo::FlightSqlServerName, "Vatic"),
        (SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION")),
        (SqlInfo::FlightSqlServerArrowVersion, ARROW_VERSION),
        (SqlInfo::SqlIdentifierQuoteChar, "\""),
        (SqlInfo::SqlSearchStringEscape, "\\"),
        (SqlInfo::SqlExtraNameCharacters, ""),
        (SqlInfo::SqlSchemaTerm, "schema"),
        (SqlInfo::SqlCatalogTerm, "catalog"),
        (SqlInfo::SqlProcedureTerm, "procedure"),
    ] {
        facts.append(fact, value);
    }
}

fn booleans(facts: &mut SqlInfoDataBuilder) {
    for (fact, value) in [
        (SqlInfo::FlightSqlServerReadOnly, false),
        (SqlInfo::FlightSqlServerSql, true),
        (SqlInfo::FlightSqlServerSubstrait, false),
        (SqlInfo::FlightSqlServerCancel, true),
        (SqlInfo::FlightSqlServerBulkIngestion, true),
        (SqlInfo::FlightSqlServerIngestTransactionsSupported, false),
        (SqlInfo::SqlDdlCatalog, false),
        (SqlInfo::SqlDdlSchema, true),
        (SqlInfo::SqlDdlTable, true),
        (SqlInfo::SqlAllTablesAreSelectable, true),
        (SqlInfo::SqlSupportsColumnAliasing, true),
        (SqlInfo::SqlNullPlusNullIsNull, true),
        (SqlInfo::SqlSupportsTableCorrelationNames, true),
        (SqlInfo::SqlSupportsDifferentTableCorrelationNames, false),
        (SqlInfo::SqlSupportsExpressionsInOrderBy, true),
        (SqlInfo::SqlSupportsOrderByUnrelated, true),
        (SqlInfo::SqlSupportsLikeEscapeClause, true),
        (SqlInfo::SqlSupportsNonNullableColumns, true),
        (SqlInfo::SqlSupportsIntegrityEnhancementFacility, false),
        (SqlInfo::SqlCatalogAtStart, true),
        (SqlInfo::SqlSelectForUpdateSupported, false),
        (SqlInfo::SqlStoredProceduresSupported, false),
        (SqlInfo::SqlCorrelatedSubqueriesSupported, true),
        (SqlInfo::SqlMaxRowSizeIncludesBlobs, true),
        (SqlInfo::SqlTransactionsSupported, false),
        (SqlInfo::SqlDataDefinitionCausesTransactionCommit, false),
        (SqlInfo::SqlDataDefinitionsInTransactionsIgnored, false),
        (SqlInfo::SqlBatchUpdatesSupported, true),
        (SqlInfo::SqlSavepointsSupported, false),
        (SqlInfo::SqlNamedParametersSupported, true),
        (SqlInfo::SqlLocatorsUpdateCopy, false),
        (SqlInfo::SqlStoredFunctionsUsingCallSyntaxSupported, false),
    ] {
        facts.append(fact, value);
    }
}

fn numbers(facts: &mut SqlInfoDataBuilder) {
    // 0 means no limit, or an unknown one.
    for fact in [
        SqlInfo::SqlMaxBinaryLiteralLength,
        SqlInfo::SqlMaxCharLiteralLength,
        SqlInfo::SqlMaxColumnNameLength,
        SqlInfo::SqlMaxColumnsInGroupBy,
        SqlInfo::SqlMaxColumnsInIndex,
        SqlInfo::SqlMaxColumnsInOrderBy,
        SqlInfo::SqlMaxColumnsInSelect,
        SqlInfo::SqlMaxColumnsInTable,
        SqlInfo::SqlMaxConnections,
        SqlInfo::SqlMaxCursorNameLength,
        SqlInfo::SqlMaxIndexLength,
        SqlInfo::SqlDbSchemaNameLength,
        SqlInfo::SqlMaxProcedureNameLength,
        SqlInfo::SqlMaxCatalogNameLength,
        SqlInfo::SqlMaxRowSize,
        SqlInfo::SqlMaxStatementLength,
        SqlInfo::SqlMaxStatements,
        SqlInfo::SqlMaxTableNameLength,
        SqlInfo::SqlMaxTablesInSelect,
        SqlInfo::SqlMaxUsernameLength,
        SqlInfo::SqlDefaultTransactionIsolation,
    ] {
        facts.append(fact, 0i64);
    }
    for (fact, value) in [
        (SqlInfo::FlightSqlServerTransaction, 0),
        (SqlInfo::FlightSqlServerStatementTimeout, 0),
        (SqlInfo::FlightSqlServerTransactionTimeout, 0),
        (SqlInfo::SqlIdentifierCase, CASE_LOWER),
        (SqlInfo::SqlQuotedIdentifierCase, CASE_SENSITIVE),
        // NULLs sort as the highest value: last in ascending order.
        (SqlInfo::SqlNullOrdering, 0),
        (SqlInfo::SqlSupportedGroupBy, BOTH),
        (SqlInfo::SqlSupportedGrammar, ALL_THREE),
        (SqlInfo::SqlAnsi92SupportedLevel, ALL_THREE),
        (SqlInfo::SqlOuterJoinsSupportLevel, ALL_THREE),
        (SqlInfo::SqlSchemasSupportedActions, 0),
        (SqlInfo::SqlCatalogsSupportedActions, 0),
        (SqlInfo::SqlSupportedPositionedCommands, 0),
        (SqlInfo::SqlSupportedSubqueries, ALL_FOUR),
        (SqlInfo::SqlSupportedUnions, BOTH),
        // Only the lowest bit: no transactions.
        (SqlInfo::SqlSupportedTransactionsIsolationLevels, 0b1),
        // Forward only.
        (SqlInfo::SqlSupportedResultSetTypes, 0b10),
        (SqlInfo::SqlSupportedConcurrenciesForResultSetUnspecified, 0),
        // Read only.
        (
            SqlInfo::SqlSupportedConcurrenciesForResultSetForwardOnly,
            0b10,
        ),
        (
            SqlInfo::SqlSupportedConcurrenciesForResultSetScrollSensitive,
            0,
        ),
        (
            SqlInfo::SqlSupportedConcurrenciesForResultSetScrollInsensitive,
            0,
        ),
    ] {
        facts.append(fact, value);
    }
}

fn lists(facts: &mut SqlInfoDataBuilder, session: &Session) {
    let words = KEYWORDS.iter().map(|word| (*word).to_owned());
    facts.append(SqlInfo::SqlKeywords, words.collect::<Vec<_>>());
    // Every type can be cast to every other compatible type; the numbers are codes of the specification.
    let types: Vec<i32> = (0..20).collect();
    let conversions = types.iter().map(|from| (*from, types.clone()));
    facts.append(
        SqlInfo::SqlSupportsConvert,
        conversions.collect::<std::collections::HashMap<_, _>>(),
    );
    let functions = Functions::of(session);
    facts.append(SqlInfo::SqlNumericFunctions, functions.numeric);
    facts.append(SqlInfo::SqlStringFunctions, functions.string);
    facts.append(SqlInfo::SqlDatetimeFunctions, functions.datetime);
    facts.append(SqlInfo::SqlSystemFunctions, functions.other);
}

/// The names of all functions, which editors complete.
#[derive(Default)]
struct Functions {
    numeric: Vec<String>,
    string: Vec<String>,
    datetime: Vec<String>,
    other: Vec<String>,
}

impl Functions {
    fn of(session: &Session) -> Self {
        let mut found = Self::default();
        let state = session.context().state();
        let is = |section: Option<&DocSection>, label: &str| {
            section.is_some_and(|section| section.label.starts_with(label))
        };
        let scalar = state.scalar_functions().iter();
        let scalar = scalar.map(|(name, function)| {
            let section = function
                .documentation()
                .map(|docs| docs.doc_section.clone());
            (name, section)
        });
        let aggregate = state.aggregate_functions().keys().map(|name| (name, None));
        for (name, section) in scalar.chain(aggregate) {
            let names = match section.as_ref() {
                section if is(section, "Math") => &mut found.numeric,
                section if is(section, "String") || is(section, "Regular") => &mut found.string,
                section if is(section, "Time") => &mut found.datetime,
                _ => &mut found.other,
            };
            names.push(name.clone());
        }
        let relations = RELATION_FUNCTIONS.iter().chain(FILE_FUNCTIONS);
        found.other.extend(relations.map(|name| (*name).to_owned()));
        found.other.push(READ_IMAGES.to_owned());
        for names in [
            &mut found.numeric,
            &mut found.string,
            &mut found.datetime,
            &mut found.other,
        ] {
            names.sort();
        }
        found
    }
}
