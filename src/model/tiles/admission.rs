//! Which tokens of a picture in tiles enter: every tile's, in proportion to its tokens, and the newlines of their rows.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
};

use burn::tensor::Tensor;

use super::Tokens;
use crate::{
    drop::{
        newlines::{Standing, best_within},
        policy::{Entry, Policy, Score, TowerTokens},
        token_map::{Group, TokenMap},
    },
    error::Result,
    kernel,
    model::{
        EnteredTokens, LlavaModel, TowerFeatures,
        packing::{Sources, mixed},
        pruned_features::{TileFeatures, in_order, means},
    },
};

const STEP: &str = "choose what enters of a picture in tiles";

/// A choice among a picture's tokens.
pub(super) struct Admission<'a> {
    model: &'a LlavaModel,
    tower: &'a TowerFeatures,
    tokens: &'a Tokens,
    rules: &'a dyn Policy,
    /// Of all tiles, `[rows, width]`.
    features: Tensor<2>,
    /// The attention of each tile's own [CLS], or of all its tokens, `[rows, 1]`.
    class_attention: OnceCell<Tensor<2>>,
}

/// What enters the decoder.
pub(super) struct Entered {
    /// The decoder's embeddings.
    pub features: Tensor<2>,
    pub standing: Vec<Standing>,
    /// The place of each among all cells of the picture.
    pub cells: Vec<u32>,
    pub known: EnteredTokens,
}

impl<'a> Admission<'a> {
    pub fn new(
        model: &'a LlavaModel,
        tower: &'a TowerFeatures,
        tokens: &'a Tokens,
        rules: &'a dyn Policy,
    ) -> Self {
        let features = Tensor::cat(tower.tiles.iter().map(|tile| tile.features.clone()).collect(), 0);
        Self { model, tower, tokens, rules, features, class_attention: OnceCell::new() }
    }

    /// Lets `count` tokens in, newlines included.
    ///
    /// # Errors
    ///
    /// [`Error::Device`](crate::Error::Device) if the device fails.
    pub fn enter(&self, count: usize) -> Result<Entered> {
        let entries = self.entries(count)?;
        if entries.iter().any(|(_, entry)| matches!(entry, Entry::Means(_))) {
            return self.enter_means(self.groups_of(entries), count);
        }
        self.enter_highest(entries, count)
    }

    /// What the policy lets in of each tile, by its number among the regions, if all may have `count` tokens together.
    fn entries(&self, count: usize) -> Result<Vec<(usize, Entry)>> {
        let regions = &self.tokens.regions;
        let sizes: Vec<usize> = regions.iter().map(|(_, _, members)| members.len()).collect();
        let mut entries = Vec::with_capacity(regions.len());
        for (region, share) in shares(count, &sizes).into_iter().enumerate().filter(|(_, share)| *share > 0) {
            let (tile, grid, members) = &regions[region];
            let sources: Vec<Sources> =
                members.iter().map(|token| self.tokens.sources[*token].clone()).collect();
            let class_attention = || mixed(self.class_attention(), &sources).reshape([sources.len()]);
            let tower = TowerTokens {
                features: mixed(&self.features, &sources),
                grid: *grid,
                fingerprint: self.tower.tiles[*tile].fingerprint,
                class_attention: &class_attention,
                variants: self.model.vision.class_attention.variants(),
            };
            entries.push((region, self.rules.enter(&tower, share)?));
        }
        Ok(entries)
    }

    fn class_attention(&self) -> &Tensor<2> {
        self.class_attention.get_or_init(|| {
            let vision = &self.model.vision;
            let of_tile = |tile: &TileFeatures| {
                let attention = vision.class_attention.forward(&tile.seen, vision.classes());
                let rows = attention.dims()[0];
                attention.reshape([rows, 1])
            };
            Tensor::cat(self.tower.tiles.iter().map(of_tile).collect(), 0)
        })
    }

    /// Lets the highest in: the protected ones first, then by the attention of [CLS], or as they were picked, tiles in turns.
    fn enter_highest(&self, entries: Vec<(usize, Entry)>, count: usize) -> Result<Entered> {
        let tokens = self.tokens;
        let mut is_key = vec![false; tokens.len()];
        let mut is_picked = vec![false; tokens.len()];
        // The lower, the earlier.
        let mut rank = vec![f64::INFINITY; tokens.len()];
        let mut attention: Option<Vec<f32>> = None;
        for (region, entry) in entries {
            let members = &tokens.regions[region].2;
            let Entry::Highest { score, protected } = entry else {
                rank_in_turns(&mut rank, members, members.iter().copied());
                continue;
            };
            let values = kernel::read_numbers(score.values().clone(), STEP)?;
            match score {
                Score::ClassAttention(_) => {
                    let mut order: Vec<usize> = (0..values.len()).collect();
                    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
                    order.iter().take(protected).for_each(|member| is_key[members[*member]] = true);
                    let attention = attention.get_or_insert_with(|| vec![0.0; tokens.len()]);
                    for (token, value) in members.iter().zip(&values) {
                        attention[*token] = *value;
                        rank[*token] = -f64::from(*value);
                    }
                }
                Score::Picks(_) => {
                    let picks: Vec<usize> =
                        in_order(&values).into_iter().map(|member| members[member]).collect();
                    picks.iter().for_each(|token| is_picked[*token] = true);
                    // Where nearly all enter, not all were picked: the others come behind.
                    let others = members.iter().copied().filter(|token| !is_picked[*token]);
                    let order: Vec<usize> = picks.iter().copied().chain(others).collect();
                    rank_in_turns(&mut rank, members, order);
                }
            }
        }
        let mut ranking: Vec<usize> =
            (0..tokens.len()).filter(|token| !tokens.standing[*token].is_newline).collect();
        let has_picks = is_picked.contains(&true);
        if has_picks {
            // Of a few picks from each of many tiles, all would be protected if every tile had its own.
            ranking.sort_by(|a, b| rank[*a].total_cmp(&rank[*b]));
            ranking.iter().take(self.rules.protected(count)).for_each(|token| is_key[*token] = true);
        }
        ranking.sort_by(|a, b| is_key[*b].cmp(&is_key[*a]).then(rank[*a].total_cmp(&rank[*b])));
        let chosen = match count < tokens.len() {
            true => best_within(&tokens.standing, &ranking, count),
            false => (0..tokens.len()).collect(),
        };
        let picks = has_picks.then(|| {
            let is_one = |index: &usize| is_picked[chosen[*index]];
            let mut picks: Vec<usize> = (0..chosen.len()).filter(is_one).collect();
            picks.sort_by(|a, b| rank[chosen[*a]].total_cmp(&rank[chosen[*b]]));
            picks
        });
        let sources: Vec<Sources> = chosen.iter().map(|token| tokens.sources[*token].clone()).collect();
        let standing =
            chosen.iter().map(|token| Standing { is_key: is_key[*token], ..tokens.standing[*token] });
        Ok(Entered {
            features: self.model.pack(&self.features, &sources)?,
            standing: standing.collect(),
            cells: chosen.iter().map(|token| tokens.cells[*token]).collect(),
            known: EnteredTokens {
                tokens: TokenMap {
                    patches: chosen.iter().map(|token| tokens.patches[*token].clone()).collect(),
                },
                class_attention: attention
                    .map(|attention| chosen.iter().map(|token| attention[*token]).collect()),
                picks,
            },
        })
    }

    /// Lets means in, as many as there is room for beside the newlines of their rows.
    ///
    /// Where a newline too many is all that keeps the budget from being full, the rows with the fewest tokens go without theirs.
    fn enter_means(&self, most: Vec<Group>, count: usize) -> Result<Entered> {
        let cost = |groups: &[Group]| groups.len() + self.newlines(groups).len();
        if cost(&most) <= count {
            return self.entered_means(most, 0);
        }
        // The most groups that fit, and those of the next number. As many as leave room for all newlines fit for sure.
        let newlines = self.tokens.standing.iter().filter(|token| token.is_newline).count();
        let (mut low, mut high) = (count.saturating_sub(newlines).max(1), count);
        let (mut fit, mut over) = (self.groups(low)?, most);
        while low + 1 < high {
            let middle = (low + high) / 2;
            let groups = self.groups(middle)?;
            if cost(&groups) <= count {
                (low, fit) = (middle, groups);
            } else {
                (high, over) = (middle, groups);
            }
        }
        let is_full = cost(&fit) >= count || over.len() > count;
        let groups = if is_full { fit } else { over };
        let surplus = cost(&groups).saturating_sub(count);
        self.entered_means(groups, surplus)
    }

    /// Lets groups in, and the newlines of their rows but so many.
    fn entered_means(&self, groups: Vec<Group>, left_out: usize) -> Result<Entered> {
        let newlines: BTreeSet<usize> =
            self.newlines(&groups).into_iter().skip(left_out).map(|(_, newline)| newline).collect();
        let tokens = self.tokens;
        // Newlines are no members: any row will do.
        let made_of = |sources: &Sources| if sources.is_empty() { vec![(0, 1.0)] } else { sources.clone() };
        let all = mixed(&self.features, &tokens.sources.iter().map(made_of).collect::<Vec<_>>());
        let means = means(&all, 0, groups.iter().map(|group| group.members.as_slice()));
        let groups: BTreeMap<usize, (usize, &Group)> =
            groups.iter().enumerate().map(|(row, group)| (group.anchor as usize, (row, group))).collect();
        let chosen: BTreeSet<usize> = groups.keys().chain(&newlines).copied().collect();
        let sources = chosen.iter().map(|token| groups.get(token).map(|(row, _)| (*row as u32, 1.0)));
        let sources: Vec<Sources> = sources.map(|source| source.into_iter().collect()).collect();
        let patches = |token: &usize| -> Vec<u32> {
            let members = groups.get(token).map(|(_, group)| group.members.as_slice()).unwrap_or_default();
            members.iter().flat_map(|member| tokens.patches[*member as usize].iter().copied()).collect()
        };
        Ok(Entered {
            features: self.model.pack(&means, &sources)?,
            standing: chosen.iter().map(|token| tokens.standing[*token]).collect(),
            cells: chosen.iter().map(|token| tokens.cells[*token]).collect(),
            known: EnteredTokens {
                tokens: TokenMap { patches: chosen.iter().map(patches).collect() },
                class_attention: None,
                picks: None,
            },
        })
    }

    /// The groups that the policy makes if tiles have so many tokens together, members counted over all tokens.
    fn groups(&self, count: usize) -> Result<Vec<Group>> {
        Ok(self.groups_of(self.entries(count)?))
    }

    fn groups_of(&self, entries: Vec<(usize, Entry)>) -> Vec<Group> {
        let mut groups = Vec::new();
        for (region, entry) in entries {
            let members = &self.tokens.regions[region].2;
            let of_all = |member: &u32| members[*member as usize] as u32;
            match entry {
                Entry::Means(of_tile) => groups.extend(of_tile.iter().map(|group| Group {
                    anchor: of_all(&group.anchor),
                    members: group.members.iter().map(of_all).collect(),
                })),
                _ => groups.extend(members.iter().map(|token| Group::single(*token as u32))),
            }
        }
        groups
    }

    /// The newlines of the rows that groups stand in, with how many stand there: the fewest first, of equals the lowest row.
    fn newlines(&self, groups: &[Group]) -> Vec<(usize, usize)> {
        let mut rows: BTreeMap<u32, usize> = BTreeMap::new();
        for group in groups {
            if let Some(line) = self.tokens.standing[group.anchor as usize].line {
                *rows.entry(line).or_default() += 1;
            }
        }
        let newlines = self.tokens.standing.iter().enumerate().rev().filter(|(_, token)| token.is_newline);
        let of_row = |(token, standing): (usize, &Standing)| Some((*rows.get(&standing.line?)?, token));
        let mut newlines: Vec<(usize, usize)> = newlines.filter_map(of_row).collect();
        newlines.sort_by_key(|(tokens, _)| *tokens);
        newlines
    }
}

/// Ranks a tile's tokens, in this order, such that tiles take turns in proportion to their tokens.
fn rank_in_turns(rank: &mut [f64], members: &[usize], order: impl IntoIterator<Item = usize>) {
    for (number, token) in order.into_iter().enumerate() {
        rank[token] = (number as f64 + 0.5) / members.len() as f64;
    }
}

/// `count` in proportion to `sizes`, none above its size: what rounding leaves over goes to the largest remainders, of equals to
/// the first.
fn shares(count: usize, sizes: &[usize]) -> Vec<usize> {
    let total = sizes.iter().sum::<usize>().max(1);
    let count = count.min(total);
    let mut shares: Vec<usize> = sizes.iter().map(|size| count * size / total).collect();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|region| std::cmp::Reverse(count * sizes[*region] % total));
    let left = count - shares.iter().sum::<usize>();
    order.into_iter().take(left).for_each(|region| shares[region] += 1);
    shares
}

#[cfg(test)]
mod tests {
    use super::shares;

    #[test]
    fn what_tiles_get_is_in_proportion_and_adds_up() {
        assert_eq!(shares(10, &[4, 4, 4]), [4, 3, 3]);
        assert_eq!(shares(1, &[4, 8, 4]), [0, 1, 0]);
        assert_eq!(shares(99, &[4, 8, 4]), [4, 8, 4]);
        assert_eq!(shares(64, &[576, 1728]), [16, 48]);
    }
}
