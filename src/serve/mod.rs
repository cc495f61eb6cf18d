//! `mustdrop serve`: a model behind OpenAI's chat completions over HTTP, with a page to try it on.
//!
//! - [`options`]: address, token and limits
//! - `listener`, `guard`: who may connect, and for how long
//! - `request`, `conversation`, `images`: from JSON to a conversation with pictures, every size checked first
//! - `queue`, `worker`: one thread owns the decoder; requests wait in line for it, a bounded number of them
//! - `completions`, `stream`, `response`: answers, whole or as server-sent events
//! - `models`, `description`, `page`, `errors`: the rest of the routes, and OpenAI's shape of an error
//!
//! Requests do not know of one another: each brings its whole conversation, and answers are what `mustdrop describe`
//! says to the same pictures, question and seed. Only the encoded pictures are kept between them
//! ([`PictureCache`]).

mod completions;
mod conversation;
mod description;
mod errors;
mod guard;
mod images;
mod listener;
mod models;
pub mod options;
mod page;
mod queue;
mod request;
mod response;
mod stream;
mod worker;

use std::{
    fmt,
    future::Future,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
    time::Duration,
};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post},
};
use tokio::sync::{mpsc, oneshot, watch};
use tower_http::{limit::RequestBodyLimitLayer, timeout::RequestBodyTimeoutLayer};

pub use options::Options;

use crate::{
    Llava, PictureCache,
    error::{Error, Result},
};
use listener::{Activity, Connections};
use queue::{Queue, Shared};

/// How long running answers may go on once the server is told to stop.
const GRACE: Duration = Duration::from_secs(3);
/// How long after that connections may take to end.
const FAREWELL: Duration = Duration::from_secs(1);
/// The longest pause in a request's body.
const BODY_PAUSE: Duration = Duration::from_secs(15);

/// A model that listens on an address.
pub struct Server {
    model: Llava,
    options: Options,
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Binds the address; requests wait in the operating system until [`run`](Self::run).
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] if an option is out of range, or the address cannot be listened on.
    pub fn bind(model: Llava, options: Options) -> Result<Self> {
        options.validate()?;
        if let Some(pruning) = &options.pruning {
            model.check(pruning)?;
        }
        let unusable = |error: std::io::Error| {
            let found = format!("{}: {error}", options.address);
            Error::argument("--host and --port", "an address of this machine with a free port", found)
        };
        let listener = TcpListener::bind(options.address).map_err(unusable)?;
        listener.set_nonblocking(true).map_err(unusable)?;
        let address = listener.local_addr().map_err(unusable)?;
        Ok(Self { model, options, listener, address })
    }

    /// The address, with the port that port 0 became.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until `stop` is ready, and then for a few seconds those that were there before.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] if the thread that owns the decoder broke down, [`Error::Io`] if the operating system gives no
    /// threads or no socket.
    pub fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::io("the server's threads", error))?;
        let outcome = runtime.block_on(self.serve(stop));
        // What does not end by itself is left behind.
        runtime.shutdown_background();
        outcome
    }

    async fn serve(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let Self { model, options, listener, address } = self;
        let listener = tokio::net::TcpListener::from_std(listener)
            .map_err(|error| Error::io(address.to_string(), error))?;
        let (jobs, waiting) = mpsc::unbounded_channel();
        let (alive, mut broken) = oneshot::channel::<()>();
        let (cut_off, is_cut_off) = watch::channel(false);
        let model = Arc::new(model);
        let cache = Arc::new(PictureCache::new(options.cache_bytes));
        let queue = Queue::new(jobs, options.queue);
        let owner = worker::Worker {
            model: model.clone(),
            cache: cache.clone(),
            max_pixels: options.max_pixels,
            pace: queue.pace(),
        };
        let started = response::now();
        let shared = Arc::new(Shared { queue, cache, model, options, address, is_cut_off, started });
        thread::Builder::new()
            .name("decoder".into())
            .spawn(move || {
                let _alive = alive;
                worker::run(owner, waiting);
            })
            .map_err(|error| Error::io("the decoder's thread", error))?;

        let (close, closing) = watch::channel(false);
        let app = router(shared).into_make_service_with_connect_info::<Activity>();
        let serving =
            axum::serve(Connections::new(listener), app).with_graceful_shutdown(is_true(closing.clone()));
        let mut serving = tokio::spawn(serving.into_future());
        let broke = tokio::select! {
            () = stop => false,
            _ = &mut broken => true,
            _ = &mut serving => true,
        };
        close.send_replace(true);
        if tokio::time::timeout(GRACE, &mut serving).await.is_err() {
            cut_off.send_replace(true);
            // A client that does not even take the farewell is not waited for.
            let _ = tokio::time::timeout(FAREWELL, serving).await;
        }
        match broke {
            false => Ok(()),
            true => Err(Error::device("answer a request", "the decoder's thread broke down; start again")),
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Every route, with what stands before it.
fn router(shared: Arc<Shared>) -> Router {
    let private = Router::new()
        .route("/v1/chat/completions", post(completions::chat_completions))
        .layer(RequestBodyLimitLayer::new(shared.options.max_body_bytes))
        .layer(RequestBodyTimeoutLayer::new(BODY_PAUSE))
        .layer(DefaultBodyLimit::disable())
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*name}", get(models::one))
        .layer(middleware::from_fn_with_state(shared.clone(), guard::authorised));
    Router::new()
        .route("/", get(page::page))
        .route("/health", get(models::health))
        .route("/openapi.json", get(description::openapi))
        .merge(private)
        .fallback(errors::no_such_route)
        .method_not_allowed_fallback(errors::no_such_method)
        .layer(middleware::map_response(errors::in_shape))
        .layer(middleware::from_fn_with_state(shared.clone(), guard::own_site))
        .layer(middleware::from_fn(listener::mark_busy))
        .with_state(shared)
}

/// Waits until `flag` is true, or nobody is left to set it.
async fn is_true(mut flag: watch::Receiver<bool>) {
    let _ = flag.wait_for(|flag| *flag).await;
}
