//! Models from the Hugging Face hub, in the cache that its own tools share.
//!
//! ```no_run
//! use mustdrop::{Llava, hub::Hub};
//!
//! let folder = Hub::from_env()?.pull(&"llava-hf/llava-1.5-7b-hf".parse()?, &|_| ())?;
//! let model = Llava::builder(folder).build()?;
//! # Ok::<(), mustdrop::Error>(())
//! ```
//!
//! Requests are made by `ureq`. The crate `hf-hub` (0.5) is not used: it goes on with a file whatever part of it a server sends,
//! compares no checksum, and does not wait as long as a server asks for.
//!
//! - `name`: `organisation/name@revision:quantisation`
//! - `environment`: where cache, endpoint and token are, by the variables that the hub's tools know
//! - `listing`: what files a repository has, as its server says, checked before anything is done with it
//! - `transfer`: one file, resumed and tried again until it is whole and its checksum right
//! - `cache`: folders of blobs, snapshots and references; `remove`: what may go of them
//! - `files`: which files of a repository are of use; `known`: models to begin with

mod cache;
mod environment;
mod files;
mod known;
mod listing;
mod name;
mod remove;
mod transfer;

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

pub use cache::CachedModel;
pub use known::{KNOWN, KnownModel};
pub use name::ModelName;

use self::{cache::Folder, listing::Listing, transfer::Transfer};
use crate::{
    error::{Error, Result},
    memory::MemorySize,
};

/// Files that are transferred at the same time.
const WORKERS: usize = 4;

/// A hub, and the cache for what comes from it.
#[derive(Clone)]
pub struct Hub {
    endpoint: String,
    cache: PathBuf,
    token: Option<String>,
    offline: bool,
    first_wait: Duration,
}

/// What happens while a model is pulled.
#[derive(Debug)]
#[non_exhaustive]
pub enum Step<'a> {
    /// The hub knows the model.
    Found {
        /// The licence that its card names.
        licence: Option<&'a str>,
        /// Files to be there in the end.
        files: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// A file of so many bytes is begun, or gone on with behind those that are there already.
    File {
        /// Its name.
        name: &'a str,
        /// Its size.
        bytes: u64,
        /// Of them, those there already.
        present: u64,
    },
    /// A file has so many bytes now.
    Bytes {
        /// Its name.
        name: &'a str,
        /// Bytes on the disk.
        present: u64,
    },
    /// Something went wrong that may go better after a while.
    Again {
        /// The file's name.
        name: &'a str,
        /// What went wrong.
        problem: &'a str,
        /// The while.
        wait: Duration,
    },
    /// A file is whole, and its checksum right where the hub tells one.
    Done {
        /// Its name.
        name: &'a str,
        /// Its size.
        bytes: u64,
    },
}

/// Is told what happens, from several threads.
pub type Progress<'a> = dyn Fn(Step) + Sync + 'a;

impl Hub {
    /// The hub and the cache that the environment names: `HF_ENDPOINT`; `HF_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME`;
    /// `HF_TOKEN`, `HF_TOKEN_PATH`; `HF_HUB_OFFLINE`.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] if the endpoint is no address, or a token would go over the network unencrypted;
    /// [`Error::Io`] if there is no home folder.
    pub fn from_env() -> Result<Self> {
        let hub = environment::hub(|name| std::env::var_os(name))?;
        hub.check()?;
        Ok(hub)
    }

    /// A hub at another address, such as a mirror's.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] if it is no address, or the token would go over the network unencrypted.
    pub fn endpoint(mut self, endpoint: &str) -> Result<Self> {
        self.endpoint = endpoint.trim_end_matches('/').to_owned();
        self.check()?;
        Ok(self)
    }

    /// Keeps models in another folder.
    pub fn cache(mut self, folder: impl AsRef<Path>) -> Self {
        self.cache = folder.as_ref().to_path_buf();
        self
    }

    /// Whether the network is left alone.
    pub fn offline(mut self, offline: bool) -> Self {
        self.offline |= offline;
        self
    }

    /// How long to wait before the first further attempt, a second by default; later waits grow.
    pub fn first_wait(mut self, wait: Duration) -> Self {
        self.first_wait = wait;
        self
    }

    /// The folder of the cache.
    pub fn cache_folder(&self) -> &Path {
        &self.cache
    }

    /// The folder of a model that is in the cache whole, for [`Llava::builder`](crate::Llava::builder).
    pub fn find(&self, name: &ModelName) -> Option<PathBuf> {
        // Without the network, what is there of another format is better than nothing: it is told what it is.
        Folder::new(&self.cache, name).complete_snapshot(name, self.offline)
    }

    /// All models in the cache, by name.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the cache cannot be read; that there is none yet is no error.
    pub fn models(&self) -> Result<Vec<CachedModel>> {
        cache::models(&self.cache)
    }

    /// Removes a model from the cache: all of it, or the revision or quantisation that is named. Returns how many bytes became
    /// free.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] if it is not there, [`Error::Io`] if something cannot be removed.
    pub fn remove(&self, name: &ModelName) -> Result<u64> {
        Folder::new(&self.cache, name).remove(name)?.ok_or_else(|| {
            let problem = format!("is not in {}; `mustdrop models` lists what is", self.cache.display());
            Error::model(name.to_string(), problem)
        })
    }

    /// The folder of a model: the cache's if it is there whole, else fetched; what an earlier attempt left is gone on with.
    ///
    /// A name with a revision that moved on the hub since stays what it was; [`update`](Self::update) asks.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update), and [`Error::Model`] if the model is not there and the network is to be left alone.
    pub fn pull(&self, name: &ModelName, progress: &Progress) -> Result<PathBuf> {
        match self.find(name) {
            Some(folder) => Ok(folder),
            None => self.update(name, progress),
        }
    }

    /// The folder of a model as the hub has it now, fetched as far as it is not there yet.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] if there is no such model, it needs a token, has no files that this program reads, or a file's
    /// checksum is wrong, the hub cannot be reached, or the disk has no room; [`Error::Argument`] if a quantisation is not there;
    /// [`Error::Io`] if the disk cannot be written.
    pub fn update(&self, name: &ModelName, progress: &Progress) -> Result<PathBuf> {
        if self.offline {
            let problem = format!(
                "it is not in {}, and the network is to be left alone (`--offline`, HF_HUB_OFFLINE); run `mustdrop pull {name}` online",
                self.cache.display()
            );
            return Err(Error::model(name.to_string(), problem));
        }
        let transfer = Transfer::new(self);
        let listing = Listing::fetch(&transfer, &self.endpoint, name, progress)?;
        progress(Step::Found {
            licence: listing.licence.as_deref(),
            files: listing.files.len(),
            bytes: listing.files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.bytes)),
        });
        let folder = Folder::new(&self.cache, name);
        self.check_room(name, &folder, &listing)?;
        let next = AtomicUsize::new(0);
        let failed: Mutex<Option<Error>> = Mutex::new(None);
        let work = || {
            while let Some(file) = listing.files.get(next.fetch_add(1, Ordering::Relaxed)) {
                let url =
                    format!("{}/{}/resolve/{}/{}", self.endpoint, name.path(), listing.commit, file.name);
                let done = folder
                    .blob(&file.blob)
                    .and_then(|blob| transfer.file(&url, file, &blob, progress))
                    .and_then(|()| folder.link(&listing.commit, file));
                if let Err(error) = done {
                    // The others are not begun any more; what is there stays for the next attempt.
                    next.store(listing.files.len(), Ordering::Relaxed);
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(work);
            }
        });
        if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        folder.refer(name.revision(), &listing.commit)?;
        Ok(folder.snapshot(&listing.commit))
    }

    /// Refuses what the disk has no room for.
    fn check_room(&self, name: &ModelName, folder: &Folder, listing: &Listing) -> Result<()> {
        let missing = listing.files.iter().map(|file| file.bytes.saturating_sub(folder.present(&file.blob)));
        let missing = missing.fold(0, u64::saturating_add);
        // The folder may not be there yet.
        let Some(there) = self.cache.ancestors().find(|folder| folder.is_dir()) else { return Ok(()) };
        // A system that does not say is no reason to stop.
        match fs4::available_space(there) {
            Ok(free) if free < missing => {
                let [missing, free] = [missing, free].map(MemorySize);
                let problem = format!(
                    "needs {missing} more on the disk of {}, where {free} are free; make room (`mustdrop models` lists what is \
                     there, `mustdrop models rm` removes it), or set HF_HUB_CACHE to a folder of another disk",
                    self.cache.display()
                );
                Err(Error::model(name.to_string(), problem))
            }
            _ => Ok(()),
        }
    }

    fn check(&self) -> Result<()> {
        const EXPECTED: &str = "an address such as https://huggingface.co";
        let invalid = || Error::argument("HF_ENDPOINT", EXPECTED, &self.endpoint);
        let address: ureq::http::Uri = self.endpoint.parse().map_err(|_| invalid())?;
        let host = address.host().filter(|host| !host.is_empty()).ok_or_else(invalid)?;
        let is_here = ["localhost", "127.0.0.1", "[::1]"].contains(&host);
        match address.scheme_str() {
            Some("https") => Ok(()),
            Some("http") if is_here || self.token.is_none() => Ok(()),
            Some("http") => {
                let expected = "an https address, since a token goes there";
                Err(Error::argument("HF_ENDPOINT", expected, &self.endpoint))
            }
            _ => Err(invalid()),
        }
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token stays out of logs.
        f.debug_struct("Hub")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}
