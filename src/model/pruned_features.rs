//! Stage V in the vision tower: alike windows merged, key tokens named, and what enters the decoder.

use burn::tensor::{Device, Int, Tensor};
use twox_hash::XxHash64;

use super::{
    clip::{Seen, VisionTower},
    positions::Places,
};
use crate::{
    drop::{
        Pruning,
        policy::{Entry, Score, TowerTokens},
        prefill::{Admitted, Candidates},
        token_map::{Group, TokenMap, member_table},
        vision::MergePlan,
    },
    error::{Error, Result},
    kernel,
    oracle::vision::WindowSimilarityParams,
    tiling::{PictureShape, Size},
};

/// The features of a picture after stage V.
#[derive(Debug, Clone)]
pub struct PrunedFeatures {
    /// `[tokens, width]`
    pub features: Tensor<2>,
    /// The patches of every token in the tower, behind the merge.
    pub tower_tokens: TokenMap,
    /// What the prefill's filters have to know.
    pub candidates: Candidates,
    /// What windows were compared and merged; `None` where nothing was to be merged.
    pub merge: Option<Merge>,
    /// Who knows what entered the decoder.
    pub(super) chosen: Chosen,
    /// Class tokens in front of the features.
    pub(super) classes: usize,
    /// Where the tokens stand; `None` where they follow one another.
    pub places: Option<Places>,
}

/// Who knows what entered the decoder.
#[derive(Debug, Clone)]
pub(super) enum Chosen {
    /// The device, which tells at the end of the prefill: some of the tower's tokens.
    OnDevice,
    /// Means of the tower's tokens.
    Means(Vec<Group>),
    /// The host: of a picture in tiles.
    OnHost(EnteredTokens),
}

/// The comparison of windows.
#[derive(Debug, Clone, PartialEq)]
pub struct Merge {
    /// Merged windows (row-major), most similar first.
    pub windows: Vec<usize>,
    /// The similarity of every window.
    pub similarity: Vec<f32>,
}

/// The tokens of a picture that entered the decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct EnteredTokens {
    /// The patches of every token that entered the decoder.
    pub tokens: TokenMap,
    /// The attention of `[CLS]` to each token that entered, if it was asked for; 0 to a class token.
    pub class_attention: Option<Vec<f32>>,
    /// The tokens in the order in which they were picked; `None` if they were not.
    pub picks: Option<Vec<usize>>,
}

/// A picture as the tower sees it, before a policy chooses from it.
#[derive(Debug, Clone)]
pub struct TowerFeatures {
    pub(super) tiles: Vec<TileFeatures>,
    /// The tiles, and the tokens that they are to be.
    pub shape: PictureShape,
}

/// A tile that the tower begins with, and what was merged of it.
struct Begun {
    state: Tensor<2>,
    tower_tokens: TokenMap,
    merge: Option<Merge>,
}

/// A tile as the tower sees it.
#[derive(Debug, Clone)]
pub(super) struct TileFeatures {
    /// `[classes + tokens, width]`
    pub features: Tensor<2>,
    /// The input of the layer whose attention names key tokens.
    pub seen: Tensor<2>,
    pub tower_tokens: TokenMap,
    pub merge: Option<Merge>,
    pub fingerprint: u64,
}

impl TowerFeatures {
    /// Bytes on the device.
    pub fn bytes(&self) -> u64 {
        let tensors = self.tiles.iter().flat_map(|tile| [&tile.features, &tile.seen]);
        tensors.map(|x| (x.shape().num_elements() * x.dtype().size()) as u64).sum()
    }
}

impl VisionTower {
    /// The features of one picture with alike windows merged, and what stage V found out about it.
    ///
    /// # Shapes
    ///
    /// `pixels`: `[channels, side, side]`; result: a row for each token that enters the decoder.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] if the checkpoint takes features from before the merge, or for a budget that cannot be
    /// hit; [`Error::Device`] if the device fails.
    pub fn pruned_features(
        &self,
        pixels: &[f32],
        pruning: &Pruning,
        decoder_layers: usize,
    ) -> Result<PrunedFeatures> {
        self.admit(&self.look(&[pixels], &self.square(), pruning, decoder_layers)?, pruning, decoder_layers)
    }

    /// How many tokens merging has to leave of a picture, so that a budget can be hit; `None` where windows are not merged.
    ///
    /// Detail that is shrunk is interpolated between patches, and has no windows.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a budget that cannot be hit.
    pub fn least_tokens(
        &self,
        shape: &PictureShape,
        pruning: &Pruning,
        decoder_layers: usize,
    ) -> Result<Option<usize>> {
        let rules = pruning.rules();
        let sizes = rules.sizes(shape, shape.budgeted(), decoder_layers)?;
        let merges = rules.merges() && !shape.is_shrunk();
        Ok(merges.then(|| sizes.and_then(|sizes| sizes.first().copied()).unwrap_or(0)))
    }

    /// The shape of a picture that is one square.
    pub(super) fn square(&self) -> PictureShape {
        PictureShape::square(self.config.grid(), self.select.classes(self.config.kind))
    }

    /// Runs the tower on every tile, merging windows if the policy does: the part that policies share for which
    /// [`least_tokens`](Self::least_tokens) is the same.
    ///
    /// # Errors
    ///
    /// As [`pruned_features`](Self::pruned_features).
    pub fn look(
        &self,
        tiles: &[&[f32]],
        shape: &PictureShape,
        pruning: &Pruning,
        decoder_layers: usize,
    ) -> Result<TowerFeatures> {
        let least = self.least_tokens(shape, pruning, decoder_layers)?;
        // Each tile leaves its share, beside what is cut off of it with the margin.
        let (of_tile, content) = (shape.patches_of_tile(), shape.content());
        let shown: Vec<usize> =
            shape.regions().iter().map(|region| region.cells.len().min(of_tile)).collect();
        let share = |least: usize, shown: usize| (least * shown).div_ceil(content) + of_tile - shown;
        let done = usize::from(least.is_some());
        let mut looked_at = Vec::with_capacity(tiles.len());
        let at_once = self.config.squares_at_once();
        for (batch, shown) in tiles.chunks(at_once).zip(shown.chunks(at_once)) {
            let begun = batch
                .iter()
                .zip(shown)
                .map(|(pixels, shown)| self.begin(pixels, pruning, least.map(|least| share(least, *shown))));
            let begun: Vec<Begun> = begun.collect::<Result<_>>()?;
            let states = begun.iter().map(|tile| tile.state.clone()).collect();
            for ((tile, pixels), seen) in begun.into_iter().zip(batch).zip(self.run(states, done)) {
                let Begun { tower_tokens, merge, .. } = tile;
                let (Seen { features, seen }, fingerprint) = (seen, fingerprint(pixels));
                looked_at.push(TileFeatures { features, seen, tower_tokens, merge, fingerprint });
            }
        }
        Ok(TowerFeatures { tiles: looked_at, shape: shape.clone() })
    }

    /// A tile up to the merge, or to the first layer.
    fn begin(&self, pixels: &[f32], pruning: &Pruning, least: Option<usize>) -> Result<Begun> {
        let state = self.embed(pixels);
        let Some(least) = least else {
            let tower_tokens = TokenMap::dense(self.config.patches());
            return Ok(Begun { state, tower_tokens, merge: None });
        };
        let Some(first) = self.layers.first().filter(|_| !self.feature_states.contains(&0)) else {
            let found = "a checkpoint that takes features from before layer 0";
            return Err(Error::argument("merge", "features behind layer 0", found));
        };
        let rows = state.dims()[0];
        let (state, merge, tower_tokens) =
            self.merge_windows(first.forward(state, &[rows]), pruning, least)?;
        Ok(Begun { state, tower_tokens, merge })
    }

    /// Lets the tokens of a picture that is one square in that the policy chooses.
    ///
    /// # Errors
    ///
    /// As [`pruned_features`](Self::pruned_features).
    pub fn admit(
        &self,
        tower: &TowerFeatures,
        pruning: &Pruning,
        decoder_layers: usize,
    ) -> Result<PrunedFeatures> {
        let rules = pruning.rules();
        let TowerFeatures { tiles, shape } = tower;
        let TileFeatures { features, seen, tower_tokens, merge, fingerprint } = tiles[0].clone();
        let sizes = rules.sizes(shape, tower_tokens.len(), decoder_layers)?;
        let count = sizes.as_ref().and_then(|sizes| sizes.first().copied()).unwrap_or(usize::MAX);
        let rows = features.dims()[0];
        let classes = rows - tower_tokens.len();
        let class_attention = || self.class_attention.forward(&seen, self.classes());
        let entry = rules.enter(
            &TowerTokens {
                features: features.clone().slice([classes..rows]),
                grid: Size::square(shape.grid),
                fingerprint,
                class_attention: &class_attention,
                variants: self.class_attention.variants(),
            },
            count,
        )?;
        let candidates = Candidates {
            is_key: flags(tower_tokens.len(), 0, &features.device()),
            layers: rules.layers(shape, decoder_layers),
            sizes: sizes.map(|sizes| sizes.into_iter().skip(1).map(|size| size + classes).collect()),
            rows: None,
            score: None,
            standing: None,
        };
        let of_rows = places(classes, tower_tokens.patches.iter().map(|patches| middle(patches)));
        // A tower that other rules ran may have its tokens in another order.
        let places = (pruning.keeps_places() && of_rows.is_sorted()).then(|| Places {
            span: shape.tokens() as u32,
            of_rows,
            entered: None,
        });
        let picture = PrunedFeatures {
            features,
            tower_tokens,
            candidates,
            merge,
            chosen: Chosen::OnDevice,
            classes,
            places,
        };
        Ok(picture.enter(entry, count))
    }

    /// Merges windows behind layer 0; one small read-back.
    fn merge_windows(
        &self,
        state: Tensor<2>,
        pruning: &Pruning,
        least: usize,
    ) -> Result<(Tensor<2>, Option<Merge>, TokenMap)> {
        let params = WindowSimilarityParams {
            grid: self.config.grid() as u32,
            window: pruning.window as u32,
            first: self.classes() as u32,
            width: self.config.hidden_size as u32,
        };
        let similarity = kernel::vision::window_similarity(&state, params);
        let similarity = kernel::read_numbers(similarity, "compare the patches of each window")?;
        let plan = MergePlan::new(&similarity, &params, pruning, least);
        let state = means(&state, params.first, plan.tokens.patches.iter().map(Vec::as_slice));
        Ok((state, Some(Merge { windows: plan.windows, similarity }), plan.tokens))
    }
}

impl PrunedFeatures {
    /// Lets the tokens of `entry` in.
    fn enter(mut self, entry: Entry, count: usize) -> Self {
        let (classes, tokens) = (self.classes, self.tower_tokens.len());
        let device = self.features.device();
        match entry {
            Entry::All => {}
            Entry::Highest { score, protected } => {
                let is_key = kernel::prefill::top_k(score.values(), &self.candidates.is_key, protected);
                self.candidates.is_key = is_key.clone();
                if count < tokens {
                    let enters = kernel::prefill::top_k(score.values(), &is_key, count);
                    let (rows, is_key) = kernel::prefill::compact(&enters, &is_key, count, classes);
                    let classes = kernel::integers((0..classes as u32).collect(), [classes], &device);
                    let all = kernel::concatenate(vec![classes, rows.clone()]);
                    self.features = kernel::decode::gather_rows(&self.features, &all);
                    if let Some(places) = &mut self.places {
                        places.entered = Some(all);
                    }
                    (self.candidates.is_key, self.candidates.rows) = (is_key, Some(rows));
                }
                self.candidates.score = Some(score);
            }
            Entry::Means(mut groups) => {
                groups.sort_by_key(|group| group.anchor);
                let members = groups.iter().map(|group| group.members.as_slice());
                self.features = means(&self.features, classes as u32, members);
                self.candidates.is_key = flags(groups.len(), 0, &device);
                if let Some(places) = &mut self.places {
                    let tower = &self.tower_tokens.patches;
                    let anchors = groups.iter().filter_map(|group| tower.get(group.anchor as usize));
                    places.of_rows = self::places(classes, anchors.map(|patches| middle(patches)));
                }
                self.chosen = Chosen::Means(groups);
            }
        }
        // A class token, where the checkpoint shows it to the decoder, is protected.
        self.candidates.is_key =
            kernel::concatenate(vec![flags(classes, 1, &device), self.candidates.is_key]);
        self
    }

    /// The tokens that entered the decoder, given what the device chose.
    pub fn entered(&self, admitted: &Admitted) -> EnteredTokens {
        if let Chosen::OnHost(entered) = &self.chosen {
            return entered.clone();
        }
        let tower = &self.tower_tokens.patches;
        let chosen: Vec<usize> = match &admitted.rows {
            Some(rows) => rows.iter().map(|row| row.saturating_sub(self.classes)).collect(),
            None => (0..tower.len()).collect(),
        };
        let all_of = |group: &Group| -> Vec<u32> {
            group.members.iter().filter_map(|token| tower.get(*token as usize)).flatten().copied().collect()
        };
        let mut patches = vec![Vec::new(); self.classes];
        match &self.chosen {
            Chosen::Means(groups) => patches.extend(groups.iter().map(all_of)),
            _ => patches.extend(chosen.iter().filter_map(|token| tower.get(*token).cloned())),
        }
        let score = admitted.score.as_ref().map(|score| {
            let of_tokens = chosen.iter().filter_map(|token| score.get(*token).copied());
            std::iter::repeat_n(0.0, self.classes).chain(of_tokens).collect::<Vec<f32>>()
        });
        let (mut class_attention, mut picks) = (None, None);
        match self.candidates.score {
            Some(Score::ClassAttention(_)) => class_attention = score,
            Some(Score::Picks(_)) => picks = score.map(|priority| in_order(&priority)),
            None => {}
        }
        EnteredTokens { tokens: TokenMap { patches }, class_attention, picks }
    }
}

/// The patch in whose place a token of these stands.
pub(super) fn middle(patches: &[u32]) -> u32 {
    patches.get(patches.len() / 2).copied().unwrap_or_default()
}

/// Places of class tokens and of tokens that stand for these patches.
fn places(classes: usize, patches: impl Iterator<Item = u32>) -> Vec<u32> {
    (0..classes as u32).chain(patches.map(|patch| classes as u32 + patch)).collect()
}

/// The tokens of a priority above 0, the highest first.
pub(super) fn in_order(priority: &[f32]) -> Vec<usize> {
    let mut picks: Vec<usize> = (0..priority.len()).filter(|token| priority[*token] > 0.0).collect();
    picks.sort_by(|a, b| priority[*b].total_cmp(&priority[*a]));
    picks
}

/// Each token as the mean of its rows of `x`, behind `first` rows that stay as they are.
pub(super) fn means<'a>(x: &Tensor<2>, first: u32, groups: impl IntoIterator<Item = &'a [u32]>) -> Tensor<2> {
    let (table, places) = member_table(first, groups);
    let tokens = table.len() / places;
    kernel::vision::window_merge(x, &kernel::integers(table, [tokens, places], &x.device()))
}

/// `count` times the same flag.
pub(super) fn flags(count: usize, flag: u32, device: &Device) -> Tensor<1, Int> {
    kernel::integers(vec![flag; count], [count], device)
}

/// A number that depends on the pixels alone.
fn fingerprint(pixels: &[f32]) -> u64 {
    XxHash64::oneshot(0, bytemuck::cast_slice(pixels))
}
