//! The user's choice of device.

use std::{fmt, str::FromStr};

use crate::error::{Error, Result};

/// The user's choice of device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceSelect {
    /// A real GPU if one answers, else the CPU.
    #[default]
    Auto,
    /// The best adapter, a software one included; an error if none answers.
    Gpu,
    /// The CPU path: no adapter is touched.
    Cpu,
    /// The adapter with this number in [`adapters`](super::adapters).
    Index(usize),
    /// The first adapter whose name contains this text, ignoring case.
    Name(String),
}

impl FromStr for DeviceSelect {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        Ok(match text.to_ascii_lowercase().as_str() {
            "" => return Err(Error::argument("--device", "auto, gpu, cpu, a number or a name", "nothing")),
            "auto" => Self::Auto,
            "gpu" => Self::Gpu,
            "cpu" => Self::Cpu,
            _ => match text.parse() {
                Ok(index) => Self::Index(index),
                Err(_) => Self::Name(text.to_owned()),
            },
        })
    }
}

impl fmt::Display for DeviceSelect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Gpu => f.write_str("gpu"),
            Self::Cpu => f.write_str("cpu"),
            Self::Index(index) => write!(f, "{index}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}
