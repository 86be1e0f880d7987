//! [`check_clauses`]: refuses clauses that sqlparser reads and DataFusion's planner ignores, because the answer would be
//! that of another statement.
//!
//! Where the planner matches a structure with `..`, the checks here match it field by field, so that a new field in
//! sqlparser does not compile until somebody decides about it. Structures that the planner matches completely are not
//! here: CREATE TABLE (but for its columns), INSERT, MERGE, TRUNCATE, COPY, PREPARE.
//!
//! * `check` walks through a statement: first the rewriting, then the checks
//! * `supported_forms` rewrites clauses that the planner supports in another form
//! * `precedence` regroups expressions that sqlparser groups wrongly
//! * `statement` checks statements that are no queries; `changes` UPDATE and DELETE
//! * `query` checks queries and SELECT; `from` FROM; `using` the columns that two sides of a join share; `call` function calls
//! * `refusal` the error that names a clause

mod call;
mod changes;
mod check;
mod from;
mod precedence;
mod query;
mod refusal;
mod statement;
mod supported_forms;
mod using;

pub(crate) use check::check_clauses;
