//! What files a repository has.

use serde::Deserialize;

use super::{
    ModelName, Progress,
    files::{is_gguf, is_text, is_weights, of_quantisation},
    name::is_plain,
    transfer::Transfer,
};
use crate::error::{Error, Result};

/// The most bytes that a server's description of a repository may have.
const MOST_BYTES: u64 = 16 << 20;
/// The most bytes of a file that is no weights, as [`ModelFiles`](crate::checkpoint::ModelFiles) reads them.
const MOST_SMALL_BYTES: u64 = 64 << 20;

/// A repository at one commit, as far as this program reads it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listing {
    pub commit: String,
    pub licence: Option<String>,
    /// Small files first: they tell whether the large ones are of use.
    pub files: Vec<RemoteFile>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct RemoteFile {
    pub name: String,
    pub bytes: u64,
    /// Its name among the cache's blobs: the SHA-256 of weights, git's name for the contents of others.
    pub blob: String,
    pub sha256: Option<String>,
}

#[derive(Deserialize)]
struct Repository {
    sha: String,
    siblings: Vec<Sibling>,
    #[serde(default, rename = "cardData")]
    card: Option<Card>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<LargeFile>,
}

#[derive(Deserialize)]
struct LargeFile {
    sha256: String,
    size: u64,
}

#[derive(Deserialize)]
struct Card {
    license: Option<serde_json::Value>,
    /// What it is called where `license` is `other`.
    license_name: Option<serde_json::Value>,
}

impl Listing {
    /// Asks the hub.
    pub fn fetch(transfer: &Transfer, endpoint: &str, name: &ModelName, progress: &Progress) -> Result<Self> {
        let url = format!("{endpoint}/api/models/{}/revision/{}?blobs=true", name.path(), name.revision());
        let text = transfer.text(&url, &name.to_string(), MOST_BYTES, progress)?;
        Self::parse(&text, name)
    }

    fn parse(json: &str, name: &ModelName) -> Result<Self> {
        let refuse = |problem: String| Error::model(name.to_string(), problem);
        let repository: Repository = serde_json::from_str(json).map_err(|error| {
            refuse(format!("expected the hub's description of a model, found something else: {error}"))
        })?;
        if !is_hexadecimal(&repository.sha, 40) {
            return Err(refuse(format!(
                "expected a commit of 40 hexadecimal digits, found {:?}",
                repository.sha
            )));
        }
        let all: Vec<&str> = repository.siblings.iter().map(|file| file.rfilename.as_str()).collect();
        let wanted = wanted(&all, name)?;
        let siblings = repository.siblings.iter().filter(|file| wanted.contains(&file.rfilename.as_str()));
        let mut files = siblings.map(|file| file.check().map_err(refuse)).collect::<Result<Vec<_>>>()?;
        files.sort_by_key(|file| file.bytes);
        let licence = repository.card.and_then(|card| {
            let named =
                card.license_name.filter(|_| card.license.as_ref().is_some_and(|text| text == "other"));
            let text = named.or(card.license)?.as_str()?.to_owned();
            Some(text.chars().filter(|char| !char.is_control()).take(100).collect())
        });
        Ok(Self { commit: repository.sha, licence, files })
    }
}

/// Those of a repository's files that are to be fetched.
fn wanted<'a>(all: &[&'a str], name: &ModelName) -> Result<Vec<&'a str>> {
    let weights = || all.iter().copied().filter(|file| is_weights(file) && is_plain(file));
    let gguf: Vec<&str> = weights().filter(|file| is_gguf(file)).collect();
    let safetensors: Vec<&str> = weights().filter(|file| !is_gguf(file)).collect();
    let texts = all.iter().copied().filter(|file| is_text(file));
    let refuse = |problem: String| Err(Error::model(name.to_string(), problem));
    match (name.quantisation(), safetensors.is_empty(), gguf.is_empty()) {
        (Some(wanted), _, true) => refuse(format!("expected GGUF files for :{wanted}, found none on the hub")),
        (Some(_), ..) | (None, true, false) => Ok(of_quantisation(name, &gguf)?),
        (None, true, true) if all.iter().any(|file| file.ends_with(".bin")) => refuse(
            "has weights as pytorch_model.bin alone, which are not read, since reading them runs code of theirs; look for a \
             repository with *.safetensors, such as llava-hf/llava-1.5-7b-hf"
                .into(),
        ),
        (None, false, _) if all.contains(&"config.json") => Ok(texts.chain(safetensors).collect()),
        (None, ..) => refuse(
            "expected config.json and *.safetensors, which this model has not on the hub; look for a repository in the layout \
             of transformers, such as llava-hf/llava-1.5-7b-hf"
                .into(),
        ),
    }
}

impl Sibling {
    fn check(&self) -> Result<RemoteFile, String> {
        let name = self.rfilename.clone();
        let file = match (&self.lfs, &self.blob_id, self.size) {
            (Some(LargeFile { sha256, size }), _, _) if is_hexadecimal(sha256, 64) => {
                RemoteFile { name, bytes: *size, blob: sha256.clone(), sha256: Some(sha256.clone()) }
            }
            (None, Some(blob), Some(bytes)) if is_hexadecimal(blob, 40) => {
                RemoteFile { name, bytes, blob: blob.clone(), sha256: None }
            }
            _ => return Err(format!("expected a size and a checksum of {name}, found none")),
        };
        if !is_weights(&file.name) && file.bytes > MOST_SMALL_BYTES {
            return Err(format!(
                "{}: expected at most {MOST_SMALL_BYTES} bytes, found {}",
                file.name, file.bytes
            ));
        }
        Ok(file)
    }
}

fn is_hexadecimal(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(siblings: serde_json::Value) -> Result<Listing> {
        let json = json!({"sha": "a".repeat(40), "siblings": siblings, "cardData": {"license": "llama2"}});
        Listing::parse(&json.to_string(), &"a/b".parse()?)
    }

    #[test]
    fn what_this_program_reads_is_listed_small_files_first() -> Result<()> {
        let (blob, sha256) = ("b".repeat(40), "c".repeat(64));
        let small = |name: &str| json!({"rfilename": name, "size": 7, "blobId": blob});
        let large = |name: &str| json!({"rfilename": name, "size": 9, "blobId": blob, "lfs": {"sha256": sha256, "size": 9}});
        let listing = parse(json!([
            large("model.safetensors"),
            small("config.json"),
            large("pytorch_model.bin"),
            small("README.md"),
            small("../config.json"),
            small("sub/config.json"),
            small("/etc/x.json"),
            small("a\\b.json"),
            small(".x.json")
        ]))?;
        let names: Vec<_> = listing.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["config.json", "model.safetensors"]);
        assert_eq!(listing.files.last().and_then(|file| file.sha256.clone()), Some(sha256.clone()));
        assert_eq!(listing.licence.as_deref(), Some("llama2"));
        assert!(parse(json!([small("config.json")])).is_err(), "no weights");
        let lies = json!({"rfilename": "config.json", "size": 1, "blobId": "../../x"});
        assert!(parse(json!([lies, large("model.safetensors")])).is_err(), "a blob that is no checksum");
        let vast = json!({"rfilename": "config.json", "size": u64::MAX, "blobId": blob});
        assert!(parse(json!([vast, large("model.safetensors")])).is_err(), "a configuration without end");
        assert!(Listing::parse("<html>", &"a/b".parse()?).is_err());
        Ok(())
    }
}
