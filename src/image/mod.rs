//! Pictures: from a file's bytes to the numbers that the vision tower takes.

mod allowance;
mod container;
mod decode;
mod formats;
mod orientation;
mod preprocess;
mod resize;
mod tiles;
mod whole;

pub use allowance::Allowance;
pub use decode::{MAX_FILE_BYTES, MAX_PIXELS, MAX_PIXELS_TOGETHER, MAX_SIDE, Picture};
pub use preprocess::{Fit, Pixels, Placement, Preprocessor, Resize};
