//! Pictures: from a file's bytes to the numbers that the vision tower takes.

mod decode;
mod preprocess;
mod resize;

pub use decode::{MAX_FILE_BYTES, MAX_PIXELS, MAX_SIDE, Picture};
pub use preprocess::{Fit, Pixels, Placement, Preprocessor, Resize};
