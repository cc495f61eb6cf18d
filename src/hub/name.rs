//! Names of models on the hub.

use std::{fmt, str::FromStr};

use crate::error::{Error, Result};

/// The revision where none is named.
const MAIN: &str = "main";

/// `organisation/name`, with `@revision` behind it, or `:quantisation` of a repository of GGUF files, as `:Q4_K_M`, or both;
/// without one, the revision is `main`.
///
/// An address on huggingface.co is its name, too.
///
/// Names come from users, and become parts of paths: they have letters, digits, `-`, `_` and `.`, as on the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelName {
    organisation: String,
    name: String,
    revision: Option<String>,
    quantisation: Option<String>,
}

impl ModelName {
    /// The name in addresses.
    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.organisation, self.name)
    }

    /// The name of its folder in the cache.
    pub(super) fn folder(&self) -> String {
        format!("models--{}--{}", self.organisation, self.name)
    }

    /// A branch, a tag or a commit.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(MAIN)
    }

    /// Whether it says nothing about which revision or files.
    pub(super) fn is_whole(&self) -> bool {
        self.revision.is_none() && self.quantisation.is_none()
    }

    /// Which of a repository's GGUF files is meant, as `Q4_K_M`.
    pub fn quantisation(&self) -> Option<&str> {
        self.quantisation.as_deref()
    }

    /// The same model at another revision.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for what cannot be one.
    pub fn at(&self, revision: &str) -> Result<Self> {
        let quantisation = self.quantisation.as_ref().map_or(String::new(), |which| format!(":{which}"));
        format!("{}@{revision}{quantisation}", self.path()).parse()
    }

    /// The same model without a word about which of its files.
    pub(super) fn whole(&self) -> Self {
        Self { quantisation: None, ..self.clone() }
    }
}

/// Whether `text` may be a part of a path and of an address.
pub(super) fn is_plain(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=96).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('.')
        && !text.ends_with('.')
        && !text.contains("..")
        && !text.contains("--")
}

impl FromStr for ModelName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || {
            let expected = "organisation/name, perhaps with @revision or :quantisation behind it";
            Error::argument("NAME", expected, format!("{text:?}"))
        };
        let text = text.strip_prefix("https://huggingface.co/").unwrap_or(text);
        let (text, quantisation) = match text.split_once(':') {
            Some((text, quantisation)) => (text, Some(quantisation)),
            None => (text, None),
        };
        let (path, revision) = match text.split_once('@') {
            Some((path, revision)) => (path, Some(revision)),
            None => (text, None),
        };
        let (organisation, name) = path.split_once('/').ok_or_else(invalid)?;
        if ![organisation, name].into_iter().chain(revision).chain(quantisation).all(is_plain) {
            return Err(invalid());
        }
        let [revision, quantisation] = [revision, quantisation].map(|part| part.map(str::to_owned));
        Ok(Self { organisation: organisation.into(), name: name.into(), revision, quantisation })
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())?;
        self.revision
            .iter()
            .filter(|revision| *revision != MAIN)
            .try_for_each(|which| write!(f, "@{which}"))?;
        self.quantisation.iter().try_for_each(|which| write!(f, ":{which}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_hub_and_nothing_that_leaves_a_folder() -> Result<()> {
        let name: ModelName = "llava-hf/llava-1.5-7b-hf".parse()?;
        assert_eq!((name.path().as_str(), name.revision()), ("llava-hf/llava-1.5-7b-hf", "main"));
        assert_eq!(name.folder(), "models--llava-hf--llava-1.5-7b-hf");
        assert_eq!(name.at("v1.0")?.to_string(), "llava-hf/llava-1.5-7b-hf@v1.0");
        assert_eq!("https://huggingface.co/a/b".parse::<ModelName>()?, "a/b".parse()?);
        let gguf: ModelName = "org/llava-GGUF@v2:Q4_K_M".parse()?;
        assert_eq!((gguf.revision(), gguf.quantisation()), ("v2", Some("Q4_K_M")));
        assert_eq!(gguf.at("v3")?.to_string(), "org/llava-GGUF@v3:Q4_K_M");
        for text in [
            "a/b:", "a/b:../c", "a/b:c:d", "", "a", "a/", "/b", "a/b/c", "../b", "a/..", "a/.b", "a/b@",
            "a/b@../c", "a b/c", "a/b\n", "a\\b/c",
        ] {
            assert!(text.parse::<ModelName>().is_err(), "{text:?}");
        }
        Ok(())
    }
}
