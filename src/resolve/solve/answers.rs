//! The oracle's answers about symbols so far.
//!
//! Takes queries; gives answers, each from the oracle once. The search reads only known answers, so that files outside
//! every candidate set are never read.

use std::collections::{BTreeSet, HashMap};

use super::model::{Key, Model};
use super::problem::{MissingSymbol, SymbolSetId};

/// The oracle's answers so far, by symbol set and item.
#[derive(Default)]
pub(super) struct Answers {
    known: HashMap<(SymbolSetId, usize), Option<MissingSymbol>>,
    /// Pairs of sonames with a symbol that the first needs and a copy of the second does not define.
    clashed: BTreeSet<(usize, usize)>,
}

impl Answers {
    /// The symbol that an item is known not to define.
    pub(super) fn known(&self, symbols: SymbolSetId, item: usize) -> Option<&MissingSymbol> {
        self.known.get(&(symbols, item)).and_then(Option::as_ref)
    }

    /// Whether any item is known not to define a symbol.
    pub(super) fn any(&self) -> bool {
        self.known.values().any(Option::is_some)
    }

    /// The first symbol that an item does not define, from the oracle.
    pub(super) fn query(&mut self, model: &Model<'_>, symbols: SymbolSetId, item: usize) -> Option<&MissingSymbol> {
        if symbols == SymbolSetId::NONE {
            return None;
        }
        let answer = self
            .known
            .entry((symbols, item))
            .or_insert_with(|| model.problem.defines.missing(symbols, model.items[item].source));
        answer.as_ref()
    }

    /// Checks a set against the oracle. Where a file does not define a symbol, queries all other copies of its soname,
    /// which now compete; where a pair of sonames fails again, queries every symbol set between the two: one failure at
    /// a time would leave the search blind.
    pub(super) fn holds(&mut self, model: &Model<'_>, off: &BTreeSet<Key>, set: &[Option<usize>]) -> bool {
        let mut holds = true;
        for &item in set.iter().flatten() {
            let soname = model.items[item].soname;
            for &demand in &model.sonames[soname].demands {
                let symbols = model.demands[demand].1.symbols;
                if !off.contains(&Key::Demand(demand)) && self.query(model, symbols, item).is_some() {
                    holds = false;
                    self.query_all(model, off, symbols, soname);
                }
            }
            for link in &model.items[item].needs {
                let Some(provider) = set[link.soname] else {
                    continue;
                };
                let pair = (soname, link.soname);
                if off.contains(&Key::Symbols(pair.0, pair.1)) || self.query(model, link.symbols, provider).is_none() {
                    continue;
                }
                holds = false;
                self.query_all(model, off, link.symbols, link.soname);
                if !self.clashed.insert(pair) {
                    for &(user, symbols) in &model.sonames[link.soname].needers {
                        if model.items[user].soname == soname && may_serve(model, off, user) {
                            self.query_all(model, off, symbols, link.soname);
                        }
                    }
                }
            }
        }
        holds
    }

    fn query_all(&mut self, model: &Model<'_>, off: &BTreeSet<Key>, symbols: SymbolSetId, soname: usize) {
        for item in model.sonames[soname].items.clone() {
            if may_serve(model, off, item) {
                self.query(model, symbols, item);
            }
        }
    }
}

fn may_serve(model: &Model<'_>, off: &BTreeSet<Key>, item: usize) -> bool {
    model.items[item].excluded.iter().all(|key| off.contains(key))
}
