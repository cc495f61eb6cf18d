//! Which kernels suit a device: tried once, then remembered on disk.
//!
//! Tiles in workgroup memory pay where barriers are cheap, which no capability tells. So all variants of a kernel are run
//! on a small piece of real work when a device is opened for the first time, and the time that takes bounds what the device
//! is given at once. What was found holds for the process, and is kept in `kernels.json` in this program's cache folder,
//! under the adapter's name and driver; deleting the file has the next start try again. On the CPU path there is nothing to
//! try.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use burn::tensor::{Device, Distribution, Tensor};

use crate::{
    error::{Error, Result},
    kernel::{
        attention::attention,
        product::{Around, product},
        quantised::QuantisedMatrix,
        submission,
        variants::{Unpack, Variants},
    },
};

const STEP: &str = "compare kernels on the device";
/// Changes with the kernels that are compared.
const KERNELS: u32 = 6;
/// Measured runs of a variant, of which the fastest counts.
const RUNS: usize = 2;
/// Workgroup memory that the kernels over tiles need.
const TILE_BYTES: u32 = 19 << 10;

/// The variants for an opened adapter with so much workgroup memory, which tiles need: those remembered for `name`, which
/// has all that tells it from others, or measured now.
///
/// # Errors
///
/// [`Error::Device`] if the device fails in the attempt.
pub(crate) fn variants(device: &Device, name: &str, max_workgroup_bytes: u32) -> Result<Variants> {
    let has_tiles = max_workgroup_bytes >= TILE_BYTES;
    // One measurement at a time, since two would disturb each other, and one answer for the whole process, since
    // variants differ in the last bits.
    static FOUND: Mutex<Remembered> = Mutex::new(Remembered::new());
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    let key = format!("{name} | {} | {KERNELS}", env!("CARGO_PKG_VERSION"));
    if let Some(variants) = found.get(&key) {
        return Ok(*variants);
    }
    let mut remembered = read();
    let variants = match remembered.get(&key) {
        Some(variants) => *variants,
        None => {
            let unpacks = if has_tiles { &Unpack::ALL[..] } else { &[Unpack::Registers] };
            let (unpack, submission_flops) = fastest_unpack(unpacks, device)?;
            let attention = has_tiles && tiled_attention_is_faster(device)?;
            let variants = Variants { attention, unpack, submission_flops, ..Variants::default() };
            tracing::info!(adapter = name, ?variants, "compared kernels");
            remembered.insert(key.clone(), variants);
            write(&remembered);
            variants
        }
    };
    found.insert(key, variants);
    Ok(variants)
}

type Remembered = BTreeMap<String, Variants>;

fn file() -> Option<PathBuf> {
    Some(crate::cache_folder::path()?.join("kernels.json"))
}

/// What is remembered; nothing if the file is missing or damaged.
fn read() -> Remembered {
    let text = file().and_then(|file| fs::read(file).ok()).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Remembers, as far as the disk allows: a failure costs the next start a second.
fn write(remembered: &Remembered) {
    let Some(file) = file() else { return };
    let written = serde_json::to_vec_pretty(remembered).map_err(std::io::Error::other).and_then(|text| {
        // A reader never sees half a file.
        let partial = file.with_extension(format!("{}.partial", std::process::id()));
        fs::create_dir_all(file.parent().unwrap_or(&file))?;
        fs::write(&partial, text)?;
        fs::rename(&partial, &file)
    });
    if let Err(error) = written {
        tracing::warn!(file = %file.display(), %error, "cannot remember which kernels suit the adapter");
    }
}

/// The time of the fastest run, pipelines being built before.
fn time(work: impl Fn(), device: &Device) -> Result<Duration> {
    let mut fastest = Duration::MAX;
    for run in 0..=RUNS {
        let start = Instant::now();
        work();
        device.sync().map_err(|error| Error::device(STEP, error))?;
        if run > 0 {
            fastest = fastest.min(start.elapsed());
        }
    }
    Ok(fastest)
}

/// Whether attention by tiles beats a few rows a thread, on as many rows as a picture has.
fn tiled_attention_is_faster(device: &Device) -> Result<bool> {
    const ROWS: usize = 512;
    let heads = || Tensor::<3>::random([ROWS, 2, 64], Distribution::Default, device);
    let (query, key, value) = (heads(), heads(), heads());
    let time_of = |is_tiled| {
        let variants = Variants { attention: is_tiled, ..Variants::default() };
        time(|| drop(attention(&query, &key, &value, ROWS, 0, None, variants)), device)
    };
    Ok(time_of(true)? < time_of(false)?)
}

/// The fastest of some ways to multiply many rows, and the operations that the device may be given at once, by the time that
/// takes.
fn fastest_unpack(unpacks: &[Unpack], device: &Device) -> Result<(Unpack, u64)> {
    const ROWS: usize = 128;
    const SIDE: usize = 512;
    /// Products in a row, so that what a submission costs by itself counts little.
    const PRODUCTS: usize = 8;
    let Some(matrix) = QuantisedMatrix::arbitrary(SIDE, SIDE, 4, device, true).operand() else {
        return Ok((Unpack::default(), 0));
    };
    let matrix = [matrix];
    let x = Tensor::<2>::random([ROWS, SIDE], Distribution::Default, device);
    let mut fastest = (Duration::MAX, Unpack::default());
    for unpack in unpacks {
        let variants = Variants { unpack: *unpack, ..Variants::default() };
        let product = || drop(product(&x, &matrix, &Around::default(), variants));
        let taken = time(|| (0..PRODUCTS).for_each(|_| product()), device)?;
        if taken < fastest.0 {
            fastest = (taken, *unpack);
        }
    }
    let (time, unpack) = fastest;
    Ok((unpack, submission::measured(2 * (PRODUCTS * ROWS * SIDE * SIDE) as u64, time)))
}
