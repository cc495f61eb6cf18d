//! Finds out whether the weights of the model inside the program are there: packages of the registry, which takes no
//! file of their size, come without them.

use std::{env, path::Path};

fn main() {
    const WEIGHTS: &str = "models/picture-book/model.safetensors";
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(picture_book)");
    if Path::new(WEIGHTS).exists() {
        println!("cargo::rerun-if-changed={WEIGHTS}");
        if env::var_os("CARGO_FEATURE_EMBEDDED").is_some() {
            println!("cargo::rustc-cfg=picture_book");
        }
    }
}
