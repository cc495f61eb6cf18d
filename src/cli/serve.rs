//! `mustdrop serve`: the model over HTTP.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use super::{interrupt::Interrupts, model::ModelArguments, pruning::PruningArguments};
use crate::{
    Error,
    drop::Turns,
    serve::{Options, Server, options::DEFAULT_PORT},
};
use clap::Args;

/// Serve the model over HTTP: OpenAI's chat completions, and a page to try it on.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mustdrop serve\n  mustdrop serve --model ~/models/llava-1.5-7b-hf --keep 64\n  \
    MUSTDROP_TOKEN=$(openssl rand -hex 16) mustdrop serve --host 0.0.0.0\n\nThe address goes to stderr once requests \
    are answered; Ctrl-C ends running answers within seconds. Without an\noption that drops tokens, and without \
    `mustdrop` in a request, everything is kept."
)]
pub(super) struct Serve {
    /// The address to listen on; others than this machine's own need a token
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,

    /// The port to listen on; 0 takes a free one
    #[arg(long, default_value_t = DEFAULT_PORT)]
    port: u16,

    /// Answer only requests with `Authorization: Bearer TOKEN`
    #[arg(long, env = "MUSTDROP_TOKEN", hide_env_values = true)]
    token: Option<String>,

    /// Requests that may wait while another is answered; further ones are told to come back
    #[arg(long, value_name = "N", default_value_t = 8)]
    queue: usize,

    /// The largest request, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 32)]
    max_body_mib: usize,

    /// The most pictures a request may have
    #[arg(long, value_name = "N", default_value_t = 16)]
    max_images: usize,

    /// The most pixels a request's pictures may have together
    #[arg(long, value_name = "N", default_value_t = 50_000_000)]
    max_pixels: u64,

    /// Seconds from a request's arrival to the end of its answer
    #[arg(long, value_name = "S", default_value_t = 300)]
    time_limit: u64,

    /// Memory for encoded pictures that may be shown again, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    picture_cache_mib: u64,

    #[command(flatten)]
    model: ModelArguments,

    #[command(flatten)]
    pruning: PruningArguments,
}

impl Serve {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let options = self.options()?;
        options.validate()?;
        say!("loading the model");
        let model = self.model.builder().build()?;
        say!("device: {}, weights: {}", model.device(), model.weight_format());
        let server = Server::bind(model, options)?;
        let interrupts = Arc::new(Interrupts::caught());
        say!("listening on http://{}", server.address());
        server.run(stopped(Arc::clone(&interrupts)))?;
        if interrupts.happened() {
            std::process::exit(130);
        }
        Ok(())
    }

    fn options(&self) -> Result<Options, Error> {
        let mut options = Options::new(self.model.short_name());
        options.address = (self.host, self.port).into();
        options.token.clone_from(&self.token);
        options.pruning = self.pruning.pruning(0)?;
        if options.pruning.as_ref().is_some_and(|pruning| pruning.turns == Turns::Requery) {
            // Each request is a conversation of its own.
            return Err(Error::argument(
                "--turns",
                "pin with serve, which computes every prompt anew",
                "requery",
            ));
        }
        options.queue = self.queue;
        options.max_body_bytes = self.max_body_mib.saturating_mul(1 << 20);
        options.max_images = self.max_images;
        options.max_pixels = self.max_pixels;
        options.time_limit = Duration::from_secs(self.time_limit);
        options.cache_bytes = self.picture_cache_mib.saturating_mul(1 << 20);
        Ok(options)
    }
}

/// Waits until the user or the system wants an end.
async fn stopped(interrupts: Arc<Interrupts>) {
    let interrupted = async {
        while !interrupts.happened() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = interrupted => {}
        () = terminated() => {}
    }
}

/// Waits for the signal by which service managers end programs.
#[cfg(unix)]
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(error) => {
            tracing::warn!("SIGTERM keeps its default action: {error}");
            std::future::pending().await
        }
    }
}

#[cfg(not(unix))]
async fn terminated() {
    std::future::pending().await
}
