//! Pictures on their way into a conversation.

use std::time::{Duration, Instant};

use super::Conversation;
use crate::{
    cancel,
    device::Meter,
    drop::{Pruning, Turns},
    error::Result,
    image::Picture,
    part::Part,
    picture_cache::PictureCache,
    prompt::{Piece, Role, Turn, TurnPart},
    shown::Shown,
    tiling::PictureShape,
};

/// The pictures of a question, on their way to the decoder.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Encoded {
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
        let cached = self.show(pictures, rules)?;
        cancel::check()?;
        // Encoding is queued, not done: wait, so that its time is not booked as the decoder's.
        self.llava.compute().wait("encode the picture")?;
        cancel::check()?;
        Ok(Encoded { time: start.elapsed(), cached, meter })
    }

    /// Looks at new pictures, and returns how many of them the cache had.
    fn show(&mut self, pictures: Vec<Picture>, rules: Look) -> Result<usize> {
        if pictures.is_empty() {
            return Ok(0);
        }
        let alone = self.pictures.len() + pictures.len() == 1;
        let shape = |picture: &Picture| self.llava.config.picture_shape(picture.size(), alone);
        let shapes: Vec<PictureShape> = pictures.iter().map(shape).collect();
        self.check_room(&shapes, rules.pruning)?;
        // A picture that was alone looks otherwise among others.
        for index in 0..self.pictures.len() {
            if let Some(picture) = self.pictures[index].picture.take() {
                let shape = self.llava.config.picture_shape(picture.size(), alone);
                self.pictures[index] = self.look(&picture, shape, rules)?.0;
                self.forget();
            }
        }
        let mut cached = 0;
        for (picture, shape) in pictures.into_iter().zip(shapes) {
            let (mut shown, is_cached) = self.look(&picture, shape, rules)?;
            shown.picture = (alone && self.llava.config.tiling.depends_on_others()).then_some(picture);
            self.pictures.push(shown);
            cached += usize::from(is_cached);
        }
        Ok(cached)
    }

    /// Refuses a prompt that does not fit the context with new pictures of these shapes, before they are looked at.
    fn check_room(&self, shapes: &[PictureShape], pruning: Option<&Pruning>) -> Result<()> {
        let prompt = self.llava.tokenizer.prompt(&self.turns)?;
        let text = prompt.pieces.iter().map(|piece| match piece {
            Piece::Text(ids) => ids.len(),
            Piece::Image(_) => 0,
        });
        let depth = self.llava.model.decoder.depth();
        // By a budget, no more enter than that says; by thresholds, all may.
        let entering = |shape: &PictureShape| -> Result<usize> {
            let Some(pruning) = pruning else { return Ok(shape.tokens()) };
            let sizes = pruning.rules().sizes(shape, shape.budgeted(), depth)?;
            let count = sizes.and_then(|sizes| sizes.first().copied()).unwrap_or(usize::MAX);
            Ok(count.min(shape.budgeted()) + shape.classes)
        };
        let mut rows: usize = text.sum();
        rows += self.pictures.iter().map(|shown| shown.embeddings.dims()[0]).sum::<usize>();
        for shape in shapes {
            rows += entering(shape)?;
        }
        if rows >= self.llava.context_limit() { Err(self.llava.too_long(rows)) } else { Ok(()) }
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
            picture: None,
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
            if let Some((tower, rules)) = shown.tower.as_mut().filter(|(_, rules)| rules != pruning) {
                let pruned = self.llava.model.admit(tower, pruning)?;
                rules.clone_from(pruning);
                shown.embeddings = pruned.features.clone();
                shown.pruned = Some(pruned);
            }
        }
        Ok(())
    }
}
