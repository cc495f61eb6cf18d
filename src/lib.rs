//! Ask questions about pictures on any GPU: LLaVA on burn and wgpu, without CUDA.
//!
//! [`Llava`] loads a checkpoint in the Hugging Face layout, [`Chat`] holds a conversation about pictures, and
//! [`Answer`] is an iterator that computes one token each time it is advanced. [`TextModel`] is a Llama alone, out of a GGUF
//! file. The same code runs on Vulkan, Metal and DirectX 12, and on the CPU where no adapter answers.
//!
//! Where to read on: `docs/architecture.md` in the repository. The networks are in `model`, their shaders in `shaders/` with
//! what they compute in plain Rust in `oracle`, and how a shader meets a tensor in `kernel`: all of them are there for tests
//! and benches, hidden in this documentation, and may change at any time.

#![deny(unsafe_code, missing_docs)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::todo, clippy::dbg_macro, clippy::print_stdout)]

mod answer;
pub mod bench;
pub mod cache_folder;
mod calibrate;
mod cancel;
mod chat;
pub mod checkpoint;
#[cfg(feature = "cli")]
pub mod cli;
pub mod config;
mod conversation;
#[doc(hidden)]
pub mod cpu;
pub mod device;
pub mod doctor;
pub mod drop;
mod error;
#[cfg(feature = "cli")]
pub mod eval;
mod generation;
#[cfg(feature = "hub")]
pub mod hub;
pub mod image;
#[doc(hidden)]
pub mod kernel;
mod llava;
pub mod memory;
#[doc(hidden)]
pub mod model;
#[doc(hidden)]
pub mod oracle;
mod overlay;
mod panics;
mod part;
mod picture_cache;
pub mod prompt;
#[doc(hidden)]
pub mod quantise;
pub mod report;
pub mod sample;
#[cfg(feature = "serve")]
pub mod serve;
mod shown;
mod text_model;
#[doc(hidden)]
pub mod tiling;
pub mod tokenizer;
pub mod trace;
#[doc(hidden)]
pub mod weight_cache;
pub mod weights;

pub use answer::{Answer, Event};
pub use cancel::Cancel;
pub use chat::Chat;
pub use device::{DeviceInfo, DeviceSelect};
pub use drop::Pruning;
pub use error::{Error, Result};
pub use generation::GenerationOptions;
pub use image::{Fit, Picture};
pub use llava::{Llava, LlavaBuilder};
pub use part::Part;
pub use picture_cache::PictureCache;
pub use report::{Report, StopReason};
pub use sample::Sampling;
pub use text_model::{TextModel, TextModelBuilder};
pub use weights::WeightFormat;
