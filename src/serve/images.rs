//! Pictures in `data:` URIs.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::{errors::ApiError, options::MAX_IMAGE_BYTES};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The bytes of the picture at `url`; `param` is where in the request that stands.
///
/// Nothing is ever fetched: a server that fetched what it is told to would lend its place in the network to whoever asks.
///
/// # Errors
///
/// A refusal if it is no `data:` URI of a picture in base64, or too long.
pub(super) fn decode(url: &str, param: &str) -> Result<Vec<u8>, ApiError> {
    const EXPECTED: &str = "expected a picture as data:image/png;base64,… (or jpeg, webp)";
    let refused = |found: &str| ApiError::field(param, format!("{param}: {EXPECTED}, found {found}"));
    let Some((scheme, rest)) = url.split_once(':') else { return Err(refused("no URI")) };
    if !scheme.eq_ignore_ascii_case("data") {
        let found = "another address: this server fetches nothing, so send the picture itself";
        return Err(refused(found).code("remote_image_refused"));
    }
    let Some((kind, data)) = rest.split_once(',') else { return Err(refused("no data")) };
    let mut kind = kind.split(';').map(|part| part.trim().to_ascii_lowercase());
    if !kind.next().is_some_and(|kind| kind.starts_with("image/")) {
        return Err(refused("another kind of data"));
    }
    if kind.next_back().as_deref() != Some("base64") {
        return Err(refused("another encoding"));
    }
    if data.len() / 4 * 3 > MAX_IMAGE_BYTES {
        return Err(refused(&format!("more than {MAX_IMAGE_BYTES} bytes; shrink the picture")));
    }
    BASE64.decode(data).map_err(|error| refused(&format!("damaged base64 ({error})")))
}
