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
const OTHERWISE: [(&str, &str); 9] = [
    ("cut_progressive.jpg", "refused without its end marker: further scans may be missing"),
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
                (Some(true), _, Err(_)) => is_otherwise(name),
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
            (_, Some(error), found) if error.contains("truncated") => found.is_err(),
            // Of damage within the data the decoder may make what it likes, of the same size.
            (_, _, Ok(found)) => (found.width() <= whole.width()) || name.contains("height"),
            (_, _, Err(_)) => true,
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

/// A baseline JPEG of 16 x 16 pixels with a scan for each component, of which the first has all its numbers.
fn scan_by_scan() -> (Vec<u8>, [usize; 3]) {
    let mut bytes = vec![0xFF, 0xD8];
    let mut segment = |marker: u8, payload: &[u8]| {
        bytes.extend([0xFF, marker]);
        bytes.extend((payload.len() as u16 + 2).to_be_bytes());
        bytes.extend(payload);
        bytes.len()
    };
    segment(0xDB, &[&[0u8][..], &[1; 64]].concat());
    segment(0xC0, &[8, 0, 16, 0, 16, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0]);
    // Two codes of one bit: a difference of 0 or of one bit, and the end of a block.
    for table in [0x00, 0x10] {
        let counts = [1u8, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        segment(0xC4, &[&[table], &counts[..], &[0, if table == 0 { 6 } else { 1 }]].concat());
    }
    let mut ends = [0; 3];
    for (number, end) in ends.iter_mut().enumerate() {
        let mut segment = |marker: u8, payload: &[u8]| {
            bytes.extend([0xFF, marker]);
            bytes.extend((payload.len() as u16 + 2).to_be_bytes());
            bytes.extend(payload);
        };
        segment(0xDA, &[1, number as u8 + 1, 0, 0, 63, 0]);
        // Four blocks: a difference of 63 - 32 * number, then none; each block ends at once.
        let bits = format!("10{:06b}0{}", 63 - 8 * number, "00".repeat(3));
        let bits = format!("{bits:1<16}");
        bytes.extend([&bits[..8], &bits[8..]].map(|bits| u8::from_str_radix(bits, 2).expect("bits")));
        *end = bytes.len();
    }
    bytes.extend([0xFF, 0xD9]);
    (bytes, ends)
}

#[test]
fn scans_of_their_own_may_not_be_missing() {
    let (bytes, ends) = scan_by_scan();
    Picture::decode(&bytes, "whole").expect("a picture");
    for end in ends {
        for length in [end - 2, end - 1, end] {
            let found = Picture::decode(&bytes[..length], "cut");
            assert!(found.is_err(), "cut at {length} of {}: {found:?}", bytes.len());
        }
    }
}

#[test]
fn damage_is_not_hidden_where_the_end_is_missing() {
    let mut bytes = made("cut.png");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    Picture::decode(&bytes, "damaged").expect_err("its checksum is wrong");
    for length in [bytes.len() - 12, bytes.len() - 16] {
        Picture::decode(&bytes[..length], "damaged and cut").expect_err("it still is");
    }
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

/// A palette whose length is no multiple of three, which takes the decoder beyond its end.
#[test]
fn a_picture_that_brings_its_decoder_down_is_damaged() {
    match Picture::decode(&made("odd_palette.png"), "odd") {
        Err(error) => assert!(error.exit_code() == 2 && error.to_string().contains("odd: "), "{error}"),
        Ok(picture) => assert_eq!((picture.width(), picture.height()), (30, 30)),
    }
}
