//! [`Visit`]: a request of a reader whose login is known. Forms that act carry the token of the reader's cookie.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::{HeaderMap, Uri, header};

use super::failure::Failure;
use super::fields::Fields;
use crate::access::Access;
use crate::server::auth::{Identity, cookie};
use crate::server::state::Server;
use crate::server::users::{hash, new_token};
use crate::session::Session;

/// What all requests share.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) server: Arc<Server>,
    /// Makes tokens of cookies; new with each start of the server.
    secret: Arc<str>,
    /// Whether the page answers to any name, and not only to addresses.
    takes_names: bool,
}

impl Site {
    pub(super) fn new(server: Arc<Server>, is_local: bool) -> Self {
        // With logins, a browser that another name leads here has no password for that name.
        let takes_names = !is_local || server.auth.has_users();
        Self {
            server,
            secret: new_token().into(),
            takes_names,
        }
    }

    /// Whether a request may have come from this page. Who controls a name can let it point to this machine, and then a
    /// browser takes the pages of both for one site.
    pub(super) fn is_expected(&self, headers: &HeaderMap) -> bool {
        let host = headers.get(header::HOST);
        let host = host.and_then(|host| host.to_str().ok());
        self.takes_names || host.is_some_and(is_address)
    }

    fn token(&self, cookie: &str, identity: &Identity) -> String {
        let user = identity.user.as_deref().unwrap_or_default();
        hash(&format!("{} {cookie} {user}", self.secret))
    }
}

/// Whether a host is an address or `localhost`, with or without a port.
fn is_address(host: &str) -> bool {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// The cookie of a reader: the one that was sent, or else a new one, which the answer sets.
#[derive(Debug)]
pub(super) struct Cookie {
    pub(super) value: String,
    pub(super) is_new: bool,
}

impl Cookie {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let known = cookie(headers);
        Self {
            value: known.map_or_else(new_token, str::to_owned),
            is_new: known.is_none(),
        }
    }
}

/// A request of a reader.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) server: Arc<Server>,
    pub(super) identity: Identity,
    /// A session with the reader's rights, for queries of system tables.
    pub(super) session: Session,
    pub(super) path: String,
    /// The fields of the link, or of the form.
    pub(super) fields: Fields,
    /// What forms that act send back.
    pub(super) token: String,
    pub(super) cookie: Cookie,
}

impl Visit {
    /// # Errors
    /// If the login is not valid any more.
    pub(super) fn try_new(
        site: &Site,
        uri: &Uri,
        (identity, cookie): (Identity, Cookie),
    ) -> Result<Self, Failure> {
        let server = Arc::clone(&site.server);
        let session = server.sessions.session_of(&server.auth, &identity)?;
        Ok(Self {
            token: site.token(&cookie.value, &identity),
            server,
            identity,
            session,
            path: uri.path().to_owned(),
            fields: Fields::parse(uri.query().unwrap_or_default().as_bytes()),
            cookie,
        })
    }

    /// Takes the fields of a form that acts.
    ///
    /// # Errors
    /// If the form is not from a page of this reader.
    pub(super) fn take_form(&mut self, body: &[u8]) -> Result<(), Failure> {
        self.fields = Fields::parse(body);
        // Hashes are compared, so that the time tells nothing about the token.
        let is_own = hash(self.fields.get("token")) == hash(&self.token);
        match is_own && !self.cookie.is_new {
            true => Ok(()),
            false => Err(Failure::forbidden(
                "this form is not from this login and this start of the server; load its page again",
            )),
        }
    }

    /// Whether the reader sees the statements of all users.
    pub(super) fn sees_all(&self) -> bool {
        matches!(self.session.access(), Access::All)
    }

    /// The reader's name.
    pub(super) fn reader(&self) -> &str {
        self.identity.user.as_deref().unwrap_or("no login")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_others_could_control_are_no_addresses() {
        for host in [
            "localhost",
            "LocalHost:31338",
            "127.0.0.1:31338",
            "127.0.0.1",
            "[::1]:31338",
            "[::1]",
        ] {
            assert!(is_address(host), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example:31338",
            "localhost.evil.example",
            "",
            ":80",
        ] {
            assert!(!is_address(host), "{host}");
        }
    }
}
