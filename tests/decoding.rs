//! Tokenizers that are damaged, and answers decoded token by token: no panic, and no text that is lost.

use crate::common::tokenizers::{KINDS, add, asked, id_of, load, streamed, tokenizer, write};
use mustdrop::Error;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// A number, text or list in place of something in the file, or something gone.
fn mutate(json: &mut Value, generator: &mut ChaCha8Rng) {
    let deeper = match json {
        _ if generator.next_u32().is_multiple_of(4) => None,
        Value::Object(fields) if !fields.is_empty() => {
            let chosen = generator.next_u32() as usize % fields.len();
            fields.values_mut().nth(chosen)
        }
        Value::Array(items) if !items.is_empty() => {
            let chosen = generator.next_u32() as usize % items.len();
            items.get_mut(chosen)
        }
        _ => None,
    };
    if let Some(deeper) = deeper {
        return mutate(deeper, generator);
    }
    *json = match generator.next_u32() % 12 {
        0 => Value::Null,
        1 => json!(0),
        2 => json!(-1),
        3 => json!(u64::MAX),
        4 => json!(1e300),
        5 => json!(""),
        6 => json!("####"),
        7 => json!(["a", "b"]),
        8 => json!({ "type": "FixedLength", "length": 1 }),
        9 => json!({ "type": "Strip", "content": "s", "start": 1, "stop": 3 }),
        10 => json!({ "type": "Replace", "pattern": { "Regex": "(a*)*b|" }, "content": "yes" }),
        _ => json!(true),
    };
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_damage_to_a_tokenizer_is_a_panic(kind in prop::sample::select(KINDS.to_vec()), seed in any::<u64>(), times in 1usize..4) {
        let mut file = tokenizer(kind);
        add(&mut file, &[("<image>", json!({})), ("<s>", json!({ "normalized": true })), ("yes", json!({ "special": false }))]);
        let image = id_of(&file, "<image>");
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        (0..times).for_each(|_| mutate(&mut file, &mut generator));
        let folder = write(&file, &json!({ "bos_token": "<s>" }));
        let ours = match load(folder.path(), image) {
            Ok(ours) => ours,
            Err(error) => {
                prop_assert_eq!(error.exit_code(), 3, "{}", error);
                return Ok(());
            }
        };
        for question in ["is it? yes ab", "<image> ä", ""] {
            if let Err(error) = ours.prompt(&asked(question)) {
                prop_assert!(matches!(error, Error::Model { .. } | Error::Prompt(_)), "{}", error);
            }
        }
        let mut stream = ours.stream();
        for id in [0, 1, 4, 7, image, 5, 300, u32::MAX] {
            stream.push(id).expect("held back at worst");
        }
        if let Err(error) = stream.finish() {
            prop_assert_eq!(error.exit_code(), 3, "{}", error);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn streamed_pieces_join_to_the_whole_decoding(kind in prop::sample::select(KINDS.to_vec()), ids in prop::collection::vec(0u32..290, 0..24)) {
        let mut file = tokenizer(kind);
        add(&mut file, &[("<image>", json!({})), ("</s>", json!({}))]);
        let ours = load(write(&file, &json!({})).path(), id_of(&file, "<image>")).expect("loads");
        prop_assert_eq!(streamed(&ours, &ids), ours.decode(&ids).expect("decoded"));
    }
}

#[test]
fn a_broken_character_loses_nothing_behind_it() {
    let mut file = tokenizer("llama");
    add(&mut file, &[("<image>", json!({}))]);
    let ours = load(write(&file, &json!({})).path(), id_of(&file, "<image>")).expect("loads");
    let id = |token: &str| file["model"]["vocab"][token].as_u64().expect("a word") as u32;
    let tokens = ["A", "<0xC3>", "<0xA9>", "<0xC3>", "yes", "▁", "a", "b"].map(id);
    let mut stream = ours.stream();
    let pieces: Vec<Option<String>> = tokens.iter().map(|id| stream.push(*id).expect("pushed")).collect();
    assert_eq!(pieces[..4], [Some("A".into()), None, None, None]);
    assert_eq!(pieces[4], Some("\u{FFFD}\u{FFFD}\u{FFFD}yes".into()));
    let rest: String = pieces[5..].iter().flatten().map(String::as_str).collect();
    assert_eq!(rest + &stream.finish().expect("finished").unwrap_or_default(), " ab");
    let mut whole = ours.stream();
    let pieces: Vec<Option<String>> =
        ["<0xC3>", "<0xA9>", "s"].map(id).iter().map(|id| whole.push(*id).expect("pushed")).collect();
    assert_eq!(pieces, [None, None, Some("és".into())]);
}
