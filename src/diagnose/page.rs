//! A diagnosis as one page of HTML.
//!
//! Takes a report; gives the values of a page: the lines about the machine, the findings, what each target loads, the set
//! that fits, drivers and GPUs. Judges nothing.

use super::human::{lines, runs_word};
use super::{Cell, Matrix, Report, Runs};
use crate::check::Judgement;
use crate::report::{ChosenLibrary, PageCell, PageTable, WebPage, loaded_picture, loaded_table, shown};
use crate::tables::Severity;
use std::collections::BTreeSet;
use std::path::Path;

impl Report {
    /// The report as a page.
    #[must_use]
    pub fn page(&self) -> WebPage {
        let page = WebPage::new(self.listed());
        let page = lines(self).into_iter().fold(page, |page, (name, value)| page.fact(name, value));
        let maps = of_interest(&self.maps);
        let page = maps.iter().fold(page, |page, map| page.picture(loaded_picture(map)));
        let page = self.table.iter().fold(page, |page, table| table.on(page));
        let set = self.set.iter().flat_map(|report| report.set.iter().flatten());
        let page = page.table(PageTable {
            title: "The set that fits".to_owned(),
            columns: vec!["library", "release", "chosen because", "other copies", "path"],
            rows: set.map(chosen).collect(),
        });
        maps.iter().fold(page, |page, map| page.table(loaded_table(map)))
    }
}

/// The link maps that show a library, or something wrong with one, that none before them does.
pub(super) fn of_interest(maps: &[Judgement]) -> Vec<&Judgement> {
    let (mut files, mut wrong) = (BTreeSet::new(), BTreeSet::new());
    let is_new = |map: &&Judgement| {
        let ours = map.objects.iter().filter(|object| object.ours);
        let new_files = ours.filter(|object| files.insert(object.id)).count();
        let found = map.findings.iter().filter(|finding| finding.severity != Severity::Fact);
        let about = found.map(|finding| finding.path().or(finding.by()).map(Path::to_owned));
        new_files + about.filter(|path| wrong.insert(path.clone())).count() > 0
    };
    maps.iter().filter(is_new).collect()
}

fn chosen(library: &ChosenLibrary) -> Vec<PageCell> {
    let refused = library.refused.len();
    vec![
        PageCell::text(&*library.soname),
        PageCell::text(library.version.clone().unwrap_or_default()),
        PageCell::text(&*library.because),
        PageCell::number(refused.to_string(), u64::try_from(refused).unwrap_or(u64::MAX)),
        PageCell::path(shown(&library.path.to_path())),
    ]
}

impl Matrix {
    /// A page with the table of drivers and GPUs.
    #[must_use]
    pub fn on(&self, page: WebPage) -> WebPage {
        let row = |cell: &Cell| {
            let runs = match cell.runs {
                Runs::Yes => PageCell::severity(runs_word(cell.runs), None),
                Runs::Conditions => PageCell::severity(runs_word(cell.runs), Some(Severity::Warning)),
                Runs::No => PageCell::severity(runs_word(cell.runs), Some(Severity::Fatal)),
            };
            vec![
                PageCell::text(cell.driver.clone().unwrap_or_else(|| "the newest for it".to_owned())),
                PageCell::text(cell.gpu.as_ref().map(|gpu| gpu.name.clone()).unwrap_or_default()),
                runs,
                PageCell::text(&*cell.says),
            ]
        };
        page.table(PageTable {
            title: "Drivers and GPUs".to_owned(),
            columns: vec!["driver", "GPU", "runs", "why"],
            rows: self.cells.iter().map(row).collect(),
        })
    }
}
