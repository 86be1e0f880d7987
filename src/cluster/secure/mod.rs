//! The protection of a cluster: one secret that all its processes share, and one build.
//!
//! ```text
//! secret file ──▶ Secret ──▶ one key and one certificate, the same in every process ──▶ TLS on each connection
//! ```
//! Both sides of each connection present the certificate and trust only it, so a process without the secret completes no
//! handshake. Then engine and executor tell each other their build. Without a secret, connections are plain and only the
//! loopback address may be used.
//!
//! | connection | how it is encrypted |
//! | --- | --- |
//! | executor → scheduler, scheduler → executor, rows | gRPC over TLS (`grpc`) |
//! | tasks, at the executor | Ballista binds this server itself, so it listens on the loopback device behind a `tls_proxy` |
//! | executor and rank → coordinator | a `stream`, after a `greeting` |
//! | rank ↔ rank | a `peer` |
//!
//! Other users of an executor's machine reach the server behind the proxy without the secret. So a task needs a `pass`,
//! which only the engine can give; others can still stop tasks and the executor.
//!
//! * `security` the protection as the rest of the cluster sees it; `failure` why another process is refused
//! * `secret` the file, and the keys made from its content; `identity` the certificate and its use by TLS
//! * `build` the name of this build; `greeting` the first bytes of a connection to the engine
//! * `doorway` the connections that have not shown yet who they are, and the most there may be
//! * `stream` connections of tasks of tokio; `peer` connections of threads
//! * `grpc` clients and servers of gRPC; `tls_proxy` the encrypted way to a server on the loopback device; `pass` of tasks

mod build;
mod doorway;
mod failure;
mod greeting;
mod grpc;
mod identity;
mod pass;
mod peer;
mod secret;
mod security;
mod stream;
mod tls_proxy;

pub(super) use doorway::{STRANGERS_MAX, new_doorway};
pub(super) use failure::Refused;
pub(super) use pass::TaskPass;
pub(super) use peer::PeerStream;
pub(super) use security::Security;
pub(super) use stream::SecureStream;
pub(super) use tls_proxy::TlsProxy;
