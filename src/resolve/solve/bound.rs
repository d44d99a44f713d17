//! The lower bound of the cost of a branch, and the items that stay possible within the limit.
//!
//! Every figure is a lower bound, so no cut item is part of a better set: cost fields are sums, sums of minima do not
//! exceed minima of sums, and both hold for the order of fields as for numbers.

use super::bits::Bits;
use super::model::Key;
use super::search::{Search, State, Status};

/// The cheapest way to serve the open sonames of one group from each of its releases.
struct Block {
    group: usize,
    /// Per release of an open item, ascending: the sum, or none if a required soname has no item of it.
    sums: Vec<(usize, Option<u128>)>,
    least: u128,
}

impl Search<'_> {
    /// Removes the items that cannot be part of a set within the limit. None if there is no such set, else whether any
    /// item was removed.
    pub(super) fn cut(&mut self, state: &mut State) -> Option<bool> {
        let model = self.model;
        let mut least = state.spent;
        let mut blocks: Vec<Block> = Vec::new();
        for at in 0..model.sonames.len() {
            if !state.is_open(at) {
                continue;
            }
            match model.sonames[at].group.filter(|&group| self.is_block(group)) {
                Some(group) if blocks.iter().all(|block| block.group != group) => {
                    let block = self.block(state, group)?;
                    least = least.saturating_add(block.least);
                    blocks.push(block);
                }
                Some(_) => {}
                None => least = least.saturating_add(self.cheapest(state, at, None)?),
            }
        }
        let roots = self.least_roots(state);
        if least.saturating_add(self.roots_cost(roots)) > self.limit {
            return None;
        }

        let used = state.roots.count();
        let mut removed = false;
        for at in 0..model.sonames.len() {
            if !state.is_open(at) {
                continue;
            }
            let block = blocks.iter().find(|block| Some(block.group) == model.sonames[at].group);
            let cheapest = self.cheapest(state, at, None).unwrap_or(0);
            let mut out = Vec::new();
            for item in state.open.within(&model.sonames[at].items) {
                let own = &model.items[item];
                // The lower bound of the rest, beside this item.
                let rest = match (block, own.release) {
                    (None, _) => Some(least - cheapest),
                    (Some(block), Some(release)) => block
                        .at(release)
                        .map(|sum| least - block.least + sum - self.cheapest(state, at, Some(release)).unwrap_or(0)),
                    (Some(block), None) => Some(least - block.least),
                };
                // Leaving a soft soname out may save its root too.
                let outlook = self.outlook(state, item);
                let roots = if outlook == Some(0) { roots } else { used };
                let opens = usize::from(!state.roots.has(own.root));
                let opened = roots.max(used + opens);
                let rest = rest.zip(outlook).map(|(rest, more)| rest + more);
                let fits = rest.is_some_and(|rest| {
                    rest.saturating_add(self.costs[item]).saturating_add(self.roots_cost(opened)) <= self.limit
                });
                if !fits {
                    out.push(item);
                }
            }
            removed |= !out.is_empty();
            for item in out {
                state.open.remove(item);
            }
            if state.status[at] == Status::Soft {
                let without = match block {
                    None => least - cheapest,
                    Some(block) => least - block.least,
                };
                if without.saturating_add(self.leave[at]).saturating_add(self.roots_cost(used)) > self.limit {
                    state.status[at] = Status::Hard;
                    removed = true;
                }
            }
        }
        Some(removed)
    }

    /// The cost of the soft sonames that an item leaves without items. None if it leaves a required one without.
    fn outlook(&mut self, state: &State, item: usize) -> Option<u128> {
        if !self.look_ahead {
            return Some(0);
        }
        let mut more = 0;
        for at in 0..self.pairs.row(item).touched.len() {
            let row = self.pairs.row(item);
            let soname = row.touched[at];
            let items = &self.model.sonames[soname].items;
            if !state.is_open(soname) || !row.out.holds_within(&state.open, items) {
                continue;
            }
            match (state.status[soname], self.model.sonames[soname].group) {
                (Status::Soft, None) => {
                    more += self.leave[soname] - self.cheapest(state, soname, None)?.min(self.leave[soname]);
                }
                // In a block it may have been counted as left out.
                (Status::Soft, Some(_)) => {}
                _ => return None,
            }
        }
        Some(more)
    }

    /// Whether a group must be of one release, so that its sonames have a common bound.
    fn is_block(&self, group: usize) -> bool {
        self.off.is_empty() || !self.off.contains(&Key::OneRelease(group))
    }

    /// The cheapest way to serve or leave out a soname, at one release (or of unknown release) if given. None if it is
    /// required and cannot be served.
    fn cheapest(&self, state: &State, soname: usize, release: Option<usize>) -> Option<u128> {
        let items = state.open.within(&self.model.sonames[soname].items);
        let least = items
            .filter(|&item| {
                let own = self.model.items[item].release;
                release.is_none() || own.is_none() || own == release
            })
            .map(|item| self.costs[item])
            .min();
        match state.status[soname] {
            Status::Soft => Some(least.map_or(self.leave[soname], |least| least.min(self.leave[soname]))),
            _ => least,
        }
    }

    /// None if no release serves the required sonames.
    fn block(&self, state: &State, group: usize) -> Option<Block> {
        let model = self.model;
        let open: Vec<usize> = (0..model.sonames.len())
            .filter(|&at| model.sonames[at].group == Some(group) && state.is_open(at))
            .collect();
        let mut releases: Vec<usize> = open
            .iter()
            .flat_map(|&at| state.open.within(&model.sonames[at].items))
            .filter_map(|item| model.items[item].release)
            .collect();
        releases.sort_unstable();
        releases.dedup();
        let sum = |release| {
            open.iter().try_fold(0_u128, |sum, &at| Some(sum.saturating_add(self.cheapest(state, at, release)?)))
        };
        let sums: Vec<(usize, Option<u128>)> =
            releases.into_iter().map(|release| (release, sum(Some(release)))).collect();
        // All of unknown release, or all left out: in no release's sum.
        let unreleased = open.iter().try_fold(0_u128, |sum, &at| {
            let items = state.open.within(&model.sonames[at].items);
            let least = items.filter(|&item| model.items[item].release.is_none()).map(|item| self.costs[item]).min();
            let least = match state.status[at] {
                Status::Soft => Some(least.map_or(self.leave[at], |least| least.min(self.leave[at]))),
                _ => least,
            };
            Some(sum.saturating_add(least?))
        });
        let least = sums.iter().filter_map(|&(_, sum)| sum).chain(unreleased).min()?;
        Some(Block { group, sums, least })
    }

    /// The fewest installations of a set here: those in use, and one for each of some open sonames with no installation
    /// in common, and none in use.
    ///
    /// A soft soname counts too, since leaving it out costs more than any number of roots; not in a block, whose sum
    /// may leave it out already.
    fn least_roots(&self, state: &State) -> usize {
        let used = state.roots.count();
        if !self.count_roots {
            return used;
        }
        let mut masks: Vec<(usize, Bits)> = Vec::new();
        for (at, soname) in self.model.sonames.iter().enumerate() {
            let counts = match state.status[at] {
                Status::Hard => true,
                Status::Soft => !soname.group.is_some_and(|group| self.is_block(group)),
                Status::Idle | Status::Served | Status::Left => false,
            };
            if counts {
                let mut mask = Bits::none(self.model.roots);
                for item in state.open.within(&soname.items) {
                    mask.add(self.model.items[item].root);
                }
                if !mask.meets(&state.roots) {
                    masks.push((mask.count(), mask));
                }
            }
        }
        masks.sort_by_key(|(count, _)| *count);
        let mut taken = state.roots.clone();
        let mut fewest = used;
        for (_, mask) in &masks {
            if !mask.meets(&taken) {
                taken.join(mask);
                fewest += 1;
            }
        }
        fewest
    }

    /// Whether a set here may come before the best one in the documented order.
    pub(super) fn may_go_first(&self, state: &State) -> bool {
        let Some(best) = &self.best else { return true };
        let least = self.model.sonames.iter().enumerate().map(|(at, soname)| match state.status[at] {
            Status::Served => state.set[at],
            Status::Hard => state.open.within(&soname.items).next(),
            Status::Idle | Status::Soft | Status::Left => None,
        });
        least.lt(best.iter().copied())
    }
}

impl Block {
    fn at(&self, release: usize) -> Option<u128> {
        let at = self.sums.binary_search_by_key(&release, |&(its, _)| its).ok()?;
        self.sums[at].1
    }
}
