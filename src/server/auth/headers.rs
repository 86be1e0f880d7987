//! What the headers of a call say about its client: credentials and a cookie.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use tonic::Status;
use tonic::codegen::http::HeaderMap;

use crate::error::SqlState;
use crate::server::status::failed;

/// Some clients omit the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// The cookie of a session.
pub(in crate::server) const COOKIE: &str = "arrow_flight_session_id";
/// A longer header cannot hold a token.
const HEADER_BYTES_MAX: usize = 8_192;

pub(super) fn denied() -> Status {
    failed(
        SqlState::NotAuthenticated,
        "user or password is wrong, or the token is not valid any more; log in again",
    )
}

/// The scheme in lower case, and the credentials.
pub(super) fn authorization(headers: &HeaderMap) -> Result<Option<(&'static str, &str)>, Status> {
    let mut values = headers.get_all("authorization").iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let is_strange = values.next().is_some() || value.len() > HEADER_BYTES_MAX;
    let text = value.to_str().ok().filter(|_| !is_strange);
    let (scheme, rest) = text
        .and_then(|text| text.split_once(' '))
        .ok_or_else(denied)?;
    let rest = rest.trim();
    let is = |name: &str| scheme.eq_ignore_ascii_case(name);
    match rest {
        "" => Err(denied()),
        rest if is("bearer") => Ok(Some(("bearer", rest))),
        rest if is("basic") => Ok(Some(("basic", rest))),
        _ => Err(denied()),
    }
}

/// The value of this server's cookie.
pub(in crate::server) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all("cookie").iter();
    let texts = all.filter_map(|value| value.to_str().ok());
    let mut pairs = texts.flat_map(|text| text.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// The user (up to the first colon) and the password (which may contain colons).
pub(super) fn basic(credentials: &str) -> Result<(String, String), Status> {
    let bytes = BASE64.decode(credentials).map_err(|_| denied())?;
    let text = String::from_utf8(bytes).map_err(|_| denied())?;
    let (user, password) = text.split_once(':').ok_or_else(denied)?;
    Ok((user.to_owned(), password.to_owned()))
}
