//! Errors in the shape that OpenAI's clients read.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::Error;

/// An answer that is none.
#[derive(Debug)]
pub(super) struct ApiError {
    pub status: StatusCode,
    pub details: ErrorDetails,
    /// Seconds after which to try again.
    pub retry_after: Option<u64>,
}

/// What went wrong.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct ErrorDetails {
    /// What, what was expected, and what was found.
    pub message: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The field of the request.
    pub param: Option<String>,
    pub code: Option<&'static str>,
}

/// The body of an answer that is none.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorBody {
    pub error: ErrorDetails,
}

impl ApiError {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let kind = match status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        let details = ErrorDetails { message: message.into(), kind, param: None, code: None };
        Self { status, details, retry_after: None }
    }

    /// A field of the request that cannot be accepted.
    pub fn field(param: impl Into<String>, message: impl Into<String>) -> Self {
        let mut error = Self::new(StatusCode::BAD_REQUEST, message);
        error.details.param = Some(param.into());
        error
    }

    pub fn code(mut self, code: &'static str) -> Self {
        self.details.code = Some(code);
        self
    }

    pub fn body(self) -> ErrorBody {
        ErrorBody { error: self.details }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Argument { .. }
            | Error::Picture { .. }
            | Error::Prompt(_)
            | Error::Refused { .. }
            | Error::Context { .. } => StatusCode::BAD_REQUEST,
            Error::Model { .. }
            | Error::Device { .. }
            | Error::Memory { .. }
            | Error::Cancelled
            | Error::Io { .. } => {
                tracing::error!("{error}");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        let mut refusal = Self::new(status, error.to_string());
        if let Error::Argument { name, .. } | Error::Picture { origin: name, .. } = error {
            refusal.details.param = Some(name);
        }
        refusal
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, retry_after) = (self.status, self.retry_after);
        let mut response = (status, Json(self.body())).into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

pub(super) async fn no_such_route() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "no such route: /openapi.json describes those there are")
        .code("unknown_url")
}

pub(super) async fn no_such_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "another method is expected here: /openapi.json says which")
        .code("method_not_supported")
}

/// Gives refusals that were not ours, such as that of a body over the limit, the common shape.
pub(super) async fn in_shape(response: Response) -> Response {
    let status = response.status();
    let is_json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    if is_json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let message = match status {
        StatusCode::PAYLOAD_TOO_LARGE => {
            "the request has more bytes than this server takes; send smaller pictures"
        }
        _ => status.canonical_reason().unwrap_or("refused"),
    };
    ApiError::new(status, message).into_response()
}
