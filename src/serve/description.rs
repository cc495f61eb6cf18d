//! `GET /openapi.json`: the routes, described.

use axum::{http::header, response::IntoResponse};
use utoipa::OpenApi;

use super::{
    completions, errors::ApiError, errors::ErrorBody, models, request::ChatRequest, response::Chunk,
    response::Completion,
};

#[derive(OpenApi)]
#[openapi(
    info(title = "mustdrop", description = "Questions about pictures, as OpenAI's chat completions"),
    paths(completions::chat_completions, models::list, models::one, models::health),
    components(schemas(ChatRequest, Completion, Chunk, ErrorBody))
)]
struct Description;

/// The description of all routes but the page.
pub(super) async fn openapi() -> Result<impl IntoResponse, ApiError> {
    let json = Description::openapi().to_json().map_err(|error| {
        ApiError::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, format!("openapi: {error}"))
    })?;
    Ok(([(header::CONTENT_TYPE, "application/json")], json))
}
