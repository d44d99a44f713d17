//! A picture as nested lists, which need no script: each file below the one that loads it.
//!
//! Takes a [`Picture`]; writes its nodes, each with its rule, its path and what is wrong with it, and links between the two
//! files of a mark. Files of the system are folded where nothing below them matters.

use super::markup::{Attribute, Markup};
use super::values::{Mark, Node, NodeKind, Picture};
use super::worst_class;
use crate::tables::Severity;
use std::collections::BTreeMap;

/// Lists nest this deep; what is deeper stands beside its parent, as a reader of HTML limits the depth.
const DEPTH: usize = 48;

/// Writes a picture, the `number`th of the page.
pub(super) fn write(markup: &mut Markup, picture: &Picture, number: usize) {
    let tree = Tree::new(picture, number);
    markup.classed("div", "tree", |markup| tree.list(markup, &tree.roots(), 0));
}

/// Groups of a larger picture are folded where nothing is wrong.
const WHOLE: usize = 100;

/// Whether a node is shown without being asked for.
fn is_shown(node: &Node) -> bool {
    !matches!(node.kind, NodeKind::System | NodeKind::Optional) || !node.marks.is_empty()
}

struct Tree<'p> {
    picture: &'p Picture,
    number: usize,
    children: BTreeMap<usize, Vec<usize>>,
    /// For each node whether it or anything below it is more than a file of the system.
    matters: Vec<bool>,
}

impl<'p> Tree<'p> {
    fn new(picture: &'p Picture, number: usize) -> Self {
        let mut children: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut matters: Vec<bool> = picture.nodes.iter().map(is_shown).collect();
        // A parent comes before its children: an arrow back would be a circle.
        let parent = |at: usize| picture.nodes.get(at)?.parent.filter(|parent| *parent < at);
        for at in 0..picture.nodes.len() {
            if let Some(parent) = parent(at) {
                children.entry(parent).or_default().push(at);
            }
        }
        for at in (0..picture.nodes.len()).rev() {
            let below = matters.get(at).copied().unwrap_or_default();
            if let Some(above) = parent(at).and_then(|parent| matters.get_mut(parent)) {
                *above |= below;
            }
        }
        Self { picture, number, children, matters }
    }

    fn roots(&self) -> Vec<usize> {
        let nodes = self.picture.nodes.iter().enumerate();
        nodes.filter(|(at, node)| node.parent.is_none_or(|parent| parent >= *at)).map(|(at, _)| at).collect()
    }

    fn list(&self, markup: &mut Markup, nodes: &[usize], depth: usize) {
        let matters = |at: &usize| self.matters.get(*at).copied().unwrap_or_default();
        let (shown, folded): (Vec<usize>, Vec<usize>) = nodes.iter().partition(|at| matters(at));
        markup.element("ul", &[], |markup| {
            for at in shown {
                self.node(markup, at, depth);
            }
            if !folded.is_empty() {
                markup.classed("li", "more", |markup| {
                    let head = |markup: &mut Markup| markup.text(&self.counted(&folded));
                    markup.details(false, head, |markup| {
                        markup.element("ul", &[], |markup| {
                            for at in &folded {
                                self.node(markup, *at, depth);
                            }
                        });
                    });
                });
            }
        });
    }

    /// What is folded, counted.
    fn counted(&self, folded: &[usize]) -> String {
        let (mut system, mut optional, mut queue) = (0, 0, folded.to_vec());
        while let Some(next) = queue.pop() {
            match self.picture.nodes.get(next).map(|node| node.kind) {
                Some(NodeKind::Optional) => optional += 1,
                _ => system += 1,
            }
            queue.extend(self.children.get(&next).into_iter().flatten());
        }
        let libraries = |count: usize| if count == 1 { "library" } else { "libraries" };
        match (system, optional) {
            (_, 0) => format!("{system} {} of the system", libraries(system)),
            (0, _) => format!("{optional} optional, not found"),
            _ => format!("{system} {} of the system; {optional} optional, not found", libraries(system)),
        }
    }

    fn node(&self, markup: &mut Markup, at: usize, depth: usize) {
        let children = self.children.get(&at).map(Vec::as_slice).unwrap_or_default();
        self.item(markup, at, |markup| {
            if !children.is_empty() && depth < DEPTH {
                self.list(markup, children, depth + 1);
            }
        });
        if depth >= DEPTH {
            let mut queue: Vec<usize> = children.iter().rev().copied().collect();
            while let Some(next) = queue.pop() {
                self.item(markup, next, |_| ());
                queue.extend(self.children.get(&next).into_iter().flatten().rev());
            }
        }
    }

    /// A node, and what stands below it.
    fn item(&self, markup: &mut Markup, at: usize, below: impl FnOnce(&mut Markup)) {
        let Some(node) = self.picture.nodes.get(at) else { return };
        let class = match node.kind {
            NodeKind::File => "file",
            NodeKind::System => "system",
            NodeKind::Absent | NodeKind::Optional => "absent",
            NodeKind::Group => "group",
        };
        let worst = worst_class(node.marks.iter().map(|mark| mark.severity));
        markup.classed("li", format!("{class} {worst}").trim_end(), |markup| {
            let id = self.id(at);
            let node_itself = |markup: &mut Markup, tag| {
                markup.element(tag, &[(Attribute::Class, "node"), (Attribute::Id, &id)], |markup| head(markup, node));
            };
            let rest = |markup: &mut Markup| {
                for mark in &node.marks {
                    self.mark(markup, mark);
                }
                below(markup);
            };
            let is_large = self.picture.nodes.len() > WHOLE;
            if is_large && node.kind == NodeKind::Group && node.parent.is_none() {
                markup.details(self.is_wrong(at), |markup| node_itself(markup, "span"), rest);
            } else {
                node_itself(markup, "div");
                rest(markup);
            }
        });
    }

    /// Whether a node, or one below it, has a mark that is more than a fact.
    fn is_wrong(&self, at: usize) -> bool {
        let mut queue = vec![at];
        while let Some(next) = queue.pop() {
            let marks = self.picture.nodes.get(next).map(|node| node.marks.as_slice()).unwrap_or_default();
            if marks.iter().any(|mark| mark.severity != Severity::Fact) {
                return true;
            }
            queue.extend(self.children.get(&next).into_iter().flatten());
        }
        false
    }

    fn mark(&self, markup: &mut Markup, mark: &Mark) {
        markup.classed("p", &format!("mark {}", worst_class([mark.severity])), |markup| {
            markup.element("b", &[], |markup| markup.text(&mark.severity.to_string()));
            markup.text(" ");
            markup.sentence(&mark.says);
            let other = mark.other.and_then(|other| Some((other, self.picture.nodes.get(other)?)));
            if let Some((at, other)) = other {
                markup.text(" ");
                markup.link_here(&self.id(at), |markup| markup.text(&format!("→ {}", other.name)));
            }
        });
    }

    fn id(&self, at: usize) -> String {
        format!("picture{}-{at}", self.number)
    }
}

fn head(markup: &mut Markup, node: &Node) {
    markup.labelled("span", "name", &node.name);
    if let Some(release) = &node.release {
        markup.text(" ");
        markup.labelled("span", "release", release);
    }
    if !node.rule.is_empty() {
        markup.text(" ");
        markup.classed("span", "rule", |markup| markup.sentence(&node.rule));
    }
    if !node.place.is_empty() {
        markup.text(" ");
        markup.classed("span", "path", |markup| markup.path(&node.place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(nodes: Vec<Node>) -> String {
        let mut markup = Markup::default();
        write(&mut markup, &Picture { nodes, ..Picture::default() }, 0);
        markup.finish()
    }

    fn node(name: &str, parent: Option<usize>, kind: NodeKind) -> Node {
        Node { name: name.to_owned(), parent, kind, ..Node::default() }
    }

    #[test]
    fn a_long_chain_is_drawn_without_depth() {
        let chain = (0..10_000).map(|at: usize| node(&format!("n{at}"), at.checked_sub(1), NodeKind::File));
        let drawn = drawn(chain.collect());
        assert_eq!(drawn.matches("<li ").count(), 10_000);
        let nested = drawn.split_inclusive(['>']).fold((0_usize, 0), |(depth, most), part| {
            let depth = depth + usize::from(part.ends_with("<ul>")) - usize::from(part.ends_with("</ul>"));
            (depth, most.max(depth))
        });
        assert_eq!(nested, (0, DEPTH + 1));
    }

    #[test]
    fn circles_and_strangers_are_drawn_once() {
        let nodes = [("a", Some(1)), ("b", Some(0)), ("c", Some(2)), ("d", Some(9))];
        let drawn = drawn(nodes.iter().map(|(name, parent)| node(name, *parent, NodeKind::File)).collect());
        assert_eq!(drawn.matches("<li ").count(), 4, "{drawn}");
    }

    #[test]
    fn the_system_is_folded_where_nothing_is_wrong_below_it() {
        let mark = Mark { severity: Severity::Fatal, says: "is `<b>`".to_owned(), other: Some(1) };
        let mut nodes = vec![
            node("program", None, NodeKind::System),
            node("libm.so.6", Some(0), NodeKind::System),
            node("libc.so.6", Some(1), NodeKind::System),
            node("libz.so.1", Some(0), NodeKind::System),
            node("libmlx5.so.1", Some(0), NodeKind::Optional),
        ];
        let whole = drawn(nodes.clone());
        assert!(whole.contains("<summary>4 libraries of the system; 1 optional, not found</summary>"), "{whole}");
        nodes[2].marks.push(mark);
        let drawn = drawn(nodes);
        assert!(drawn.contains("<summary>1 library of the system; 1 optional, not found</summary>"), "{drawn}");
        assert!(drawn.contains("is <code>&lt;b&gt;</code> <a href=\"#picture0-1\">→ libm.so.6</a>"), "{drawn}");
    }
}
