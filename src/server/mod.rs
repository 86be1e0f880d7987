//! The Flight SQL server: the engine for JDBC, ADBC and every other client of that protocol.
//!
//! ```text
//! TCP ─ listener ─ tonic ─ service ─┬ metadata, sql_info        catalogs, tables, types, capabilities
//!        limits,    auth,           ├ statements ─ Session      queries, updates, prepared statements, tickets
//!        deadlines  sessions        ├ upload ─ ingest           rows that clients send
//!                                   └ actions                   session options, cancellation, progress
//!                                        └─ output ─▶ batches in types that every client can read
//! ```
//! * `serve` starts and stops a server; `listener` accepts and limits its connections
//! * `auth` identifies clients; `users` reads and writes the users file; `logins` stores the tokens of logins
//! * `state` shared state of all calls; `sessions` state of a client between calls
//! * `service` one short method for each call of the protocol
//! * `statements` starts statements, then returns the rows for their tickets; `work` the statements and values to run
//! * `prepared` prepared statements and their bound values; `bound_rows` runs a statement for several rows of values
//! * `results` results that wait to be fetched or are being fetched; `stop` asks running statements to end
//! * `upload` checks and reads uploads; `ingest` writes uploaded rows to a table
//! * `metadata`, `sql_info` catalogs, schemas, tables, types, and the server's capabilities
//! * `actions` Flight actions: session options, cancellation, progress
//! * `wire` schemas and batches in types that every client can read; `output` the messages of every reply
//! * `lock` the server's mutex helper
//! * `status` conversion between errors and gRPC statuses
//! * `web` runs, models, tables and SQL in a browser
//!
//! Every SQL statement goes through [`Session`](crate::Session); no SQL is parsed or run in this folder.

pub(crate) mod actions;
mod auth;
mod bound_rows;
mod ingest;
mod listener;
mod lock;
mod logins;
mod metadata;
mod output;
mod prepared;
mod results;
mod serve;
mod service;
mod sessions;
mod sql_info;
mod state;
mod statements;
pub(crate) mod status;
mod stop;
mod upload;
mod users;
mod web;
mod wire;
mod work;

pub use serve::{Page, ServeOptions, Tls, serve};
pub use users::{add_token, add_user};
