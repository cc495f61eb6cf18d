//! The variables that the hub's tools know.

use std::{env, ffi::OsString, fs, io, path::PathBuf, time::Duration};

use super::Hub;
use crate::error::{Error, Result};

const ENDPOINT: &str = "https://huggingface.co";

/// The hub that the variables name; empty ones do not count.
pub(super) fn hub(variable: impl Fn(&str) -> Option<OsString>) -> Result<Hub> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let text = |name: &str| set(name).and_then(|value| value.into_string().ok());
    let folder = |name: &str| set(name).map(PathBuf::from);
    let home = || folder("HOME").or_else(|| folder("USERPROFILE")).or_else(env::home_dir);
    let caches = || folder("XDG_CACHE_HOME").or_else(|| Some(home()?.join(".cache")));
    let hugging_face = || folder("HF_HOME").or_else(|| Some(caches()?.join("huggingface")));
    let cache = folder("HF_HUB_CACHE")
        .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| Some(hugging_face()?.join("hub")));
    let cache = cache.ok_or_else(|| {
        let problem = "there is no home folder; set HF_HUB_CACHE to a folder";
        Error::io("the hub's cache", io::Error::other(problem))
    })?;
    let token = text("HF_TOKEN").or_else(|| {
        let file = folder("HF_TOKEN_PATH").or_else(|| Some(hugging_face()?.join("token")))?;
        fs::read_to_string(file).ok()
    });
    // A token with line ends or blanks would be another header, or none.
    let token = token.map(|token| token.trim().to_owned());
    let token = token.filter(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
    let is_true = |value: String| ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str());
    Ok(Hub {
        endpoint: text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned()).trim_end_matches('/').to_owned(),
        cache,
        token,
        offline: text("HF_HUB_OFFLINE").is_some_and(is_true),
        first_wait: Duration::from_secs(1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &'static [(&'static str, &'static str)]) -> Result<Hub> {
        hub(move |name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn variables_go_before_one_another_as_in_the_hubs_tools() -> Result<()> {
        let plain = with(&[("HOME", "/home/u"), ("HF_TOKEN_PATH", "/nowhere")])?;
        assert_eq!(plain.cache, PathBuf::from("/home/u/.cache/huggingface/hub"));
        assert_eq!((plain.endpoint.as_str(), plain.offline, plain.token), (ENDPOINT, false, None));
        let moved = with(&[("HOME", "/home/u"), ("XDG_CACHE_HOME", "/x"), ("HF_HUB_OFFLINE", "TRUE")])?;
        assert_eq!((moved.cache, moved.offline), (PathBuf::from("/x/huggingface/hub"), true));
        let home = with(&[("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/hf"), ("HF_TOKEN", " t \n")])?;
        assert_eq!((home.cache, home.token.as_deref()), (PathBuf::from("/hf/hub"), Some("t")));
        let direct = with(&[
            ("HF_HOME", "/hf"),
            ("HF_HUB_CACHE", "/c"),
            ("HF_HUB_OFFLINE", "0"),
            ("HF_ENDPOINT", "https://m/"),
        ])?;
        assert_eq!(
            (direct.cache, direct.offline, direct.endpoint.as_str()),
            (PathBuf::from("/c"), false, "https://m")
        );
        Ok(())
    }
}
