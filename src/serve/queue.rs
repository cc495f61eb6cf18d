//! The line that requests wait in, and what all of them share.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::http::StatusCode;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::Instant,
};

use super::{
    errors::ApiError,
    options::Options,
    worker::{Job, Progress},
};
use crate::{Llava, PictureCache};

/// What all requests share.
pub(super) struct Shared {
    pub queue: Queue,
    pub cache: Arc<PictureCache>,
    pub model: Arc<Llava>,
    pub options: Options,
    pub address: SocketAddr,
    /// True once running answers have to end.
    pub is_cut_off: watch::Receiver<bool>,
    /// Seconds since 1970 when the server began.
    pub started: u64,
}

/// A bounded number of requests, waiting or being answered.
pub(super) struct Queue {
    jobs: mpsc::UnboundedSender<Job>,
    places: Arc<Semaphore>,
    size: usize,
    pace: Arc<Pace>,
}

/// A place in the line, given back when it is dropped.
pub(super) type Place = OwnedSemaphorePermit;

/// How long an answer takes, as a mean that forgets.
#[derive(Debug, Default)]
pub(super) struct Pace(AtomicU64);

impl Pace {
    pub fn note(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        // Only the decoder's thread writes.
        let mean = match self.0.load(Ordering::Relaxed) {
            0 => millis,
            mean => mean / 4 * 3 + millis / 4,
        };
        self.0.store(mean, Ordering::Relaxed);
    }

    fn seconds(&self) -> u64 {
        self.0.load(Ordering::Relaxed).div_ceil(1000)
    }
}

impl Queue {
    /// A line for one request that is answered and `waiting` more.
    pub fn new(jobs: mpsc::UnboundedSender<Job>, waiting: usize) -> Self {
        let size = waiting + 1;
        Self { jobs, places: Arc::new(Semaphore::new(size)), size, pace: Arc::default() }
    }

    /// Requests that wait or are being answered.
    pub fn taken(&self) -> usize {
        self.size.saturating_sub(self.places.available_permits())
    }

    /// How long answers take.
    pub fn pace(&self) -> Arc<Pace> {
        self.pace.clone()
    }

    /// A place in the line.
    ///
    /// # Errors
    ///
    /// 429 if all are taken, with the time after which one should be free: that of one answer.
    pub fn enter(&self) -> Result<Place, ApiError> {
        self.places.clone().try_acquire_owned().map_err(|_| {
            let message =
                format!("{} requests are waiting or being answered already; try again later", self.size);
            let mut error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, message).code("rate_limit_exceeded");
            error.retry_after = Some(self.pace.seconds().clamp(1, 60));
            error
        })
    }

    /// Hands a request to the decoder's thread.
    ///
    /// # Errors
    ///
    /// 500 if that thread is gone.
    pub fn push(&self, job: Job) -> Result<(), ApiError> {
        self.jobs.send(job).map_err(|_| broken())
    }
}

/// An answer in the making, as its request sees it. Dropping it ends it.
pub(super) struct Running {
    pub events: mpsc::UnboundedReceiver<Progress>,
    pub deadline: Instant,
    pub is_cut_off: watch::Receiver<bool>,
}

impl Running {
    /// What happens next.
    ///
    /// # Errors
    ///
    /// What the decoder failed with, 504 if the time is over, 503 if the server is ending.
    pub async fn next(&mut self) -> Result<Progress, ApiError> {
        let event = tokio::select! {
            biased;
            event = self.events.recv() => event.ok_or_else(broken)?,
            _ = self.is_cut_off.wait_for(|is_cut_off| *is_cut_off) => {
                return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the server is ending"));
            }
            () = tokio::time::sleep_until(self.deadline) => return Err(late()),
        };
        match event {
            Progress::Failed(error) => Err(error.into()),
            event => Ok(event),
        }
    }
}

/// The refusal of a request whose time is over.
pub(super) fn late() -> ApiError {
    ApiError::new(
        StatusCode::GATEWAY_TIMEOUT,
        "the answer took longer than this server allows; ask for fewer tokens",
    )
    .code("timeout")
}

fn broken() -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the decoder's thread broke down")
}
