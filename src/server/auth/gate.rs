//! [`Gate`]: the middleware that every call passes.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tower_service::Service;

use super::headers::COOKIE;
use super::identity::Tie;
use super::state::Auth;
use crate::server::listener::link;

const HANDSHAKE: &str = "/arrow.flight.protocol.FlightService/Handshake";
const HEALTH: &str = "/grpc.health.v1.Health/";

/// Middleware that adds the caller's identity to authenticated calls and rejects all others.
#[derive(Debug, Clone)]
pub(in crate::server) struct Gate<S> {
    pub(in crate::server) inner: S,
    pub(in crate::server) auth: Arc<Auth>,
}

impl<S> Service<Request<Body>> for Gate<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        if path == HANDSHAKE || path.starts_with(HEALTH) {
            return Box::pin(self.inner.call(request));
        }
        let link = link(request.extensions());
        let identity = match self.auth.identify(request.headers(), link) {
            Ok(identity) => identity,
            Err(status) => return Box::pin(async move { Ok(status.into_http()) }),
        };
        let cookie = match (&identity.tie, link) {
            (Tie::Connection(_), Some(link)) => format!("{COOKIE}={}", link.cookie).parse().ok(),
            _ => None,
        };
        request.extensions_mut().insert(identity);
        let answering = self.inner.call(request);
        Box::pin(async move {
            let mut response = answering.await?;
            // A client that keeps the cookie finds its session by another connection too.
            if let Some(cookie) = cookie {
                response.headers_mut().insert("set-cookie", cookie);
            }
            Ok(response)
        })
    }
}
