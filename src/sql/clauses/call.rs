//! Checks of clauses at function calls and windows that the planner would ignore.

use datafusion::execution::SessionState;
use datafusion::sql::sqlparser::ast::{
    DuplicateTreatment, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArgumentList, FunctionArguments, NamedWindowExpr, ObjectName, WindowSpec, WindowType,
};

use super::refusal::{Found, refuse};
use crate::sql::folded;

/// Checks a call. The planner ignores clauses for aggregates at calls of scalar functions.
pub(super) fn check_call(call: &Function, state: &SessionState) -> Found {
    let Function {
        name,
        uses_odbc_syntax: _,
        parameters,
        args,
        filter,
        null_treatment,
        over,
        within_group,
    } = call;
    let has_parameters = *parameters != FunctionArguments::None;
    refuse(
        has_parameters,
        &format!("a second list of arguments of {name}"),
    )?;
    if let Some(WindowType::WindowSpec(window)) = over {
        check_window(window)?;
    }
    let (is_distinct, clauses) = match args {
        FunctionArguments::None => (false, &[][..]),
        FunctionArguments::Subquery(_) => {
            return Err(format!(
                "a query as the argument of {name} needs brackets of its own: {name}((SELECT …))"
            ));
        }
        FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment,
            args,
            clauses,
        }) => {
            args.iter().try_for_each(check_argument)?;
            let is_distinct = *duplicate_treatment == Some(DuplicateTreatment::Distinct);
            (is_distinct, clauses.as_slice())
        }
    };
    let is_sorted = clauses
        .iter()
        .any(|clause| matches!(clause, FunctionArgumentClause::OrderBy(_)));
    refuse(
        is_sorted && over.is_some(),
        &format!("ORDER BY among the arguments of {name} with OVER"),
    )?;
    if !is_scalar(name, state) {
        return Ok(());
    }
    let scalar = |what: &str| format!("{what} of the scalar function {name}");
    refuse(over.is_some(), &scalar("OVER"))?;
    refuse(filter.is_some(), &scalar("FILTER"))?;
    refuse(is_distinct, &scalar("DISTINCT"))?;
    refuse(null_treatment.is_some(), &scalar("IGNORE or RESPECT NULLS"))?;
    refuse(!within_group.is_empty(), &scalar("WITHIN GROUP"))?;
    refuse(!clauses.is_empty(), &scalar("a clause among the arguments"))
}

fn is_scalar(name: &ObjectName, state: &SessionState) -> bool {
    let [part] = name.0.as_slice() else {
        return false;
    };
    part.as_ident().map(folded).is_some_and(|name| {
        state.scalar_functions().contains_key(&name)
            || state.higher_order_functions().contains_key(&name)
    })
}

fn check_argument(argument: &FunctionArg) -> Found {
    match argument {
        FunctionArg::Unnamed(arg)
        | FunctionArg::Named { arg, .. }
        | FunctionArg::ExprNamed { arg, .. } => match arg {
            FunctionArgExpr::WildcardWithOptions(_) => {
                refuse(true, "EXCLUDE and the like in a call")
            }
            FunctionArgExpr::Expr(_)
            | FunctionArgExpr::QualifiedWildcard(_)
            | FunctionArgExpr::Wildcard => Ok(()),
        },
    }
}

/// Checks a window of the WINDOW clause.
pub(super) fn check_named_window(window: &NamedWindowExpr) -> Found {
    match window {
        NamedWindowExpr::NamedWindow(_) => Ok(()),
        NamedWindowExpr::WindowSpec(window) => check_window(window),
    }
}

fn check_window(window: &WindowSpec) -> Found {
    let WindowSpec {
        window_name,
        partition_by: _,
        order_by: _,
        window_frame: _,
    } = window;
    refuse(
        window_name.is_some(),
        "a window that is made from another one",
    )
}
