//! Stage D: before the first decode step, caches are cut to the tokens that survived every filter.
//!
//! The layers from the first to the last pruning layer hold rows of tokens that a later filter dropped. Layers
//! before the first keep theirs; layers behind the last never saw them.

use super::prefill::FilterStep;

/// For each layer to cut, the rows of the pass that stay in its cache, among those it holds.
pub fn evictions(steps: &[FilterStep]) -> Vec<(usize, Vec<u32>)> {
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return Vec::new() };
    let mut evictions = Vec::new();
    // From the last filter back: what stays of the rows that entered filter `i` and all behind it.
    let mut staying: Option<Vec<u32>> = None;
    for (index, step) in steps.iter().enumerate().rev() {
        let rows = match &staying {
            None => step.rows.clone(),
            Some(later) => later.iter().map(|row| step.rows[*row as usize]).collect(),
        };
        // The layers whose rows are those that entered this filter: behind the filter before it.
        let from = if index == 0 { first.layer } else { steps[index - 1].layer + 1 };
        evictions.extend((from..=step.layer).map(|layer| (layer, rows.clone())));
        staying = Some(rows);
    }
    debug_assert!(evictions.iter().all(|(layer, _)| (first.layer..=last.layer).contains(layer)));
    evictions.sort_by_key(|(layer, _)| *layer);
    evictions
}
