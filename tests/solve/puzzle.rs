//! Problems in few words.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use cudashim::internal::resolve::solve::*;

/// A problem and what its files define: symbols by candidate, each `symbol` or `symbol@node`.
#[derive(Debug, Clone, Default)]
pub(super) struct Puzzle {
    pub(super) goals: Vec<Goal>,
    pub(super) candidates: Vec<Candidate>,
    pub(super) demands: Vec<Demand>,
    pub(super) releases: Vec<ReleaseDemand>,
    pub(super) built: Option<Built>,
    pub(super) conflicts: Vec<Conflict>,
    pub(super) fix_hints: BTreeMap<String, String>,
    pub(super) policy: Policy,
    sets: Vec<Vec<String>>,
    lacks: BTreeSet<(usize, String)>,
    pub(super) asked: RefCell<Vec<(u32, usize)>>,
}

impl Defines for Puzzle {
    fn missing(&self, symbols: SymbolSetId, candidate: usize) -> Option<MissingSymbol> {
        assert!(candidate < self.candidates.len());
        self.asked.borrow_mut().push((symbols.0, candidate));
        let lacking = self.sets[symbols.0 as usize].iter().find(|s| self.lacks.contains(&(candidate, (*s).clone())))?;
        let (symbol, node) = match lacking.split_once('@') {
            Some((symbol, node)) => (symbol.to_owned(), Some(node.to_owned())),
            None => (lacking.clone(), None),
        };
        Some(MissingSymbol { symbol, node })
    }
}

impl Puzzle {
    /// A candidate: its soname is the file name. Directory and root get numbers by their names:
    /// the root is the first part of the path.
    pub(super) fn file(&mut self, path: &str) -> File<'_> {
        let (directory, soname) = path.rsplit_once('/').unwrap();
        let root = path.trim_start_matches('/').split('/').next().unwrap();
        self.candidates.push(Candidate {
            soname: soname.to_owned(),
            path: path.into(),
            root: number(root),
            directory: number(directory),
            version: None,
            group: None,
            cuda: None,
            barred: None,
            needs: Vec::new(),
            rank: Rank::default(),
        });
        File(self)
    }

    pub(super) fn goal(&mut self, soname: &str) -> &mut Self {
        self.goals.push(Goal { soname: soname.to_owned(), hard: true, by: "torch".to_owned() });
        self
    }

    pub(super) fn soft(&mut self, soname: &str) -> &mut Self {
        self.goals.push(Goal { soname: soname.to_owned(), hard: false, by: "torch".to_owned() });
        self
    }

    /// The consumer takes symbols from a soname.
    pub(super) fn demand(&mut self, consumer: &str, soname: &str, symbols: &[&str]) -> &mut Self {
        let symbols = self.set(symbols);
        self.demands.push(Demand { consumer: consumer.to_owned(), soname: soname.to_owned(), symbols, cuda: None });
        self
    }

    pub(super) fn set(&mut self, symbols: &[&str]) -> SymbolSetId {
        self.sets.push(symbols.iter().map(ToString::to_string).collect());
        SymbolSetId(self.sets.len() as u32 - 1)
    }

    pub(super) fn add_lack(&mut self, candidate: usize, symbol: &str) {
        self.lacks.insert((candidate, symbol.to_owned()));
    }

    /// The same, its candidates in another order: `order[new] == old`.
    pub(super) fn permuted(&self, order: &[usize]) -> Puzzle {
        let mut other = self.clone();
        other.candidates = order.iter().map(|&old| self.candidates[old].clone()).collect();
        let new = |old: usize| order.iter().position(|&at| at == old).unwrap();
        other.lacks = self.lacks.iter().map(|(old, symbol)| (new(*old), symbol.clone())).collect();
        other.goals.reverse();
        other.demands.reverse();
        other.releases.reverse();
        other.conflicts.reverse();
        for one in &mut other.candidates {
            one.needs.reverse();
        }
        other
    }

    pub(super) fn problem(&self) -> Problem<'_> {
        Problem {
            goals: self.goals.clone(),
            candidates: self.candidates.clone(),
            demands: self.demands.clone(),
            releases: self.releases.clone(),
            built: self.built.clone(),
            conflicts: self.conflicts.clone(),
            fix_hints: self.fix_hints.clone(),
            defines: self,
            policy: self.policy.clone(),
        }
    }

    pub(super) fn solve(&self) -> Result<Solution, NoSolution> {
        solve(&self.problem())
    }

    pub(super) fn path(&self, candidate: usize) -> String {
        self.candidates[candidate].path.display().to_string()
    }

    /// The paths chosen, in the order of their sonames.
    pub(super) fn paths(&self) -> Vec<String> {
        let solution = self.solve().unwrap_or_else(|none| panic!("{none}"));
        solution.chosen.iter().map(|one| self.path(one.candidate)).collect()
    }

    /// Why a path was refused.
    pub(super) fn why_not(&self, path: &str) -> String {
        let solution = self.solve().unwrap_or_else(|none| panic!("{none}"));
        let chosen = solution.chosen.iter().flat_map(|one| &one.refused);
        let refused = chosen.chain(solution.unserved.iter().flat_map(|one| &one.refused));
        let mut hits = refused.filter(|one| self.path(one.candidate) == path);
        hits.next().unwrap_or_else(|| panic!("{path} was not refused")).because.to_string()
    }

    /// Why there is no set, a clause a line.
    pub(super) fn conflict(&self) -> Vec<String> {
        let none = self.solve().expect_err("there is a set");
        none.clauses.iter().map(ToString::to_string).collect()
    }
}

pub(super) struct File<'l>(&'l mut Puzzle);

impl File<'_> {
    fn last(&mut self) -> &mut Candidate {
        self.0.candidates.last_mut().unwrap()
    }

    pub(super) fn version(mut self, version: &str) -> Self {
        self.last().version = Some(release(version));
        self
    }

    pub(super) fn group(mut self, group: &str) -> Self {
        self.last().group = Some(group.to_owned());
        self
    }

    pub(super) fn cuda(mut self, major: u32, minor: u32) -> Self {
        self.last().cuda = Some(CudaRelease { major, minor: Some(minor) });
        self
    }

    pub(super) fn barred(mut self, why: &str) -> Self {
        self.last().barred = Some(Bar(why.to_owned()));
        self
    }

    pub(super) fn needs(mut self, soname: &str, symbols: &[&str]) -> Self {
        let symbols = self.0.set(symbols);
        self.last().needs.push(Need { soname: soname.to_owned(), symbols, hard: true });
        self
    }

    pub(super) fn opens(mut self, soname: &str) -> Self {
        self.last().needs.push(Need { soname: soname.to_owned(), symbols: SymbolSetId::NONE, hard: false });
        self
    }

    pub(super) fn lacks(self, symbol: &str) -> Self {
        let at = self.0.candidates.len() - 1;
        self.0.add_lack(at, symbol);
        self
    }

    pub(super) fn pin(mut self, pin: Pin) -> Self {
        self.last().rank.pin = pin;
        self
    }

    pub(super) fn at_consumer(mut self) -> Self {
        self.last().rank.at_consumer_root = true;
        self
    }

    pub(super) fn off(mut self, newer_by: u32, older_by: u32) -> Self {
        self.last().rank.newer_by = newer_by;
        self.last().rank.older_by = older_by;
        self
    }
}

pub(super) fn release(text: &str) -> Release {
    Release(text.split('.').map(|n| n.parse().unwrap()).collect())
}

/// A number that stands for a name: its bytes, folded. Short test names do not collide.
fn number(name: &str) -> u32 {
    name.bytes().fold(5381, |sum: u32, byte| sum.wrapping_mul(33) ^ u32::from(byte))
}
