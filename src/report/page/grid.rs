//! A table on a page: read as it is, sorted and filtered with the script.
//!
//! Takes a [`PageTable`]; writes it with the names that a reader of the screen needs, and with a filter that stays hidden
//! until the script serves it. On a phone each row is a card, so every cell carries the name of its column.

use super::markup::{Attribute, Markup};
use super::values::{PageCell, PageTable};
use super::worst_class;

/// A longer word may break anywhere.
const LONG: usize = 40;

/// Writes a table.
pub(super) fn write(markup: &mut Markup, table: &PageTable) {
    use Attribute::{AriaLabel, Class, ColumnName, Order, Role, Scope};
    markup.classed("div", "grid", |markup| {
        markup.constant("<div class=\"filter\" hidden><label>Filter <input type=\"search\" autocomplete=\"off\" spellcheck=\"false\"></label> <span role=\"status\"></span></div>\n");
        markup.element("table", &[(Role, "table"), (AriaLabel, &table.title)], |markup| {
            markup.element("thead", &[(Role, "rowgroup")], |markup| {
                markup.element("tr", &[(Role, "row")], |markup| {
                    for column in &table.columns {
                        markup.element("th", &[(Role, "columnheader"), (Scope, "col")], |markup| markup.text(column));
                    }
                });
            });
            markup.constant("\n");
            markup.element("tbody", &[(Role, "rowgroup")], |markup| {
                markup.constant("\n");
                for row in &table.rows {
                    markup.element("tr", &[(Role, "row")], |markup| {
                        for (column, cell) in table.columns.iter().zip(row) {
                            let mut attributes = vec![(Role, "cell"), (ColumnName, *column)];
                            let order = cell.order.map(|order| order.to_string());
                            attributes.extend(order.as_deref().map(|order| (Order, order)));
                            let is_long = || cell.text.split(' ').any(|word| word.chars().count() > LONG);
                            let class = match (cell.is_path, cell.order.is_some() && cell.severity.is_none()) {
                                (true, _) => Some("path"),
                                (_, true) if !cell.text.is_empty() => Some("number"),
                                _ => is_long().then_some("long"),
                            };
                            attributes.extend(class.map(|class| (Class, class)));
                            markup.element("td", &attributes, |markup| write_cell(markup, cell));
                        }
                    });
                }
            });
        });
    });
}

fn write_cell(markup: &mut Markup, cell: &PageCell) {
    match cell.severity {
        Some(severity) => markup.labelled("span", &format!("pill {}", worst_class([severity])), &cell.text),
        None if cell.is_path => markup.path(&cell.text),
        None => markup.sentence(&cell.text),
    }
}
