//! Quantised weights on disk: what is read equals what was written, and nothing damaged or foreign is ever used.

use std::{
    fs,
    hash::Hasher,
    path::{Path, PathBuf},
    thread,
    time::Instant,
};

use crate::common::synthetic;
use crate::common::tiny::{SIDE, Tiny};
use crate::common::{DEVICES, noise};
use mustdrop::{
    DeviceSelect,
    checkpoint::{Checkpoint, ModelFiles},
    config::ModelConfig,
    device::Compute,
    model::LlavaModel,
    weight_cache::WeightCache,
    weights::Precision,
};
use twox_hash::XxHash64;

const FOUR: Precision = Precision { half: false, bits: Some(4) };
/// Bytes of a file before its blocks.
const HEADER: usize = 40;

/// Loads the checkpoint in `folder`, with weights in `cache` if they are large enough.
fn load(
    folder: &Path,
    device: &DeviceSelect,
    cache: Option<&WeightCache>,
    precision: Precision,
) -> LlavaModel {
    let files = ModelFiles::folder(folder).expect("a folder");
    let config = ModelConfig::from_files(&files).expect("a configuration");
    let compute = Compute::open(device).expect("a device");
    let checkpoint = Checkpoint::open(&files).expect("weights");
    LlavaModel::load_cached(&checkpoint, &config, &compute, precision, cache).expect("a model")
}

/// What a tiny model computes of a picture and a few tokens, bit by bit.
fn outputs(model: &LlavaModel) -> Vec<u32> {
    outputs_of(model, SIDE)
}

/// As [`outputs`], of a picture of `side` pixels.
fn outputs_of(model: &LlavaModel, side: usize) -> Vec<u32> {
    let image =
        model.encode_image(&noise(5, 3 * side * side)).into_data().try_to_vec::<f32>().expect("float32");
    let rows = model.decoder.embed(&[1, 2, 3]);
    let hidden = model.decoder.forward(rows, &[0, 1, 2], &mut model.decoder.new_cache());
    let logits = model.decoder.logits(hidden.slice([2..3])).expect("logits");
    image.into_iter().chain(logits).map(f32::to_bits).collect()
}

/// A tiny checkpoint, and a folder for its cache.
struct Case {
    model: tempfile::TempDir,
    root: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        let model = tempfile::tempdir().expect("a temporary folder");
        Tiny::new().write(model.path());
        Self { model, root: tempfile::tempdir().expect("a temporary folder") }
    }

    fn cache(&self) -> WeightCache {
        WeightCache::new(self.root.path().join("weights"), 0)
    }

    /// What a load with the cache computes.
    fn outputs(&self) -> Vec<u32> {
        outputs(&load(self.model.path(), &DeviceSelect::Cpu, Some(&self.cache()), FOUR))
    }

    fn outputs_without_cache(&self) -> Vec<u32> {
        outputs(&load(self.model.path(), &DeviceSelect::Cpu, None, FOUR))
    }

    fn files(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.root.path().join("weights")) else { return Vec::new() };
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }

    /// The cache's only file.
    fn file(&self) -> PathBuf {
        let files = self.files();
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    }
}

#[test]
fn the_second_load_equals_the_first_bit_by_bit() {
    for device in &DEVICES {
        for bits in [4, 8] {
            let case = Case::new();
            let precision = Precision { half: false, bits: Some(bits) };
            let cache = case.cache();
            let load = |cache| outputs(&load(case.model.path(), device, cache, precision));
            let (plain, first) = (load(None), load(Some(&cache)));
            let written = fs::metadata(case.file()).and_then(|found| found.modified()).expect("a file");
            let second = load(Some(&cache));
            assert_eq!(plain, first);
            assert_eq!(first, second);
            let found = fs::metadata(case.file()).and_then(|found| found.modified()).expect("a file");
            assert_eq!(found, written, "written once");
        }
    }
}

/// Matrices wide enough for the CPU path's blocks, which it uses where they lie in the file.
#[test]
fn blocks_in_the_file_compute_what_blocks_in_memory_do() {
    let model = tempfile::tempdir().expect("a temporary folder");
    synthetic::write(model.path(), &synthetic::config(256, 2, 512));
    for bits in [4, 8] {
        let root = tempfile::tempdir().expect("a temporary folder");
        let cache = WeightCache::new(root.path().join("weights"), 0);
        let precision = Precision { half: false, bits: Some(bits) };
        let load = |cache| outputs_of(&load(model.path(), &DeviceSelect::Cpu, cache, precision), 336);
        let (plain, first, second) = (load(None), load(Some(&cache)), load(Some(&cache)));
        assert_eq!(plain, first, "{bits} bits");
        assert_eq!(plain, second, "{bits} bits");
        let file = fs::read_dir(root.path().join("weights")).expect("a folder").next();
        let file = file.expect("a file").expect("an entry").path();
        // A bit of the blocks, which are checked before they are used.
        let mut bytes = fs::read(&file).expect("readable");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&file, bytes).expect("writable");
        assert_eq!(plain, load(Some(&cache)), "{bits} bits, damaged");
    }
}

#[test]
fn what_is_on_disk_is_what_is_used() {
    let case = Case::new();
    let plain = case.outputs();
    let mut bytes = fs::read(case.file()).expect("a file");
    let last = bytes.len() - 1;
    bytes[last] ^= 0x40;
    let mut checksum = XxHash64::with_seed(0);
    checksum.write(&bytes[HEADER..]);
    bytes[24..32].copy_from_slice(&checksum.finish().to_le_bytes());
    fs::write(case.file(), bytes).expect("writable");
    assert_ne!(case.outputs(), plain, "a changed block with the checksum that it should have");
}

#[test]
fn whatever_is_damaged_is_made_anew() {
    let case = Case::new();
    let plain = case.outputs();
    let (path, whole) = (case.file(), fs::read(case.file()).expect("a file"));
    let assert_made_anew = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).expect("writable");
        assert_eq!(case.outputs(), plain, "{what}");
        assert_eq!(fs::read(case.file()).expect("a file"), whole, "{what}: written again");
    };
    for offset in [0, 8, 16, 24, 31, 32, 39, HEADER, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[offset] ^= 1;
        assert_made_anew(&damaged, &format!("a bit flipped in byte {offset}"));
    }
    for length in [0, 1, HEADER - 1, HEADER, HEADER + 1, whole.len() - 1] {
        assert_made_anew(&whole[..length], &format!("cut to {length} bytes"));
    }
    assert_made_anew(&[whole.clone(), vec![0]].concat(), "a byte too many");
    assert_made_anew(b"version https://git-lfs.github.com/spec/v1", "another file");

    fs::remove_file(&path).expect("there");
    fs::create_dir(&path).expect("writable");
    assert_eq!(case.outputs(), plain, "a folder in its place");
}

#[test]
fn writers_at_the_same_time_leave_one_whole_file() {
    let case = Case::new();
    let plain = case.outputs_without_cache();
    thread::scope(|scope| {
        let loads: Vec<_> = (0..4).map(|_| scope.spawn(|| case.outputs())).collect();
        for outputs in loads {
            assert_eq!(outputs.join().expect("no panic"), plain);
        }
    });
    let found = fs::read(case.file()).expect("a file");
    fs::remove_file(case.file()).expect("there");
    case.outputs();
    assert_eq!(found, fs::read(case.file()).expect("a file"));
}

#[test]
fn a_folder_that_cannot_be_written_is_no_error() {
    let case = Case::new();
    let plain = case.outputs_without_cache();
    let file = case.root.path().join("file");
    fs::write(&file, "not a folder").expect("writable");
    for folder in [file.join("weights"), PathBuf::from("/proc/weights"), PathBuf::from("\0")] {
        let cache = WeightCache::new(folder, 0);
        assert_eq!(outputs(&load(case.model.path(), &DeviceSelect::Cpu, Some(&cache), FOUR)), plain);
    }
    case.outputs();
    let (path, folder) = (case.file(), case.root.path().join("weights"));
    let set_read_only = |read_only: bool| {
        let mut permissions = fs::metadata(&folder).expect("a folder").permissions();
        permissions.set_readonly(read_only);
        fs::set_permissions(&folder, permissions).expect("ours");
    };
    set_read_only(true);
    assert_eq!(case.outputs(), plain, "read from a read-only folder");
    fs::write(&path, "damaged").expect("the file itself may be written");
    assert_eq!(case.outputs(), plain, "not read from a read-only folder");
    set_read_only(false);
}

#[test]
fn changed_weights_miss_the_cache_whatever_their_time_says() {
    let case = Case::new();
    let before = case.outputs();
    let weights = case.model.path().join("model.safetensors");
    let time = fs::metadata(&weights).and_then(|found| found.modified()).expect("a file");
    let mut changed = Tiny::new();
    // Behind what is sampled of a tensor's values.
    let values = &mut changed.get_mut("vision_tower.vision_model.embeddings.patch_embedding.weight").2;
    let last = values.len() - 1;
    values[last] += 1.0;
    changed.write(case.model.path());
    fs::File::options().append(true).open(&weights).and_then(|file| file.set_modified(time)).expect("ours");
    let after = case.outputs();
    assert_ne!(before, after);
    assert_eq!(after, case.outputs_without_cache());
    #[cfg(unix)] // elsewhere, a time that was set back hides what was changed behind the samples
    assert_eq!(case.files().len(), 2);
}

#[test]
fn half_written_files_of_killed_programs_are_deleted_in_time() {
    let case = Case::new();
    case.outputs();
    let whole = case.file();
    fs::remove_file(&whole).expect("there");
    let (old, new) = (whole.with_extension("1-0.partial"), whole.with_extension("2-0.partial"));
    for path in [&old, &new] {
        fs::write(path, "half").expect("writable");
    }
    let hours = std::time::Duration::from_secs(7200);
    let file = fs::File::options().append(true).open(&old).expect("there");
    file.set_modified(std::time::SystemTime::now() - hours).expect("ours");
    case.outputs();
    assert!(!old.exists() && new.exists() && whole.exists());
}

#[test]
fn small_models_and_floats_are_not_kept() {
    let case = Case::new();
    let cache = WeightCache::new(case.root.path().join("weights"), 64 << 20);
    load(case.model.path(), &DeviceSelect::Cpu, Some(&cache), FOUR);
    load(case.model.path(), &DeviceSelect::Cpu, Some(&case.cache()), Precision::from(false));
    assert!(case.files().is_empty());
}

/// Times of a first and a second start; `cargo test --release cache:: -- --ignored --nocapture`.
#[test]
#[ignore = "writes 300 MB and measures time"]
fn the_second_start_is_quicker() {
    let model = tempfile::tempdir().expect("a temporary folder");
    synthetic::write(model.path(), &synthetic::config(1024, 4, 8_192));
    let root = tempfile::tempdir().expect("a temporary folder");
    let cache = WeightCache::new(root.path(), 0);
    for bits in [8, 4] {
        let precision = Precision { half: false, bits: Some(bits) };
        let seconds = [0; 2].map(|_| {
            let start = Instant::now();
            load(model.path(), &DeviceSelect::Cpu, Some(&cache), precision);
            start.elapsed().as_secs_f64()
        });
        println!("{bits} bits: {:.2} s at first, {:.2} s from the cache", seconds[0], seconds[1]);
        assert!(seconds[1] < seconds[0] / 2.0);
    }
}
