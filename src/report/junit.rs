//! Findings as the XML of JUnit: a test for each, and one for the verdict.
//!
//! Takes a list of findings; gives a document of the form that Jenkins, GitLab and the usual actions read: suites, a suite,
//! test cases. Fatal findings and warnings are failed tests; facts are passed ones with output. Has no time and no host, so
//! that the same findings give the same bytes. Form: <https://github.com/jenkinsci/xunit-plugin>, `junit-10.xsd`.

use super::findings::FindingList;
use super::findings::shown;
use super::human::sanitized;
use std::fmt::Write as _;

/// The document.
pub(super) fn junit(list: &FindingList) -> String {
    let failed = list.findings.iter().filter(|finding| finding.is_wrong()).count() + usize::from(list.is_unexplained());
    let tests = list.findings.len() + 1;
    let suite = format!("cudashim {}", list.command);
    let class = format!("cudashim.{}", list.command);
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuites name=\"cudashim\" tests=\"{tests}\" failures=\"{failed}\" errors=\"0\" time=\"0\">\n\
         <testsuite name=\"{suite}\" tests=\"{tests}\" failures=\"{failed}\" errors=\"0\" skipped=\"0\" time=\"0\">\n"
    );
    for finding in &list.findings {
        // A report tells tests apart by class and name.
        let name = match &finding.path {
            Some(path) => format!("{}: {}", finding.id, shown(path)),
            None => format!("{}: {}", finding.id, finding.says),
        };
        let (name, says) = (escaped(&name), escaped(&finding.says));
        let body = std::iter::once(finding.says.replace('\n', "\\n")).chain(finding.details());
        let body = body.map(|line| escaped(&line)).collect::<Vec<_>>().join("\n");
        let _ = writeln!(text, "<testcase classname=\"{class}\" name=\"{name}\" time=\"0\">");
        let _ = if finding.is_wrong() {
            let id = escaped(&finding.id);
            writeln!(text, "<failure message=\"{says}\" type=\"{id}\">{body}</failure>")
        } else {
            writeln!(text, "<system-out>{body}</system-out>")
        };
        text.push_str("</testcase>\n");
    }
    let _ = writeln!(text, "<testcase classname=\"{class}\" name=\"verdict\" time=\"0\">");
    let summary = escaped(&list.summary());
    let _ = if list.is_unexplained() {
        writeln!(text, "<failure message=\"{}\" type=\"verdict\">{summary}</failure>", escaped(&list.verdict))
    } else {
        writeln!(text, "<system-out>{summary}</system-out>")
    };
    text.push_str("</testcase>\n</testsuite>\n</testsuites>\n");
    text
}

/// A text on one line, in an element or an attribute. XML 1.0 has no controls, not even as references, and no U+FFFE and
/// U+FFFF.
fn escaped(text: &str) -> String {
    sanitized(text).chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("\\n"),
            '\u{fffe}' | '\u{ffff}' => out.extend(c.escape_default()),
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(escaped("</a>]]>&\"\u{0}\u{ffff}\n"), "&lt;/a&gt;]]&gt;&amp;&quot;\\u{0}\\u{ffff}\\n");
    }
}
