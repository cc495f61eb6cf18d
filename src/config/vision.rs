//! The vision tower: a CLIP or SigLIP vision transformer.

use super::{Activation, fields::Fields, limits};
use crate::error::Result;

/// The architecture of a vision tower (`model_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VisionKind {
    /// `clip_vision_model`: a class token, a norm before the first layer, patches embedded without bias.
    Clip,
    /// `siglip_vision_model`: patches alone, embedded with a bias.
    Siglip,
}

impl VisionKind {
    /// Class tokens in front of the patches.
    pub fn classes(self) -> usize {
        match self {
            Self::Clip => 1,
            Self::Siglip => 0,
        }
    }
}

/// The shape of a vision tower (`vision_config`).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct VisionConfig {
    /// Its architecture.
    pub kind: VisionKind,
    /// Width of a token's vector.
    pub hidden_size: usize,
    /// Width of the MLP's inner layer.
    pub intermediate_size: usize,
    /// Number of transformer layers.
    pub num_hidden_layers: usize,
    /// Number of attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Colour channels of a picture: always 3.
    pub num_channels: usize,
    /// Side of the square picture, in pixels.
    pub image_size: usize,
    /// Side of a square patch, in pixels. Where it does not divide `image_size`, the last rows and columns are not looked at.
    pub patch_size: usize,
    /// What layer norms add to the variance.
    pub layer_norm_eps: f64,
    /// The MLP's activation function.
    pub hidden_act: Activation,
}

/// What `CLIPVisionConfig` fills in where `vision_config` leaves a field out: ViT-B/32.
const CLIP_DEFAULTS: VisionConfig = VisionConfig {
    kind: VisionKind::Clip,
    hidden_size: 768,
    intermediate_size: 3072,
    num_hidden_layers: 12,
    num_attention_heads: 12,
    num_channels: 3,
    image_size: 224,
    patch_size: 32,
    layer_norm_eps: 1e-5,
    hidden_act: Activation::QuickGelu,
};

/// What `LlavaConfig` takes where there is no `vision_config` at all: ViT-L/14 at 336 pixels.
pub(super) const LLAVA_DEFAULTS: VisionConfig = VisionConfig {
    hidden_size: 1024,
    intermediate_size: 4096,
    num_hidden_layers: 24,
    num_attention_heads: 16,
    image_size: 336,
    patch_size: 14,
    ..CLIP_DEFAULTS
};

/// What `LlavaOnevisionConfig` takes where there is no `vision_config` at all: SigLIP's so400m at 384 pixels.
pub(super) const ONE_VISION_DEFAULTS: VisionConfig = VisionConfig {
    hidden_size: 1152,
    intermediate_size: 4304,
    num_hidden_layers: 26,
    num_attention_heads: 16,
    image_size: 384,
    patch_size: 14,
    ..SIGLIP_DEFAULTS
};

/// What `SiglipVisionConfig` takes where a field is missing: base size, 224 pixels, patches of 16.
const SIGLIP_DEFAULTS: VisionConfig = VisionConfig {
    kind: VisionKind::Siglip,
    patch_size: 16,
    layer_norm_eps: 1e-6,
    hidden_act: Activation::GeluTanh,
    ..CLIP_DEFAULTS
};

impl VisionConfig {
    /// Patches along one side of the picture, in whole numbers.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Values of one patch: its pixels in every channel.
    pub fn patch_values(&self) -> usize {
        self.num_channels * self.patch_size * self.patch_size
    }

    /// Patches of a picture: `grid()²`.
    pub fn patches(&self) -> usize {
        self.grid() * self.grid()
    }

    /// Side of the square that the patches cover, in pixels.
    pub fn covered_side(&self) -> usize {
        self.grid() * self.patch_size
    }

    /// How many squares go through the tower in one pass: so many that its widest activations take about
    /// [`BATCH_BYTES`](Self::BATCH_BYTES), at least one.
    pub fn squares_at_once(&self) -> usize {
        (Self::BATCH_BYTES / (4 * self.inner_numbers())).max(1)
    }

    /// Bytes of activations that a pass over several squares may have: enough for all five of LLaVA-NeXT's.
    pub const BATCH_BYTES: usize = 192 << 20;

    /// Numbers that a layer of the MLP holds of one square: its input, its sum, and the inner layer before, within and behind
    /// its activation.
    pub fn inner_numbers(&self) -> usize {
        (self.patches() + self.kind.classes()) * (2 * self.hidden_size + 3 * self.intermediate_size)
    }

    /// Width of one attention head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// Reads `vision_config` of the whole configuration; without any, the tower is `whole_default`.
    pub(super) fn read(config: &Fields, whole_default: &Self) -> Result<Self> {
        let fields = config.object("vision_config")?;
        let kinds = [("clip_vision_model", VisionKind::Clip), ("siglip_vision_model", VisionKind::Siglip)];
        let kind = fields.choice("model_type", whole_default.kind, &kinds)?;
        let default = match kind {
            _ if !config.has("vision_config") => whole_default,
            VisionKind::Clip => &CLIP_DEFAULTS,
            VisionKind::Siglip => &SIGLIP_DEFAULTS,
        };
        let vision = Self {
            kind,
            hidden_size: fields.count("hidden_size", default.hidden_size, 1..=limits::WIDTH)?,
            intermediate_size: fields.count(
                "intermediate_size",
                default.intermediate_size,
                1..=limits::INNER_WIDTH,
            )?,
            num_hidden_layers: fields.count(
                "num_hidden_layers",
                default.num_hidden_layers,
                1..=limits::LAYERS,
            )?,
            num_attention_heads: fields.count(
                "num_attention_heads",
                default.num_attention_heads,
                1..=limits::HEADS,
            )?,
            num_channels: fields.count("num_channels", default.num_channels, 3..=3)?,
            image_size: fields.count("image_size", default.image_size, 1..=limits::IMAGE_SIDE)?,
            patch_size: fields.count("patch_size", default.patch_size, 1..=limits::IMAGE_SIDE)?,
            layer_norm_eps: fields.number("layer_norm_eps", default.layer_norm_eps, limits::EPSILON)?,
            hidden_act: Activation::read(&fields, "hidden_act", default.hidden_act)?,
        };
        vision.check_sizes(&fields)?;
        Ok(vision)
    }

    fn check_sizes(&self, fields: &Fields) -> Result<()> {
        let Self { hidden_size, num_attention_heads: heads, image_size, patch_size, .. } = self;
        if hidden_size % heads != 0 {
            let problem = format!("{heads} heads do not divide hidden_size {hidden_size}");
            return Err(fields.problem("num_attention_heads", problem));
        }
        if patch_size > image_size {
            let problem = format!("no patch of {patch_size} pixels fits image_size {image_size}");
            return Err(fields.problem("patch_size", problem));
        }
        Ok(())
    }
}
