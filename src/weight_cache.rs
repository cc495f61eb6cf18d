//! Quantised weights on disk: a checkpoint is quantised once, not at every start.
//!
//! A file is a header (magic, version, key, checksum and length of the rest; see `Header`) and the blocks of every
//! quantised matrix in the order in which the model loads them: words before ranges, all little-endian, or, where the CPU
//! multiplies with them, ggml's blocks as the host has them, which then stay in the file. The key stands for the
//! checkpoint's files and for every matrix, so a file holds what its reader expects or is not used. Files appear by
//! renaming, whole or not at all, and are never changed; all of them may be deleted at any time.

use std::{
    borrow::Cow,
    fs::{self, File},
    hash::Hasher,
    io::{self, Seek, SeekFrom, Write},
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use memmap2::Mmap;
use twox_hash::XxHash64;

use crate::{
    cache_folder,
    checkpoint::{Checkpoint, mmap},
    cpu::quantised::BlockMatrix,
    oracle::quantised::QuantisedParams,
    quantise::Blocks,
};

/// Of the file's layout and of what [`Blocks::new`] and candle's quantiser make of weights.
const VERSION: u64 = 2;
const MAGIC: u64 = u64::from_le_bytes(*b"mustdrop");
/// Blocks below this size are quantised in less time than a person notices: 64 MiB.
pub(crate) const LEAST_BYTES: u64 = 64 << 20;
/// The end of the names of files that are being written.
const PARTIAL: &str = "partial";
/// Files that were begun so long ago, and not written to since, are of programs that were killed.
const ABANDONED_AFTER: Duration = Duration::from_secs(3600);

/// A folder of quantised weights.
#[derive(Debug, Clone)]
pub struct WeightCache {
    folder: PathBuf,
    least_bytes: u64,
}

impl WeightCache {
    /// The files in `folder`, which need not exist yet, of at least `least_bytes`.
    pub fn new(folder: impl Into<PathBuf>, least_bytes: u64) -> Self {
        Self { folder: folder.into(), least_bytes }
    }

    /// `weights` in this program's [cache folder](cache_folder::path), for 64 MiB and more.
    pub fn standard() -> Option<Self> {
        Some(Self::new(cache_folder::path()?.join("weights"), LEAST_BYTES))
    }

    /// The blocks of these matrices of `checkpoint`, in the order of their loading: read if a valid file has them,
    /// else written. Nothing that goes wrong is an error: the blocks are then made anew, with a warning in the log.
    pub(crate) fn open<'a>(
        &self,
        checkpoint: &Checkpoint,
        matrices: impl IntoIterator<Item = (&'a str, CachedMatrix)>,
    ) -> CachedBlocks {
        let mut key = Key::of(checkpoint);
        let mut length = 0;
        for (name, matrix) in matrices {
            key.add_matrix(name, &matrix);
            length += matrix.bytes();
        }
        if length < self.least_bytes {
            return CachedBlocks::Off;
        }
        let header = Header { magic: MAGIC, version: VERSION, key: key.0.finish(), checksum: 0, length };
        let path = self.folder.join(format!("{:016x}.blocks", header.key));
        match Reader::open(&path, header) {
            Ok(Some(reader)) => {
                tracing::info!(file = %path.display(), "quantised weights read");
                return CachedBlocks::Reading(reader);
            }
            Ok(None) => {}
            Err(problem) => {
                tracing::warn!(file = %path.display(), %problem, "cached weights not used; made anew");
            }
        }
        match Writer::create(path, header) {
            Ok(writer) => CachedBlocks::Writing(writer),
            Err(error) => {
                tracing::warn!(folder = %self.folder.display(), %error, "quantised weights not kept");
                CachedBlocks::Off
            }
        }
    }
}

/// A matrix, as it is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CachedMatrix {
    /// Sizes and bits; `rows` is 0.
    pub params: QuantisedParams,
    /// Whether in ggml's blocks, as a [`BlockMatrix`] has them, rather than in [`Blocks`].
    pub is_ggml: bool,
}

impl CachedMatrix {
    /// Bytes in the file.
    pub fn bytes(&self) -> u64 {
        let QuantisedParams { inputs, outputs, bits, .. } = self.params;
        match self.is_ggml {
            true => BlockMatrix::block_bytes(inputs as usize, outputs as usize, bits),
            false => self.params.bytes(),
        }
    }
}

/// What a file is about.
struct Key(XxHash64);

impl Key {
    /// Samples of the values, and size and times of the files: whatever changes a file moves one of them.
    fn of(checkpoint: &Checkpoint) -> Self {
        let mut hasher = XxHash64::with_seed(VERSION);
        hasher.write_u64(checkpoint.fingerprint());
        for path in checkpoint.files() {
            let Ok(found) = fs::metadata(path) else { continue };
            hasher.write_u64(found.len());
            let modified =
                found.modified().ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
            hasher.write_u128(modified.unwrap_or_default().as_nanos());
            hasher.write_u128(changed(&found));
        }
        Self(hasher)
    }

    fn add_matrix(&mut self, name: &str, matrix: &CachedMatrix) {
        self.0.write(name.as_bytes());
        self.0.write(bytemuck::bytes_of(&matrix.params));
        self.0.write_u8(u8::from(matrix.is_ggml));
    }
}

/// When the file itself was last touched, which no program can set back.
#[cfg(unix)]
fn changed(found: &fs::Metadata) -> u128 {
    use std::os::unix::fs::MetadataExt;
    (found.ctime() as u128) << 64 | found.ctime_nsec() as u128
}

/// There is no such time on this system.
#[cfg(not(unix))]
fn changed(_found: &fs::Metadata) -> u128 {
    0
}

/// The first bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Header {
    magic: u64,
    version: u64,
    key: u64,
    /// Of everything behind the header.
    checksum: u64,
    /// Bytes behind the header.
    length: u64,
}

impl Header {
    const BYTES: usize = size_of::<Self>();

    fn bytes(self) -> Vec<u8> {
        bytemuck::cast::<Self, [u64; 5]>(self).iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}

/// Blocks on their way from or to a file.
pub(crate) enum CachedBlocks {
    /// There is no file.
    Off,
    Reading(Reader),
    Writing(Writer),
}

impl CachedBlocks {
    /// The next matrix, from the file or else as `quantise` makes it.
    pub fn next<E>(
        &mut self,
        params: &QuantisedParams,
        quantise: impl FnOnce() -> Result<Blocks, E>,
    ) -> Result<Blocks, E> {
        let append = |writer: &mut Writer, blocks: &Blocks| writer.append(blocks).map(|()| None);
        self.next_with(|reader| reader.next(params), quantise, append)
    }

    /// The next matrix in ggml's blocks, from the file or else as `quantise` makes it, and in the file then.
    pub fn next_ggml<E>(
        &mut self,
        params: &QuantisedParams,
        quantise: impl FnOnce() -> Result<BlockMatrix, E>,
    ) -> Result<BlockMatrix, E> {
        let append = |writer: &mut Writer, matrix: &BlockMatrix| writer.append_ggml(matrix, params);
        self.next_with(|reader| reader.next_ggml(params), quantise, append)
    }

    /// The next matrix: read, or else made and appended, which may say what to use in its place.
    fn next_with<M, E>(
        &mut self,
        read: impl FnOnce(&mut Reader) -> Option<M>,
        quantise: impl FnOnce() -> Result<M, E>,
        append: impl FnOnce(&mut Writer, &M) -> io::Result<Option<M>>,
    ) -> Result<M, E> {
        if let Self::Reading(reader) = self
            && let Some(matrix) = read(reader)
        {
            return Ok(matrix);
        }
        let matrix = quantise()?;
        let Self::Writing(writer) = self else { return Ok(matrix) };
        match append(writer, &matrix) {
            Ok(in_file) => Ok(in_file.unwrap_or(matrix)),
            Err(error) => {
                tracing::warn!(file = %writer.path.display(), %error, "quantised weights not kept");
                *self = Self::Off;
                Ok(matrix)
            }
        }
    }

    /// Says that all matrices went by.
    pub fn finish(self) {
        let Self::Writing(writer) = self else { return };
        let path = writer.path.clone();
        match writer.finish() {
            Ok(()) => tracing::info!(file = %path.display(), "quantised weights kept"),
            Err(error) => tracing::warn!(file = %path.display(), %error, "quantised weights not kept"),
        }
    }
}

/// A checked file.
pub(crate) struct Reader {
    map: Arc<Mmap>,
    at: usize,
}

impl Reader {
    /// Checks a file against what it should be; `None` if there is none.
    fn open(path: &Path, expected: Header) -> Result<Option<Self>, String> {
        let Some(map) = mmap::map(path).map_err(|error| error.to_string())? else { return Ok(None) };
        let map = map.into_map();
        let Some((header, data)) = map.split_first_chunk::<{ Header::BYTES }>() else {
            return Err(format!("{} bytes are less than a header", map.len()));
        };
        if data.len() as u64 != expected.length {
            return Err(format!("expected {} bytes of blocks, found {}", expected.length, data.len()));
        }
        let found = Header { checksum: XxHash64::oneshot(0, data), ..expected };
        if header[..] != found.bytes() {
            return Err("header and contents do not fit each other".into());
        }
        // What was read to be checked is read again, matrix by matrix.
        mmap::release(&map, 0..map.len());
        Ok(Some(Self { map: Arc::new(map), at: Header::BYTES }))
    }

    fn next(&mut self, params: &QuantisedParams) -> Option<Blocks> {
        let start = self.at;
        let words = self.take(params.words())?;
        let ranges = self.take(params.ranges())?;
        mmap::release(&self.map, start..self.at);
        Some(Blocks { words, ranges, params: *params })
    }

    fn next_ggml(&mut self, params: &QuantisedParams) -> Option<BlockMatrix> {
        let length = CachedMatrix { params: *params, is_ggml: true }.bytes() as usize;
        let range = self.at..self.at.checked_add(length)?;
        self.at = range.end;
        mapped(&self.map, range, params)
    }

    fn take(&mut self, count: usize) -> Option<Vec<u32>> {
        let end = self.at.checked_add(count.checked_mul(4)?)?;
        let bytes = self.map.get(self.at..end)?;
        self.at = end;
        Some(bytes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect())
    }
}

/// A file in the making; dropped before its end, it is deleted.
pub(crate) struct Writer {
    file: File,
    header: Header,
    checksum: XxHash64,
    partial: PathBuf,
    path: PathBuf,
}

impl Writer {
    fn create(path: PathBuf, header: Header) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
            remove_abandoned(folder);
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let partial = path.with_extension(format!("{}-{number}.{PARTIAL}", std::process::id()));
        // Read, too: what is written is mapped.
        let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&partial)?;
        file.write_all(&[0; Header::BYTES])?;
        Ok(Self { file, header, checksum: XxHash64::with_seed(0), partial, path })
    }

    fn append(&mut self, blocks: &Blocks) -> io::Result<()> {
        for words in [&blocks.words, &blocks.ranges] {
            let bytes = little_endian(words);
            self.checksum.write(&bytes);
            self.file.write_all(&bytes)?;
        }
        Ok(())
    }

    /// Appends the matrix's blocks, and returns the matrix as it lies in the file.
    fn append_ggml(
        &mut self,
        matrix: &BlockMatrix,
        params: &QuantisedParams,
    ) -> io::Result<Option<BlockMatrix>> {
        let bytes = matrix.data().map_err(io::Error::other)?;
        let start = self.file.stream_position()? as usize;
        self.checksum.write(&bytes);
        self.file.write_all(&bytes)?;
        // The file keeps its contents under its final name.
        let map = mmap::map_part(&self.file, start as u64, bytes.len())?;
        Ok(mapped(&Arc::new(map), 0..bytes.len(), params))
    }

    fn finish(mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&Header { checksum: self.checksum.finish(), ..self.header }.bytes())?;
        fs::rename(&self.partial, &self.path)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // After `finish` there is none.
        let _ = fs::remove_file(&self.partial);
    }
}

/// A matrix of blocks in a file.
fn mapped(map: &Arc<Mmap>, range: Range<usize>, params: &QuantisedParams) -> Option<BlockMatrix> {
    let QuantisedParams { inputs, outputs, bits, .. } = *params;
    BlockMatrix::mapped(map, range, inputs as usize, outputs as usize, bits)
}

fn little_endian(words: &[u32]) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        return Cow::Borrowed(bytemuck::cast_slice(words));
    }
    Cow::Owned(words.iter().flat_map(|word| word.to_le_bytes()).collect())
}

/// Deletes what killed programs left half written.
fn remove_abandoned(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let touched = fs::metadata(&path).and_then(|found| found.modified());
        let age = touched.ok().and_then(|at| at.elapsed().ok()).unwrap_or_default();
        if path.extension().is_some_and(|end| end == PARTIAL) && age > ABANDONED_AFTER {
            tracing::debug!(file = %path.display(), "deleted, half written");
            let _ = fs::remove_file(path);
        }
    }
}
