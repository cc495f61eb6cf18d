//! Sizes of memory as people write them.

use std::{fmt, str::FromStr};

use crate::error::{Error, Result};

/// A number of bytes, written `6GB`, `5.5 GiB`, `512MB` or `6000000000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct MemorySize(pub u64);

/// Suffixes and what they stand for, longest first.
const UNITS: [(&str, f64); 10] = [
    ("kib", 1024.0),
    ("mib", 1_048_576.0),
    ("gib", 1_073_741_824.0),
    ("tib", 1_099_511_627_776.0),
    ("kb", 1e3),
    ("mb", 1e6),
    ("gb", 1e9),
    ("tb", 1e12),
    ("b", 1.0),
    ("", 1.0),
];

impl FromStr for MemorySize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid =
            || Error::argument("--memory", "a size such as 6GB, 5.5GiB or 512MB", format!("{text:?}"));
        let lower = text.trim().to_ascii_lowercase();
        let found = UNITS.iter().find_map(|(unit, bytes)| Some((lower.strip_suffix(unit)?, bytes)));
        let (number, unit) = found.ok_or_else(invalid)?;
        let number = number.trim_end();
        // `parse` alone would take "inf", "nan" and "1e9" too.
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Err(invalid());
        }
        let bytes = number.parse::<f64>().map_err(|_| invalid())? * unit;
        if (1.0..=1e18).contains(&bytes) { Ok(Self(bytes as u64)) } else { Err(invalid()) }
    }
}

impl fmt::Display for MemorySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as f64;
        if self.0 >= 1_000_000_000 {
            write!(f, "{:.2} GB", bytes / 1e9)
        } else {
            write!(f, "{:.1} MB", bytes / 1e6)
        }
    }
}
