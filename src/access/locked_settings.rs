//! Settings that SET may change on a server: none that protects the process or other sessions.

use datafusion::execution::SessionState;
use datafusion::logical_expr::{LogicalPlan, Statement};

use crate::error::{Result, SqlState, sql_err};

/// Settings, or prefixes of settings, that a server's sessions may change, with their maximum.
const OPEN: &[(&str, Option<u64>)] = &[
    ("datafusion.execution.batch_size", Some(65_536)),
    ("datafusion.execution.target_partitions", Some(256)),
    ("datafusion.execution.coalesce_batches", None),
    ("datafusion.execution.collect_statistics", None),
    ("datafusion.execution.enable_recursive_ctes", None),
    (
        "datafusion.execution.listing_table_ignore_subdirectory",
        None,
    ),
    ("datafusion.execution.parquet.bloom_filter_on_read", None),
    ("datafusion.execution.parquet.coerce_int96", None),
    ("datafusion.execution.parquet.enable_page_index", None),
    ("datafusion.execution.parquet.pruning", None),
    ("datafusion.execution.parquet.pushdown_filters", None),
    ("datafusion.execution.parquet.reorder_filters", None),
    (
        "datafusion.execution.skip_partial_aggregation_probe_ratio_threshold",
        Some(1),
    ),
    (
        "datafusion.execution.skip_partial_aggregation_probe_rows_threshold",
        Some(1 << 40),
    ),
    ("datafusion.execution.time_zone", None),
    ("datafusion.explain.", None),
    ("datafusion.format.", None),
    ("datafusion.optimizer.", Some(1 << 40)),
    ("datafusion.sql_parser.default_null_ordering", None),
    ("datafusion.sql_parser.enable_ident_normalization", None),
    ("datafusion.sql_parser.parse_float_as_decimal", None),
    ("vatic.", Some(1 << 40)),
];

/// Numeric settings whose value 0 would make no progress.
const NOT_ZERO: [&str; 2] = [
    "datafusion.execution.batch_size",
    "datafusion.execution.target_partitions",
];

/// Refuses another SQL dialect, which would have no effect: statements are parsed before they have a session.
pub(crate) fn check_dialect(plan: &LogicalPlan) -> Result<()> {
    let LogicalPlan::Statement(Statement::SetVariable(set)) = plan else {
        return Ok(());
    };
    let is_dialect = set
        .variable
        .eq_ignore_ascii_case("datafusion.sql_parser.dialect");
    if is_dialect && !set.value.trim_matches('\'').eq_ignore_ascii_case("generic") {
        let message = format!("the dialect is always generic, not {}", set.value);
        return Err(sql_err(SqlState::Unsupported, message));
    }
    Ok(())
}

/// Refuses SET and RESET of settings that a server's clients may not change.
pub(crate) fn check_settings(plan: &LogicalPlan, state: &SessionState) -> Result<()> {
    let (name, value) = match plan {
        LogicalPlan::Statement(Statement::SetVariable(set)) => (&set.variable, set.value.as_str()),
        LogicalPlan::Statement(Statement::ResetVariable(reset)) => (&reset.variable, ""),
        _ => return Ok(()),
    };
    let name = name.to_lowercase();
    let name = match name.as_str() {
        "timezone" | "time.zone" => "datafusion.execution.time_zone",
        name => name,
    };
    let entries = state.config_options().entries();
    let is_known = entries.iter().any(|entry| entry.key == name);
    if !is_known && !name.starts_with("datafusion.runtime.") {
        // SET itself reports the unknown setting.
        return Ok(());
    }
    let is_of = |open: &str| name == open || (open.ends_with('.') && name.starts_with(open));
    let Some((_, max)) = OPEN.iter().find(|(open, _)| is_of(open)) else {
        let message = format!("\"{name}\" cannot be changed by clients of a server");
        return Err(sql_err(SqlState::NotAllowed, message));
    };
    let number = value.trim_matches('\'').parse::<f64>().ok();
    match (number, max) {
        (Some(number), Some(max)) if !(0.0..=*max as f64).contains(&number) => {
            let message = format!("\"{name}\" may be up to {max} on a server");
            Err(sql_err(SqlState::NotAllowed, message))
        }
        (Some(0.0), Some(_)) if NOT_ZERO.contains(&name) => {
            let message = format!("\"{name}\" must be 1 or more");
            Err(sql_err(SqlState::InvalidParameter, message))
        }
        _ => Ok(()),
    }
}
