//! Who may ask: holders of the token, and no page of another site.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{errors::ApiError, queue::Shared};

/// Lets requests with the token pass, and every request where there is none.
pub(super) async fn authorised(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    match &shared.options.token {
        Some(token) if !has_token(request.headers(), token) => ApiError::new(
            StatusCode::UNAUTHORIZED,
            "expected the server's token as `Authorization: Bearer TOKEN`, found none or another",
        )
        .code("invalid_api_key")
        .into_response(),
        _ => next.run(request).await,
    }
}

/// Compares in a time that does not tell how much of the token was right.
fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    let Some((scheme, given)) = given.split_at_checked("Bearer ".len()) else { return false };
    let difference = given.iter().zip(token.as_bytes()).fold(0, |seen, (a, b)| seen | (a ^ b));
    scheme.eq_ignore_ascii_case(b"Bearer ") && given.len() == token.len() && difference == 0
}

/// Refuses what a page of another site makes a browser send, and names that other sites could point here.
///
/// Whoever controls a name can make it stand for 127.0.0.1 once a browser has loaded a page from it (DNS rebinding), so a
/// server for this machine answers only to this machine's own names.
pub(super) async fn own_site(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    if let Some(problem) = foreign(request.headers(), shared.address.ip().is_loopback()) {
        return ApiError::new(StatusCode::FORBIDDEN, problem).code("foreign_site").into_response();
    }
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// What in the headers is another site's.
fn foreign(headers: &HeaderMap, is_for_this_machine: bool) -> Option<&'static str> {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or_default());
    let host = text(header::HOST).unwrap_or_default();
    if is_for_this_machine && !is_loopback(host) {
        return Some("expected localhost or a loopback address in the header Host, found another name");
    }
    let origin = text(header::ORIGIN)?;
    let is_own = origin.split_once("://").is_some_and(|(_, site)| site.eq_ignore_ascii_case(host));
    (!is_own).then_some("expected a page of this server in the header Origin, found another site's")
}

/// Whether `host`, with or without a port, is this machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
