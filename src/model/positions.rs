//! The rotary positions of a pass's rows.

use burn::tensor::{Device, Int, Tensor};

use crate::kernel::{concatenate, integers};

/// Where the rows of a picture stand among the positions that the whole picture would take: what was left out of the
/// decoder leaves its positions empty, so that the rest stays where it was seen.
#[derive(Debug, Clone)]
pub struct Places {
    /// Positions of the whole picture.
    pub span: u32,
    /// Of each row that might have entered, ascending.
    pub of_rows: Vec<u32>,
    /// Those that did, of which the device alone knows; `None` for all.
    pub entered: Option<Tensor<1, Int>>,
}

/// A rotary position for each row of a pass.
#[derive(Debug, Clone, Default)]
pub struct RowPositions {
    /// One a row; where the device alone knows it, that of the first it may be.
    known: Vec<u32>,
    chosen: Vec<ChosenRows>,
    /// The position behind the last row's.
    end: u32,
}

/// Rows whose positions the device knows.
#[derive(Debug, Clone)]
struct ChosenRows {
    /// The first of them.
    first: usize,
    /// Their places among `positions`.
    places: Tensor<1, Int>,
    positions: Vec<u32>,
}

impl RowPositions {
    /// Positions one behind the other for `count` more rows.
    pub fn follow(&mut self, count: usize) {
        let end = self.end + count as u32;
        self.known.extend(self.end..end);
        self.end = end;
    }

    /// Those of one more picture.
    pub fn picture(&mut self, places: &Places) {
        let positions: Vec<u32> = places.of_rows.iter().map(|place| self.end + place).collect();
        match &places.entered {
            None => self.known.extend(positions),
            Some(entered) => {
                let first = self.known.len();
                self.known.extend(std::iter::repeat_n(self.end, entered.dims()[0]));
                self.chosen.push(ChosenRows { first, places: entered.clone(), positions });
            }
        }
        self.end += places.span;
    }

    /// Those of the rows from `first` on.
    pub fn starting_at(&self, first: usize) -> Self {
        let chosen = self.chosen.iter().filter_map(|chosen| {
            let count = chosen.places.dims()[0];
            let seen = first.saturating_sub(chosen.first);
            (seen < count).then(|| ChosenRows {
                first: chosen.first.saturating_sub(first),
                places: if seen == 0 {
                    chosen.places.clone()
                } else {
                    chosen.places.clone().slice([seen..count])
                },
                positions: chosen.positions.clone(),
            })
        });
        Self { known: self.known[first..].to_vec(), chosen: chosen.collect(), end: self.end }
    }

    /// The position of a row, or what it is at least; behind the last one, [`end`](Self::end).
    pub fn at(&self, row: usize) -> u32 {
        self.known.get(row).copied().unwrap_or(self.end)
    }

    /// The position behind the last row's.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// Whether pictures take more positions than they have rows, where the first row's is 0.
    pub fn leaves_gaps(&self) -> bool {
        self.end as usize > self.known.len()
    }

    /// All positions, unless the device alone knows some.
    pub(super) fn known(&self) -> Option<&[u32]> {
        self.chosen.is_empty().then_some(&self.known)
    }

    /// Positions, of more rows than there are, and which of them the rows have; `None` if each its own.
    pub fn and_index(&self, device: &Device) -> (Vec<u32>, Option<Tensor<1, Int>>) {
        if self.chosen.is_empty() {
            return (self.known.clone(), None);
        }
        let range = |start: usize, end: usize| {
            integers((start as u32..end as u32).collect(), [end.saturating_sub(start)], device)
        };
        let mut positions = self.known.clone();
        let (mut index, mut done) = (Vec::new(), 0);
        for chosen in &self.chosen {
            index.push(range(done, chosen.first));
            index.push(chosen.places.clone() + positions.len() as u32);
            positions.extend(&chosen.positions);
            done = chosen.first + chosen.places.dims()[0];
        }
        index.push(range(done, self.known.len()));
        (positions, Some(concatenate(index)))
    }
}

impl From<&[u32]> for RowPositions {
    fn from(positions: &[u32]) -> Self {
        let end = positions.last().map_or(0, |last| last + 1);
        Self { known: positions.to_vec(), chosen: Vec::new(), end }
    }
}

impl From<&Vec<u32>> for RowPositions {
    fn from(positions: &Vec<u32>) -> Self {
        positions.as_slice().into()
    }
}

impl<const ROWS: usize> From<&[u32; ROWS]> for RowPositions {
    fn from(positions: &[u32; ROWS]) -> Self {
        positions.as_slice().into()
    }
}
