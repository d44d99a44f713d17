//! The pairs of items that are known not to go together.
//!
//! Takes the model, the answers so far and the rules in force; gives one row of conflicts per item, computed on first
//! use. Pairs only: [`Item::excluded`] is about single items, [`Pairs::torn`] about whole groups.

use std::collections::BTreeSet;

use super::answers::Answers;
use super::bits::Bits;
use super::model::{End, Item, Key, Model};

/// The items that an item excludes.
pub(super) struct Row {
    /// The excluded items.
    pub(super) out: Bits,
    /// Their sonames.
    pub(super) touched: Vec<usize>,
}

/// The rules between items, without those dropped.
pub(super) struct Pairs<'m> {
    model: &'m Model<'m>,
    answers: &'m Answers,
    off: &'m BTreeSet<Key>,
    rows: Vec<Option<Row>>,
}

impl<'m> Pairs<'m> {
    pub(super) fn new(model: &'m Model<'m>, answers: &'m Answers, off: &'m BTreeSet<Key>) -> Self {
        Self { model, answers, off, rows: model.items.iter().map(|_| None).collect() }
    }

    pub(super) fn row(&mut self, item: usize) -> &Row {
        let (model, answers, off) = (self.model, self.answers, self.off);
        self.rows[item].get_or_insert_with(|| row(model, answers, off, item))
    }

    /// Whether a group is from several directories though one holds it all.
    pub(super) fn torn(&self, set: &[Option<usize>]) -> bool {
        (0..self.model.groups.len())
            .any(|group| !self.off.contains(&Key::OneDirectory(group)) && holder(self.model, set, group).is_some())
    }
}

/// The directory with all of a group, at its release, that `set` takes from several.
pub(super) fn holder(model: &Model<'_>, set: &[Option<usize>], group: usize) -> Option<u32> {
    let mut members = set.iter().flatten().map(|&item| &model.items[item]).filter(|item| item.group == Some(group));
    let first = members.next()?;
    let release = first.release?;
    let mut chosen = Bits::none(model.sonames.len());
    chosen.add(first.soname);
    let mut spread = false;
    for item in members {
        if item.release != Some(release) {
            return None;
        }
        spread |= item.directory != first.directory;
        chosen.add(item.soname);
    }
    if !spread {
        return None;
    }
    let holders = model.groups[group].holders.get(&release)?;
    holders.iter().find(|(_, held)| held.holds_all(&chosen)).map(|(&directory, _)| directory)
}

/// Whether two members of a group are of one release.
pub(super) fn of_one_release(a: &Item, b: &Item) -> bool {
    match (a.release, b.release) {
        (Some(a), Some(b)) => a == b,
        // A copy of unknown release counts by its directory alone.
        _ => a.directory == b.directory,
    }
}

/// The conflict between two items, if any.
pub(super) fn known_bad(a: &Item, b: &Item, off: &BTreeSet<Key>) -> Option<usize> {
    let meets = |(at, end): &(usize, End)| b.conflicts.iter().any(|(other, its)| at == other && end != its);
    a.conflicts.iter().find(|one| meets(one) && !off.contains(&Key::Conflict(one.0))).map(|&(at, _)| at)
}

fn row(model: &Model<'_>, answers: &Answers, off: &BTreeSet<Key>, at: usize) -> Row {
    let item = &model.items[at];
    let mut out = Bits::none(model.items.len());
    if let Some(group) = item.group {
        let in_force = !off.contains(&Key::OneRelease(group));
        let whole = in_force && !off.contains(&Key::OneDirectory(group)) && held_whole(model, group, item.release);
        for &other in &model.groups[group].items {
            let its = &model.items[other];
            if in_force && (!of_one_release(item, its) || whole && item.directory != its.directory) {
                out.add(other);
            }
        }
    }
    if !item.conflicts.is_empty() {
        for (other, its) in model.items.iter().enumerate() {
            if known_bad(item, its, off).is_some() {
                out.add(other);
            }
        }
    }
    for link in &item.needs {
        let provider = &model.sonames[link.soname];
        let linker = provider.linker && !off.contains(&Key::Linker(link.soname));
        let symbols = !off.contains(&Key::Symbols(item.soname, link.soname));
        for other in provider.items.clone() {
            let old = linker && falls_short(&model.items[other], item);
            if old || symbols && answers.known(link.symbols, other).is_some() {
                out.add(other);
            }
        }
    }
    let own = &model.sonames[item.soname];
    let linker = own.linker && !off.contains(&Key::Linker(item.soname));
    for &(user, symbols) in &own.needers {
        let its = &model.items[user];
        let lacking = answers.known(symbols, at).is_some() && !off.contains(&Key::Symbols(its.soname, item.soname));
        if lacking || linker && falls_short(item, its) {
            out.add(user);
        }
    }
    // The rule of one copy per soname is not one of pairs.
    for other in own.items.clone() {
        out.remove(other);
    }
    let mut touched: Vec<usize> = out.within(&(0..model.items.len())).map(|item| model.items[item].soname).collect();
    touched.dedup();
    Row { out, touched }
}

/// Whether nvJitLink is too old for a user of it.
pub(super) fn falls_short(linker: &Item, user: &Item) -> bool {
    matches!((linker.cuda, user.cuda), (Some(own), Some(its)) if own.falls_short_of(its))
}

/// Whether a directory holds every soname that the group has at this release: then no part may come from elsewhere,
/// whichever parts are chosen.
fn held_whole(model: &Model<'_>, group: usize, release: Option<usize>) -> bool {
    let Some(holders) = release.and_then(|release| model.groups[group].holders.get(&release)) else {
        return false;
    };
    let mut all = Bits::none(model.sonames.len());
    for item in &model.groups[group].items {
        let item = &model.items[*item];
        if item.release == release {
            all.add(item.soname);
        }
    }
    holders.values().any(|held| held.holds_all(&all))
}
