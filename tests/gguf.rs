//! GGUF files: small ones written here against the same model as safetensors and against the format's own
//! description, and damaged ones.

use std::{fs, path::PathBuf};

use crate::common::ggml::dequantised;
use crate::common::gguf::{ARRAY, GgufFile, I32, TEXT, U32};
use crate::common::noise;
use crate::common::tiny::{TEXT_WIDTH, Tiny, VOCABULARY};
use half::f16;
use mustdrop::{
    DeviceSelect, Error, TextModel,
    checkpoint::{
        Checkpoint,
        gguf::{Gguf, Value},
    },
    config::TextConfig,
};
use proptest::prelude::*;
use tempfile::TempDir;

/// A file in a folder that lives as long as it is needed.
fn written(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.gguf");
    fs::write(&path, bytes).expect("writable");
    (folder, path)
}

fn open(bytes: &[u8]) -> Result<Gguf, Error> {
    let (_folder, path) = written(bytes);
    Gguf::open(path)
}

fn load(bytes: &[u8]) -> Result<TextModel, Error> {
    let (_folder, path) = written(bytes);
    TextModel::builder(path).device(DeviceSelect::Cpu).build()
}

/// The tiny model's logits behind `ids`, from safetensors.
fn tiny_logits(tiny: &Tiny, ids: &[u32]) -> Vec<f32> {
    let decoder = tiny.load(&DeviceSelect::Cpu).decoder;
    let positions: Vec<u32> = (0..ids.len() as u32).collect();
    let hidden = decoder.forward(decoder.embed(ids), &positions, &mut decoder.new_cache());
    decoder.logits(hidden.slice([ids.len() - 1..ids.len()])).expect("logits")
}

#[test]
fn a_float32_file_computes_what_the_same_safetensors_do() {
    let ids = [1, 17, 5, 30, 2];
    let mut tiny = Tiny::new();
    let file = GgufFile::of_tiny(&tiny, true);
    for version in [2, 3] {
        let model = load(&GgufFile { version, ..GgufFile::of_tiny(&tiny, true) }.bytes()).expect("a model");
        assert_eq!(model.logits(&ids).expect("logits"), tiny_logits(&tiny, &ids), "version {version}");
        let stored: usize = file.tensors.iter().map(|tensor| tensor.data.len() / 4).sum();
        assert_eq!(model.parameters(), stored as u64);
        assert_eq!((model.config().head_dim, model.config().num_key_value_heads), (6, 2));
        assert_eq!(model.context_limit(), 64);
    }
    // Without a head of its own, the embedding is the head.
    let tied = load(&GgufFile::of_tiny(&tiny, false).bytes()).expect("a model");
    let embedding = tiny.get_mut("language_model.model.embed_tokens.weight").2.clone();
    tiny.get_mut("language_model.lm_head.weight").2 = embedding;
    assert_eq!(tied.logits(&ids).expect("logits"), tiny_logits(&tiny, &ids), "tied");
}

#[test]
fn biases_of_attention_are_read_where_they_are_stored() {
    let mut tiny = Tiny::new();
    tiny.config["text_config"]["attention_bias"] = true.into();
    for layer in 0..2 {
        for (part, outputs) in [("q_proj", 24), ("k_proj", 12), ("v_proj", 12), ("o_proj", 24)] {
            tiny.add(&format!("language_model.model.layers.{layer}.self_attn.{part}.bias"), &[outputs]);
        }
    }
    let mut file = GgufFile::of_tiny(&tiny, true);
    // What says that nothing unusual is computed changes nothing.
    file.text("llama.rope.scaling.type", "none");
    file.f32("llama.rope.scaling.factor", 1.0);
    file.u32("llama.rope.dimension_count", 6);
    file.u32("llama.expert_count", 0);
    let model = load(&file.bytes()).expect("a model");
    assert_eq!(model.logits(&[3, 1, 4, 1, 5]).expect("logits"), tiny_logits(&tiny, &[3, 1, 4, 1, 5]));
}

#[test]
fn losses_and_greedy_tokens_are_those_of_the_logits() {
    let model = load(&GgufFile::of_tiny(&Tiny::new(), true).bytes()).expect("a model");
    let ids: Vec<u32> = (0..40).map(|i| i * 7 % VOCABULARY as u32).collect();
    let losses = model.losses(&ids).expect("losses");
    assert_eq!(losses.len(), ids.len() - 1);
    for (i, loss) in losses.iter().enumerate().step_by(13) {
        let logits = model.logits(&ids[..=i]).expect("logits");
        let mass: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
        let expected = mass.ln() - f64::from(logits[ids[i + 1] as usize]);
        assert!((loss - expected).abs() < 1e-4, "token {i}: {loss} for {expected}");
    }
    let mut greedy = ids[..3].to_vec();
    for token in model.generate(&ids[..3], 5).expect("tokens") {
        let logits = model.logits(&greedy).expect("logits");
        assert_eq!(token, mustdrop::sample::most_likely(&logits), "behind {greedy:?}");
        greedy.push(token);
    }
    assert_eq!(greedy.len(), 8);
    for (ids, more) in [(vec![], 0), (vec![VOCABULARY as u32], 0), (vec![0; 65], 0), (vec![0; 60], 5)] {
        let refused = model.generate(&ids, more).expect_err("refused");
        assert!(matches!(refused, Error::Argument { .. }), "{ids:?}: {refused}");
    }
    assert!(model.losses(&[1]).is_err() && model.encode("x").is_err() && model.decode(&[1]).is_err());
}

#[test]
fn metadata_of_every_type() {
    let mut file = GgufFile::new();
    let scalars: [(u32, &[u8], Value); 12] = [
        (0, &[200], Value::Unsigned(200)),
        (1, &[200], Value::Signed(-56)),
        (2, &[1, 2], Value::Unsigned(513)),
        (3, &[0, 0x80], Value::Signed(-32_768)),
        (4, &[1, 0, 0, 0x80], Value::Unsigned(0x8000_0001)),
        (5, &[255, 255, 255, 255], Value::Signed(-1)),
        (6, &[0, 0, 0x80, 0x3F], Value::Float(1.0)),
        (7, &[1], Value::Bool(true)),
        (8, &[2, 0, 0, 0, 0, 0, 0, 0, b'o', b'k'], Value::Text("ok".into())),
        (10, &[0, 0, 0, 0, 0, 0, 0, 0x80], Value::Unsigned(1 << 63)),
        (11, &[254, 255, 255, 255, 255, 255, 255, 255], Value::Signed(-2)),
        (12, &[0, 0, 0, 0, 0, 0, 0, 0xC0], Value::Float(-2.0)),
    ];
    for (kind, bytes, _) in &scalars {
        file.pairs.push((format!("scalar {kind}"), *kind, bytes.to_vec()));
        file.array(&format!("array {kind}"), *kind, 2, bytes.repeat(2));
    }
    // An array of two arrays of one and no uint8.
    let inner = |values: &[u8]| {
        [0u32.to_le_bytes().as_slice(), &(values.len() as u64).to_le_bytes(), values].concat()
    };
    file.array("nested", ARRAY, 2, [inner(&[7]), inner(&[])].concat());
    let gguf = open(&file.bytes()).expect("a file");
    let values = |value: &Value| match value {
        Value::Array(array) => array.values().collect::<Vec<_>>(),
        other => panic!("expected an array, found {other:?}"),
    };
    for (kind, _, expected) in scalars {
        assert_eq!(gguf.get(&format!("scalar {kind}")), Some(&expected));
        assert_eq!(values(gguf.get(&format!("array {kind}")).expect("an array")), vec![expected; 2]);
    }
    let nested = values(gguf.get("nested").expect("an array"));
    assert_eq!(nested.iter().map(values).collect::<Vec<_>>(), [vec![Value::Unsigned(7)], vec![]]);
    assert_eq!(gguf.get("absent"), None);
}

#[test]
fn every_type_is_read_as_ggml_describes_it() {
    // Type, bytes and numbers of a block, and where it has float16 numbers.
    let types: [(u32, usize, usize, &[usize]); 9] = [
        (0, 4, 1, &[]),
        (1, 2, 1, &[0]),
        (30, 2, 1, &[]),
        (2, 18, 32, &[0]),
        (3, 20, 32, &[0, 2]),
        (6, 22, 32, &[0]),
        (7, 24, 32, &[0, 2]),
        (8, 34, 32, &[0]),
        (14, 210, 256, &[208]),
    ];
    const ROWS: usize = 12;
    for (kind, size, numbers, halves) in types {
        let width = 512;
        let seeds = noise(kind.into(), ROWS * width / numbers * size);
        let mut data: Vec<u8> = seeds.iter().map(|value| (value * 128.0).floor() as i8 as u8).collect();
        for (block, value) in data.chunks_mut(size).zip(&seeds) {
            for (i, at) in halves.iter().enumerate() {
                block[*at..at + 2].copy_from_slice(&f16::from_f32(value / (1 + i) as f32).to_le_bytes());
            }
            if let (0 | 30, Some(exponent)) = (kind, block.last_mut()) {
                *exponent = *exponent & 0x80 | 0x3F; // finite
            }
        }
        let mut file = GgufFile::llama(512, 32, 2, 2, 8);
        for name in ["blk.0.attn_v.weight", "blk.1.attn_k.weight"] {
            file.tensor(name, vec![width as u64, ROWS as u64], kind, data.clone());
        }
        file.set("llama.attention.key_length", U32, 6u32.to_le_bytes());
        let gguf = open(&file.bytes()).expect("a file");
        let config = TextConfig::from_gguf(&gguf).expect("a configuration");
        let checkpoint = Checkpoint::from_gguf(gguf, config.head_dim).expect("tensors");
        let plain = checkpoint.tensor("language_model.layers.0.self_attn.v_proj.weight").expect("a tensor");
        let expected = dequantised(kind, &data);
        assert_eq!((plain.shape(), plain.to_f32()), (&[ROWS, width][..], expected.clone()), "type {kind}");
        assert_eq!(plain.rows_f32(3..5).expect("rows"), expected[3 * width..5 * width], "type {kind}");
        let halves: Vec<f16> = expected[width..2 * width].iter().map(|value| f16::from_f32(*value)).collect();
        assert_eq!(plain.rows_f16(1..2).expect("rows"), halves, "type {kind}");
        // Heads of six rows, whose halves are stored in turns.
        let turned = checkpoint.tensor("language_model.layers.1.self_attn.k_proj.weight").expect("a tensor");
        for (row, stored) in [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11].into_iter().enumerate() {
            let found = turned.rows_f32(row..row + 1).expect("a row");
            assert_eq!(found, expected[stored * width..][..width], "type {kind}, row {row}");
        }
    }
}

/// The tiny model with a tokenizer.
fn with_tokenizer() -> GgufFile {
    let mut file = GgufFile::of_tiny(&Tiny::new(), true);
    file.text("tokenizer.ggml.model", "gpt2");
    file.text("tokenizer.ggml.pre", "smollm");
    let tokens = ["<|end|>", "ab", "Ġab", "Ã", "©", "a", "b", "c", "Ġ", "1", "2", "é"].map(str::to_owned);
    let tokens: Vec<String> =
        tokens.into_iter().chain((12..VOCABULARY).map(|id| format!("<{id}>"))).collect();
    file.texts("tokenizer.ggml.tokens", &tokens.iter().map(String::as_str).collect::<Vec<_>>());
    let types = (0..VOCABULARY).flat_map(|id| if id == 0 { 3i32 } else { 1 }.to_le_bytes()).collect();
    file.array("tokenizer.ggml.token_type", I32, VOCABULARY as u64, types);
    file.texts("tokenizer.ggml.merges", &["a b", "Ġ ab"]);
    file
}

#[test]
fn a_tokenizer_of_gpt2s_kind() {
    let mut file = with_tokenizer();
    let model = load(&file.bytes()).expect("a model");
    let ids = model.encode("ab ab12<|end|>é").expect("ids");
    assert_eq!(ids, [1, 2, 9, 10, 0, 3, 4]);
    assert_eq!(model.decode(&ids).expect("text"), "ab ab12é");
    // The end that the file names is where generating stops.
    let end = model.generate(&[1], 1).expect("a token")[0];
    file.u32("tokenizer.ggml.eos_token_id", end);
    assert!(load(&file.bytes()).expect("a model").generate(&[1], 1).expect("nothing").is_empty());
    for (key, values, part) in [
        ("tokenizer.ggml.merges", vec!["ab"], "expected pairs"),
        ("tokenizer.ggml.merges", vec!["a zz"], "not a valid tokenizer"),
        ("tokenizer.ggml.tokens", vec!["a", "a"], "found one twice"),
    ] {
        let mut damaged = with_tokenizer();
        damaged.pairs.retain(|pair| pair.0 != key);
        damaged.texts(key, &values);
        assert_refused(load(&damaged.bytes()), part);
    }
}

fn assert_refused<T>(found: Result<T, Error>, part: &str) {
    match found {
        Ok(_) => panic!("accepted, expected a refusal with {part:?}"),
        Err(error) => {
            assert!(error.to_string().contains(part), "expected {part:?} in {error}");
            assert_eq!(error.exit_code(), 3, "{error}");
        }
    }
}

/// What is wrong, and how to make it so.
type Damage = (&'static str, fn(&mut GgufFile));

#[test]
fn lying_headers_are_refused() {
    const HUGE: u64 = 1 << 60;
    let damages: [Damage; 27] = [
        ("found 1", |file| file.version = 1),
        ("big endian", |file| file.version = 3u32.swap_bytes()),
        ("number of tensors: expected at most", |file| file.tensor_count = Some(HUGE)),
        ("number of metadata pairs: expected at most", |file| file.pair_count = Some(HUGE)),
        ("damaged", |file| file.tensor_count = Some(22)),
        ("length of llama.x: expected at most", |file| file.set("llama.x", TEXT, HUGE.to_le_bytes())),
        ("number of values of llama.x: expected at most", |file| file.array("llama.x", 0, HUGE, vec![])),
        ("number of values of llama.x: expected at most", |file| {
            file.array("llama.x", ARRAY, u64::MAX, vec![])
        }),
        ("llama.x: expected a type from 0 to 12, found 13", |file| file.set("llama.x", 13, [0])),
        ("llama.x: expected 0 or 1, found 2", |file| file.set("llama.x", 7, [2])),
        ("expected UTF-8", |file| file.set("llama.x", TEXT, [1, 0, 0, 0, 0, 0, 0, 0, 0xFF])),
        ("metadata has llama.block_count twice", |file| file.u32("llama.block_count", 2)),
        ("general.alignment: expected a power of two", |file| file.u32("general.alignment", 0)),
        ("general.alignment: expected a power of two", |file| file.u32("general.alignment", 24)),
        ("general.alignment: expected a power of two", |file| file.u32("general.alignment", 1 << 31)),
        ("general.alignment: expected a number", |file| file.f32("general.alignment", 32.0)),
        ("expected an offset aligned to 32, found 8", |file| file.tensors[1].offset = Some(8)),
        ("beyond any file", |file| file.tensors[1].offset = Some(u64::MAX)),
        ("the file ends at byte", |file| file.tensors[1].offset = Some(HUGE)),
        ("overlap", |file| file.tensors[1].offset = Some(0)),
        ("occurs twice", |file| file.tensors[1].name = file.tensors[0].name.clone()),
        ("found type 99", |file| file.tensors[1].kind = 99),
        ("found Q4_K", |file| file.tensors[1].kind = 12),
        ("expected 1 to 4 dimensions, found 5", |file| file.tensors[1].dimensions = vec![1; 5]),
        ("a dimension is empty", |file| file.tensors[1].dimensions = vec![24, 0]),
        ("are beyond any memory", |file| file.tensors[1].dimensions = vec![HUGE, HUGE]),
        ("expected rows of whole blocks of 32 numbers in Q8_0, found rows of 24", |file| {
            file.tensors[1].kind = 8
        }),
    ];
    let tiny = Tiny::new();
    for (part, damage) in damages {
        let mut file = GgufFile::of_tiny(&tiny, true);
        damage(&mut file);
        assert_refused(open(&file.bytes()), part);
    }
    assert_refused(load(b"GGML and more"), "not a GGUF file");
    assert_refused(Gguf::open("no/such/file.gguf"), "no such file");
}

#[test]
fn what_is_no_llama_that_is_supported_is_refused() {
    let damages: [Damage; 16] = [
        ("general.architecture: expected \"llama\", found 1", |file| {
            file.set("general.architecture", 0, [1])
        }),
        ("llama.block_count: expected a number, found nothing", |file| {
            file.pairs.retain(|pair| !pair.0.ends_with("block_count"))
        }),
        ("llama.block_count: expected a whole number", |file| {
            file.set("llama.block_count", U32, u32::MAX.to_le_bytes())
        }),
        ("llama.embedding_length: expected a whole number", |file| {
            file.set("llama.embedding_length", 12, f64::NAN.to_le_bytes())
        }),
        ("llama.attention.head_count_kv: 3 heads do not divide", |file| {
            file.set("llama.attention.head_count_kv", U32, 3u32.to_le_bytes())
        }),
        ("llama.attention.layer_norm_rms_epsilon: expected a number", |file| {
            file.set("llama.attention.layer_norm_rms_epsilon", 6, f32::INFINITY.to_le_bytes())
        }),
        ("llama.rope.scaling.type: not supported", |file| file.text("llama.rope.scaling.type", "yarn")),
        ("llama.rope.scaling.factor: not supported", |file| file.f32("llama.rope.scaling.factor", 4.0)),
        ("llama.expert_count: not supported", |file| file.u32("llama.expert_count", 8)),
        ("llama.rope.dimension_count: not supported", |file| file.u32("llama.rope.dimension_count", 4)),
        ("rope_freqs.weight: a scaling", |file| file.tensor("rope_freqs.weight", vec![3], 0, vec![0; 12])),
        ("blk.0.attn_q_norm.weight: expected the tensors of a Llama", |file| {
            file.tensor("blk.0.attn_q_norm.weight", vec![6], 0, vec![0; 24])
        }),
        ("1 unused", |file| file.tensor("blk.2.attn_q.weight", vec![1], 0, vec![0; 4])),
        ("1 missing", |file| drop(file.tensors.remove(3))),
        ("1 mis-shaped", |file| file.tensors[0].dimensions = vec![VOCABULARY as u64, TEXT_WIDTH as u64]),
        ("expected F32, F16 or BF16, as it is a vector", |file| {
            file.tensor("blk.0.attn_q.bias", vec![32], 8, vec![0; 34])
        }),
    ];
    let tiny = Tiny::new();
    for (part, damage) in damages {
        let mut file = GgufFile::of_tiny(&tiny, true);
        damage(&mut file);
        assert_refused(load(&file.bytes()), part);
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let bytes = GgufFile::of_tiny(&Tiny::new(), true).bytes();
    for end in (0..bytes.len()).step_by(7) {
        assert_refused(open(&bytes[..end]), "download it again");
    }
}

proptest! {
    #[test]
    fn any_bytes_behind_a_header_are_accepted_or_refused(counts: [u8; 2], bytes: Vec<u8>) {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        for count in counts {
            file.extend(u64::from(count % 4).to_le_bytes());
        }
        file.extend(bytes);
        if let Err(error) = load(&file) {
            prop_assert_eq!(error.exit_code(), 3, "{}", error);
        }
    }

    #[test]
    fn any_damage_to_a_header_is_accepted_or_refused(damage in prop::collection::vec((0..4000usize, any::<u8>()), 1..4)) {
        let mut bytes = with_tokenizer().bytes();
        for (place, byte) in damage {
            bytes[place] = byte;
        }
        if let Err(error) = load(&bytes) {
            prop_assert_eq!(error.exit_code(), 3, "{}", error);
        }
    }
}
