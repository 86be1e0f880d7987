//! The SQL language: from text to [`Statement`]. This folder knows the grammar and executes nothing.
//!
//! The additions to DataFusion's SQL:
//!
//! ```ebnf
//! train    ::= ('TRAIN' | 'CREATE') ['OR' 'REPLACE'] 'MODEL' ['IF' 'NOT' 'EXISTS'] name clause* 'AS' query
//! clause   ::= 'TARGET' column {',' column} | 'OPTIONS' '(' key '=' value {',' key '=' value} ')' | 'COMMENT' string
//! import   ::= 'CREATE' ['OR' 'REPLACE'] 'MODEL' ['IF' 'NOT' 'EXISTS'] name 'FROM' string
//!              ['OPTIONS' '(' key '=' value {',' key '=' value} ')' | 'COMMENT' string]*
//! relation ::= fn '(' model_ref [',' input] {',' name '=>' (literal | input)} ')'       -- in FROM
//!            | 'windows' '(' input {',' name '=>' (column | '[' column {',' column} ']' | literal)} ')'
//!            | string | ('read_csv' | 'read_json' | 'read_parquet') '(' (string | '[' string {',' string} ']') {',' name '=>' literal} ')'
//!            | 'summarize' '(' input ')'
//! fn       ::= predict | evaluate | confusion_matrix | roc_curve | pr_curve | calibration_curve | training_info | recommend
//! call     ::= 'embed' '(' model_ref ',' expr {',' name '=>' literal} ')'     -- in an expression
//!            | 'predict_value' '(' model_ref {',' (column | name '=>' expr | expr)} ')'
//! model_ref::= identifier | string                                            -- m, 'm@3', 'm@champion'
//! input    ::= '(' query ')' | ['TABLE'] table_name
//! show     ::= 'SHOW' 'MODELS' ['LIKE' pattern] | 'SHOW' 'VERSIONS' 'IN' 'MODEL' m
//!            | 'DESCRIBE' 'MODEL' model_ref | 'SHOW' 'CREATE' 'MODEL' model_ref
//! alter    ::= 'ALTER' 'MODEL' m ('SET' 'DEFAULT_VERSION' '=' n | 'VERSION' n 'SET' 'ALIAS' '=' a
//!            | 'RENAME' 'TO' name | 'SET' 'COMMENT' '=' string)
//! drop     ::= 'DROP' 'MODEL' ['IF' 'EXISTS'] m ['VERSION' n]
//! cache    ::= 'LOAD' 'MODEL' model_ref ['OPTIONS' '(' key '=' value {',' key '=' value} ')'] | 'UNLOAD' 'MODEL' model_ref
//! export   ::= 'EXPORT' ['OR' 'REPLACE'] 'MODEL' model_ref 'TO' string
//! summarize::= 'SUMMARIZE' (query | ['TABLE'] relation)
//! copy     ::= 'COPY' table ['(' column {',' column} ')'] 'FROM' string [['WITH'] '(' option {',' option} ')']   -- as in PostgreSQL
//! grant    ::= ('GRANT' | 'REVOKE') ('EXECUTE' 'ON' 'MODEL' m | 'SELECT' 'ON' ['TABLE'] t) ('TO' | 'FROM') role
//!            | 'SHOW' 'GRANTS'
//! index    ::= 'CREATE' 'INDEX' ['IF' 'NOT' 'EXISTS'] name 'ON' table 'USING' 'hnsw' '(' column ')'
//!              ['WITH' '(' key '=' value {',' key '=' value} ')'] | 'DROP' 'INDEX' ['IF' 'EXISTS'] name   -- as in PostgreSQL
//! ```
//!
//! The steps, in the order in which a text goes through them:
//!
//! * `script`: cuts the text into statements
//! * `parameters`: replaces parameters by bound values
//! * `limits`: refuses a text that would crash the process; later, also a tree or a plan
//! * `parser`: parses one `statement`; `effect`: the kind of its effect
//! * `files`: takes the files out of FROM; `rewrite`: rewrites table functions for DataFusion's planner; `model_calls`: functions of expressions whose first argument is a model
//! * `clauses`: refuses clauses that the planner would ignore
//! * `hints`: says in the error of a statement what its text shows of the mistake
//! * `selected_names`: renames selected columns of one name
//! * `training_parts`: the options and the query in the recorded statement of a training

pub(crate) mod clauses;
mod effect;
mod files;
mod hints;
mod limits;
mod model_calls;
mod parameters;
mod parser;
mod rewrite;
pub(crate) mod script;
pub(crate) mod selected_names;
mod statement;
mod training_parts;

pub(crate) use effect::{Effect, Handling};
pub(crate) use files::{
    FILE_FUNCTIONS, FileCall, READ_CSV, READ_JSON, READ_PARQUET, change_locations, file_index,
    take_files,
};
pub(crate) use hints::with_hint;
pub use limits::Limits;
pub(crate) use limits::{check_plan, check_statement, check_text};
pub(crate) use model_calls::{
    CallForm, CallInputs, NameOf, given_twice, mentions_call, prepare_calls, unknown_argument,
};
pub(crate) use parameters::Parameters;
pub(crate) use parser::parse;
pub(crate) use rewrite::{
    mentions_relation_function, model_argument, named_inputs, prepare_relations, relation_function,
    with_inputs_only,
};
pub(crate) use selected_names::check_selected_names;
pub(crate) use statement::{
    AlterModel, DropModel, ExportModel, GrantStatement, ImportModel, LOAD_OPTIONS, LoadModel,
    ModelStatement, NEAREST, OptionValue, RECOMMEND, RELATION_FUNCTIONS, SUMMARIZE, Statement,
    TrainModel, TrainingQuery, WINDOWS, folded, quoted,
};
pub(crate) use training_parts::training_parts;
