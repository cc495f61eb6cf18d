//! Pictures: equal to transformers' pixels, upright, whatever the file's colours, and refused where they must be.

use std::io::Cursor;

use crate::common::{golden, golden_json};
use half::f16;
use image::{ColorType, DynamicImage, ExtendedColorType, ImageEncoder, ImageFormat, RgbImage};
use mustdrop::{
    Fit, Picture,
    image::{MAX_PIXELS, Pixels, Preprocessor, Resize},
};
use proptest::prelude::*;
use safetensors::SafeTensors;
use sha2::{Digest, Sha256};

fn fit(fit: Fit) -> Preprocessor {
    Preprocessor { fit, ..Preprocessor::default() }
}

/// The 8-bit level that a normalised value came from.
fn level(value: f32, channel: usize) -> f32 {
    let clip = Preprocessor::default();
    ((value * clip.std[channel] + clip.mean[channel]) / clip.rescale).round()
}

#[test]
fn pixels_equal_transformers() {
    let expected = std::fs::read(golden("preprocess/expected.safetensors")).expect("in the repository");
    let expected = SafeTensors::deserialize(&expected).expect("valid");
    for case in golden_json("preprocess", "cases.json").as_array().expect("a list") {
        let file = case["file"].as_str().expect("a name");
        let picture = Picture::open(golden("preprocess").join(file)).expect("a picture");
        for (name, fit) in [("crop", fit(Fit::Crop)), ("pad", fit(Fit::Pad))] {
            let tensor =
                expected.tensor(&format!("{}.{name}", file.trim_end_matches(".png"))).expect("there");
            let wanted: Vec<f16> = bytemuck::pod_collect_to_vec(tensor.data());
            let pixels = fit.run(&picture).expect("pixels");
            assert_eq!(tensor.shape(), [3, pixels.side, pixels.side]);
            let plane = pixels.side * pixels.side;
            let distances: Vec<f32> = (0..3 * plane)
                .map(|i| (level(pixels.values[i], i / plane) - level(wanted[i].to_f32(), i / plane)).abs())
                .collect();
            let different = distances.iter().filter(|distance| **distance > 0.0).count();
            assert!(
                distances.iter().all(|distance| *distance <= 1.0),
                "{file} {name}: off by more than a level"
            );
            assert!(different * 1000 <= 3 * plane, "{file} {name}: {different} of {} differ", 3 * plane);
        }
    }
}

/// SHA-256 of what Pillow 13.0.0 makes of pictures by `resize(size, Image.BICUBIC)`, the short side being 336, and `crop` of the
/// middle: `[3, 336, 336]` bytes.
const RESIZED: [(&str, &str); 5] = [
    ("gray.png", "6f8dc4966bc7737ad7357cc0425de1796cbd90fc40e19254038a38ece3d2845c"),
    ("landscape.png", "9a6503a39196caa0abb97c9fca4d8afe89e88f36afef468d27a41283d4320c68"),
    ("palette_pixel.png", "238b280c2149e6f7532a82e91489540d6c760e570300eb13adffdda380a28781"),
    ("tiny_portrait.png", "0497f00e00019182c44613cd8dd2063c12af72705b5844a490955a34f4167e42"),
    ("transparent.png", "1aa91df91b17119c188fe59b341b36f64fd0fa135b6cd34887120c5689a980c1"),
];

#[test]
fn resizing_is_pillow_s_to_the_bit() {
    for (file, expected) in RESIZED {
        let picture = Picture::open(golden("preprocess").join(file)).expect("a picture");
        assert_eq!(digest(&fit(Fit::Crop).run(&picture).expect("pixels")), expected, "{file}");
    }
}

/// SHA-256 of the levels.
fn digest(pixels: &Pixels) -> String {
    let plane = pixels.side * pixels.side;
    let levels = pixels.values.iter().enumerate().map(|(i, value)| level(*value, i / plane) as u8);
    Sha256::digest(levels.collect::<Vec<u8>>()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The same of a picture of 50 x 97 pixels resized to so many rows and columns, and the square in the middle. The vertical pass
/// comes first where it takes away more than 52 lines, twice what the other takes off 50 pixels, or the other adds some.
const SQUEEZED: [(usize, usize, &str); 5] = [
    (60, 60, "f0483a823bfe55176611d1fb831bf7fc183fabf77fe49e8924d67777aae38e57"),
    (80, 24, "e0b2d5d18dcc33abd0d668428c4f62a32b0af3dcebb7ef950a090d79da8b3cbc"),
    (45, 24, "05831b5d05e6f7f5325a62b1a9dbd4a5198153da293cbe1d1cfa2096fc10865b"),
    (44, 24, "ef449969fe517065db55cbd6bb7e8016b3cc775fb4f8aba2bbba38dfa710a090"),
    (40, 24, "7882605ef1399c65457c02150d1c70eb0d917ef7be69d164438f1c467b9da47b"),
];

#[test]
fn passes_come_in_pillow_s_order() {
    let picture = Picture::open(golden("family/llava_qwen2_siglip/tall.png")).expect("a picture");
    for (height, width, expected) in SQUEEZED {
        let side = height.min(width);
        let resize = Resize::Exact { height, width };
        let preprocessor = Preprocessor { resize, crop: Some((side, side)), ..Preprocessor::default() };
        assert_eq!(digest(&preprocessor.run(&picture).expect("pixels")), expected, "{height} x {width}");
    }
}

/// A picture whose four corners tell which way up it is.
fn corners() -> RgbImage {
    RgbImage::from_fn(40, 24, |x, y| match (x < 20, y < 12) {
        (true, true) => image::Rgb([255, 0, 0]),
        (false, true) => image::Rgb([0, 255, 0]),
        (true, false) => image::Rgb([0, 0, 255]),
        (false, false) => image::Rgb([255, 255, 255]),
    })
}

fn encode(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).expect("encoded");
    bytes.into_inner()
}

fn pixel(picture: &Picture, x: usize, y: usize) -> [u8; 3] {
    let start = 3 * (y * picture.width() + x);
    picture.rgb()[start..start + 3].try_into().expect("three bytes")
}

/// An EXIF block with nothing but an orientation.
fn exif(orientation: u8) -> Vec<u8> {
    let mut block = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    block.extend([orientation, 0, 0, 0, 0, 0, 0]);
    block
}

#[test]
fn the_exif_orientation_is_applied_in_every_format() {
    let image = corners();
    // Orientation 6: the camera was turned, the first row is the picture's right edge.
    let mut png = Vec::new();
    let mut encoder = image::codecs::png::PngEncoder::new(&mut png);
    encoder.set_exif_metadata(exif(6)).expect("supported");
    encoder.write_image(&image, 40, 24, ExtendedColorType::Rgb8).expect("encoded");
    let mut jpeg = Vec::new();
    let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 100);
    encoder.set_exif_metadata(exif(6)).expect("supported");
    encoder.write_image(&image, 40, 24, ExtendedColorType::Rgb8).expect("encoded");
    let mut webp = Vec::new();
    let mut encoder = image::codecs::webp::WebPEncoder::new_lossless(&mut webp);
    encoder.set_exif_metadata(exif(6)).expect("supported");
    encoder.write_image(&image, 40, 24, ExtendedColorType::Rgb8).expect("encoded");

    for (name, bytes) in [("PNG", png), ("JPEG", jpeg), ("WebP", webp)] {
        let picture = Picture::decode(&bytes, name).expect(name);
        assert_eq!((picture.width(), picture.height()), (24, 40), "{name}");
        let near = |found: [u8; 3], expected: [u8; 3]| {
            found.iter().zip(expected).all(|(found, expected)| found.abs_diff(expected) < 8)
        };
        assert!(near(pixel(&picture, 20, 3), [255, 0, 0]), "{name}: top left went to the top right");
        assert!(near(pixel(&picture, 3, 3), [0, 0, 255]), "{name}: bottom left went to the top left");
    }
}

#[test]
fn greys_palettes_transparency_and_deep_colours_become_rgb() {
    let rgb = DynamicImage::from(corners());
    let grey = Picture::decode(&encode(&rgb.grayscale(), ImageFormat::Png), "grey").expect("grey");
    let [red, green, blue] = pixel(&grey, 0, 0);
    assert!(red == green && green == blue);

    let deep = Picture::decode(&encode(&rgb.to_rgb16().into(), ImageFormat::Png), "deep").expect("16 bits");
    assert_eq!(deep.rgb(), corners().as_raw());

    let mut transparent = rgb.to_rgba8();
    transparent.pixels_mut().for_each(|pixel| pixel.0[3] = 0);
    assert_eq!(transparent.sample_layout().channels, ColorType::Rgba8.channel_count());
    let bytes = encode(&transparent.into(), ImageFormat::Png);
    assert_eq!(
        Picture::decode(&bytes, "alpha").expect("alpha").rgb(),
        corners().as_raw(),
        "alpha is dropped"
    );

    let palette = Picture::open(golden("preprocess/palette_pixel.png")).expect("a palette");
    assert_eq!(palette.rgb(), [10, 20, 30]);
}

#[test]
fn what_is_no_picture_is_refused_with_a_reason() {
    let png = encode(&corners().into(), ImageFormat::Png);
    let cases: [(&[u8], &str); 5] = [
        (b"", "an empty file"),
        (b"hello, I am not a picture at all", "text"),
        (b"GIF89a\x01\x00\x01\x00\x00\x00\x00", "a GIF picture"),
        (&png[..png.len() / 2], "cannot be read"),
        (&[0x89, b'P', b'N', b'G', 0x0D, 0x0A, 0x1A, 0x0A], "cannot be read"),
    ];
    for (bytes, reason) in cases {
        let message = Picture::decode(bytes, "a file").expect_err(reason).to_string();
        assert!(message.starts_with("a file: ") && message.contains(reason), "{message}");
        assert!(message.contains("PNG, JPEG or WebP"), "{message}");
    }
    let missing = Picture::open("no/such/picture.png").expect_err("no such file").to_string();
    assert!(missing.contains("no/such/picture.png"), "{missing}");
    let folder = Picture::open(env!("CARGO_MANIFEST_DIR")).expect_err("a folder").to_string();
    assert!(folder.contains("directory"), "{folder}");
}

#[test]
fn a_decompression_bomb_is_refused_by_its_header() {
    // The header claims 50,000 x 50,000 pixels; there is next to nothing behind it.
    let mut png = encode(&corners().into(), ImageFormat::Png);
    png[16..24].copy_from_slice(&[0, 0, 0xC3, 0x50, 0, 0, 0xC3, 0x50]);
    let checksum = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    let message = Picture::decode(&png, "bomb.png").expect_err("too large").to_string();
    assert!(message.contains("50000 x 50000") && message.contains(&MAX_PIXELS.to_string()), "{message}");
}

/// The checksum of PNG's chunks.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & 0u32.wrapping_sub(crc & 1)))
    })
}

#[test]
fn very_long_pictures_work_both_ways() {
    for (width, height) in [(60_000, 1), (1, 60_000), (1, 1), (30_000, 3)] {
        let picture = Picture::from_rgb8(width, height, vec![200; 3 * width * height]).expect("a picture");
        let cropped = fit(Fit::Crop).run(&picture).expect("pixels");
        assert!(cropped.values.iter().enumerate().all(|(i, v)| level(*v, i / (336 * 336)) == 200.0));
        let padded = fit(Fit::Pad).run(&picture).expect("pixels");
        assert_eq!((padded.side, padded.values.len()), (336, 3 * 336 * 336));
    }
}

#[test]
fn a_crop_larger_than_the_picture_is_an_error() {
    let picture = Picture::from_rgb8(10, 10, vec![0; 300]).expect("a picture");
    let preprocessor =
        Preprocessor { resize: Resize::ShortestEdge(200), crop: Some((336, 336)), ..Preprocessor::default() };
    assert!(preprocessor.run(&picture).expect_err("too small").to_string().contains("336 x 336"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_placement_maps_the_square_onto_the_picture(width in 1usize..900, height in 1usize..900) {
        let picture = Picture::from_rgb8(width, height, vec![9; 3 * width * height]).expect("a picture");
        let (width, height) = (width as f64, height as f64);
        for fit in [fit(Fit::Crop), fit(Fit::Pad)] {
            let placement = fit.run(&picture).expect("pixels").placement;
            let right = placement.left + 336.0 * placement.step_x;
            let bottom = placement.top + 336.0 * placement.step_y;
            // A pixel of the square is at most this much of the picture.
            let slack = placement.step_x.max(placement.step_y) + 1.0;
            match fit.fit {
                Fit::Pad => {
                    prop_assert!(placement.left <= 0.0 && right >= width - 1e-6);
                    prop_assert!(placement.top <= 0.0 && bottom >= height - 1e-6);
                    prop_assert!((right - placement.left - width.max(height)).abs() < 1e-6);
                }
                _ => {
                    prop_assert!(placement.left >= 0.0 && right <= width + slack);
                    prop_assert!(placement.top >= 0.0 && bottom <= height + slack);
                }
            }
            let middle = ((placement.left + right) / 2.0, (placement.top + bottom) / 2.0);
            prop_assert!((middle.0 - width / 2.0).abs() <= slack && (middle.1 - height / 2.0).abs() <= slack);
        }
    }
}
