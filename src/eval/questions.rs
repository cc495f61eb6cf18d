//! Question sets: one JSON object a line.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{BufRead, BufReader, Read},
    path::{Component, Path},
};

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use twox_hash::XxHash64;

use crate::error::{Error, Result};

/// Bytes of the largest file that is read.
const MAX_BYTES: u64 = 1 << 30;

/// A question about a picture, and the answers that are right.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Question {
    /// The picture's file, relative to the folder of pictures.
    pub image: String,
    /// The question.
    pub question: String,
    /// Right answers; one of them is enough.
    pub answers: Vec<String>,
    /// What kind of question it is; results are given for each.
    #[serde(rename = "type", default = "untyped")]
    pub kind: String,
    /// Hash of the picture's file, once [`identify`] has read it.
    #[serde(skip)]
    pub picture: u64,
}

fn untyped() -> String {
    "question".to_owned()
}

/// Reads a file of questions.
///
/// # Errors
///
/// [`Error::Io`] if it cannot be read, [`Error::Argument`] naming the first line that is no question, or if there is
/// none.
pub fn read(path: &Path) -> Result<Vec<Question>> {
    let file = fs::File::open(path).map_err(|error| Error::io(path, error))?;
    let mut questions = Vec::new();
    for (number, line) in BufReader::new(file.take(MAX_BYTES)).lines().enumerate() {
        let line = line.map_err(|error| Error::io(path, error))?;
        // Some editors begin a file with a byte order mark.
        let line = line.strip_prefix('\u{feff}').filter(|_| number == 0).unwrap_or(&line);
        if line.trim().is_empty() {
            continue;
        }
        let question = parse(line).map_err(|found| {
            let expected =
                "an object with `image`, `question`, `answers` (a list) and perhaps `type` on every line";
            Error::argument("--data", expected, format!("{}:{}: {found}", path.display(), number + 1))
        })?;
        questions.push(question);
    }
    if questions.is_empty() {
        let found = format!("none in {}", path.display());
        return Err(Error::argument("--data", "at least one question", found));
    }
    Ok(questions)
}

fn parse(line: &str) -> Result<Question, String> {
    let question: Question = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if question.answers.is_empty() {
        return Err("no answer".to_owned());
    }
    if question.question.trim().is_empty() {
        return Err("an empty question".to_owned());
    }
    let inside = |part: Component| matches!(part, Component::Normal(_) | Component::CurDir);
    if question.image.is_empty() || !Path::new(&question.image).components().all(inside) {
        return Err(format!("the picture {:?}, which is not inside the folder", question.image));
    }
    Ok(question)
}

/// Reads the pictures, so that answers about one are not taken for answers about another of the same name.
///
/// # Errors
///
/// [`Error::Io`] if one cannot be read.
pub fn identify(questions: &mut [Question], images: &Path) -> Result<()> {
    let mut known: HashMap<String, u64> = HashMap::new();
    for question in questions {
        question.picture = match known.get(&question.image) {
            Some(picture) => *picture,
            None => {
                let path = images.join(&question.image);
                let bytes = fs::read(&path).map_err(|error| Error::io(path, error))?;
                let picture = XxHash64::oneshot(0, &bytes);
                known.insert(question.image.clone(), picture);
                picture
            }
        };
    }
    Ok(())
}

/// `count` of the questions, in the file's order: all about one picture after the other, in an order of pictures that
/// `seed` draws, until there are enough.
pub fn sample(questions: Vec<Question>, count: usize, seed: u64) -> Vec<Question> {
    let mut pictures = by_picture(&questions);
    pictures.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let drawn = pictures.into_iter().flat_map(|(_, asked)| asked).map(|(index, _)| index);
    let drawn: HashSet<usize> = drawn.take(count).collect();
    let chosen = questions.into_iter().enumerate().filter(|(index, _)| drawn.contains(index));
    chosen.map(|(_, question)| question).collect()
}

/// The questions about each picture, by index, in the order in which pictures first appear.
pub fn by_picture(questions: &[Question]) -> Vec<(&str, Vec<(usize, &Question)>)> {
    let mut groups: Vec<(&str, Vec<(usize, &Question)>)> = Vec::new();
    let mut places = HashMap::new();
    for (index, question) in questions.iter().enumerate() {
        let place = *places.entry(question.image.as_str()).or_insert_with(|| {
            groups.push((question.image.as_str(), Vec::new()));
            groups.len() - 1
        });
        groups[place].1.push((index, question));
    }
    groups
}
