//! One name for every tensor, whichever version of transformers saved the checkpoint.

use std::borrow::Cow;

/// How a stored name begins, and how the canonical name does; the first that fits is taken.
///
/// In the order of their appearance: LLaVA's own code; transformers before 4.52 (the hub's llava-1.5); 4.52 and
/// later; 5, which leaves out `vision_model`.
const PREFIXES: [(&str, &str); 15] = [
    ("model.vision_tower.vision_tower.vision_model.", "vision_tower."),
    ("model.mm_projector.0.", "multi_modal_projector.linear_1."),
    ("model.mm_projector.2.", "multi_modal_projector.linear_2."),
    ("model.embed_tokens.", "language_model.embed_tokens."),
    ("model.layers.", "language_model.layers."),
    ("model.norm.", "language_model.norm."),
    ("language_model.model.", "language_model."),
    ("language_model.lm_head.", "lm_head."),
    ("vision_tower.vision_model.", "vision_tower."),
    ("model.language_model.", "language_model."),
    ("model.multi_modal_projector.", "multi_modal_projector."),
    ("model.vision_tower.vision_model.", "vision_tower."),
    ("model.vision_tower.", "vision_tower."),
    ("model.lm_head.", "lm_head."),
    ("model.image_newline", "image_newline"),
];

/// The name the rest of the program uses for the tensor stored as `stored`.
pub(super) fn canonical(stored: &str) -> Cow<'_, str> {
    PREFIXES
        .iter()
        .find_map(|(prefix, replacement)| {
            stored.strip_prefix(prefix).map(|rest| Cow::Owned(format!("{replacement}{rest}")))
        })
        .unwrap_or(Cow::Borrowed(stored))
}

/// Whether a tensor that nobody asked for does no harm: constants that old versions saved, and the parts of
/// a vision tower that come after the layers a LLaVA looks at.
pub(super) fn is_harmless(canonical: &str) -> bool {
    canonical.ends_with(".position_ids")
        || canonical.ends_with(".rotary_emb.inv_freq")
        || canonical.starts_with("vision_tower.post_layernorm.")
        || canonical.starts_with("vision_tower.head.")
        || canonical.starts_with("vision_tower.visual_projection.")
        || canonical.starts_with("visual_projection.")
}
