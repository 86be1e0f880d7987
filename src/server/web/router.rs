//! [`router`]: the paths of the page, the headers of every answer, and the static files.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};

use super::failure::Failure;
use super::html::{Page, document, error};
use super::visit::{Cookie, Site, Visit};
use super::{compare, editor, models, names, overview, run, running, runs, tables, version};
use crate::server::auth::COOKIE;
use crate::server::state::Server;

/// Only the page's own files run, and no other site may show the page in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The static files: path, type and content.
const FILES: &[(&str, &str, &str)] = &[
    (
        "/page.css",
        "text/css; charset=utf-8",
        include_str!("page.css"),
    ),
    (
        "/page.js",
        "text/javascript; charset=utf-8",
        include_str!("page.js"),
    ),
    ("/icon.svg", "image/svg+xml", include_str!("icon.svg")),
];

/// An answer to a reader.
enum Answer {
    Page(Page),
    Json(String),
    /// Go on at this path.
    Redirect(String),
}

/// Serves the page. `is_local` says whether it is on the loopback address.
pub(in crate::server) fn router(server: Arc<Server>, is_local: bool) -> Router {
    Router::new()
        .fallback(answer)
        .with_state(Site::new(server, is_local))
}

async fn answer(
    State(site): State<Site>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut response = Box::pin(respond(&site, method, (&uri, &headers), &body)).await;
    let answered = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        answered.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn respond(
    site: &Site,
    method: Method,
    (uri, headers): (&Uri, &HeaderMap),
    body: &[u8],
) -> Response {
    if !site.is_expected(headers) {
        let told = "without --users, the page answers to addresses and to localhost only";
        return (StatusCode::FORBIDDEN, told).into_response();
    }
    if let Some((_, kind, content)) = FILES.iter().find(|(path, ..)| *path == uri.path()) {
        return ([(header::CONTENT_TYPE, *kind)], *content).into_response();
    }
    let cookie = Cookie::of(headers);
    let identified = site.server.auth.identify_reader(headers, &cookie.value);
    let Ok(identity) = identified.await else {
        let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"vatic\"")];
        return (StatusCode::UNAUTHORIZED, challenge, "log in").into_response();
    };
    let mut visit = match Visit::try_new(site, uri, (identity, cookie)) {
        Ok(visit) => visit,
        Err(failure) => return (failure.status, failure.message).into_response(),
    };
    let answered = match method {
        Method::GET | Method::HEAD => Box::pin(get(&visit)).await,
        Method::POST => match visit.take_form(body) {
            Ok(()) => Box::pin(post(&visit)).await,
            Err(failure) => Err(failure),
        },
        _ => Err(Failure {
            status: StatusCode::METHOD_NOT_ALLOWED,
            message: "the page takes GET and POST".into(),
        }),
    };
    let mut response = match answered {
        Ok(Answer::Page(page)) => Html(document(&page, visit.reader())).into_response(),
        Ok(Answer::Json(text)) => {
            ([(header::CONTENT_TYPE, "application/json")], text).into_response()
        }
        Ok(Answer::Redirect(path)) => {
            (StatusCode::SEE_OTHER, [(header::LOCATION, path)]).into_response()
        }
        Err(failure) => refusal(&visit, &failure),
    };
    let value = &visit.cookie.value;
    let text = format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax");
    if visit.cookie.is_new
        && let Ok(cookie) = HeaderValue::try_from(text)
    {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

fn refusal(visit: &Visit, failure: &Failure) -> Response {
    let page = Page {
        title: "Not shown".into(),
        entry: "",
        content: error(&failure.message),
    };
    (failure.status, Html(document(&page, visit.reader()))).into_response()
}

async fn get(visit: &Visit) -> Result<Answer, Failure> {
    let page = match visit.path.as_str() {
        "/" => overview::page(visit).await?,
        "/runs" => runs::page(visit).await?,
        "/run" => run::page(visit).await?,
        "/compare" => compare::page(visit).await?,
        "/models" => models::page(visit).await?,
        "/model" => models::versions(visit).await?,
        "/version" => version::page(visit, String::new()).await?,
        "/tables" => tables::page(visit).await?,
        "/table" => tables::table(visit, String::new()).await?,
        "/sql" => editor::page(visit, String::new()),
        "/names" => return Ok(Answer::Json(names::json(visit).await?)),
        path => return Err(Failure::missing(&format!("the page {path}"))),
    };
    Ok(Answer::Page(page))
}

async fn post(visit: &Visit) -> Result<Answer, Failure> {
    let page = match visit.path.as_str() {
        "/version" => version::judged(visit).await?,
        "/table" => tables::profiled(visit).await?,
        "/sql" => editor::run(visit).await?,
        "/cancel" => return Ok(Answer::Redirect(running::cancel(visit).await?)),
        path => return Err(Failure::missing(&format!("the form {path}"))),
    };
    Ok(Answer::Page(page))
}
