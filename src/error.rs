//! What can go wrong, said so that the reader knows what to do next.
//!
//! Every message names what failed, where, what was expected and what was found. The library never
//! panics on data it was given; it returns one of these.

use std::path::PathBuf;

/// The library's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything the library can fail with.
///
/// Grouped by who has to act: the caller (`Argument`, `Picture`, `Prompt`, `Context`), the keeper of the model
/// folder (`Model`, `Refused`), or the machine (`Device`, `Memory`, `Io`).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument is outside its range or makes no sense.
    #[error("{name}: expected {expected}, found {found}")]
    Argument {
        /// The argument, as the user spelled it (`--device`, `top_p`).
        name: String,
        /// What would have been accepted.
        expected: String,
        /// What was given.
        found: String,
    },

    /// A picture cannot be read, decoded or accepted.
    #[error("{origin}: {problem}")]
    Picture {
        /// The file name, or a description of where the bytes came from.
        origin: String,
        /// What is wrong and what to do about it.
        problem: String,
    },

    /// A conversation cannot be turned into a prompt for this model.
    #[error("{0}")]
    Prompt(String),

    /// A prompt is longer than the model can follow.
    #[error(
        "the prompt has {tokens} tokens, expected fewer than the model's context of {limit} ({said_by}); ask a \
         shorter question, show fewer pictures, keep fewer of their tokens (--keep) or start a new conversation"
    )]
    Context {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens that the model can follow, the answer's included.
        limit: usize,
        /// What says so: a field and its file, or this program.
        said_by: &'static str,
    },

    /// A model folder is missing, incomplete or inconsistent.
    #[error("{}: {problem}", path.display())]
    Model {
        /// The folder or the file inside it.
        path: PathBuf,
        /// What is wrong and what to do about it.
        problem: String,
    },

    /// A checkpoint's chat template says no to a conversation.
    #[error("{}: {problem}", path.display())]
    Refused {
        /// The file with the template.
        path: PathBuf,
        /// What it says.
        problem: String,
    },

    /// No device answers to the request, or a device stopped working.
    #[error("{step}: {problem}")]
    Device {
        /// The step that needed the device ("choose a device", "read the logits").
        step: &'static str,
        /// What is wrong and what to do about it.
        problem: String,
    },

    /// No way to hold the model fits the memory there is.
    #[error(
        "memory: expected a plan of at most {limit}, found at least {plan}; allow more with `--memory`, choose `--weights \
         q4` or `auto`, or take a smaller checkpoint (`mustdrop plan` shows what each needs)"
    )]
    Memory {
        /// The bound, and whose it is.
        limit: String,
        /// What the smallest plan that was allowed comes to.
        plan: String,
    },

    /// Somebody asked to stop ([`Cancel`](crate::Cancel)).
    #[error("stopped, as was asked for")]
    Cancelled,

    /// The operating system refused to read or write a file.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        reason: std::io::Error,
    },
}

impl Error {
    /// A [`Error::Model`] about `path`.
    pub fn model(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::Model { path: path.into(), problem: problem.into() }
    }

    /// A [`Error::Picture`] about `origin`.
    pub fn picture(origin: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Picture { origin: origin.into(), problem: problem.into() }
    }

    /// A [`Error::Argument`].
    pub fn argument(name: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Argument { name: name.into(), expected: expected.into(), found: found.into() }
    }

    /// A [`Error::Device`] in `step`, from any printable cause.
    pub fn device(step: &'static str, problem: impl std::fmt::Display) -> Self {
        Self::Device { step, problem: problem.to_string() }
    }

    /// A [`Error::Io`] about `path`.
    pub fn io(path: impl Into<PathBuf>, reason: std::io::Error) -> Self {
        Self::Io { path: path.into(), reason }
    }

    /// The process exit code that stands for this error: 2 usage, 3 model, 4 device, 5 memory, 130 stopped, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Argument { .. } | Self::Picture { .. } | Self::Prompt(_) | Self::Context { .. } => 2,
            Self::Model { .. } | Self::Refused { .. } => 3,
            Self::Device { .. } => 4,
            Self::Memory { .. } => 5,
            Self::Cancelled => 130,
            Self::Io { .. } => 1,
        }
    }
}
