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
}

impl Asked {
    /// The symbol known to be missing, if that was asked.
    pub(super) fn known(&self, symbols: SymbolSetId, item: usize) -> Option<&MissingSymbol> {
        self.answers.get(&(symbols, item)).and_then(Option::as_ref)
    }

    /// The symbol missing.
    pub(super) fn ask(
        &mut self,
        model: &Model<'_>,
        symbols: SymbolSetId,
        item: usize,
    ) -> Option<&MissingSymbol> {
        if symbols == SymbolSetId::NONE {
            return None;
        }
        let answer = self.answers.entry((symbols, item)).or_insert_with(|| {
            model
                .problem
                .defines
                .missing(symbols, model.items[item].source)
        });
        answer.as_ref()
    }

    /// Checks a set against the oracle. Where a file lacks a symbol, asks the same of all other
    /// copies of its soname, for now they matter.
    pub(super) fn holds(
        &mut self,
        model: &Model<'_>,
        off: &BTreeSet<Key>,
        set: &[Option<usize>],
    ) -> bool {
        let mut lacking: Vec<(SymbolSetId, usize)> = Vec::new();
        for &item in set.iter().flatten() {
            let soname = model.items[item].soname;
            for &demand in &model.sonames[soname].demands {
                if !off.contains(&Key::Demand(demand)) {
                    lacking.push((model.demands[demand].1.symbols, item));
                }
            }
            for link in &model.items[item].needs {
                if let (Some(provider), false) = (
                    set[link.soname],
                    off.contains(&Key::Symbols(soname, link.soname)),
                ) {
                    lacking.push((link.symbols, provider));
                }
            }
        }
        lacking.retain(|&(symbols, item)| self.ask(model, symbols, item).is_some());
        for &(symbols, item) in &lacking {
            for other in model.sonames[model.items[item].soname].items.clone() {
                if model.items[other]
                    .excluded
                    .iter()
                    .all(|key| off.contains(key))
                {
                    self.ask(model, symbols, other);
                }
            }
        }
        lacking.is_empty()
    }
}
