//! What filters made of a conversation's pictures.

use super::{Conversation, Row, pictures_of};
use crate::{
    drop::{
        missed::{Earlier, Missed},
        prefill::PrefillFilter,
    },
    report::{PictureReport, PruningReport},
};

impl Conversation {
    /// The account of a pass over the rows from `reused` on; notes what was dropped of their pictures.
    pub(super) fn judged(&mut self, filter: &PrefillFilter, rows: &[Row], reused: usize) -> PruningReport {
        let new = pictures_of(&rows[reused..]).map(|(_, number)| (number, &self.pictures[number]));
        let judged = new.filter_map(|(number, shown)| Some((number, shown, shown.pruned.as_ref()?)));
        let vision = &self.llava.config.vision;
        let mut pictures = Vec::new();
        for (index, ((number, shown, pruned), admitted)) in judged.zip(&filter.admitted).enumerate() {
            let seen = (&shown.shape, shown.placements.as_slice());
            pictures.push(PictureReport::new(pruned, admitted, vision, seen, (number, index), &filter.steps));
        }
        for report in &pictures {
            self.dropped.resize(self.dropped.len().max(report.number + 1), Vec::new());
            self.dropped[report.number] = dropped(report);
        }
        PruningReport::new(pictures, &self.llava.config, rows.len() - reused)
    }

    /// A look at the pictures of earlier questions, where none is new and filters dropped some of their tokens.
    pub(super) fn missed(&self, rows: &[Row], reused: usize) -> Option<Missed> {
        let held = self.cache.rows_per_layer();
        let whole = held.iter().take_while(|rows| **rows == reused).count();
        let is_new = rows[reused..].iter().any(|row| matches!(row, Row::Vision { .. }));
        if whole == 0 || whole == held.len() || is_new {
            return None;
        }
        let earlier = pictures_of(&rows[..reused]).map(|(start, number)| {
            let tokens = self.pictures[number].embeddings.dims()[0];
            let dropped = self.dropped.get(number).filter(|dropped| dropped.len() == tokens);
            Earlier { start, dropped: dropped.cloned().unwrap_or_else(|| vec![false; tokens]) }
        });
        Some(Missed::new(whole - 1, earlier.collect()))
    }
}

/// Which of a picture's tokens did not come through all filters.
fn dropped(report: &PictureReport) -> Vec<bool> {
    let Some(kept) = report.kept.last() else { return vec![false; report.tokens.len()] };
    let mut dropped = vec![true; report.tokens.len()];
    kept.tokens.iter().for_each(|token| dropped[*token] = false);
    dropped
}
