//! Errors as users see them: one sentence, a SQLSTATE, and the position in the statement.
//!
//! Vatic's own error is a [`SqlError`] inside `DataFusionError::External`; DataFusion's own errors get the code of
//! their kind. [`report`] converts any `DataFusionError` to a [`SqlError`] for a user.
//!
//! * `state` [`SqlState`]: the codes and their meaning
//! * `sql_error` [`SqlError`], and how the code makes one
//! * `text` errors as text, for transports that carry only text
//! * `foreign` errors of DataFusion, Arrow and files as errors of Vatic; the only file here that looks into the texts of others
//! * `suggest` the nearest name, for an error about a name

mod foreign;
mod sql_error;
mod state;
mod suggest;
mod text;

pub use foreign::report;
pub(crate) use foreign::{arrow_report, is_full};
pub use sql_error::{Position, Result, SqlError};
pub(crate) use sql_error::{io_err, ml_err, sql_err};
pub use state::{SQL_STATES, SqlState};
pub use suggest::nearest;
pub(crate) use suggest::with_cause;
pub(crate) use text::{error_from_text, error_to_text};
