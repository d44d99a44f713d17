//! Measurements in the text format of Prometheus, version 0.0.4, as its node exporter reads them from a file.
//!
//! Takes names, texts and values; gives the file. Escapes what a text or a label may hold. No time is written: the exporter
//! gives that of the file (`node_textfile_mtime_seconds`).

use std::fmt::Write as _;

/// A file of measurements.
///
/// ```
/// let mut metrics = cudashim::internal::report::Metrics::default();
/// metrics.gauge("cudashim_node_gpus", "GPUs that answer.", [(&[][..], 8)]);
/// assert!(metrics.text().ends_with("# TYPE cudashim_node_gpus gauge\ncudashim_node_gpus 8\n"));
/// ```
#[derive(Debug, Default)]
pub struct Metrics {
    text: String,
}

impl Metrics {
    /// Adds a gauge with a value for each set of labels: names, which must be words, and their values.
    pub fn gauge<'l>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (&'l [(&'l str, &'l str)], u64)>,
    ) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} gauge\n");
        for (labels, value) in values {
            let labels: Vec<String> =
                labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(self.text, "{name}{labels} {value}");
        }
    }

    /// The file.
    #[must_use]
    pub fn text(self) -> String {
        self.text
    }
}

/// The value of a label: a backslash, a quote and a line feed are escaped, all else stands for itself.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_help_are_escaped() {
        let mut metrics = Metrics::default();
        metrics.gauge("x", "a\\b\nc \"d\"", [(&[("path", "a\\\"b\nc\t{}=,"), ("id", "")][..], 1)]);
        let text = "# HELP x a\\\\b\\nc \"d\"\n# TYPE x gauge\nx{path=\"a\\\\\\\"b\\nc\t{}=,\",id=\"\"} 1\n";
        assert_eq!(metrics.text(), text);
    }
}
