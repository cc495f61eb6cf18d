//! Conversations behind dropped tokens, from question to text: each answer is what a dense decoder in f64 says that hides
//! what the report says was dropped ([`MaskedDecoder`]).

use std::path::{Path, PathBuf};

use crate::common::{
    DEVICES, MODEL, ON_ADAPTER, golden,
    masked::{MaskedDecoder, Pass},
    repository,
};
use mustdrop::{
    DeviceSelect, Llava, Part, Picture, Pruning, Report, WeightFormat,
    checkpoint::{Checkpoint, ModelFiles},
    config::{ModelConfig, preprocessor},
    device::Compute,
    drop::{Keep, Turns},
    model::LlavaModel,
    prompt::{Piece, Role, Turn, TurnPart},
    tokenizer::Tokenizer,
};

/// `</s>` of both models.
const END: u32 = 2;
const MAX_NEW_TOKENS: usize = 8;

/// What a row of a prompt stands for: a text token, or a token of a picture.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Row {
    Text(u32),
    Vision(usize, usize),
}

/// A model's parts, and a conversation as it stands.
struct Reference {
    config: ModelConfig,
    tokenizer: Tokenizer,
    model: LlavaModel,
    masked: MaskedDecoder,
    files: ModelFiles,
    /// Where the pictures are.
    folder: PathBuf,
    rules: Pruning,
    turns: Vec<Turn>,
    /// The tokens of each picture as they enter the decoder.
    pictures: Vec<Vec<Vec<f64>>>,
    /// The patch in whose place each of them stands.
    places: Vec<Vec<u32>>,
    /// The rows that the decoder has seen.
    seen: Vec<Row>,
}

impl Reference {
    fn new(files: ModelFiles, folder: &Path, rules: Pruning) -> Self {
        let config = ModelConfig::from_files(&files).expect("a configuration");
        let checkpoint = Checkpoint::open(&files).expect("weights");
        let compute = Compute::open(&DeviceSelect::Cpu).expect("a CPU");
        Self {
            tokenizer: Tokenizer::from_files(&files, config.image_token).expect("a tokenizer"),
            model: LlavaModel::load(&checkpoint, &config, &compute, false).expect("a model"),
            masked: Self::decoder(&config, &checkpoint),
            config,
            files,
            folder: folder.to_owned(),
            rules,
            turns: Vec::new(),
            pictures: Vec::new(),
            places: Vec::new(),
            seen: Vec::new(),
        }
    }

    fn decoder(config: &ModelConfig, checkpoint: &Checkpoint) -> MaskedDecoder {
        MaskedDecoder::new(&config.text, |name| checkpoint.tensor(name).expect("a tensor").to_f32())
    }

    fn show(&mut self, name: &str) {
        let picture = Picture::open(self.folder.join(name)).expect("a picture");
        let preprocessor = preprocessor(&self.files, &self.config).expect("a preprocessor");
        let pixels = preprocessor.run(&picture).expect("pixels").values;
        let features = self.model.encode_image_pruned(&pixels, &self.rules).expect("tokens").features;
        let values: Vec<f32> = features.into_data().try_to_vec().expect("float32");
        let rows = values.chunks(self.config.text.hidden_size);
        self.pictures.push(rows.map(|row| row.iter().copied().map(f64::from).collect()).collect());
    }

    /// What the rows of the conversation's prompt stand for.
    fn rows(&self) -> Vec<Row> {
        let prompt = self.tokenizer.prompt(&self.turns).expect("a prompt");
        let rows = prompt.pieces.into_iter().flat_map(|piece| match piece {
            Piece::Text(ids) => ids.into_iter().map(Row::Text).collect::<Vec<_>>(),
            Piece::Image(picture) => {
                (0..self.pictures[picture].len()).map(|token| Row::Vision(picture, token)).collect()
            }
        });
        rows.collect()
    }

    /// Asks, with what `report` says was dropped, up to the end or a stop string; returns the answer.
    fn ask(&mut self, picture: Option<&str>, question: &str, stop: Option<&str>, report: &Report) -> String {
        let mut parts = vec![TurnPart::Text(question.to_owned())];
        if let Some(name) = picture {
            self.show(name);
            parts.insert(0, TurnPart::Image);
        }
        self.turns.push(Turn { role: Role::User, parts });
        let rows = self.rows();
        let shared = match self.rules.turns {
            Turns::Requery => 0,
            _ => rows.iter().zip(&self.seen).take_while(|(new, old)| new == old).count(),
        };
        assert_eq!(report.reused_tokens, shared, "{question}");
        self.masked.forget_last(self.seen.len() - shared);
        self.seen = rows.clone();

        let new = &rows[shared..];
        let mut pass_positions = self.positions(new, &rows, report);
        let mut next = pass_positions.last().expect("a row") + 1;
        let pass = self.pass(new, pass_positions.split_off(shared), report);
        let embedded = new.iter().map(|row| match row {
            Row::Text(id) => self.masked.embed(*id),
            Row::Vision(picture, token) => self.pictures[*picture][*token].clone(),
        });
        let embedded = embedded.collect();
        let mut logits = self.masked.forward(embedded, &pass);
        let (mut ids, mut text) = (Vec::new(), String::new());
        loop {
            let token =
                (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).expect("a token") as u32;
            if token == END {
                break;
            }
            ids.push(token);
            text = self.tokenizer.decode(&ids).expect("text");
            if let Some(at) = stop.and_then(|stop| text.find(stop)) {
                text.truncate(at);
                break;
            }
            if ids.len() == MAX_NEW_TOKENS {
                break;
            }
            let step = Pass::at(self.config.text.num_hidden_layers, vec![next]);
            next += 1;
            self.seen.push(Row::Text(token));
            logits = self.masked.forward(vec![self.masked.embed(token)], &step);
        }
        assert_eq!(report.kv_rows_per_layer, self.masked.rows_per_layer(), "{question}");
        self.turns.push(Turn { role: Role::Assistant, parts: vec![TurnPart::Text(text.clone())] });
        text
    }

    /// The pictures among new rows.
    fn shown(&self, new: &[Row]) -> Vec<usize> {
        (0..self.pictures.len()).filter(|picture| new.contains(&Row::Vision(*picture, 0))).collect()
    }

    /// The positions of all rows: a picture takes one for each of its patches, whatever entered the decoder.
    fn positions(&mut self, new: &[Row], rows: &[Row], report: &Report) -> Vec<u32> {
        let judged = &report.pruning.as_ref().expect("rules").pictures;
        self.places.resize(self.pictures.len(), Vec::new());
        for (picture, judged) in self.shown(new).into_iter().zip(judged) {
            self.places[picture] = judged.tokens.iter().map(|patches| patches[patches.len() / 2]).collect();
        }
        let patches = self.config.vision.patches() as u32;
        let mut next = 0;
        let position = |row: &Row| match row {
            Row::Text(_) => {
                next += 1;
                next - 1
            }
            Row::Vision(picture, token) => {
                let first = next - if *token > 0 { patches } else { 0 };
                next = first + patches;
                first + self.places[*picture][*token]
            }
        };
        rows.iter().map(position).collect()
    }

    /// A pass over new rows, of whose pictures the report says what went on behind which layer.
    fn pass(&self, new: &[Row], positions: Vec<u32>, report: &Report) -> Pass {
        let mut pass = Pass::at(self.config.text.num_hidden_layers, positions);
        let judged = &report.pruning.as_ref().expect("rules").pictures;
        let shown = self.shown(new);
        assert_eq!(shown.len(), judged.len(), "pictures among the new rows are judged, and no others");
        let layers: Vec<usize> =
            judged.first().map_or(Vec::new(), |picture| picture.kept.iter().map(|kept| kept.layer).collect());
        for (filter, layer) in layers.iter().enumerate() {
            let goes_on = |row: &Row| match row {
                Row::Text(_) => true,
                Row::Vision(picture, token) => {
                    let number = shown.iter().position(|shown| shown == picture).expect("judged");
                    judged[number].kept[filter].tokens.contains(token)
                }
            };
            let alive: Vec<usize> = (0..new.len()).filter(|row| goes_on(&new[*row])).collect();
            assert!(alive.len() < new.len(), "something is dropped");
            pass.drop_behind(*layer, &alive);
        }
        if let (Some(first), Some(last)) = (layers.first(), layers.last()) {
            pass.evict(*first..last + 1);
        }
        pass
    }
}

/// A question about another picture or the last one, and what may end the answer before its time.
type Question<'a> = (Option<&'a str>, &'a str, Option<&'a str>);

/// Asks one after the other, and returns the answers, each of which is the reference's.
fn converse(
    model: &Llava,
    (files, folder): (ModelFiles, &Path),
    (keep, turns): (usize, Turns),
    questions: &[Question],
) -> Vec<String> {
    let mut rules = Pruning::mustdrop().keep(Keep::Tokens(keep));
    rules.turns = turns;
    let mut reference = Reference::new(files, folder, rules.clone());
    let mut chat = model.chat().pruning(rules);
    let ask = |(picture, question, stop): &Question| {
        let options = chat.options_mut();
        options.max_new_tokens = MAX_NEW_TOKENS;
        options.stop = stop.iter().map(|stop| (*stop).to_owned()).collect();
        let shown = picture.map(|name| Part::image_path(folder.join(name)).expect("a picture"));
        let mut answer = chat.ask(shown.into_iter().chain([Part::text(*question)])).expect("an answer");
        let text = answer.complete().expect("a complete answer");
        let expected = reference.ask(*picture, question, *stop, answer.report());
        assert_eq!(text, expected, "{turns:?}: {question}");
        text
    };
    questions.iter().map(ask).collect()
}

/// An answer that is cut in the middle of a token, a second one about the same picture, one about another.
fn converse_about_pictures(model: &Llava, turns: Turns) {
    let folder = repository("models/picture-book");
    let files = ModelFiles::embedded().expect("a model inside the program");
    let questions = [
        (Some("sample_1.png"), "what is in the picture?", Some("leph")),
        (None, "what color is the background?", None),
        (Some("sample_2.png"), "describe the picture.", None),
    ];
    let answers = converse(model, (files, &folder), (48, turns), &questions);
    assert!(answers[0].ends_with(" e"), "cut within a word: {answers:?}");
}

#[test]
fn answers_on_the_cpu_path_are_those_of_a_dense_model_with_dropped_tokens_hidden() {
    converse_about_pictures(&MODEL, Turns::Pin);
    converse_about_pictures(&MODEL, Turns::Requery);
}

#[test]
fn answers_on_an_adapter_are_those_of_a_dense_model_with_dropped_tokens_hidden() {
    converse_about_pictures(&ON_ADAPTER, Turns::Pin);
    converse_about_pictures(&ON_ADAPTER, Turns::Requery);
}

/// A window of 24 tokens, which is shorter than the first question, and far shorter than all three.
#[test]
fn answers_behind_a_sliding_window_are_those_of_a_dense_model_with_dropped_tokens_hidden() {
    let folder = golden("family/llava_mistral_window");
    let questions = [
        (Some("square.png"), "What is this?", Some("wo")),
        (None, "How many birds are there?", None),
        (Some("tall.png"), "What colour is it?", None),
    ];
    for device in DEVICES {
        let builder = Llava::builder(&folder).device(device).weights(WeightFormat::F32);
        let model = builder.build().expect("a model");
        for turns in [Turns::Pin, Turns::Requery] {
            let files = ModelFiles::folder(&folder).expect("a folder");
            converse(&model, (files, &folder), (8, turns), &questions);
        }
    }
}
