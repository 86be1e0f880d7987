//! The language: text to [`Statement`]. Knows the grammar, executes nothing.
//!
//! Beside DataFusion's SQL there are:
//!
//! ```ebnf
//! train    ::= ('TRAIN' | 'CREATE') ['OR' 'REPLACE'] 'MODEL' ['IF' 'NOT' 'EXISTS'] name clause* 'AS' query
//! clause   ::= 'TARGET' column | 'OPTIONS' '(' key '=' value {',' key '=' value} ')' | 'COMMENT' string
//! import   ::= 'CREATE' ['OR' 'REPLACE'] 'MODEL' ['IF' 'NOT' 'EXISTS'] name 'FROM' string
//!              ['OPTIONS' '(' key '=' value {',' key '=' value} ')' | 'COMMENT' string]*
//! relation ::= fn '(' model_ref [',' input] {',' name '=>' literal} ')'       -- in FROM
//! fn       ::= predict | evaluate | confusion_matrix | training_info
//! model_ref::= identifier | string                                            -- m, 'm@3', 'm@champion'
//! input    ::= '(' query ')' | ['TABLE'] table_name
//! show     ::= 'SHOW' 'MODELS' ['LIKE' pattern] | 'SHOW' 'VERSIONS' 'IN' 'MODEL' m
//!            | 'DESCRIBE' 'MODEL' model_ref | 'SHOW' 'CREATE' 'MODEL' model_ref
//! alter    ::= 'ALTER' 'MODEL' m ('SET' 'DEFAULT_VERSION' '=' n | 'VERSION' n 'SET' 'ALIAS' '=' a
//!            | 'RENAME' 'TO' name | 'SET' 'COMMENT' '=' string)
//! drop     ::= 'DROP' 'MODEL' ['IF' 'EXISTS'] m ['VERSION' n]
//! grant    ::= ('GRANT' | 'REVOKE') ('EXECUTE' 'ON' 'MODEL' m | 'SELECT' 'ON' ['TABLE'] t) ('TO' | 'FROM') role
//!            | 'SHOW' 'GRANTS'
//! ```
//!
//! A text goes through, in this order:
//!
//! * `script`: cut into statements
//! * `parameters`: bound values put into it
//! * `limits`: refused if it would end the process; its tree and its plan are looked at later, when they are there
//! * `parser`: one `statement`; `effect`: what it is for
//! * `rewrite`: what DataFusion's planner must see differently
//! * `clauses`: those that would be dropped are refused
//! * `selected_names`: columns of one name get others

pub(crate) mod clauses;
mod effect;
mod limits;
mod parameters;
mod parser;
mod rewrite;
pub(crate) mod script;
pub(crate) mod selected_names;
mod statement;

pub(crate) use effect::{Effect, acts_when_planned};
pub use limits::Limits;
pub(crate) use limits::{check_plan, check_statement, check_text};
pub(crate) use parameters::Parameters;
pub(crate) use parser::parse;
pub(crate) use rewrite::{
    mentions_relation_function, model_argument, prepare_relations, relation_function,
    with_inputs_only,
};
pub(crate) use selected_names::check_selected_names;
pub(crate) use statement::{
    AlterModel, DropModel, GrantStatement, ImportModel, ModelStatement, OptionValue,
    RELATION_FUNCTIONS, Statement, TrainModel, TrainingQuery, folded, quoted,
};
