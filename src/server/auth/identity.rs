//! [`Identity`]: the client of a call, and what ends its session.

use std::sync::{Arc, Weak};

use tonic::codegen::http::HeaderMap;

use super::headers::cookie;
use crate::server::listener::Link;
use crate::server::users::hash;

/// An authenticated client.
#[derive(Debug, Clone)]
pub(in crate::server) struct Identity {
    /// The key of the session; a hash if it stands for a token.
    pub(in crate::server) key: String,
    /// `None` on a server without users.
    pub(in crate::server) user: Option<String>,
    /// Shared by all clients with the same token, or by all without one.
    pub(in crate::server) group: String,
    pub(in crate::server) tie: Tie,
}

/// What ends a session.
#[derive(Debug, Clone)]
pub(in crate::server) enum Tie {
    /// A login, or a cookie that the client sent: the session outlives its connections, and the client can end it. While
    /// the connection that issued the cookie is open, others may share it (`Sessions::ends_with_connection`).
    Client,
    /// The connection, for a client that sends no cookie. Other clients may share the connection, so the session ends
    /// with the connection and not when one of them closes it.
    Connection(Weak<Link>),
}

impl Identity {
    /// The identity of one of several clients with the same token, or without one: its cookie or else its connection
    /// distinguishes it. The first reply sets the connection's cookie, so a client that keeps cookies keeps its session.
    pub(super) fn shared(
        key: String,
        user: Option<String>,
        headers: &HeaderMap,
        link: Option<&Arc<Link>>,
    ) -> Self {
        let own = cookie(headers);
        let of_connection = link.map(|link| link.cookie.as_str());
        Self {
            key: match own.or(of_connection) {
                Some(cookie) => hash(&format!("{key} {cookie}")),
                None => key.clone(),
            },
            user,
            group: key,
            tie: match (own, link) {
                (Some(_), _) => Tie::Client,
                (None, Some(link)) => Tie::Connection(Arc::downgrade(link)),
                (None, None) => Tie::Connection(Weak::new()),
            },
        }
    }

    pub(super) fn of_login(key: String, user: Option<String>) -> Self {
        Self {
            group: key.clone(),
            key,
            user,
            tie: Tie::Client,
        }
    }
}
