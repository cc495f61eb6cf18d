//! Answers on disk, a line each, so that a run that was stopped goes on where it was.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Cost, Setting, questions::Question};
use crate::error::{Error, Result};

/// What became of one question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The setting's name.
    pub setting: String,
    /// The picture's file.
    pub image: String,
    /// Hash of what is in it; 0 where answers are kept in memory alone.
    pub picture: u64,
    /// The question.
    pub question: String,
    /// The answer, or why there is none.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// The answer to a question, or why there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Outcome {
    /// The model answered.
    Answered {
        /// What it said.
        answer: String,
        /// What that cost.
        #[serde(flatten)]
        cost: Cost,
    },
    /// The model does not take the question: it is too long, as a rule.
    Refused {
        /// Why.
        refused: String,
    },
}

impl Record {
    /// What became of `question` under `setting`.
    pub fn new(setting: &Setting, question: &Question, outcome: Outcome) -> Self {
        let Question { image, picture, question, .. } = question;
        let (setting, image, question) = (setting.to_string(), image.clone(), question.clone());
        Self { setting, image, picture: *picture, question, outcome }
    }

    fn key(&self) -> Key {
        (self.setting.clone(), self.image.clone(), self.picture, self.question.clone())
    }
}

/// What an answer is to: setting, picture's file and contents, question.
type Key = (String, String, u64, String);

/// The first line of a file: answers of another model must not be mixed in.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    /// Hash of everything that answers depend on, but for picture and question.
    run: String,
}

/// All answers so far, and the file that they are in.
#[derive(Debug, Default)]
pub struct Records {
    answers: HashMap<Key, Record>,
    file: Option<(PathBuf, File)>,
}

impl Records {
    /// Answers that are kept in memory alone.
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// The answers in a file, which is made if it is not there; `run` identifies what they depend on. The file is locked
    /// as long as this lives.
    ///
    /// What follows the last line break was cut off when a run was stopped, and is forgotten. Nothing else of a file is
    /// ever changed, but for lines that are added.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be read or written, [`Error::Argument`] if it belongs to another run or one is writing to
    /// it, or naming the first line that is no answer.
    pub fn open(path: &Path, run: &str) -> Result<Self> {
        let io = |error| Error::io(path, error);
        let mut header =
            serde_json::to_vec(&Header { run: run.to_owned() }).map_err(|error| io(error.into()))?;
        header.push(b'\n');
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(io(error)),
            Err(TryLockError::WouldBlock) => {
                let found = format!("{}, which another run is writing to", path.display());
                return Err(Error::argument("--results", "a file of this run alone", found));
            }
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        // A run that was stopped at once may have left the beginning of its header.
        if header.starts_with(&bytes) {
            file.rewind().and_then(|()| file.write_all(&header)).map_err(io)?;
            return Ok(Self { answers: HashMap::new(), file: Some((path.to_owned(), file)) });
        }
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let mut lines = bytes[..whole].split_inclusive(|byte| *byte == b'\n');
        if lines.next() != Some(&header) {
            return Err(Error::argument(
                "--results",
                "a file of the same model, device and seed, or a new one",
                format!("{}, which is of others", path.display()),
            ));
        }
        let mut answers = HashMap::new();
        for (index, line) in lines.enumerate() {
            let record: Record = serde_json::from_slice(line.trim_ascii_end()).map_err(|error| {
                let expected = "an answer on every line (without that line it is asked again)";
                Error::argument("--results", expected, format!("{}:{}: {error}", path.display(), index + 2))
            })?;
            answers.insert(record.key(), record);
        }
        file.set_len(whole as u64).and_then(|()| file.seek(SeekFrom::End(0))).map_err(io)?;
        Ok(Self { answers, file: Some((path.to_owned(), file)) })
    }

    /// What became of a question under a setting.
    pub fn get(&self, setting: &Setting, question: &Question) -> Option<&Record> {
        let Question { image, picture, question, .. } = question;
        self.answers.get(&(setting.to_string(), image.clone(), *picture, question.clone()))
    }

    /// Adds an answer, on disk first.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be written.
    pub fn add(&mut self, record: Record) -> Result<()> {
        if let Some((path, file)) = &mut self.file {
            let write = serde_json::to_string(&record)
                .map_err(std::io::Error::from)
                .and_then(|line| file.write_all(format!("{line}\n").as_bytes()));
            write.map_err(|error| Error::io(&*path, error))?;
        }
        self.answers.insert(record.key(), record);
        Ok(())
    }
}
