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

    // What no model needs may be in no file, or in a file that is not there; files may be swapped.
    let inverse = "language_model.model.layers.0.self_attn.rotary_emb.inv_freq";
    for file in [names[1], "model-00003-of-00003.safetensors"] {
        index([both.clone(), vec![(inverse.into(), file.into())]].concat());
        same();
        load(&folder).expect("every tensor that is needed is there");
    }
    index([map(first, names[1]), map(second, names[0])].concat());
    load(&folder).expect("a tensor is where it is");
    // What one needs may not.
    index(both.clone());
    let (head, others) = second.split_last().expect("tensors");
    assert_eq!(head.0, "language_model.lm_head.weight");
    write_tensors(&folder.path().join(names[1]), others);
    let message = load(&folder).expect_err("refused").to_string();
    let missing = format!("lm_head.weight [40, 24] (the index puts it into {})", names[1]);
    assert!(message.contains("1 missing") && message.contains(&missing), "{message}");
    write_tensors(&folder.path().join(names[1]), second);
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

#[test]
fn numbers_that_are_none_are_the_checkpoints_fault() {
    for (name, canonical) in [
        (
            "language_model.model.layers.1.mlp.down_proj.weight",
            "language_model.layers.1.mlp.down_proj.weight",
        ),
        ("vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.bias", "vision_tower.encoder.layers.0"),
        ("language_model.model.norm.weight", "language_model.norm.weight"),
        ("multi_modal_projector.linear_1.weight", "multi_modal_projector.linear_1.weight"),
    ] {
        for (number, shown) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
            let mut tiny = Tiny::new();
            *tiny.get_mut(name).2.last_mut().expect("numbers") = number;
            for device in [DeviceSelect::Cpu, DeviceSelect::Index(0)] {
                let compute = Compute::open(&device).expect("a device");
                let error = tiny.load_on(&compute).expect_err("refused");
                let message = error.to_string();
                assert!(matches!(error, Error::Model { .. }), "{message}");
                assert!(
                    message.contains(canonical) && message.contains(&format!("found {shown};")),
                    "{message}"
                );
            }
        }
    }
    // A layer that no feature comes from is not looked at.
    let mut tiny = Tiny::new();
    tiny.get_mut("vision_tower.vision_model.post_layernorm.weight").2[0] = f32::NAN;
    load(&written(&tiny)).expect("nothing needs it");
}

#[test]
fn a_file_cut_while_it_is_open_is_said_to_be() {
    let folder = written(&Tiny::new());
    let checkpoint = Checkpoint::open(&files(&folder)).expect("a checkpoint");
    let path = folder.path().join("model.safetensors");
    let length = fs::metadata(&path).expect("written").len();
    fs::File::options().write(true).open(&path).expect("writable").set_len(length - 1).expect("cut");
    let message = checkpoint.tensor("lm_head.weight").expect_err("cut").to_string();
    assert!(
        message.contains("model.safetensors") && message.contains(&(length - 1).to_string()),
        "{message}"
    );
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
