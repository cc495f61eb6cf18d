//! Answers on disk, a line each, so that a run that was stopped goes on where it was.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Cost, Setting};
use crate::error::{Error, Result};

/// One answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The setting's name.
    pub setting: String,
    /// The question, by index.
    pub question: usize,
    /// What the model said.
    pub answer: String,
    /// What it cost.
    #[serde(flatten)]
    pub cost: Cost,
}

impl Record {
    /// An answer under `setting`.
    pub fn new(setting: &Setting, question: usize, answer: String, cost: Cost) -> Self {
        Self { setting: setting.to_string(), question, answer, cost }
    }
}

/// The first line of a file: answers to other questions, or of another model, must not be mixed in.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    /// Hash of everything that the answers depend on.
    run: String,
}

/// All answers so far, and the file that they are in.
#[derive(Debug, Default)]
pub struct Records {
    answers: HashMap<(String, usize), Record>,
    file: Option<(PathBuf, File)>,
}

impl Records {
    /// Answers that are kept in memory alone.
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// The answers in a file, which is made if it is not there; `run` identifies what they depend on.
    ///
    /// A last line that was cut off when the run was stopped is forgotten.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be read or written, [`Error::Argument`] if it belongs to another run.
    pub fn open(path: &Path, run: &str) -> Result<Self> {
        let io = |error| Error::io(path, error);
        let header = Header { run: run.to_owned() };
        let mut answers = HashMap::new();
        let mut kept = Vec::new();
        if path.exists() {
            let mut lines = BufReader::new(File::open(path).map_err(io)?).lines();
            let first = lines.next().transpose().map_err(io)?.unwrap_or_default();
            if !first.is_empty() && serde_json::from_str::<Header>(&first).ok().as_ref() != Some(&header) {
                return Err(Error::argument(
                    "--results",
                    "a file of the same questions, model, device and seed, or a new one",
                    format!("{}, which is of others", path.display()),
                ));
            }
            for line in lines {
                let line = line.map_err(io)?;
                let Ok(record) = serde_json::from_str::<Record>(&line) else { continue };
                answers.insert((record.setting.clone(), record.question), record);
                kept.push(line);
            }
        }
        kept.insert(0, serde_json::to_string(&header).map_err(|error| io(error.into()))?);
        // The whole lines go back, under another name first: a line that was cut off must not run into the next.
        let mut partial = path.as_os_str().to_owned();
        partial.push(".part");
        std::fs::write(&partial, kept.join("\n") + "\n").map_err(io)?;
        std::fs::rename(&partial, path).map_err(io)?;
        let file = OpenOptions::new().append(true).open(path).map_err(io)?;
        Ok(Self { answers, file: Some((path.to_owned(), file)) })
    }

    /// The answer to a question under a setting.
    pub fn get(&self, setting: &str, question: usize) -> Option<&Record> {
        self.answers.get(&(setting.to_owned(), question))
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
        self.answers.insert((record.setting.clone(), record.question), record);
        Ok(())
    }
}
