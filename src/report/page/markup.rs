//! HTML as it is written: elements that close, texts that stay texts.
//!
//! Takes names of elements from the source, names of attributes from a list, and texts from anywhere; gives markup. Every
//! text passes through one escape, and no attribute that loads, runs or leads elsewhere takes a text. Never decides what
//! a page says.

use crate::report::human::sanitized;
use crate::report::layout::one_line;
use std::fmt::Write as _;

/// Markup that grows.
#[derive(Debug, Default)]
pub(super) struct Markup {
    text: String,
}

/// The attributes that a text may be the value of: none of them is a link, a style or a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attribute {
    AriaLabel,
    Class,
    ColumnName,
    Id,
    Order,
    Role,
    Scope,
}

impl Attribute {
    fn name(self) -> &'static str {
        match self {
            Self::AriaLabel => "aria-label",
            Self::Class => "class",
            Self::ColumnName => "data-name",
            Self::Id => "id",
            Self::Order => "data-order",
            Self::Role => "role",
            Self::Scope => "scope",
        }
    }
}

/// A shorter path stays on its line.
const LONG: usize = 30;

/// Elements that end a line of the source: the page can be read, and compared, as text.
const LINES: [&str; 26] = [
    "article", "body", "details", "div", "dl", "dt", "dd", "footer", "h1", "h2", "h3", "head", "header", "html", "li",
    "main", "nav", "ol", "p", "pre", "section", "summary", "table", "title", "tr", "ul",
];

impl Markup {
    pub(super) fn finish(self) -> String {
        self.text
    }

    /// An element with what `inner` writes.
    pub(super) fn element(
        &mut self,
        tag: &'static str,
        attributes: &[(Attribute, &str)],
        inner: impl FnOnce(&mut Self),
    ) {
        let _ = write!(self.text, "<{tag}");
        for (attribute, value) in attributes {
            let _ = write!(self.text, " {}=\"{}\"", attribute.name(), escaped(value));
        }
        self.text.push('>');
        inner(self);
        let _ = write!(self.text, "</{tag}>");
        if LINES.contains(&tag) {
            self.text.push('\n');
        }
    }

    /// An element of a class.
    pub(super) fn classed(&mut self, tag: &'static str, class: &str, inner: impl FnOnce(&mut Self)) {
        self.element(tag, &[(Attribute::Class, class)], inner);
    }

    /// An element of a class with a text.
    pub(super) fn labelled(&mut self, tag: &'static str, class: &str, text: &str) {
        self.classed(tag, class, |markup| markup.text(text));
    }

    /// A part that is folded, open or not: its head, and what it hides.
    pub(super) fn details(&mut self, open: bool, head: impl FnOnce(&mut Self), inner: impl FnOnce(&mut Self)) {
        self.text.push_str(if open { "<details open>" } else { "<details>" });
        self.element("summary", &[], head);
        inner(self);
        self.text.push_str("</details>\n");
    }

    /// A link to a place of this page.
    pub(super) fn link_here(&mut self, id: &str, inner: impl FnOnce(&mut Self)) {
        let _ = write!(self.text, "<a href=\"#{}\">", escaped(id));
        inner(self);
        self.text.push_str("</a>");
    }

    /// A link to a page that the source names; nothing is sent with it.
    pub(super) fn link_out(&mut self, address: &'static str) {
        let address = escaped(address);
        let _ = write!(self.text, "<a href=\"{address}\" rel=\"noreferrer noopener\">{address}</a>");
    }

    /// A text.
    pub(super) fn text(&mut self, text: &str) {
        self.text.push_str(&escaped(text));
    }

    /// A path: a line breaks after a slash, if anywhere.
    pub(super) fn path(&mut self, text: &str) {
        let path = escaped(text);
        match path.split_at_checked(1).filter(|_| path.len() > LONG) {
            Some((first, rest)) => self.text.extend([first, &rest.replace('/', "/<wbr>")]),
            None => self.text.push_str(&path),
        }
    }

    /// A sentence: what stands in backticks is code, unless a name has backticks of its own.
    pub(super) fn sentence(&mut self, text: &str) {
        if !text.matches('`').count().is_multiple_of(2) {
            return self.text(text);
        }
        for (at, part) in text.split('`').enumerate() {
            if at % 2 == 1 {
                self.element("code", &[], |markup| markup.path(part));
            } else {
                self.text(part);
            }
        }
    }

    /// Markup of the source, as it is.
    pub(super) fn constant(&mut self, markup: &'static str) {
        self.text.push_str(markup);
    }

    /// A style or a program of the source, in its element.
    pub(super) fn asset(&mut self, tag: &'static str, content: &'static str) {
        let _ = writeln!(self.text, "<{tag}>{content}</{tag}>");
    }

    /// The policy of the page: nothing is loaded, and of styles and programs only these two are taken.
    pub(super) fn policy(&mut self, style: &str, script: &str) {
        let _ = writeln!(
            self.text,
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src '{}'; \
             script-src '{}'; base-uri 'none'; form-action 'none'\">",
            escaped(style),
            escaped(script),
        );
    }
}

/// A text on one line, in an element or between quotes: controls and bidirectional characters as escapes, so that no name
/// is markup and none changes the order of what stands beside it.
fn escaped(text: &str) -> String {
    one_line(&sanitized(text)).chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '`' => out.push_str("&#96;"),
            // Nothing to see, and no character of a text (Unicode, 23.7); tags spell words that cannot be seen.
            '\u{fdd0}'..='\u{fdef}' | '\u{fffe}' | '\u{ffff}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' => {
                out.extend(c.escape_default());
            }
            '\u{e0000}'..='\u{e007f}' => out.extend(c.escape_default()),
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> String {
        let mut markup = Markup::default();
        markup.sentence(text);
        markup.finish()
    }

    #[test]
    fn text_stays_text() {
        let name = "</script><script>alert(1)</script>\"'` onload=x &amp; \u{0}\u{7f}\u{9b}\u{2028}\u{2029}\u{202e}\u{2066}\n\r\u{200b}\u{feff}\u{e0041}\u{ffff}";
        let shown = text(name);
        assert_eq!(
            shown,
            "&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&#96; onload=x &amp;amp; \
             \\u{0}\\u{7f}\\u{9b}\\u{2028}\\u{2029}\\u{202e}\\u{2066}\\n\\r\\u{200b}\\u{feff}\\u{e0041}\\u{ffff}"
        );
    }

    #[test]
    fn code_is_what_stands_in_backticks() {
        assert_eq!(text("`<a>` needs `b`"), "<code>&lt;a&gt;</code> needs <code>b</code>");
        assert_eq!(text("`a`b` needs"), "&#96;a&#96;b&#96; needs");
    }

    #[test]
    fn a_long_name_is_whole() {
        let name = "é".repeat(10_000);
        assert_eq!(text(&name), name);
    }

    proptest! {
        #[test]
        fn no_text_is_markup(name in any::<String>()) {
            let mut markup = Markup::default();
            markup.element("p", &[(Attribute::AriaLabel, &name)], |markup| markup.text(&name));
            let page = markup.finish();
            prop_assert_eq!(page.matches('<').count(), 2);
            prop_assert_eq!(page.matches('>').count(), 2);
            prop_assert_eq!(page.matches('"').count(), 2);
            let acting = ['\'', '`', '\u{2028}', '\u{202e}'];
            prop_assert!(!page.contains(acting));
            prop_assert_eq!(page.matches('\n').count(), 1);
        }
    }
}
