//! Rotary positions: the angle of every pair of components at every position.

use burn::tensor::{Device, Tensor};

use crate::{
    config::{RopeScaling, TextConfig},
    kernel::from_host,
};

/// The frequencies of a decoder's rotary embedding.
///
/// `angle(position, i) = position / theta^(2 i / head_dim)`, with the frequencies changed first where the
/// checkpoint was trained for a longer context. A token's position is given by the caller: it stays with
/// the token when other tokens are dropped.
#[derive(Debug, Clone)]
pub struct Rope {
    inverse_frequencies: Vec<f32>,
}

impl Rope {
    /// The frequencies that `config` asks for.
    pub fn new(config: &TextConfig) -> Self {
        let half = config.head_dim / 2;
        let inverse_frequencies = (0..half)
            .map(|i| {
                let exponent = 2.0 * i as f64 / config.head_dim as f64;
                scale(&config.rope_scaling, config.rope_theta.powf(exponent).recip()) as f32
            })
            .collect();
        Self { inverse_frequencies }
    }

    /// [`table`](Self::table) on a device.
    pub fn tensor(&self, positions: &[u32], device: &Device) -> Tensor<2> {
        let table = self.table(positions);
        let shape = [positions.len(), table.len() / positions.len().max(1)];
        from_host(table, shape, device)
    }

    /// Cosines, then sines, of every position's angles: `[positions.len(), head_dim]`, row-major.
    ///
    /// Angles are rounded to float32 as the reference implementation rounds them.
    pub fn table(&self, positions: &[u32]) -> Vec<f32> {
        let mut table = Vec::with_capacity(positions.len() * self.inverse_frequencies.len() * 2);
        for &position in positions {
            let angles = self.inverse_frequencies.iter().map(|f| f64::from(position as f32 * f));
            table.extend(angles.clone().map(|angle| angle.cos() as f32));
            table.extend(angles.map(|angle| angle.sin() as f32));
        }
        table
    }
}

/// Changes one inverse frequency for a longer context.
fn scale(scaling: &RopeScaling, inverse_frequency: f64) -> f64 {
    match *scaling {
        RopeScaling::None => inverse_frequency,
        RopeScaling::Linear { factor } => inverse_frequency / factor,
        // Llama 3.1: long waves are slowed by the factor, short ones kept, those between interpolated.
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => {
            let context = original_max_position_embeddings as f64;
            let wavelength = std::f64::consts::TAU / inverse_frequency;
            let smooth = (context / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
            let smooth = smooth.clamp(0.0, 1.0);
            (1.0 - smooth) * inverse_frequency / factor + smooth * inverse_frequency
        }
    }
}
