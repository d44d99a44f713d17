//! The order in which ld.so relocates objects: providers before consumers.
//!
//! Takes a search list; returns its objects in the order of `_dl_sort_maps_dfs` (`elf/dl-sort-maps.c`), last first, as
//! `dl_main` and `dl_open_worker` relocate them. Before glibc 2.36, or where the
//! tunable `glibc.rtld.dynamic_sort` selects it, the order is that of `_dl_sort_maps_original`.

use super::linkmap::LinkMap;

/// The objects of `search`, in the order in which they are relocated.
pub(super) fn relocation(map: &LinkMap<'_>, search: &[usize]) -> Vec<usize> {
    let loader = map.loader();
    let depth_first_sort = loader.machine().sorts_depth_first(loader.host());
    if depth_first_sort { depth_first(map, search) } else { by_moving(map, search) }
}

/// Each object is moved behind the last one that needs it, until none moves or too many rounds show a cycle.
fn by_moving(map: &LinkMap<'_>, search: &[usize]) -> Vec<usize> {
    let Some((&root, rest)) = search.split_first() else { return Vec::new() };
    let mut sorted = rest.to_vec();
    let count = sorted.len();
    let needs = |who: usize, what: usize| map.objects().get(who).is_some_and(|mapped| mapped.needed.contains(&what));
    let mut seen = vec![0_usize; count];
    let mut at = 0;
    while let Some(&this) = sorted.get(at) {
        if let Some(seen) = seen.get_mut(at) {
            *seen += 1;
        }
        let last = sorted.iter().enumerate().skip(at + 1).rev().find(|(_, other)| needs(**other, this));
        if let Some((to, _)) = last {
            if let Some(moved) = sorted.get_mut(at..=to) {
                moved.rotate_left(1);
            }
            if seen.get(at + 1).is_none_or(|rounds| *rounds <= count - at) {
                if let Some(moved) = seen.get_mut(at..=to) {
                    moved.rotate_left(1);
                }
                continue;
            }
        }
        at += 1;
        if let Some(ahead) = seen.get_mut(at..) {
            ahead.fill(0);
        }
    }
    sorted.reverse();
    sorted.push(root);
    sorted
}

fn depth_first(map: &LinkMap<'_>, search: &[usize]) -> Vec<usize> {
    let mut done = vec![false; map.objects().len()];
    let mut order = Vec::with_capacity(search.len());
    let root = search.first().copied();
    for &from in search.iter().rev() {
        visit(map, root, from, &mut done, &mut order);
    }
    if let Some(first) = root {
        // glibc sorts the root to the front, even within a cycle, so it comes last here.
        order.retain(|index| *index != first);
        order.push(first);
    }
    order
}

/// Depth first, needed objects before their consumers; iterative, since chains can be long.
fn visit(map: &LinkMap<'_>, root: Option<usize>, from: usize, done: &mut [bool], order: &mut Vec<usize>) {
    let mut stack = vec![(from, 0)];
    let enter =
        |index: usize, done: &mut [bool]| done.get_mut(index).is_some_and(|done| !std::mem::replace(done, true));
    if !enter(from, done) {
        return;
    }
    while let Some((index, at)) = stack.last_mut() {
        // glibc sorts before it records the needs of the root.
        let mapped = map.objects().get(*index).filter(|_| root != Some(*index));
        let needed = mapped.and_then(|mapped| mapped.needed.get(*at)).copied();
        *at += 1;
        if let Some(needed) = needed {
            if map.program() != Some(needed) && enter(needed, done) {
                stack.push((needed, 0));
            }
        } else {
            order.push(*index);
            stack.pop();
        }
    }
}
