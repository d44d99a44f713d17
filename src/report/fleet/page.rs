//! The comparison as one page of HTML.
//!
//! Takes the report; gives the values of a page: what differs, with what most nodes have, and the groups of nodes.

use super::text::{said, verdict};
use super::{FleetDifference, FleetGroup, FleetReport};
use crate::report::findings::FindingList;
use crate::report::page::{PageCell, PageTable, WebPage};

impl FleetReport {
    /// The report as a page.
    #[must_use]
    pub fn page(&self) -> WebPage {
        let wrong = !self.is_fine();
        let page = WebPage::new(FindingList { command: "fleet", verdict: verdict(self), wrong, findings: Vec::new() });
        let page = self.notes().into_iter().fold(page, |page, note| page.fact("note", note));
        let page = page.table(PageTable {
            title: "What differs".to_owned(),
            columns: vec!["library", "nodes", "here", "on most", "nodes with that", "since", "path"],
            rows: self.differences.iter().map(difference).collect(),
        });
        page.table(PageTable {
            title: "Groups of equal nodes".to_owned(),
            columns: vec!["group", "nodes", "count", "driver", "libraries"],
            rows: self.groups.iter().map(group).collect(),
        })
    }
}

fn number(number: usize) -> PageCell {
    PageCell::number(number.to_string(), u64::try_from(number).unwrap_or(u64::MAX))
}

fn difference(it: &FleetDifference) -> Vec<PageCell> {
    vec![
        PageCell::text(&*it.name),
        PageCell::text(&*it.nodes),
        PageCell::text(said(it.has.as_ref(), it.usual.as_ref())),
        PageCell::text(said(it.usual.as_ref(), it.has.as_ref())),
        number(it.usual_count),
        PageCell::text(it.since.clone().unwrap_or_default()),
        PageCell::path(it.path.clone().unwrap_or_default()),
    ]
}

fn group(it: &FleetGroup) -> Vec<PageCell> {
    vec![
        number(it.group),
        PageCell::text(&*it.nodes),
        number(it.hosts.len()),
        PageCell::text(it.driver.clone().unwrap_or_default()),
        number(it.libraries),
    ]
}
