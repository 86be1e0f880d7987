//! Authentication. Every call passes the gate, except for the handshake and the health check, which supervisors call
//! without a login.
//!
//! * `gate` adds the caller's identity to a call, or rejects it
//! * `state` logs clients in and out, and identifies callers
//! * `identity` who calls, and what ends the session
//! * `headers` what a client says about itself: credentials and a cookie
//! * `tokens` tokens in memory, and their ends
//! * `delays` of logins after wrong passwords

mod delays;
mod gate;
mod headers;
mod identity;
mod state;
mod tokens;

pub(super) use gate::Gate;
pub(super) use headers::{COOKIE, cookie};
pub(super) use identity::{Identity, Tie};
pub(super) use state::Auth;
