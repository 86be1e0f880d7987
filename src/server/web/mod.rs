//! The web page: runs, models, tables and SQL in a browser, with the logins and the rights of the other calls.
//!
//! ```text
//! request ─ router ─ visit: who, which fields, the form's token ─┬ GET: a page ─ rows of system tables ─ html, chart
//!             └ page.css, page.js, icon.svg                      └ POST: run, cancel, judge, profile ─ statements
//! ```
//! Pages are complete HTML. `page.js` adds what HTML cannot: values under the pointer, live parts, completion, plots of
//! results. Only these files run: the content security policy allows no other script and no style, and no other host.
//! What acts (SQL, cancelling) is a POST with the token of the reader's cookie, which no other site can read. Without logins,
//! a page on the loopback address answers only to addresses and `localhost`, so that no other name leads a browser to it.
//!
//! * `router` the paths, the headers of every answer, and the static files
//! * `visit` who asks for what; `fields` the fields of forms and links; `failure` what a reader is told instead of a page
//! * `rows` queries of system tables, as text; `execute` statements of the reader, with the limits of every client
//! * `html` escaping, links, tables and the frame of a page; `sorted` lists in the order that the reader chooses
//! * `chart` lines with axes; `figures` numbers, times and states as text
//! * `overview` the first page; `running` statements that run, and their cancelling
//! * `runs` the list of trainings; `run` one training; `compare` several side by side
//! * `models` the lists of models and versions; `version` one version; `judge` its confusion matrix and curves on rows
//! * `tables` the list of tables, one table and its profile
//! * `editor` the SQL editor; `names` the names that it completes

mod chart;
mod compare;
mod editor;
mod execute;
mod failure;
mod fields;
mod figures;
mod html;
mod judge;
mod models;
mod names;
mod overview;
mod router;
mod rows;
mod run;
mod running;
mod runs;
mod sorted;
mod tables;
mod version;
mod visit;

pub(super) use router::router;
