//! Files over HTTP: gone on with where they broke off, tried again, and checked before they get their name.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
    thread,
    time::Duration,
};

use sha2::{Digest, Sha256};
use ureq::{
    Agent, Body,
    http::{Response, StatusCode, header},
};

use super::{Hub, Progress, Step, listing::RemoteFile};
use crate::error::{Error, Result};

/// Attempts to get a file that bring nothing, in a row.
const ATTEMPTS: u32 = 6;
/// The same for what comes before: somebody without a network is to hear of it soon.
const FIRST_ATTEMPTS: u32 = 3;
/// The longest wait between two attempts, whatever a server says.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How long a server may be silent.
const SILENCE: Duration = Duration::from_secs(60);
const CHUNK: usize = 1 << 18;

/// Requests to a hub.
pub(super) struct Transfer {
    agent: Agent,
    token: Option<String>,
    first_wait: Duration,
}

/// Why an attempt brought nothing, or not everything.
enum Failure {
    /// It may go better later, perhaps not before the time that the server named.
    Passing(String, Option<Duration>),
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

impl Transfer {
    pub fn new(hub: &Hub) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(SILENCE))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            // The hub sends on to other hosts, to which the token is nobody's business.
            .redirect_auth_headers(ureq::config::RedirectAuthHeaders::SameHost)
            .user_agent(concat!("mustdrop/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.into(), token: hub.token.clone(), first_wait: hub.first_wait }
    }

    /// A text of at most `limit` bytes.
    pub fn text(&self, url: &str, name: &str, limit: u64, progress: &Progress) -> Result<String> {
        let advice = "check the network, or HF_ENDPOINT; models that are there run with --offline";
        self.again((name, url), (FIRST_ATTEMPTS, advice), progress, |_| {
            let mut response = self.get(url, name, 0)?;
            let body = response.body_mut().with_config().limit(limit);
            body.read_to_string().map_err(|error| Failure::Passing(error.to_string(), None))
        })
    }

    /// Fetches `file` into `blob`, unless it is there.
    ///
    /// What is there of it lies in `blob` with `.incomplete` behind, which the system locks: another process that wants
    /// the same file waits, and finds it.
    pub fn file(&self, url: &str, file: &RemoteFile, blob: &Path, progress: &Progress) -> Result<()> {
        let name = file.name.as_str();
        let done = || fs::metadata(blob).is_ok_and(|found| found.len() == file.bytes);
        let partial_path = blob.with_file_name(format!("{}.incomplete", file.blob));
        let failed = |error: io::Error| Error::io(&partial_path, error);
        if !done() {
            let options =
                OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&partial_path);
            let partial = options.map_err(failed)?;
            partial.lock().map_err(failed)?;
            if !done() {
                let mut partial = Partial::open(partial, file).map_err(failed)?;
                progress(Step::File { name, bytes: file.bytes, present: partial.bytes });
                let advice = "try again later: what is there stays";
                self.again((name, url), (ATTEMPTS, advice), progress, |fruitful| {
                    let before = partial.bytes;
                    let outcome = self.rest(url, file, &mut partial, &partial_path, progress);
                    *fruitful = partial.bytes > before;
                    outcome
                })?;
                partial.check(file, &partial_path)?;
                fs::rename(&partial_path, blob).map_err(failed)?;
            }
        }
        progress(Step::Done { name, bytes: file.bytes });
        Ok(())
    }

    /// Fetches what is missing of a file.
    fn rest(
        &self,
        url: &str,
        file: &RemoteFile,
        partial: &mut Partial,
        path: &Path,
        progress: &Progress,
    ) -> Result<(), Failure> {
        if partial.bytes == file.bytes {
            return Ok(());
        }
        let disk = |error: io::Error| Failure::Final(Error::io(path, error));
        let mut response = self.get(url, &file.name, partial.bytes)?;
        if partial.bytes > 0 && !is_rest(&response, partial.bytes, file.bytes) {
            // The server begins anew, and so does the file.
            partial.empty().map_err(disk)?;
            if response.status() != StatusCode::OK {
                return Err(Failure::Passing("the server did not go on where the file ends".into(), None));
            }
        }
        let mut body = response.body_mut().as_reader();
        let mut chunk = vec![0; CHUNK];
        while partial.bytes < file.bytes {
            let room = usize::try_from(file.bytes - partial.bytes).unwrap_or(CHUNK).min(CHUNK);
            match body.read(&mut chunk[..room]) {
                Ok(0) => {
                    let problem = format!("the connection ended at byte {} of {}", partial.bytes, file.bytes);
                    return Err(Failure::Passing(problem, None));
                }
                Ok(read) => partial.append(&chunk[..read]).map_err(disk)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::Passing(error.to_string(), None)),
            }
            progress(Step::Bytes { name: &file.name, present: partial.bytes });
        }
        Ok(())
    }

    /// A response that has what was asked for.
    fn get(&self, url: &str, name: &str, from: u64) -> Result<Response<Body>, Failure> {
        let mut request = self.agent.get(url);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        let response = match request.call() {
            Ok(response) => response,
            Err(
                error
                @ (ureq::Error::BadUri(_) | ureq::Error::TooManyRedirects | ureq::Error::RedirectFailed),
            ) => {
                return Err(Error::model(name, format!("{url}: {error}")).into());
            }
            Err(error) => return Err(Failure::Passing(error.to_string(), None)),
        };
        let status = response.status();
        let refused = |problem: &str| Err(Error::model(name, format!("{url}: {problem}")).into());
        match status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => Ok(response),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => refused(
                "the hub refuses it: there is no such model, or it needs a token (HF_TOKEN) of someone who accepted its \
                 licence on the hub",
            ),
            StatusCode::NOT_FOUND => refused("there is no such model, revision or file on the hub"),
            status if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
                let wait = response
                    .headers()
                    .get(header::RETRY_AFTER)
                    .and_then(|value| value.to_str().ok()?.parse().ok());
                Err(Failure::Passing(format!("the server answers {status}"), wait.map(Duration::from_secs)))
            }
            status => refused(&format!("the server answers {status}")),
        }
    }

    /// Does `work` until it succeeds, fails for good, or brought nothing too many times; `work` says whether it brought
    /// something, and `advice` what to do when it did not.
    fn again<T>(
        &self,
        (name, url): (&str, &str),
        (attempts, advice): (u32, &str),
        progress: &Progress,
        mut work: impl FnMut(&mut bool) -> Result<T, Failure>,
    ) -> Result<T> {
        let mut failures = 0;
        loop {
            let mut fruitful = false;
            let (problem, server_wait) = match work(&mut fruitful) {
                Ok(value) => return Ok(value),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(problem, wait)) => (problem, wait),
            };
            failures = if fruitful { 1 } else { failures + 1 };
            if failures >= attempts {
                let problem = format!("{url}: {problem}, after {attempts} attempts; {advice}");
                return Err(Error::model(name, problem));
            }
            let wait = self.first_wait.saturating_mul(1 << (failures - 1));
            let wait = server_wait.unwrap_or(wait).max(wait).min(LONGEST_WAIT);
            progress(Step::Again { name, problem: &problem, wait });
            thread::sleep(wait);
        }
    }
}

/// Whether a response is the rest of a file of `size` bytes from `start` on.
fn is_rest(response: &Response<Body>, start: u64, size: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    response.status() == StatusCode::PARTIAL_CONTENT
        && range == Some(&format!("bytes {start}-{}/{size}", size.saturating_sub(1)))
}

/// What is there of a file, and the checksum of it.
struct Partial {
    file: File,
    bytes: u64,
    checksum: Sha256,
}

impl Partial {
    /// Reads what an earlier attempt left; more than the whole file cannot be right, and is thrown away.
    fn open(mut file: File, expected: &RemoteFile) -> io::Result<Self> {
        let mut checksum = Sha256::new();
        let present = file.metadata()?.len();
        let mut partial = if present > expected.bytes {
            Self { file, bytes: 0, checksum }
        } else {
            let bytes = io::copy(&mut file, &mut checksum)?;
            Self { file, bytes, checksum }
        };
        if present != partial.bytes {
            partial.empty()?;
        }
        Ok(partial)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.checksum.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn empty(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.checksum = Sha256::new();
        self.bytes = 0;
        Ok(())
    }

    /// Compares the checksum, and sees to it that a crash after the renaming leaves no hole.
    fn check(mut self, expected: &RemoteFile, path: &Path) -> Result<()> {
        let found: String = self.checksum.finalize_reset().iter().map(|byte| format!("{byte:02x}")).collect();
        match &expected.sha256 {
            Some(sha256) if *sha256 != found => {
                self.empty().map_err(|error| Error::io(path, error))?;
                let name = &expected.name;
                Err(Error::model(
                    name,
                    format!("expected the SHA-256 {sha256}, found {found}; it was thrown away: try again"),
                ))
            }
            _ => self.file.sync_all().map_err(|error| Error::io(path, error)),
        }
    }
}
