//! Tiny models of every family, and questions to them.

use std::fs;

use mustdrop::{DeviceSelect, GenerationOptions, Llava, Part, Pruning, Report, WeightFormat, drop::Keep};

use super::golden;

pub const SQUARE: [&str; 5] = [
    "llava_qwen2_siglip",
    "llava_mistral_clip",
    "llava_mistral_window",
    "llava_llama3_clip",
    "llava_llama31_clip",
];
pub const TILED: [&str; 3] = ["llava_next_mistral", "llava_next_vicuna", "llava_onevision_qwen2"];

pub fn load(name: &str, device: &DeviceSelect) -> Llava {
    let builder = Llava::builder(golden("family").join(name)).device(device.clone());
    builder.weights(WeightFormat::F32).build().expect("a model")
}

pub fn part(name: &str, picture: &str) -> Part {
    Part::image_path(golden("family").join(name).join(picture)).expect("a picture")
}

/// The answer to a question about pictures, and its account.
pub fn ask(
    model: &Llava,
    name: &str,
    pictures: &[&str],
    pruning: Option<Pruning>,
    tokens: usize,
) -> (String, Report) {
    let mut options = GenerationOptions::default();
    options.max_new_tokens = tokens;
    let mut chat = model.chat().options(options);
    if let Some(pruning) = pruning {
        chat = chat.pruning(pruning);
    }
    let pictures = pictures.iter().map(|picture| part(name, picture));
    let mut answer = chat.ask(pictures.chain([Part::text("What is in the picture?")])).expect("an answer");
    let said = answer.complete().expect("a complete answer");
    (said, answer.report().clone())
}

pub fn keep(tokens: usize) -> Pruning {
    Pruning::mustdrop().keep(Keep::Tokens(tokens))
}

/// A copy of a fixture whose configuration is changed.
pub fn edited(name: &str, changes: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for entry in fs::read_dir(golden("family").join(name)).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            fs::copy(&path, folder.path().join(path.file_name().expect("a name"))).expect("copied");
        }
    }
    let path = folder.path().join("config.json");
    let mut config = fs::read_to_string(&path).expect("text");
    for (from, to) in changes {
        assert!(config.contains(from), "{config}");
        config = config.replace(from, to);
    }
    fs::write(path, config).expect("written");
    folder
}
