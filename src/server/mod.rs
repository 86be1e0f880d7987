//! Flight SQL: the engine for JDBC, ADBC and every other client of that protocol.
//!
//! ```text
//! TCP ─ listener ─ tonic ─ service ─┬ metadata, sql_info        what there is
//!        limits,    auth,           ├ statements ─ Session      queries, updates, prepared statements, tickets
//!        deadlines  sessions        ├ upload ─ ingest           rows that clients send
//!                                   └ actions                   sessions' options, cancelling, progress
//!                                        └─ output ─▶ batches as every client can read them
//! ```
//! * `serve` starts and ends a server; `listener` its connections
//! * `auth` who a client is; `users` the file of users
//! * `state` what all calls share; `sessions` what is kept for a client between calls
//! * `service` one short method for each call of the protocol
//! * `statements` statements from text to ticket, and from ticket to rows; each runs once; `work` what is to be run
//! * `prepared` prepared statements and the values that are bound to them
//! * `results` what waits to be fetched, and is
//! * `upload` what clients upload; `ingest` its rows become rows of a table
//! * `metadata`, `sql_info` catalogs, schemas, tables, types, and what the server can do
//! * `actions` the calls that are no part of Flight's own: options of a session, cancelling
//! * `wire` schemas and batches in types that every client can read; `output` the messages of every reply
//! * `lock` the one way in which all of this locks
//! * `status` errors as gRPC has them
//! * `web` a page that shows people what the server does
//!
//! SQL itself is not here: every statement goes through [`Session`](crate::Session).

pub(crate) mod actions;
mod auth;
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
mod upload;
mod users;
mod web;
mod wire;
mod work;

pub use serve::{ServeOptions, Tls, serve};
pub use users::{add_token, add_user};
