//! Pictures on their way into a conversation.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::Conversation;
use crate::{
    cancel,
    device::Meter,
    drop::{Pruning, Turns},
    error::Result,
    image::Picture,
    part::Part,
    picture_cache::PictureCache,
    prompt::{Piece, PromptLayout, Role, Turn, TurnPart},
    shown::{Alone, Shown},
    tiling::PictureShape,
};

/// The pictures of a question, on their way to the decoder.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    /// The prompt, where pictures had to be found room for.
    pub prompt: Option<PromptLayout>,
    pub time: Duration,
    /// How many of them a cache had.
    pub cached: usize,
    /// Counts since before they were encoded.
    pub meter: Option<Meter>,
}

/// How pictures are looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look<'a> {
    /// Which of their tokens are dropped.
    pub pruning: Option<&'a Pruning>,
    /// Where encoded pictures are kept.
    pub cache: Option<&'a PictureCache>,
}

impl Conversation {
    /// Takes `turns` into the conversation and encodes their pictures.
    pub fn encode(
        &mut self,
        turns: impl IntoIterator<Item = (Role, Vec<Part>)>,
        rules: Look,
    ) -> Result<Encoded> {
        let start = Instant::now();
        let meter = Meter::start(self.llava.compute());
        let mut pictures = Vec::new();
        for (role, parts) in turns {
            let mut turn = Turn { role, parts: Vec::with_capacity(parts.len()) };
            for part in parts {
                turn.parts.push(match part {
                    Part::Text(text) => TurnPart::Text(text),
                    Part::Image(picture) => {
                        pictures.push(picture);
                        TurnPart::Image
                    }
                });
            }
            self.turns.push(turn);
        }
        let prompt = match pictures.is_empty() {
            true => None,
            false => Some(self.llava.tokenizer.prompt(&self.turns)?),
        };
        let cached = match &prompt {
            Some(prompt) => self.show(pictures, prompt, rules)?,
            None => 0,
        };
        cancel::check()?;
        // Encoding is queued, not done: wait, so that its time is not booked as the decoder's.
        self.llava.compute().wait("encode the picture")?;
        cancel::check()?;
        Ok(Encoded { prompt, time: start.elapsed(), cached, meter })
    }

    /// Looks at new pictures, and returns how many of them the cache had.
    fn show(&mut self, pictures: Vec<Picture>, prompt: &PromptLayout, rules: Look) -> Result<usize> {
        let alone = self.pictures.len() + pictures.len() == 1;
        let shape = |picture: &Picture| self.llava.config.picture_shape(picture.size(), alone);
        let shapes: Vec<PictureShape> = pictures.iter().map(shape).collect();
        // A picture that was alone looks otherwise among others.
        let changed: Vec<_> =
            self.pictures.iter().map(|shown| shown.alone.clone().filter(|_| !alone)).collect();
        self.check_room(prompt, &shapes, &changed, rules.pruning)?;
        for (index, changed) in changed.into_iter().enumerate() {
            let Some(Alone { picture, pruning }) = changed.as_deref() else { continue };
            let shape = self.llava.config.picture_shape(picture.size(), alone);
            let rules = Look { pruning: pruning.as_ref(), ..rules };
            self.pictures[index] = Arc::new(self.look(picture, shape, rules)?.0);
            self.forget();
        }
        let mut cached = 0;
        for (picture, shape) in pictures.into_iter().zip(shapes) {
            let (mut shown, is_cached) = self.look(&picture, shape, rules)?;
            if alone && self.llava.config.tiling.depends_on_others() {
                shown.alone = Some(Arc::new(Alone { picture, pruning: rules.pruning.cloned() }));
            }
            self.pictures.push(Arc::new(shown));
            cached += usize::from(is_cached);
        }
        Ok(cached)
    }

    /// Refuses a prompt that does not fit the context with new pictures of these shapes, whatever is found in them, before they
    /// are looked at. `changed` says which earlier ones are to be looked at anew.
    fn check_room(
        &self,
        prompt: &PromptLayout,
        shapes: &[PictureShape],
        changed: &[Option<Arc<Alone>>],
        pruning: Option<&Pruning>,
    ) -> Result<()> {
        let text = prompt.pieces.iter().map(|piece| match piece {
            Piece::Text(ids) => ids.len(),
            Piece::Image(_) => 0,
        });
        let mut rows: usize = text.sum();
        for (shown, changed) in self.pictures.iter().zip(changed) {
            rows += match changed.as_deref() {
                Some(Alone { picture, pruning }) => {
                    let shape = self.llava.config.picture_shape(picture.size(), false);
                    self.least_rows(&shape, pruning.as_ref())?
                }
                // Under other rules fewer may be admitted of it.
                None if shown.tower.is_some() => 1,
                None => shown.embeddings.dims()[0],
            };
        }
        for shape in shapes {
            rows += self.least_rows(shape, pruning)?;
        }
        if rows >= self.llava.context_limit() { Err(self.llava.too_long(rows)) } else { Ok(()) }
    }

    /// The fewest rows that a picture of this shape may be.
    fn least_rows(&self, shape: &PictureShape, pruning: Option<&Pruning>) -> Result<usize> {
        let Some(pruning) = pruning else { return Ok(shape.tokens()) };
        let rules = pruning.rules();
        let most = if rules.merges() && !shape.is_shrunk() {
            // Every window a single token, but those that a margin cuts off.
            shape.grid.div_ceil(pruning.window).pow(2)
        } else {
            shape.budgeted()
        };
        let sizes = rules.sizes(shape, shape.budgeted(), self.llava.model.decoder.depth())?;
        let count = sizes.and_then(|sizes| sizes.first().copied()).unwrap_or(usize::MAX);
        Ok(count.min(most) + shape.classes)
    }

    /// The picture as the decoder sees it, and whether the cache had it.
    fn look(
        &self,
        picture: &Picture,
        shape: PictureShape,
        Look { pruning, cache }: Look,
    ) -> Result<(Shown, bool)> {
        let cache = cache.map(|cache| (cache, cache.key(picture, &shape, &self.llava, pruning)));
        if let Some(shown) = cache.and_then(|(cache, key)| cache.get(key)) {
            return Ok((shown, true));
        }
        let tiles = self.llava.preprocessor.tiles(picture, &shape)?;
        cancel::check()?;
        let pixels: Vec<&[f32]> = tiles.iter().map(|tile| tile.values.as_slice()).collect();
        let model = &self.llava.model;
        let look = |pruning: &Pruning| -> Result<_> {
            let tower = model.vision.look(&pixels, &shape, pruning, model.decoder.depth())?;
            let pruned = model.admit(&tower, pruning)?;
            Ok((pruned, (pruning.turns == Turns::Requery).then(|| (tower, pruning.clone()))))
        };
        let (pruned, tower) = pruning.map(look).transpose()?.unzip();
        let shown = Shown {
            embeddings: match &pruned {
                Some(pruned) => pruned.features.clone(),
                None => model.encode_picture(&pixels, &shape)?,
            },
            pruned,
            placements: tiles.iter().map(|tile| tile.placement).collect(),
            tower: tower.flatten(),
            alone: None,
            shape,
        };
        cancel::check()?;
        if let Some((cache, key)) = cache {
            cache.put(key, &shown);
        }
        Ok((shown, false))
    }

    /// Where other rules than before are in force and pictures are queried again, admits tokens by those.
    pub(super) fn admit_anew(&mut self, pruning: Option<&Pruning>) -> Result<()> {
        let Some(pruning) = pruning.filter(|pruning| pruning.turns == Turns::Requery) else { return Ok(()) };
        for shown in &mut self.pictures {
            let Some((tower, _)) = shown.tower.as_ref().filter(|(_, rules)| rules != pruning) else {
                continue;
            };
            let (tower, pruned) = (tower.clone(), self.llava.model.admit(tower, pruning)?);
            let shown = Arc::make_mut(shown);
            shown.embeddings = pruned.features.clone();
            (shown.pruned, shown.tower) = (Some(pruned), Some((tower, pruning.clone())));
        }
        Ok(())
    }
}
