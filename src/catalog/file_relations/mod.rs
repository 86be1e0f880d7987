//! Files where tables go: `FROM 'x.csv'`, `FROM read_csv('x.csv', …)`, and `COPY t FROM 'x.csv'`. A file in FROM is an external
//! table without a name, for one statement and under the same access to files.
//!
//! ```text
//! statement ─ copy ─▶ INSERT … SELECT ─ sql::files ─▶ calls ─ open ─▶ tables ─ relation ─▶ scans
//! ```
//! * `format` which format a file has, by its name
//! * `arguments` the arguments of a call as options of an external table
//! * `place` where a file is; the nearest name if it is missing
//! * `copy` COPY … FROM as INSERT
//! * `open` opens the files of a statement
//! * `relation` the planner from the names that stand for files to scans

mod arguments;
mod copy;
mod format;
mod open;
mod place;
mod relation;

pub(crate) use self::open::open_files;
pub(crate) use self::place::absolute_locations;
