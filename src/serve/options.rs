//! Where a server listens, who may ask, and how much.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use crate::{
    drop::Pruning,
    error::{Error, Result},
    image::MAX_PIXELS,
};

/// The port where none is given.
pub const DEFAULT_PORT: u16 = 8080;

/// Turns that a conversation may have.
pub(super) const MAX_MESSAGES: usize = 256;
/// Bytes that a picture's file may have.
pub(super) const MAX_IMAGE_BYTES: usize = 20 << 20;
/// Bytes of text for each token of the context; a longer text cannot fit, and is not even split into tokens.
pub(super) const MAX_BYTES_PER_TOKEN: usize = 64;
/// Stop strings that a request may have, and the bytes of each.
pub(super) const MAX_STOPS: (usize, usize) = (4, 256);

/// Where a server listens, who may ask, and how much.
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// The address to listen on; port 0 takes a free one.
    pub address: SocketAddr,
    /// What clients have to send as `Authorization: Bearer TOKEN`. Required for addresses that other machines reach.
    pub token: Option<String>,
    /// The model's name in requests and answers.
    pub model_name: String,
    /// How vision tokens are dropped where a request does not say.
    pub pruning: Option<Pruning>,
    /// Requests that may wait while another is answered.
    pub queue: usize,
    /// Bytes of a request.
    pub max_body_bytes: usize,
    /// Pictures of a request.
    pub max_images: usize,
    /// Pixels of all pictures of a request together.
    pub max_pixels: u64,
    /// From a request's arrival to the end of its answer.
    pub time_limit: Duration,
    /// Bytes of encoded pictures that are kept for later requests.
    pub cache_bytes: u64,
}

impl Options {
    /// Listens on 127.0.0.1:8080, without a token.
    pub fn new(model_name: impl Into<String>) -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, DEFAULT_PORT).into(),
            token: None,
            model_name: model_name.into(),
            pruning: None,
            queue: 8,
            max_body_bytes: 32 << 20,
            max_images: 16,
            max_pixels: 50_000_000,
            time_limit: Duration::from_secs(300),
            cache_bytes: 256 << 20,
        }
    }

    /// Checks that every value lies in its range, and that nobody can ask from elsewhere without a token.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] naming the first value outside its range.
    pub fn validate(&self) -> Result<()> {
        if let Some(token) = &self.token
            && (token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            let found = if token.is_empty() { "nothing" } else { "other characters" };
            return Err(Error::argument("--token", "visible ASCII characters without blanks", found));
        }
        if self.token.is_none() && !self.address.ip().is_loopback() {
            return Err(Error::argument(
                "--token",
                format!("a token, as others than this machine reach {}", self.address.ip()),
                "none",
            ));
        }
        let limits = [
            ("--max-body-mib", self.max_body_bytes as u64, 1 << 30),
            ("--max-images", self.max_images as u64, 1000),
            ("--max-pixels", self.max_pixels, MAX_PIXELS),
            ("--time-limit", self.time_limit.as_secs(), 86_400),
        ];
        for (name, value, most) in limits {
            if !(1..=most).contains(&value) {
                return Err(Error::argument(name, format!("from 1 to {most}"), value.to_string()));
            }
        }
        match self.queue {
            0..=1000 => Ok(()),
            queue => Err(Error::argument("--queue", "from 0 to 1000 requests", queue.to_string())),
        }
    }
}

impl fmt::Debug for Options {
    /// Everything but the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("address", &self.address)
            .field("has_token", &self.token.is_some())
            .field("model_name", &self.model_name)
            .field("pruning", &self.pruning)
            .field("queue", &self.queue)
            .field("max_body_bytes", &self.max_body_bytes)
            .field("max_images", &self.max_images)
            .field("max_pixels", &self.max_pixels)
            .field("time_limit", &self.time_limit)
            .field("cache_bytes", &self.cache_bytes)
            .finish()
    }
}
