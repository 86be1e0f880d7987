//! [`with_excluded`]: the users, each with the list of the items that are not recommended to it.
//!
//! ```text
//! users LEFT JOIN (SELECT user, array_agg(item) FROM exclude GROUP BY user) ON user = user
//! ```
//! NULLs exclude nothing.

use datafusion::arrow::datatypes::Field;
use datafusion::common::{Column, DFSchema, DataFusionError, JoinType};
use datafusion::functions_aggregate::expr_fn::array_agg;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, col, try_cast};

use crate::error::{Result, SqlState, sql_err};

/// The column of the excluded items, which is the last of the users.
const EXCLUDED: &str = "__excluded";
/// The relation of the excluded items of each user, and the columns from which it is made.
const BY_USER: &str = "__excluded_by_user";
const USER: &str = "__user";
const ITEM: &str = "__item";

/// The users with the column [`EXCLUDED`], and the position of the column of the candidates that it lists. `exclude` has two
/// columns: one has the name of a column of the users, one of a column of the candidates.
pub(super) fn with_excluded(
    users: LogicalPlan,
    exclude: LogicalPlan,
    candidates: &[Field],
) -> Result<(LogicalPlan, usize)> {
    let Pair {
        user,
        of_users,
        item,
        of_items,
    } = pair(users.schema(), exclude.schema(), candidates)?;
    let data_type = candidates[of_items].data_type().clone();
    let (user, item) = (
        column(exclude.schema(), user),
        column(exclude.schema(), item),
    );
    // What is no item in the type of the items excludes nothing.
    let item = try_cast(item, data_type);
    let by_user = LogicalPlanBuilder::from(exclude)
        .project(vec![user.alias(USER), item.alias(ITEM)])?
        .filter(col(USER).is_not_null().and(col(ITEM).is_not_null()))?
        .aggregate(vec![col(USER)], vec![array_agg(col(ITEM)).alias(EXCLUDED)])?
        .alias(BY_USER)?
        .build()?;
    let all = 0..users.schema().fields().len();
    let mut kept: Vec<Expr> = all.map(|at| column(users.schema(), at)).collect();
    kept.push(col(format!("{BY_USER}.{EXCLUDED}")).alias(EXCLUDED));
    let is_same = column(users.schema(), of_users).eq(col(format!("{BY_USER}.{USER}")));
    let joined = LogicalPlanBuilder::from(users)
        .join_on(by_user, JoinType::Left, [is_same])?
        .project(kept)?
        .build()?;
    Ok((joined, of_items))
}

/// The positions of the columns of users and items: in `exclude`, among the users, and among the candidates.
struct Pair {
    user: usize,
    of_users: usize,
    item: usize,
    of_items: usize,
}

fn pair(users: &DFSchema, exclude: &DFSchema, candidates: &[Field]) -> Result<Pair> {
    let names: Vec<&str> = exclude
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    if names.len() != 2 {
        return Err(wrong(&format!("it has {}", names.join(", "))));
    }
    let of_users = |name: &str| {
        let mut fields = users.fields().iter();
        fields.position(|field| field.name().eq_ignore_ascii_case(name))
    };
    let of_items = |name: &str| {
        let mut fields = candidates.iter();
        fields.position(|field| field.name().eq_ignore_ascii_case(name))
    };
    let found = [(0, 1), (1, 0)].map(|(user, item)| {
        Some(Pair {
            user,
            of_users: of_users(names[user])?,
            item,
            of_items: of_items(names[item])?,
        })
    });
    match found {
        [Some(pair), None] | [None, Some(pair)] => Ok(pair),
        [None, None] => Err(wrong(&format!("it has {}", names.join(" and ")))),
        [Some(_), Some(_)] => Err(wrong("both columns are in both; rename one")),
    }
}

fn wrong(problem: &str) -> DataFusionError {
    let message = format!(
        "argument exclude takes rows of two columns, one with the name of a column of the users and one with that of a column of the \
         items, and {problem}"
    );
    sql_err(SqlState::MissingColumn, message)
}

fn column(schema: &DFSchema, at: usize) -> Expr {
    Expr::Column(Column::from(schema.qualified_field(at)))
}
