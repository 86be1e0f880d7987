//! Checks that refuse options with secrets, because every plan would show them.

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;

use crate::error::{Result, SqlState, sql_err};

/// Words that occur in the names of options with secrets.
const SECRETS: &[&str] = &[
    "secret",
    "password",
    "token",
    "credential",
    "access_key",
    "private_key",
];

/// Refuses options with secrets: stores take credentials from the environment.
pub(crate) fn check_secrets<'a>(names: impl Iterator<Item = &'a String>) -> Result<()> {
    for name in names {
        let lower = name.to_lowercase();
        if SECRETS.iter().any(|word| lower.contains(word)) {
            let message = format!(
                "option \"{name}\" holds a secret, which every plan would show; stores take theirs from the environment of \
                 the process: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL"
            );
            return Err(sql_err(SqlState::Unsupported, message));
        }
    }
    Ok(())
}

/// Refuses COPY with secrets, also inside EXPLAIN.
pub(crate) fn check_copied_secrets(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Copy(copy) = node {
            check_secrets(copy.options.keys())?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}
