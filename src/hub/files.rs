//! Which of a repository's files are of use: configurations and safetensors, or GGUF files of one quantisation.

use std::path::Path;

use super::{ModelName, name::is_plain};
use crate::error::{Error, Result};

/// Whether this program reads small files of that name; all it reads lie at the top.
pub(super) fn is_text(name: &str) -> bool {
    [".json", ".jinja"].iter().any(|ending| name.ends_with(ending)) && is_plain(name)
}

pub(super) fn is_weights(name: &str) -> bool {
    [".safetensors", ".gguf"].iter().any(|ending| name.ends_with(ending))
}

pub(super) fn is_gguf(name: &str) -> bool {
    name.ends_with(".gguf")
}

/// Whether a GGUF file holds a vision tower and its projector, as the `mmproj` files of llama.cpp do.
pub(super) fn is_mmproj(name: &str) -> bool {
    name.to_ascii_lowercase().contains("mmproj")
}

/// Of the GGUF files of a repository, the names of those of a quantisation, and of the vision tower that goes with them.
///
/// # Errors
///
/// [`Error::Argument`] if there are none, or no quantisation was named where there are several; with all that are there.
pub(super) fn of_quantisation<'a>(name: &ModelName, names: &[&'a str]) -> Result<Vec<&'a str>> {
    let (towers, texts): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| is_mmproj(name));
    let there = quantisations(names);
    let wanted = match (name.quantisation(), there.as_slice()) {
        (Some(wanted), _) if there.iter().any(|which| which.eq_ignore_ascii_case(wanted)) => Some(wanted),
        (None, [only]) => Some(*only),
        // Names that do not say what is in them: one file can only be meant.
        (None, []) if texts.len() == 1 => None,
        (found, there) => {
            let model = name.whole();
            let choice: Vec<_> = there.iter().map(|which| format!("{model}:{which}")).collect();
            let expected = match choice.is_empty() {
                true => "GGUF files whose names say their quantisation".to_owned(),
                false => format!("a quantisation that is there: {}", choice.join(", ")),
            };
            let found = found.map_or_else(|| "none".into(), |which| format!(":{which}"));
            return Err(Error::argument("NAME", expected, found));
        }
    };
    let is_wanted = |name: &&str| wanted.is_none_or(|wanted| has_quantisation(name, wanted));
    // A tower in 16 bits is small beside the rest, and the most exact that is usual.
    let tower = towers.iter().min_by_key(|name| !name.to_ascii_lowercase().contains("f16"));
    Ok(texts.into_iter().filter(is_wanted).chain(tower.copied()).collect())
}

/// The quantisations of the text models among GGUF files, each once.
pub(super) fn quantisations<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let texts = names.iter().filter(|name| !is_mmproj(name));
    let mut there: Vec<&str> = texts.filter_map(|name| quantisation(name)).collect();
    there.sort_unstable();
    there.dedup();
    there
}

/// The quantisation in a GGUF file's name: what stands in front of its ending, as in `llava-v1.6.Q4_K_M.gguf` or
/// `model-q8_0-00001-of-00002.gguf`.
fn quantisation(name: &str) -> Option<&str> {
    let stem = name.strip_suffix(".gguf")?;
    let stem = part(stem).map_or(stem, |(stem, ..)| stem);
    let kind = stem.rsplit(['-', '.']).next()?;
    let digits = kind.trim_start_matches(|letter: char| letter.is_ascii_alphabetic());
    let letters = kind[..kind.len() - digits.len()].to_ascii_lowercase();
    let is_kind = ["q", "iq", "tq", "f", "bf", "fp", "mxfp"].contains(&letters.as_str());
    (is_kind && digits.starts_with(|digit: char| digit.is_ascii_digit())).then_some(kind)
}

/// Whether a GGUF file's name says this quantisation, in capitals or not.
pub(super) fn has_quantisation(name: &str, wanted: &str) -> bool {
    quantisation(name).is_some_and(|which| which.eq_ignore_ascii_case(wanted))
}

/// What a name has in front of `-00001-of-00002`, and how many parts there are.
fn part(stem: &str) -> Option<(&str, usize)> {
    let (rest, all) = stem.rsplit_once("-of-")?;
    let (rest, number) = rest.rsplit_once('-')?;
    number.parse::<usize>().ok()?;
    Some((rest, all.parse().ok()?))
}

/// Whether a folder has all parts of a GGUF file, of the quantisation if one is named.
pub(super) fn has_whole_gguf(folder: &Path, names: &[String], wanted: Option<&str>) -> bool {
    let fits = |name: &&String| {
        let is_wanted = wanted.is_none_or(|wanted| has_quantisation(name, wanted));
        is_gguf(name) && !is_mmproj(name) && is_wanted && folder.join(name).is_file()
    };
    names.iter().filter(fits).any(|name| match name.strip_suffix(".gguf").and_then(part) {
        None => true,
        Some((stem, all)) => (1..=all.min(10_000))
            .all(|one| folder.join(format!("{stem}-{one:05}-of-{all:05}.gguf")).is_file()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantisations_are_what_stands_in_front_of_the_ending() {
        for (name, found) in [
            ("llava-v1.6-mistral-7b.Q4_K_M.gguf", Some("Q4_K_M")),
            ("ggml-model-q4_k.gguf", Some("q4_k")),
            ("llava-IQ3_XXS.gguf", Some("IQ3_XXS")),
            ("model-f16-00001-of-00003.gguf", Some("f16")),
            ("mmproj-model-f16.gguf", Some("f16")),
            ("llava-v1.6.gguf", None),
            ("llava-7b.gguf", None),
            ("model-00001-of-00003.gguf", None),
            ("config.json", None),
        ] {
            assert_eq!(quantisation(name), found, "{name}");
        }
    }

    #[test]
    fn one_quantisation_and_its_tower_are_taken() -> Result<()> {
        let names = [
            "llava-Q4_K_M.gguf",
            "llava-Q8_0-00001-of-00002.gguf",
            "llava-Q8_0-00002-of-00002.gguf",
            "mmproj-model-f32.gguf",
            "mmproj-model-f16.gguf",
        ];
        let of = |name: &str| of_quantisation(&name.parse()?, &names);
        assert_eq!(of("a/b:q4_k_m")?, ["llava-Q4_K_M.gguf", "mmproj-model-f16.gguf"]);
        assert_eq!(of("a/b:Q8_0")?, [names[1], names[2], "mmproj-model-f16.gguf"]);
        for name in ["a/b", "a/b:Q5_0"] {
            let message = of(name).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(message.contains("a/b:Q4_K_M, a/b:Q8_0"), "{message}");
        }
        assert_eq!(of_quantisation(&"a/b".parse()?, &names[..1])?, names[..1]);
        assert_eq!(of_quantisation(&"a/b".parse()?, &["llava.gguf"])?, ["llava.gguf"]);
        assert!(of_quantisation(&"a/b:Q4_0".parse()?, &["llava.gguf"]).is_err());
        assert!(of_quantisation(&"a/b".parse()?, &["a.gguf", "b.gguf"]).is_err());
        Ok(())
    }
}
