//! Resolution of addresses that users write, and errors of listeners.

use std::net::{SocketAddr, ToSocketAddrs};

use datafusion::common::DataFusionError;

use crate::error::{Result, SqlState, sql_err};

/// The first address of `host:port`.
pub(super) fn resolve(address: &str) -> Result<SocketAddr> {
    let wrong = |problem: &str| {
        let message = format!("{address} is not host:port: {problem}");
        sql_err(SqlState::InvalidParameter, message)
    };
    let mut found = address
        .to_socket_addrs()
        .map_err(|error| wrong(&error.to_string()))?;
    found.next().ok_or_else(|| wrong("it has no address"))
}

/// The error of a listener that cannot start.
pub(super) fn failed_at(address: SocketAddr) -> impl Fn(std::io::Error) -> DataFusionError {
    move |error| sql_err(SqlState::Io, format!("listening at {address}: {error}"))
}
