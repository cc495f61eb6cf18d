//! Paths as people type them and as terminals write them when a file is dragged in: quoted, escaped, or as an address.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

/// Endings of pictures, of which not all can be read: that is said when one is opened.
const ENDINGS: [&str; 12] =
    ["png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "heic", "heif", "avif", "svg"];

/// The file that `text` means as a whole.
pub(super) fn file(text: &str) -> PathBuf {
    let plain = at_home(text);
    if plain.exists() {
        return plain;
    }
    match word(text) {
        Some((path, "")) => path,
        _ => plain,
    }
}

/// The pictures that a line begins with, and what is left of it.
pub(super) fn pictures(line: &str) -> (Vec<PathBuf>, &str) {
    // Some terminals neither quote nor escape.
    if is_picture(Path::new(line)) {
        return (vec![line.into()], "");
    }
    let (mut pictures, mut rest) = (Vec::new(), line.trim_start());
    while let Some((path, behind)) = word(rest).filter(|(path, _)| is_picture(path)) {
        pictures.push(path);
        rest = behind;
    }
    (pictures, rest)
}

fn is_picture(path: &Path) -> bool {
    is_named_as_picture(path) && path.is_file()
}

/// Whether a name ends as those of pictures do.
pub(in crate::cli) fn is_named_as_picture(path: impl AsRef<Path>) -> bool {
    let ending = path.as_ref().extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    ENDINGS.iter().any(|known| known.eq_ignore_ascii_case(ending))
}

/// The first word of a line as a path, and what stands behind it.
fn word(text: &str) -> Option<(PathBuf, &str)> {
    let mut path = String::new();
    let mut quote = None;
    let mut characters = text.char_indices();
    let end = loop {
        let Some((at, character)) = characters.next() else { break text.len() };
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (None, '\'' | '"') => quote = Some(character),
            // On Windows it parts folders.
            (None, '\\') if cfg!(unix) => path.extend(characters.next().map(|(_, escaped)| escaped)),
            (None, blank) if blank.is_whitespace() => break at,
            _ => path.push(character),
        }
    };
    let is_word = quote.is_none() && !path.is_empty();
    is_word.then(|| (address(&path).unwrap_or_else(|| at_home(&path)), text[end..].trim_start()))
}

/// The path in a `file://` address.
fn address(text: &str) -> Option<PathBuf> {
    let path = text.strip_prefix("file://")?;
    let path = path.strip_prefix("localhost").unwrap_or(path);
    let path = percent_decode_str(path).decode_utf8().ok()?;
    // file:///C:/photo.png
    let drive = path.strip_prefix('/').filter(|path| cfg!(windows) && path.chars().nth(1) == Some(':'));
    Some(drive.unwrap_or(&path).into())
}

/// The path with `~` replaced by the home folder, as a shell does.
fn at_home(text: &str) -> PathBuf {
    match (text.strip_prefix("~/"), dirs::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    #[cfg(unix)]
    fn pictures_are_found_however_a_terminal_writes_them() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("it's a photo.PNG");
        fs::write(&path, b"")?;
        let plain = folder.path().join("b.jpg");
        fs::write(&plain, b"")?;
        fs::write(folder.path().join("notes.txt"), b"")?;
        let text = path.display().to_string();
        let escaped = text.replace(' ', "\\ ").replace('\'', "\\'");
        let quoted = format!("'{}'", text.replace('\'', "'\\''"));
        let address = format!("file://{}", text.replace(' ', "%20").replace('\'', "%27"));
        for line in [&text, &escaped, &quoted, &format!("\"{text}\""), &address] {
            assert_eq!(pictures(line), (vec![path.clone()], ""), "{line}");
            assert_eq!(file(line), path, "{line}");
        }
        let both = format!("{escaped}  {} what's this?", plain.display());
        assert_eq!(pictures(&both), (vec![path, plain], "what's this?"));
        let notes = folder.path().join("notes.txt").display().to_string();
        for line in ["what's in it?", "", "'open", "nowhere.png and more", &notes] {
            assert_eq!(pictures(line), (Vec::new(), line), "no picture");
        }
        Ok(())
    }
}
