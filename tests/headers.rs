//! Headers of safetensors files: what the format forbids is refused, with the tensors it is about.

use std::{fs, path::Path};

use mustdrop::checkpoint::{Checkpoint, ModelFiles};
use proptest::prelude::*;
use serde_json::{Value, json};

fn open(folder: &Path) -> mustdrop::Result<Checkpoint> {
    Checkpoint::open(&ModelFiles::Folder(folder.to_owned()))
}

/// A file with any header and any data.
fn write_raw(path: &Path, header: &str, data: &[u8]) {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    fs::write(path, file).expect("writable");
}

#[test]
fn hostile_headers_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.safetensors");
    let refusal = || open(folder.path()).expect_err("refused").to_string();
    let tensor = |shape: &str, start: u64, end: u64| {
        format!("{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":[{start},{end}]}}")
    };
    let max = u64::MAX;
    for (header, reason) in [
        ("not JSON".to_owned(), "damaged header"),
        ("[]".to_owned(), "damaged header"),
        (
            format!("{{\"a\":{},\"b\":{}}}", tensor("[2]", 0, 8), tensor("[2]", 4, 12)),
            "tensors a and b overlap",
        ),
        (
            format!("{{\"a\":{},\"b\":{}}}", tensor("[2]", 0, 8), tensor("[2]", 0, 8)),
            "tensors a and b overlap",
        ),
        (
            format!("{{\"b\":{},\"a\":{}}}", tensor("[1]", 0, 4), tensor("[2]", 8, 16)),
            "hole between tensors b and a",
        ),
        (format!("{{\"__metadata__\":{{\"format\":1}},\"a\":{}}}", tensor("[4]", 0, 16)), "damaged header"),
        (format!("{{\"a\":{},\"a\":{}}}", tensor("[2]", 0, 8), tensor("[2]", 8, 16)), "occurs twice"),
        (format!("{{\"a\":{}}}", tensor("[2]", 8, 16)), "hole before tensor a"),
        (format!("{{\"a\":{}}}", tensor("[2]", 8, 0)), "damaged header"),
        (format!("{{\"a\":{}}}", tensor("[3]", 0, 8)), "damaged header"),
        (format!("{{\"a\":{}}}", tensor("[4294967296,4294967296]", 0, 8)), "damaged header"),
        (format!("{{\"a\":{}}}", tensor(&format!("[{max},2]"), 0, 8)), "damaged header"),
        (format!("{{\"a\":{}}}", tensor("[4611686018427387903]", 0, max - 3)), ""),
        (
            format!(
                "{{\"a\":{},\"b\":{}}}",
                tensor("[4611686018427387902]", 0, max - 7),
                tensor("[4]", max - 7, 8)
            ),
            "damaged header",
        ),
        (format!("{{\"a\":{},\"b\":{}}}", tensor("[4]", 0, 16), tensor("[0]", 16, 16)), "empty dimension"),
        (format!("{{\"a\":{}}}", tensor("[400]", 0, 1600)), "cut short"),
        (format!("{{\"a\":{}}}", tensor("[2]", 0, 8)), "the tensors end at byte"),
        ("{\"a\":{\"dtype\":\"F31\",\"shape\":[2],\"data_offsets\":[0,8]}}".to_owned(), "damaged header"),
        (format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000)), "damaged header"),
    ] {
        write_raw(&path, &header, &[0; 16]);
        let message = refusal();
        let shown = &header[..header.len().min(80)];
        assert!(message.contains("model.safetensors") && message.contains(reason), "{shown}: {message}");
    }
    for (bytes, reason) in [
        (Vec::new(), "the file is empty"),
        (vec![1, 2, 3], "cut short"),
        (u64::MAX.to_le_bytes().to_vec(), "header of at most"),
        ([99_999_999u64.to_le_bytes().as_slice(), b"{}"].concat(), "cut short"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n".to_vec(), "git lfs pull"),
    ] {
        fs::write(&path, bytes).expect("writable");
        assert!(refusal().contains(reason), "{reason}: {}", refusal());
    }
}

/// Headers of tensors that lie as they should, or nearly.
fn headers() -> impl Strategy<Value = String> {
    let dtypes = [("F32", 4u64), ("F16", 2), ("BF16", 2), ("I8", 1), ("F64", 8), ("F4", 1), ("F31", 4)];
    let tensor = (
        prop::sample::select(dtypes.to_vec()),
        prop::collection::vec(prop_oneof![9 => 1u64..5, 1 => Just(u64::MAX / 2)], 0..3),
        // What is added to where it begins and ends: mostly nothing.
        prop_oneof![12 => Just((0i64, 0i64)), 1 => (-4i64..5, -4i64..5)],
    );
    prop::collection::vec(tensor, 0..5).prop_map(|tensors| {
        let mut end = 0u64;
        let members = tensors.iter().enumerate().map(|(i, ((dtype, size), shape, (before, behind)))| {
            let bytes = shape.iter().fold(*size, |bytes, side| bytes.wrapping_mul(*side));
            let start = end;
            end = end.wrapping_add(bytes);
            let offsets = [start.wrapping_add_signed(*before), end.wrapping_add_signed(*behind)];
            // Names in another order than the tensors.
            format!("\"{}\":{}", 9 - i, json!({ "dtype": dtype, "shape": shape, "data_offsets": offsets }))
        });
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn headers_are_accepted_as_the_format_s_own_library_does(header in headers(), length in prop_oneof![Just(None), (0usize..100).prop_map(Some)]) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("model.safetensors");
        let parsed: Value = serde_json::from_str(&header).expect("JSON");
        let ends = parsed.as_object().into_iter().flat_map(|tensors| tensors.values());
        let end = ends.filter_map(|tensor| tensor["data_offsets"][1].as_u64()).max().unwrap_or(0);
        let data = vec![0; length.unwrap_or(end.min(1000) as usize)];
        write_raw(&path, &header, &data);
        let bytes = fs::read(&path).expect("written");
        let theirs = safetensors::SafeTensors::read_metadata(&bytes);
        let ours = open(folder.path());
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{}: {:?}, {:?}", header, ours.err(), theirs.err());
    }
}
