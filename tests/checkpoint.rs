//! Checkpoints: every layout of the hub is read, and every damaged file is refused with what is wrong.

use std::{collections::HashMap, fs, path::Path};

use crate::common::tiny::Tiny;
use half::{bf16, f16};
use mustdrop::{
    DeviceSelect, Error,
    checkpoint::{Checkpoint, ModelFiles},
    config::ModelConfig,
    device::Compute,
    model::LlavaModel,
};
use proptest::prelude::*;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

fn files(folder: &TempDir) -> ModelFiles {
    ModelFiles::Folder(folder.path().to_owned())
}

fn refusal(folder: &TempDir) -> String {
    Checkpoint::open(&files(folder)).expect_err("refused").to_string()
}

/// Loads the whole model as the program does.
fn load(folder: &TempDir) -> Result<LlavaModel, Error> {
    let files = files(folder);
    let compute = Compute::open(&DeviceSelect::Cpu).expect("a CPU");
    LlavaModel::load(&Checkpoint::open(&files)?, &ModelConfig::from_files(&files)?, &compute, false)
}

fn written(tiny: &Tiny) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    tiny.write(folder.path());
    folder
}

/// A file of float32 tensors.
fn write_tensors(path: &Path, tensors: &[(String, Vec<usize>, Vec<f32>)]) {
    let views = tensors.iter().map(|(name, shape, values)| {
        let bytes = bytemuck::cast_slice(values.as_slice());
        (name, TensorView::new(Dtype::F32, shape.clone(), bytes).expect("bytes of the shape"))
    });
    let file = safetensors::serialize(views, None::<HashMap<String, String>>).expect("serialisable");
    fs::write(path, file).expect("writable");
}

/// A file with any header and any data.
fn write_raw(path: &Path, header: &str, data: &[u8]) {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    fs::write(path, file).expect("writable");
}

#[test]
fn all_missing_unused_and_misshaped_tensors_are_in_one_error() {
    let mut tiny = Tiny::new();
    tiny.remove("language_model.model.norm.weight");
    tiny.remove("vision_tower.vision_model.embeddings.class_embedding");
    // However many there are.
    (0..40).for_each(|i| tiny.add(&format!("extra.{i}.weight"), &[1]));
    tiny.add("language_model.model.layers.0.self_attn.q_norm.weight", &[6]);
    *tiny.get_mut("multi_modal_projector.linear_2.bias") =
        ("multi_modal_projector.linear_2.bias".into(), vec![5], vec![0.0; 5]);
    let message = load(&written(&tiny)).expect_err("refused").to_string();
    for part in [
        "2 missing, 41 unused, 1 mis-shaped",
        "language_model.norm.weight [24]",
        "vision_tower.embeddings.class_embedding [16]",
        "language_model.model.layers.0.self_attn.q_norm.weight [6]",
        "multi_modal_projector.linear_2.bias: expected [24], found [5]",
        "extra.0.weight [1]",
        "extra.39.weight [1]",
    ] {
        assert!(message.contains(part), "{part} in: {message}");
    }
}

#[test]
fn every_generation_of_names_loads() {
    let renamings: [&[(&str, &str)]; 4] = [
        &[],
        &[
            ("vision_tower.vision_model.", "model.vision_tower.vision_model."),
            ("language_model.model.", "model.language_model."),
            ("multi_modal_projector.", "model.multi_modal_projector."),
            ("language_model.lm_head.", "lm_head."),
        ],
        &[
            ("vision_tower.vision_model.", "vision_tower."),
            ("language_model.model.", "language_model."),
            ("language_model.lm_head.", "lm_head."),
        ],
        &[
            ("vision_tower.vision_model.", "model.vision_tower.vision_tower.vision_model."),
            ("language_model.model.", "model."),
            ("multi_modal_projector.linear_1.", "model.mm_projector.0."),
            ("multi_modal_projector.linear_2.", "model.mm_projector.2."),
            ("language_model.lm_head.", "lm_head."),
        ],
    ];
    for renaming in renamings {
        let mut tiny = Tiny::new();
        for (name, ..) in &mut tiny.tensors {
            if let Some((from, to)) = renaming.iter().find(|(from, _)| name.starts_with(from)) {
                *name = name.replacen(from, to, 1);
            }
        }
        // What old versions saved beside the weights does no harm.
        tiny.add("language_model.model.layers.0.self_attn.rotary_emb.inv_freq", &[3]);
        load(&written(&tiny)).unwrap_or_else(|error| panic!("{renaming:?}: {error}"));
    }
}

#[test]
fn half_precision_files_hold_the_rounded_values() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let values = [1.0f32, -0.1, 65_504.0, 3.0e-5, 1.0e9];
    let halves: Vec<u8> = values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect();
    let brains: Vec<u8> = values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect();
    let views = [
        ("half", TensorView::new(Dtype::F16, vec![5], &halves).expect("a tensor")),
        ("brain", TensorView::new(Dtype::BF16, vec![5], &brains).expect("a tensor")),
    ];
    let file = safetensors::serialize(views, None::<HashMap<String, String>>).expect("serialisable");
    fs::write(folder.path().join("model.safetensors"), file).expect("writable");
    let checkpoint = Checkpoint::open(&files(&folder)).expect("a checkpoint");
    assert!(checkpoint.is_half());
    assert_eq!((checkpoint.parameters(), checkpoint.total_bytes()), (10, 20));
    let half = checkpoint.tensor("half").expect("there");
    assert_eq!(half.to_f32(), values.map(|value| f16::from_f32(value).to_f32()));
    let brain = checkpoint.tensor("brain").expect("there");
    assert_eq!(brain.to_f32(), values.map(|value| bf16::from_f32(value).to_f32()));
    // What float16 cannot hold becomes its largest number, not infinity.
    assert_eq!(brain.to_f16()[4], f16::MAX);
    assert_eq!(half.rows_f32(1..3).expect("rows"), half.to_f32()[1..3]);
    assert!(half.rows_f32(4..6).expect_err("no such rows").to_string().contains("0..5"));
}

#[test]
fn shards_are_read_with_and_without_an_index() {
    let tiny = Tiny::new();
    let whole = written(&tiny);
    let (first, second) = tiny.tensors.split_at(tiny.tensors.len() / 2);
    let folder = written(&tiny);
    fs::remove_file(folder.path().join("model.safetensors")).expect("removed");
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    write_tensors(&folder.path().join(names[0]), first);
    write_tensors(&folder.path().join(names[1]), second);
    let same = || {
        let (whole, sharded) = (
            Checkpoint::open(&files(&whole)).expect("whole"),
            Checkpoint::open(&files(&folder)).expect("shards"),
        );
        assert_eq!(whole.parameters(), sharded.parameters());
        let name = "lm_head.weight";
        assert_eq!(
            whole.tensor(name).expect("there").to_f32(),
            sharded.tensor(name).expect("there").to_f32()
        );
    };
    same();
    let map = |tensors: &[(String, Vec<usize>, Vec<f32>)], file: &str| -> Vec<(String, Value)> {
        tensors.iter().map(|(name, ..)| (name.clone(), file.into())).collect()
    };
    let index = |map: Vec<(String, Value)>| {
        let json =
            json!({ "metadata": {}, "weight_map": map.into_iter().collect::<serde_json::Map<_, _>>() });
        fs::write(folder.path().join("model.safetensors.index.json"), json.to_string()).expect("writable");
    };
    let both = [map(first, names[0]), map(second, names[1])].concat();
    index(both.clone());
    same();

    index([both.clone(), vec![("extra.weight".into(), names[1].into())]].concat());
    assert!(refusal(&folder).contains("extra.weight in model-00002-of-00002.safetensors"));
    index(vec![("a".into(), "../secret.safetensors".into())]);
    assert!(refusal(&folder).contains("plain name of a file"));
    index(Vec::new());
    assert!(refusal(&folder).contains("empty"));
    index(both);
    fs::remove_file(folder.path().join(names[0])).expect("removed");
    assert!(refusal(&folder).contains("1 of 2 files") && refusal(&folder).contains(names[0]));
    fs::remove_file(folder.path().join("model.safetensors.index.json")).expect("removed");
    assert!(refusal(&folder).contains(names[0]), "the names alone tell that one is missing");
    fs::remove_file(folder.path().join(names[1])).expect("removed");
    assert!(refusal(&folder).contains("no weights"));
}

#[test]
fn hostile_headers_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.safetensors");
    let tensor = |shape: &str, start: u64, end: u64| {
        format!("{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":[{start},{end}]}}")
    };
    let max = u64::MAX;
    for (header, reason) in [
        ("not JSON".to_owned(), "damaged header"),
        ("[]".to_owned(), "damaged header"),
        (format!("{{\"a\":{},\"b\":{}}}", tensor("[2]", 0, 8), tensor("[2]", 4, 12)), "damaged header"),
        (format!("{{\"a\":{},\"a\":{}}}", tensor("[2]", 0, 8), tensor("[2]", 8, 16)), "occurs twice"),
        (format!("{{\"a\":{}}}", tensor("[2]", 8, 16)), "damaged header"),
        (format!("{{\"a\":{}}}", tensor("[2]", 8, 0)), "damaged header"),
        (format!("{{\"a\":{}}}", tensor("[3]", 0, 8)), "damaged header"),
        (format!("{{\"a\":{}}}", tensor("[4294967296,4294967296]", 0, 8)), "damaged header"),
        (format!("{{\"a\":{}}}", tensor(&format!("[{max},2]"), 0, 8)), "damaged header"),
        (format!("{{\"a\":{}}}", tensor("[4611686018427387903]", 0, max - 3)), ""),
        (
            format!(
                "{{\"a\":{},\"b\":{}}}",
                tensor("[4611686018427387902]", 0, max - 7),
                tensor("[4]", max - 7, 8)
            ),
            "damaged header",
        ),
        (format!("{{\"a\":{},\"b\":{}}}", tensor("[4]", 0, 16), tensor("[0]", 16, 16)), "empty dimension"),
        (format!("{{\"a\":{}}}", tensor("[400]", 0, 1600)), "cut short"),
        (format!("{{\"a\":{}}}", tensor("[2]", 0, 8)), "the tensors end at byte"),
        ("{\"a\":{\"dtype\":\"F31\",\"shape\":[2],\"data_offsets\":[0,8]}}".to_owned(), "damaged header"),
        (format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000)), "damaged header"),
    ] {
        write_raw(&path, &header, &[0; 16]);
        let message = refusal(&folder);
        let shown = &header[..header.len().min(80)];
        assert!(message.contains("model.safetensors") && message.contains(reason), "{shown}: {message}");
    }
    for (bytes, reason) in [
        (Vec::new(), "the file is empty"),
        (vec![1, 2, 3], "cut short"),
        (u64::MAX.to_le_bytes().to_vec(), "header of at most"),
        ([99_999_999u64.to_le_bytes().as_slice(), b"{}"].concat(), "cut short"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n".to_vec(), "git lfs pull"),
    ] {
        fs::write(&path, bytes).expect("writable");
        assert!(refusal(&folder).contains(reason), "{reason}: {}", refusal(&folder));
    }
}

#[test]
fn two_spellings_of_one_tensor_are_refused() {
    let mut tiny = Tiny::new();
    tiny.add("model.language_model.norm.weight", &[24]);
    assert!(refusal(&written(&tiny)).contains("stored twice"));
}

#[test]
fn integer_weights_are_refused_by_name() {
    let mut tiny = Tiny::new();
    tiny.remove("language_model.model.norm.weight");
    let folder = written(&tiny);
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tiny
        .tensors
        .iter()
        .map(|(name, shape, values)| (name.clone(), shape.clone(), bytemuck::cast_slice(values).to_vec()))
        .collect();
    let integers = [0u8; 24];
    let views = bytes
        .iter()
        .map(|(name, shape, bytes)| {
            (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor"))
        })
        .chain([(
            "language_model.model.norm.weight",
            TensorView::new(Dtype::I8, vec![24], &integers).expect("a tensor"),
        )]);
    let file = safetensors::serialize(views, None::<HashMap<String, String>>).expect("serialisable");
    fs::write(folder.path().join("model.safetensors"), file).expect("writable");
    let message = load(&folder).expect_err("refused").to_string();
    assert!(message.contains("language_model.norm.weight: expected F32, F16 or BF16, found I8"), "{message}");
}

#[test]
fn folders_that_are_no_models_say_what_to_do() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let refused = |path: &Path| ModelFiles::folder(path).expect_err("refused").to_string();
    assert!(refused(folder.path()).contains("no config.json"));
    assert!(refused(Path::new("llava-hf/llava-1.5-7b-hf")).contains("hf download llava-hf/llava-1.5-7b-hf"));
    let file = folder.path().join("config.json");
    fs::write(&file, "{}").expect("writable");
    assert!(refused(&file).contains("found a file"));
    fs::create_dir(folder.path().join("model.safetensors")).expect("created");
    assert!(refusal(&folder).contains("no weights"), "a folder of that name is no file");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_bytes_never_panic(at in 0usize..4000, byte in any::<u8>(), keep in 0usize..20_000) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let tensors: Vec<_> = Tiny::new().tensors.into_iter().take(12).collect();
        let path = folder.path().join("model.safetensors");
        write_tensors(&path, &tensors);
        let mut bytes = fs::read(&path).expect("written");
        let length = bytes.len();
        bytes[at % length] = byte;
        bytes.truncate(keep.max(1));
        fs::write(&path, &bytes).expect("writable");
        // Whatever is still accepted can be read to the end.
        if let Ok(checkpoint) = Checkpoint::open(&files(&folder)) {
            for (name, ..) in &tensors {
                if let Ok(tensor) = checkpoint.tensor(name) {
                    prop_assert_eq!(tensor.to_f32().len(), tensor.shape().iter().product::<usize>());
                }
            }
        }
    }
}
