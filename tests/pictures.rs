//! Pictures as Pillow reads them: colours, which way up, and what is too damaged to be one.

use std::fs;

use crate::common::repository;
use mustdrop::Picture;
use serde_json::Value;

fn made(name: &str) -> Vec<u8> {
    fs::read(repository("tests/golden/pictures").join(name)).expect("a fixture")
}

fn expected() -> Value {
    serde_json::from_slice(&made("expected.json")).expect("JSON")
}

fn list<'a>(expected: &'a Value, name: &str) -> &'a [Value] {
    let list = expected[name].as_array().expect("a list");
    assert!(!list.is_empty());
    list
}

fn number(value: &Value) -> usize {
    value.as_u64().expect("a number") as usize
}

/// The file of a case, with its splices.
fn file(case: &Value) -> Vec<u8> {
    let mut bytes = made(case["file"].as_str().expect("a name"));
    for splice in case["splices"].as_array().into_iter().flatten() {
        let (at, remove) = (number(&splice[0]), number(&splice[1]));
        bytes.splice(at..at + remove, from_hex(splice[2].as_str().expect("bytes")));
    }
    bytes
}

fn from_hex(digits: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal");
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// Largest and mean difference of levels.
fn difference(found: &[u8], expected: &[u8]) -> (u8, f64) {
    assert_eq!(found.len(), expected.len());
    let differences = || found.iter().zip(expected).map(|(a, b)| a.abs_diff(*b));
    let sum: f64 = differences().map(f64::from).sum();
    (differences().max().unwrap_or(0), sum / found.len() as f64)
}

/// The RGB levels that Pillow gives.
fn levels<'a>(case: &Value, pixels: &'a [u8]) -> &'a [u8] {
    let offset = number(&case["offset"]);
    &pixels[offset..offset + 3 * number(&case["width"]) * number(&case["height"])]
}

/// Files that come out otherwise than with Pillow, and why.
const OTHERWISE: [(&str, &str); 8] = [
    ("adobe_0_with_jfif.jpg", "two markers contradict each other about colours; the later is believed"),
    ("grey16.png", "16 bits are scaled to 8, which Pillow clips"),
    ("grey16_dark.png", "16 bits are scaled to 8, which Pillow clips"),
    ("palette_missing.png", "refused: there are no colours"),
    ("baseline_huffman_tables_removed", "refused: Pillow takes the tables of the format's example"),
    ("data_wrong_crc", "refused: the checksum says that the data are damaged"),
    ("unknown_critical_chunk", "refused: the format says so"),
    ("cut_two.mpo", "one byte of the first picture's end marker may be missing"),
];

fn is_otherwise(name: &str) -> bool {
    OTHERWISE.iter().any(|(part, _)| name.contains(part))
}

#[test]
fn pixels_are_pillow_s() {
    let (expected, pixels) = (expected(), made("pixels.bin"));
    for kind in ["jpeg", "png", "webp"] {
        for case in list(&expected, kind) {
            let name = case["file"].as_str().expect("a name");
            if is_otherwise(name) {
                continue;
            }
            let found = Picture::decode(&made(name), name).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(
                (found.width(), found.height()),
                (number(&case["width"]), number(&case["height"])),
                "{name}"
            );
            let (largest, mean) = difference(found.rgb(), levels(case, &pixels));
            // Decoders of JPEG round as they like, and 16 bits become 8 by rounding.
            let (largest_allowed, mean_allowed) = match kind {
                "jpeg" => (3, 0.5),
                "png" if name.contains("16") => (1, 0.5),
                _ => (0, 0.0),
            };
            assert!(
                largest <= largest_allowed && mean <= mean_allowed,
                "{name}: {largest}, {mean} in the mean"
            );
        }
    }
}

#[test]
fn pictures_stand_as_exif_says() {
    let (expected, pixels) = (expected(), made("pixels.bin"));
    let mut wrong = Vec::new();
    for case in list(&expected, "exif") {
        let name = case["case"].as_str().expect("a name");
        let found = Picture::decode(&file(case), name);
        if case.get("error").is_some() {
            // Pillow stumbles over the block; the picture is there all the same.
            found.unwrap_or_else(|error| panic!("{error}"));
            continue;
        }
        match found {
            Ok(found)
                if (found.width(), found.height()) == (number(&case["width"]), number(&case["height"])) =>
            {
                let (_, mean) = difference(found.rgb(), levels(case, &pixels));
                if mean > 3.0 {
                    wrong.push(format!("{name}: {mean} for orientation {}", case["orientation"]));
                }
            }
            other => wrong.push(format!("{name}: {other:?} for orientation {}", case["orientation"])),
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn cut_files_are_no_pictures() {
    let mut wrong = Vec::new();
    for case in list(&expected(), "cut") {
        let name = case["file"].as_str().expect("a name");
        let bytes = made(name);
        let whole = Picture::decode(&bytes, name).expect("whole");
        for cut in case["cuts"].as_array().expect("cuts") {
            let length = number(&cut["cut"]);
            let found = Picture::decode(&bytes[..length], name);
            let is_right = match (cut["only_end_marker_missing"].as_bool(), cut.get("error"), &found) {
                // Of a scan that lacks nothing but its end marker, all is there.
                (Some(true), _, Ok(found)) => found.rgb() == whole.rgb(),
                (Some(true), _, Err(_)) => name.contains("progressive"),
                (None, Some(_), Ok(found)) => {
                    is_otherwise(name) && length == 1964 && found.rgb() == whole.rgb()
                }
                (None, Some(_), Err(_)) => true,
                (_, _, Ok(found)) => found.rgb() == whole.rgb(),
                _ => false,
            };
            if !is_right {
                wrong.push(format!(
                    "{name} cut at {length} of {}: {cut}, {:?}",
                    bytes.len(),
                    found.as_ref().err()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn damage_is_judged_as_pillow_judges() {
    let mut wrong = Vec::new();
    for case in list(&expected(), "damaged") {
        let name = case["case"].as_str().expect("a name");
        let whole = Picture::decode(&made(case["file"].as_str().expect("a name")), name).expect("whole");
        let found = Picture::decode(&file(case), name);
        let is_right = match (case["same_pixels"].as_bool(), case["error"].as_str(), &found) {
            (Some(true), _, Ok(found)) => found.rgb() == whole.rgb(),
            (Some(true), _, Err(_)) => is_otherwise(name),
            (_, Some(error), found) => !error.contains("truncated") || found.is_err(),
            _ => true,
        };
        if !is_right {
            wrong.push(format!("{case}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn other_files_are_called_by_their_name() {
    let mut wrong = Vec::new();
    for case in list(&expected(), "headers") {
        let bytes = from_hex(case["hex"].as_str().expect("bytes"));
        let format = case["format"].as_str().expect("a name");
        let message = Picture::decode(&bytes, "file").expect_err("no picture").to_string();
        let name = match format {
            "ICO" => "icon",
            "PSD" => "Photoshop",
            "EXR" => "OpenEXR",
            "HTML" => "web page",
            "MOV" => "video",
            "JSON" => "text",
            "empty" => "empty",
            "unknown" => "something else",
            other => other,
        };
        if !message.contains(name) {
            wrong.push(format!("{format} {}: {message}", case["case"]));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Texts that a PNG carries are no burden, however many and however well they are compressed.
#[test]
fn compressed_texts_of_a_png_are_bounded() {
    let png = made("small.png");
    let bomb = miniz_oxide::deflate::compress_to_vec_zlib(&vec![0; 8 << 20], 9);
    let mut chunk = Vec::new();
    let data = [b"Raw profile type exif\0\0".as_slice(), &bomb].concat();
    chunk.extend((data.len() as u32).to_be_bytes());
    let body = [b"zTXt".as_slice(), &data].concat();
    chunk.extend(&body);
    chunk.extend(crc32fast::hash(&body).to_be_bytes());
    // Behind the header chunk.
    let bytes = [&png[..33], &chunk.repeat(200), &png[33..]].concat();
    assert_eq!(
        Picture::decode(&bytes, "texts").expect("a picture").rgb(),
        Picture::decode(&png, "plain").expect("a picture").rgb()
    );
}
