//! What is known of symbols so far.
//!
//! Takes questions; gives the oracle's answers, each asked for once. The search itself only reads
//! what is known, so that a file nobody would choose is never looked into.

use std::collections::{BTreeSet, HashMap};

use super::model::{Key, Model};
use super::problem::{MissingSymbol, SymbolSetId};

/// The oracle's answers so far, by symbol set and item.
#[derive(Default)]
pub(super) struct Asked {
    answers: HashMap<(SymbolSetId, usize), Option<MissingSymbol>>,
    /// Sonames of which one was found to lack what the other takes.
    clashed: BTreeSet<(usize, usize)>,
}

impl Asked {
    /// The symbol known to be missing, if that was asked.
    pub(super) fn known(&self, symbols: SymbolSetId, item: usize) -> Option<&MissingSymbol> {
        self.answers.get(&(symbols, item)).and_then(Option::as_ref)
    }

    /// Whether any symbol is known to be missing.
    pub(super) fn any(&self) -> bool {
        self.answers.values().any(Option::is_some)
    }

    /// The symbol missing.
    pub(super) fn ask(&mut self, model: &Model<'_>, symbols: SymbolSetId, item: usize) -> Option<&MissingSymbol> {
        if symbols == SymbolSetId::NONE {
            return None;
        }
        let answer = self
            .answers
            .entry((symbols, item))
            .or_insert_with(|| model.problem.defines.missing(symbols, model.items[item].source));
        answer.as_ref()
    }

    /// Checks a set against the oracle. Where a file lacks a symbol, asks the same of all other
    /// copies of its soname, for now they matter; where one soname fails another a second time, asks
    /// all that could be asked between the two, for one clash at a time the search would be blind.
    pub(super) fn holds(&mut self, model: &Model<'_>, off: &BTreeSet<Key>, set: &[Option<usize>]) -> bool {
        let mut stands = true;
        for &item in set.iter().flatten() {
            let soname = model.items[item].soname;
            for &demand in &model.sonames[soname].demands {
                let symbols = model.demands[demand].1.symbols;
                if !off.contains(&Key::Demand(demand)) && self.ask(model, symbols, item).is_some() {
                    stands = false;
                    self.ask_of_all(model, off, symbols, soname);
                }
            }
            for link in &model.items[item].needs {
                let Some(provider) = set[link.soname] else {
                    continue;
                };
                let pair = (soname, link.soname);
                if off.contains(&Key::Symbols(pair.0, pair.1)) || self.ask(model, link.symbols, provider).is_none() {
                    continue;
                }
                stands = false;
                self.ask_of_all(model, off, link.symbols, link.soname);
                if !self.clashed.insert(pair) {
                    for &(user, symbols) in &model.sonames[link.soname].needers {
                        if model.items[user].soname == soname && may_serve(model, off, user) {
                            self.ask_of_all(model, off, symbols, link.soname);
                        }
                    }
                }
            }
        }
        stands
    }

    fn ask_of_all(&mut self, model: &Model<'_>, off: &BTreeSet<Key>, symbols: SymbolSetId, soname: usize) {
        for item in model.sonames[soname].items.clone() {
            if may_serve(model, off, item) {
                self.ask(model, symbols, item);
            }
        }
    }
}

fn may_serve(model: &Model<'_>, off: &BTreeSet<Key>, item: usize) -> bool {
    model.items[item].excluded.iter().all(|key| off.contains(key))
}
