//! The page at `/`.

use std::hash::{BuildHasher, RandomState};

use axum::{
    http::header,
    response::{Html, IntoResponse},
};

const PAGE: &str = include_str!("page.html");

/// What in [`PAGE`] stands for the number that a browser has to see on scripts and styles to run them.
const NONCE: &str = "{{nonce}}";

/// The page, which may talk to this server alone.
pub(super) async fn page() -> impl IntoResponse {
    let nonce = format!("{:016x}", RandomState::new().hash_one(NONCE));
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self' blob: data:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (headers, Html(PAGE.replace(NONCE, &nonce)))
}
