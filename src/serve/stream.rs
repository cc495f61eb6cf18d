//! Answers as server-sent events.

use std::{convert::Infallible, time::Duration};

use axum::response::{
    IntoResponse, Response,
    sse::{Event, KeepAlive, Sse},
};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{
    errors::ApiError,
    queue::Running,
    response::{Account, Chunk, ChunkChoice, Delta, Head, Usage, finish_reason},
    worker::Progress,
};

/// Events that wait for a slow client before its answer waits, too.
const AHEAD: usize = 16;
/// The longest silence: a comment then shows whether the client is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// The response that hands out `running` as it goes on; it ends if the client leaves.
pub(super) fn answer(mut running: Running, head: Head, with_usage: bool) -> Response {
    let (sender, events) = mpsc::channel(AHEAD);
    let deadline = running.deadline;
    tokio::spawn(async move {
        let forwarded = forward(&mut running, &sender, head, with_usage);
        let outcome = tokio::select! {
            () = sender.closed() => return,
            outcome = tokio::time::timeout_at(deadline, forwarded) => outcome,
        };
        if let Ok(Err(error)) = outcome
            && let Ok(event) = Event::default().json_data(error.body())
        {
            // There is nobody else to tell.
            let _ = sender.try_send(Ok(event));
        }
    });
    Sse::new(ReceiverStream::new(events)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

type Events = mpsc::Sender<Result<Event, Infallible>>;

async fn forward(
    running: &mut Running,
    events: &Events,
    head: Head,
    with_usage: bool,
) -> Result<(), ApiError> {
    let usage = with_usage.then_some(None);
    let piece = |delta: Delta, finish_reason: Option<&'static str>| Chunk {
        head: head.clone(),
        choices: vec![ChunkChoice { index: 0, delta, logprobs: None, finish_reason }],
        usage,
        mustdrop: None,
    };
    send(events, &piece(Delta { role: Some("assistant"), content: Some(String::new()) }, None)).await;
    loop {
        match running.next().await? {
            Progress::Text(text) => {
                send(events, &piece(Delta { role: None, content: Some(text) }, None)).await;
            }
            Progress::Done(finished) => {
                let mut last = piece(Delta::default(), Some(finish_reason(&finished.report)));
                let total = Usage::new(&finished);
                last.mustdrop = Some(Account::new(*finished));
                send(events, &last).await;
                if with_usage {
                    let usage = Some(Some(total));
                    send(events, &Chunk { head, choices: Vec::new(), usage, mustdrop: None }).await;
                }
                let _ = events.send(Ok(Event::default().data("[DONE]"))).await;
                return Ok(());
            }
            Progress::Started | Progress::Failed(_) => {}
        }
    }
}

/// Sends `value` as JSON. That the client left is noticed elsewhere.
async fn send(events: &Events, value: &impl Serialize) {
    match Event::default().json_data(value) {
        Ok(event) => drop(events.send(Ok(event)).await),
        Err(error) => tracing::error!("write an event: {error}"),
    }
}
