//! What a model will need, before anything is allocated, and what the machine has.
//!
//! A [`MemoryPlan`] follows from a checkpoint's headers and configuration alone; [`choose`] takes the most precise
//! weights whose plan fits.

mod activations;
mod choose;
mod limit;
mod plan;
mod size;

pub use choose::{Stored, candidates, choose, precision};
pub use limit::MemoryLimit;
pub use plan::{MemoryPlan, ModelShape, Workload};
pub use size::MemorySize;
