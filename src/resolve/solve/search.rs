//! The exact search for the cheapest set that breaks no known rule.
//!
//! Takes a model, the answers so far and the rules in force; gives one item per soname, or none.
//! Backtracks with forward checking. Cuts a branch when its lower bound exceeds the limit: the cost so far, plus per
//! soname its cheapest remaining item, plus per group its cheapest release for all of it, plus the installations that
//! must still be added. Never queries the oracle.

use std::collections::BTreeSet;

use super::answers::Answers;
use super::bits::Bits;
use super::cost::{ABOVE_ROOTS, ONE_GOAL, ONE_NEED, ONE_ROOT};
use super::model::{GoalKind, Key, Model, Set};
use super::pairs::Pairs;

/// Any set that breaks no known rule.
pub(super) fn any(model: &Model<'_>, answers: &Answers, off: &BTreeSet<Key>) -> Option<Set> {
    let mut search = Search::new(model, answers, off);
    search.aim(Aim::Any, 0, u128::MAX);
    search.each_major();
    search.best
}

/// The cheapest set that breaks no known rule; of several, the first in the documented order. `fallback` is a known
/// valid set, if any.
pub(super) fn best(model: &Model<'_>, answers: &Answers, off: &BTreeSet<Key>, fallback: Option<&Set>) -> Option<Set> {
    let mut search = Search::new(model, answers, off);
    search.best = fallback.cloned();
    // The fields above the number of roots are sums over sonames: their optimum is found fast, and rules out most items
    // before the count of roots, which is not a sum.
    for mask in [ABOVE_ROOTS, u128::MAX] {
        let limit = search.best.as_ref().map(|best| super::check::cost(model, best).packed() & mask);
        search.aim(Aim::Cost, mask, limit.map_or(u128::MAX, |cost| cost.saturating_sub(1)));
        if limit != Some(0) {
            search.each_major();
        }
    }
    let limit = super::check::cost(model, search.best.as_ref()?).packed();
    search.aim(Aim::Order, u128::MAX, limit);
    search.each_major();
    search.best
}

/// Keeps the order of quotients of small numbers.
const SCALE: usize = 1 << 16;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// The first set found.
    Any,
    /// A set of least cost.
    Cost,
    /// Of the sets within the limit, the first in the documented order.
    Order,
}

pub(super) struct Search<'m> {
    pub(super) model: &'m Model<'m>,
    pub(super) off: &'m BTreeSet<Key>,
    pub(super) pairs: Pairs<'m>,
    /// Whether to check what an item excludes before trying it: costs more than forward checking, and pays only where
    /// symbols bind sonames of different groups.
    pub(super) look_ahead: bool,
    /// The items that are usable by themselves.
    base: Bits,
    aim: Aim,
    /// Per item, its cost under the current mask.
    pub(super) costs: Vec<u128>,
    /// Per soname, the cost of leaving it out.
    pub(super) leave: Vec<u128>,
    pub(super) count_roots: bool,
    pub(super) limit: u128,
    pub(super) best: Option<Set>,
    done: bool,
    /// Per soname, how often it ran out of items: those that fail most are decided first.
    failures: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// Not needed yet.
    Idle,
    /// To be served if an item fits.
    Soft,
    /// To be served.
    Hard,
    /// Served.
    Served,
    /// Needed, but left out.
    Left,
}

#[derive(Clone)]
pub(super) struct State {
    /// The items still possible.
    pub(super) open: Bits,
    pub(super) status: Vec<Status>,
    pub(super) set: Set,
    pub(super) roots: Bits,
    pub(super) spent: u128,
}

impl State {
    pub(super) fn is_open(&self, soname: usize) -> bool {
        matches!(self.status[soname], Status::Hard | Status::Soft)
    }
}

impl<'m> Search<'m> {
    fn new(model: &'m Model<'m>, answers: &'m Answers, off: &'m BTreeSet<Key>) -> Self {
        let mut base = Bits::none(model.items.len());
        for (at, item) in model.items.iter().enumerate() {
            let demands = &model.sonames[item.soname].demands;
            let undefined = demands.iter().any(|&demand| {
                answers.known(model.demands[demand].1.symbols, at).is_some() && !off.contains(&Key::Demand(demand))
            });
            if !undefined && item.excluded.iter().all(|key| off.contains(key)) {
                base.add(at);
            }
        }
        let pairs = Pairs::new(model, answers, off);
        let (costs, leave) = (Vec::new(), Vec::new());
        Self {
            model,
            off,
            pairs,
            look_ahead: answers.any(),
            base,
            aim: Aim::Any,
            costs,
            leave,
            count_roots: false,
            limit: 0,
            best: None,
            done: false,
            failures: vec![0; model.sonames.len()],
        }
    }

    /// Sets the aim of the search: only the fields of the cost in `mask` count.
    fn aim(&mut self, aim: Aim, mask: u128, limit: u128) {
        self.aim = aim;
        self.costs = self.model.items.iter().map(|item| item.cost.packed() & mask).collect();
        self.leave = (0..self.model.sonames.len()).map(|at| leave(self.model, at) & mask).collect();
        self.count_roots = mask & ONE_ROOT != 0;
        self.limit = limit;
        self.done = false;
    }

    /// Searches once per possible CUDA major of the set; within one, no rule between items is about majors.
    fn each_major(&mut self) {
        let items = &self.model.items;
        let mut majors: BTreeSet<Option<u32>> = BTreeSet::new();
        if !self.off.contains(&Key::OneMajor) {
            majors.extend(
                self.base.within(&(0..items.len())).filter_map(|item| items[item].cuda).map(|cuda| Some(cuda.major)),
            );
        }
        if majors.is_empty() {
            majors.insert(None);
        }
        for major in majors.into_iter().rev() {
            let mut open = self.base.clone();
            for (at, item) in items.iter().enumerate() {
                if major.is_some() && item.cuda.is_some_and(|cuda| Some(cuda.major) != major) {
                    open.remove(at);
                }
            }
            let state = self.start(open);
            self.descend(state);
        }
    }

    fn start(&self, open: Bits) -> State {
        let status = self.model.sonames.iter().enumerate().map(|(at, soname)| {
            let fixed = soname.fixed.is_some() && !self.off.contains(&Key::Fixed(at));
            match soname.goal == GoalKind::Hard && !self.off.contains(&Key::Goal(at)) || fixed {
                true => Status::Hard,
                // A dropped hard goal stays a soft one, so that to drop a fact never invalidates a set.
                false if soname.goal > GoalKind::None => Status::Soft,
                false => Status::Idle,
            }
        });
        State {
            open,
            status: status.collect(),
            set: vec![None; self.model.sonames.len()],
            roots: Bits::none(self.model.roots),
            spent: 0,
        }
    }

    fn descend(&mut self, mut state: State) {
        if self.done || !self.tighten(&mut state) || self.aim == Aim::Order && !self.may_go_first(&state) {
            return;
        }
        let Some(soname) = self.next(&state) else {
            return self.arrive(state);
        };
        let range = &self.model.sonames[soname].items;
        let mut values: Vec<(u128, usize)> =
            state.open.within(range).map(|item| (self.price_in(&state, item), item)).collect();
        if self.aim != Aim::Order {
            values.sort_unstable();
        }
        for (_, item) in values {
            let mut next = state.clone();
            if self.take(&mut next, item) {
                self.descend(next);
            }
        }
        if state.status[soname] == Status::Soft {
            for item in range.clone() {
                state.open.remove(item);
            }
            self.descend(state);
        }
    }

    /// Keeps a complete set if it is better.
    fn arrive(&mut self, state: State) {
        if self.pairs.torn(&state.set) {
            return;
        }
        match self.aim {
            Aim::Any => self.done = true,
            Aim::Cost => {
                let cost = self.paid(&state);
                self.done = cost == 0;
                self.limit = cost.saturating_sub(1);
            }
            Aim::Order => {
                if self.best.as_ref().is_some_and(|best| state.set >= *best) {
                    return;
                }
            }
        }
        self.best = Some(state.set);
    }

    fn paid(&self, state: &State) -> u128 {
        state.spent + self.roots_cost(state.roots.count())
    }

    pub(super) fn roots_cost(&self, roots: usize) -> u128 {
        if self.count_roots { ONE_ROOT * roots as u128 } else { 0 }
    }

    /// The cost of an item here, with the root that it would add.
    fn price_in(&self, state: &State, item: usize) -> u128 {
        let opens = usize::from(!state.roots.has(self.model.items[item].root));
        self.costs[item] + self.roots_cost(opens)
    }

    /// The soname to decide next.
    fn next(&self, state: &State) -> Option<usize> {
        let open = (0..self.model.sonames.len()).filter(|&soname| state.is_open(soname));
        if self.aim == Aim::Order {
            return open.into_iter().next();
        }
        open.min_by_key(|&soname| {
            let items = state.open.within(&self.model.sonames[soname].items);
            // Sonames that must add a root come first: the rest can then use it.
            let covered = self.count_roots && items.clone().any(|item| state.roots.has(self.model.items[item].root));
            let size = items.count() + usize::from(state.status[soname] == Status::Soft);
            (covered, size * SCALE / (1 + self.failures[soname]), size, soname)
        })
    }

    /// Adds an item to the set; false if it cannot be added.
    fn take(&mut self, state: &mut State, item: usize) -> bool {
        let model = self.model;
        let own = &model.items[item];
        state.status[own.soname] = Status::Served;
        state.set[own.soname] = Some(item);
        state.spent += self.costs[item];
        state.roots.add(own.root);
        for other in model.sonames[own.soname].items.clone() {
            state.open.remove(other);
        }
        state.open.add(item);
        state.open.subtract(&self.pairs.row(item).out);
        own.needs.iter().all(|link| self.require(state, own.soname, link.soname, link.hard))
    }

    /// Notes that `by` needs `soname`; false if that was left out and is required.
    fn require(&self, state: &mut State, by: usize, soname: usize, hard: bool) -> bool {
        let hard = hard && (self.off.is_empty() || !self.off.contains(&Key::Served(by, soname)));
        let status = &mut state.status[soname];
        match (*status, hard) {
            (Status::Left, true) => return false,
            (Status::Idle | Status::Soft, true) => *status = Status::Hard,
            (Status::Idle, false) => *status = Status::Soft,
            _ => {}
        }
        true
    }

    /// Propagates all forced choices; false if no set here is within the limit.
    fn tighten(&mut self, state: &mut State) -> bool {
        loop {
            if !self.settle(state) {
                return false;
            }
            match self.cut(state) {
                None => return false,
                Some(false) => return true,
                Some(true) => {}
            }
        }
    }

    /// Propagates sonames with no item left, with one left, and the common needs of all items left.
    fn settle(&mut self, state: &mut State) -> bool {
        let model = self.model;
        let mut again = true;
        while again {
            again = false;
            for (at, soname) in model.sonames.iter().enumerate() {
                let status = state.status[at];
                if matches!(status, Status::Served | Status::Left) {
                    continue;
                }
                let mut left = state.open.within(&soname.items);
                let (first, second) = (left.next(), left.next());
                match (first, second, status) {
                    (None, _, Status::Hard) => {
                        self.failures[at] += 1;
                        return false;
                    }
                    (None, _, _) => {
                        if status == Status::Soft {
                            state.status[at] = Status::Left;
                            state.spent = state.spent.saturating_add(self.leave[at]);
                        }
                        if state.open.meets(&soname.hard_needers) {
                            again |= self.drop_needers(state, at);
                        }
                    }
                    (Some(item), None, Status::Hard) => {
                        if !self.take(state, item) {
                            return false;
                        }
                        again = true;
                    }
                    (Some(first), Some(_), Status::Hard) => {
                        for link in &model.items[first].needs {
                            if link.hard && matches!(state.status[link.soname], Status::Idle | Status::Soft) {
                                let needers = &model.sonames[link.soname].hard_needers;
                                let all = state.open.within(&soname.items).all(|item| needers.has(item));
                                if all {
                                    self.require(state, at, link.soname, true);
                                    again |= state.status[link.soname] == Status::Hard;
                                }
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
        true
    }

    /// Removes the items that cannot be loaded without a soname that has none left.
    fn drop_needers(&self, state: &mut State, soname: usize) -> bool {
        let needers = &self.model.sonames[soname].hard_needers;
        if self.off.is_empty() {
            state.open.subtract(needers);
            return true;
        }
        let mut any = false;
        for item in needers.within(&(0..self.model.items.len())) {
            let served = Key::Served(self.model.items[item].soname, soname);
            if state.open.has(item) && !self.off.contains(&served) {
                state.open.remove(item);
                any = true;
            }
        }
        any
    }
}

/// The cost of leaving a needed soname out.
pub(super) fn leave(model: &Model<'_>, soname: usize) -> u128 {
    let soname = &model.sonames[soname];
    match (soname.servable, soname.goal > GoalKind::None) {
        (false, _) => 0,
        (true, true) => ONE_GOAL,
        (true, false) => ONE_NEED,
    }
}
