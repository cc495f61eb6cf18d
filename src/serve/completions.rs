//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequest, Request, State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use tokio::{sync::mpsc, time::Instant};

use super::{
    conversation::Conversation,
    errors::{ApiError, ErrorBody},
    queue::{Running, Shared, late},
    request::ChatRequest,
    response::{Account, Answer, Choice, Completion, Head, Usage, finish_reason},
    stream,
    worker::{Job, Progress},
};

/// Answers the last message of a conversation.
#[utoipa::path(
    post,
    path = "/v1/chat/completions",
    request_body = ChatRequest,
    responses(
        (status = 200, description = "The answer; with `stream`, server-sent events of chunks and then [DONE]",
            content((Completion = "application/json"), (super::response::Chunk = "text/event-stream"))),
        (status = 400, description = "A field that cannot be accepted", body = ErrorBody),
        (status = 401, description = "No token, or another", body = ErrorBody),
        (status = 404, description = "Another model", body = ErrorBody),
        (status = 413, description = "Too many bytes", body = ErrorBody),
        (status = 429, description = "The queue is full; Retry-After says when to come back", body = ErrorBody),
        (status = 503, description = "The server is ending", body = ErrorBody),
        (status = 504, description = "The time for one answer is over", body = ErrorBody),
    )
)]
pub(super) async fn chat_completions(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, ApiError> {
    // The place comes first: bodies of requests that would be turned away are not even read.
    let place = shared.queue.enter()?;
    let arrived = Instant::now();
    let deadline = arrived + shared.options.time_limit;
    let request = tokio::time::timeout_at(deadline, Json::<ChatRequest>::from_request(request, &()))
        .await
        .map_err(|_| late())?;
    let Json(request) = request.map_err(unreadable)?;
    let is_streamed = request.stream == Some(true);
    let with_usage =
        request.stream_options.as_ref().is_some_and(|options| options.include_usage == Some(true));
    let conversation = Conversation::new(request, &shared.model, &shared.options)?;
    let (sender, events) = mpsc::unbounded_channel();
    shared.queue.push(Job { conversation, arrived: arrived.into_std(), events: sender, place })?;
    let mut running = Running { events, deadline, is_cut_off: shared.is_cut_off.clone() };
    // What the prompt alone can fail with is a refusal, and no broken stream.
    running.next().await?;
    let name = &shared.options.model_name;
    match is_streamed {
        true => Ok(stream::answer(running, Head::new("chat.completion.chunk", name), with_usage)),
        false => Ok(Json(whole(running, Head::new("chat.completion", name)).await?).into_response()),
    }
}

/// Waits for the end of an answer.
async fn whole(mut running: Running, head: Head) -> Result<Completion, ApiError> {
    let mut content = String::new();
    loop {
        match running.next().await? {
            Progress::Text(piece) => content += &piece,
            Progress::Done(finished) => {
                let finish_reason = finish_reason(&finished.report);
                let message = Answer { role: "assistant", content, refusal: None };
                return Ok(Completion {
                    head,
                    choices: [Choice { index: 0, message, logprobs: None, finish_reason }],
                    usage: Usage::new(&finished),
                    mustdrop: Account::new(*finished),
                });
            }
            Progress::Started | Progress::Failed(_) => {}
        }
    }
}

/// A body that is no request of ours.
fn unreadable(rejection: JsonRejection) -> ApiError {
    let status = match (&rejection, rejection.status()) {
        (JsonRejection::JsonDataError(_), _) => StatusCode::BAD_REQUEST,
        (_, status) => status,
    };
    ApiError::new(status, rejection.body_text())
}
