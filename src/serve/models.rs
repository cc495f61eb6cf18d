//! `GET /v1/models` and `GET /health`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{conversation::check_model, errors::ApiError, errors::ErrorBody, queue::Shared};

/// A model that answers here.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Model {
    pub id: String,
    pub object: &'static str,
    /// Seconds since 1970 when the server began.
    pub created: u64,
    pub owned_by: &'static str,
    /// The most tokens that prompt and answer may have together.
    pub context_length: usize,
    /// Tokens of a picture where none is dropped.
    pub image_tokens: usize,
}

/// Models that answer here.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Models {
    pub object: &'static str,
    pub data: [Model; 1],
}

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    pub status: &'static str,
    pub device: String,
    /// Requests that wait or are being answered.
    pub requests: usize,
    /// Pictures in the cache, and their bytes.
    pub cached_pictures: usize,
    pub cached_bytes: u64,
}

fn model(shared: &Shared) -> Model {
    Model {
        id: shared.options.model_name.clone(),
        object: "model",
        created: shared.started,
        owned_by: "mustdrop",
        context_length: shared.model.context_limit(),
        image_tokens: shared.model.config.largest_picture().tokens(),
    }
}

/// The one model there is.
#[utoipa::path(get, path = "/v1/models", responses((status = 200, body = Models)))]
pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Json<Models> {
    Json(Models { object: "list", data: [model(&shared)] })
}

/// A model by its name.
#[utoipa::path(get, path = "/v1/models/{name}", params(("name" = String, Path,)),
    responses((status = 200, body = Model), (status = 404, body = ErrorBody)))]
pub(super) async fn one(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
) -> Result<Json<Model>, ApiError> {
    check_model(Some(&name), &shared.options)?;
    Ok(Json(model(&shared)))
}

/// Whether the server answers.
#[utoipa::path(get, path = "/health", responses((status = 200, body = Health)))]
pub(super) async fn health(State(shared): State<Arc<Shared>>) -> Json<Health> {
    Json(Health {
        status: "ok",
        device: shared.model.device().to_string(),
        requests: shared.queue.taken(),
        cached_pictures: shared.cache.pictures(),
        cached_bytes: shared.cache.bytes(),
    })
}
