//! The frameworks that are known by name, as text for people.
//!
//! Takes the rows of `data/frameworks.tsv`, each with what is installed of it; gives a table. Reads nothing.

use super::layout::Page;
use super::{Width, sanitized};
use crate::tables::{FrameworkRow, Without};

/// A line for each framework: its name, what is installed of it, where it looks for libraries, what it does without one.
#[must_use]
pub fn known_text(known: &[(&FrameworkRow, Vec<String>)], width: Width) -> String {
    let mut page = Page::new(width);
    let column = known.iter().map(|(row, _)| row.name.len()).max().unwrap_or_default();
    for (row, here) in known {
        let here = if here.is_empty() { "not installed".to_owned() } else { sanitized(&here.join(", ")) };
        let missing = match row.missing {
            Without::Error => "fails without one",
            Without::Warning => "warns without one",
            Without::Silent => "goes on silently without one",
        };
        let finds: Vec<&str> = row.finds.iter().map(|search| search.says()).collect();
        let moved = row.variables.join(", ");
        let moved = if moved.is_empty() { moved } else { format!("; variables: {moved}") };
        let says = format!("{here}; finds libraries by {}; {missing}{moved}", finds.join(", then "));
        page.words(&format!("{:column$}  ", row.name), column + 2, &says);
    }
    page.finish()
}
