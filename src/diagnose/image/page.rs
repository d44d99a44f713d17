//! The report of an image as one page of HTML.
//!
//! Takes a report; gives the values of a page: what the image is, the findings, what each target loads, drivers and GPUs,
//! layers and libraries. Judges nothing.

use super::human::facts;
use super::{ImageLibrary, ImageReport, LayerLine, RequirementsForm};
use crate::diagnose::page::of_interest;
use crate::report::{PageCell, PageTable, WebPage, loaded_picture, shown, weight};

impl ImageReport {
    /// The report as a page.
    #[must_use]
    pub fn page(&self) -> WebPage {
        let page = WebPage::new(self.listed());
        let mut page = facts(self).into_iter().fold(page, |page, (name, value)| page.fact(name, value));
        let require = self.require.iter().map(|require| require.form(RequirementsForm::Text));
        for line in require.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()) {
            let (name, value) = line.split_once(' ').unwrap_or(("", &line));
            page = page.fact(name, value.trim());
        }
        let page = of_interest(&self.maps).into_iter().fold(page, |page, map| page.picture(loaded_picture(map)));
        let page = self.table.iter().fold(page, |page, table| table.on(page));
        let layers = self.layers.iter().enumerate().filter(|(_, layer)| layer.libraries > 0);
        let page = page.table(PageTable {
            title: "Layers with NVIDIA libraries".to_owned(),
            columns: vec!["layer", "libraries", "their size", "size", "command"],
            rows: layers.map(|(at, layer)| of_layer(at, layer)).collect(),
        });
        page.table(PageTable {
            title: "NVIDIA libraries".to_owned(),
            columns: vec!["library", "release", "package", "layer", "size", "path"],
            rows: self.libraries.iter().map(of_library).collect(),
        })
    }
}

fn of_layer(at: usize, layer: &LayerLine) -> Vec<PageCell> {
    let number = |number: usize| PageCell::number(number.to_string(), u64::try_from(number).unwrap_or(u64::MAX));
    vec![
        number(at + 1),
        number(layer.libraries),
        PageCell::number(weight(layer.bytes), layer.bytes),
        PageCell::number(weight(layer.layer.size), layer.layer.size),
        PageCell::path(layer.layer.command.clone().unwrap_or_default()),
    ]
}

fn of_library(library: &ImageLibrary) -> Vec<PageCell> {
    let layer = library.layer.unwrap_or_default();
    let shown_layer = library.layer.map(|layer| layer.to_string()).unwrap_or_default();
    vec![
        PageCell::text(&*library.name),
        PageCell::text(library.version.clone().unwrap_or_default()),
        PageCell::text(library.package.clone().unwrap_or_default()),
        PageCell::number(shown_layer, u64::try_from(layer).unwrap_or(u64::MAX)),
        PageCell::number(weight(library.size), library.size),
        PageCell::path(shown(&library.path.to_path())),
    ]
}
