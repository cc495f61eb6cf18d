//! The tests, in one program: burn is linked once, and tests share the opened adapter, its compiled shaders and the
//! loaded models. `cargo test golden::` picks a file's tests. `device_loss.rs` takes the adapter away, and so is a program
//! of its own.

mod common;

mod architecture;
mod asked_rows;
mod attention;
mod cache;
mod cases;
mod chat;
mod checkpoint;
mod cli;
mod config;
mod cost;
#[cfg(target_os = "linux")]
mod counts;
mod coverage;
mod cpu;
mod decoding;
mod doctor;
mod drop;
mod drop_kernels;
mod eval;
mod family;
mod family_config;
mod generate;
mod gguf;
mod golden;
#[cfg(feature = "hub")]
mod headers;
mod hub;
mod library;
mod masked;
mod missed;
mod model;
mod package;
mod pictures;
mod plan;
mod policies;
mod positions;
mod preprocess;
mod products;
mod prompt;
mod pruned;
mod quantised;
mod records;
mod repeat;
mod select_rows;
#[cfg(feature = "serve")]
mod serve;
mod shaders;
mod shell;
mod smollm2;
mod templates;
#[cfg(unix)]
mod terminal;
mod tiled_questions;
mod tiles;
mod tokenizers;
mod turns;
mod undo;
