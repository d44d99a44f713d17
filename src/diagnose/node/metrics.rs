//! The report of `node` as measurements for Prometheus.

use super::NodeReport;
use crate::report::{Metrics, word};

/// The file for the textfile collector of Prometheus' node exporter.
#[must_use]
pub fn node_metrics(report: &NodeReport) -> String {
    let mut metrics = Metrics::default();
    let flag = |ok: bool| u64::from(ok);
    let none: &[(&str, &str)] = &[];
    metrics.gauge("cudashim_node_ok", "Whether this node is fit for a job that needs CUDA.", [(none, flag(report.ok))]);
    let checks: Vec<_> = report.checks.iter().map(|check| ([("check", check.check)], flag(check.ok))).collect();
    let checks = checks.iter().map(|(labels, ok)| (&labels[..], *ok));
    metrics.gauge("cudashim_node_check_ok", "Whether a part of the check found nothing fatal.", checks);
    let gpus = u64::try_from(report.gpus).unwrap_or(u64::MAX);
    let required = u64::try_from(report.required).unwrap_or(u64::MAX);
    metrics.gauge("cudashim_node_gpus", "GPUs that answer.", [(none, gpus)]);
    metrics.gauge("cudashim_node_gpus_required", "GPUs that must answer.", [(none, required)]);
    let plan = report.plan.as_ref().map(|plan| plan.to_path().display().to_string()).unwrap_or_default();
    let info = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("driver", report.driver.version.as_deref().unwrap_or_default()),
        ("cuda", report.driver.cuda.as_deref().unwrap_or_default()),
        ("plan", &plan),
    ];
    metrics.gauge(
        "cudashim_node_info",
        "The cudashim, the driver with its CUDA, and the lock or plan.",
        [(&info[..], 1)],
    );
    let findings: Vec<_> = report.findings.iter().map(|it| (it.id, word(&it.severity), it.cause.as_str())).collect();
    let labels: Vec<_> =
        findings.iter().map(|(id, severity, says)| [("id", *id), ("severity", severity), ("says", *says)]).collect();
    metrics.gauge(
        "cudashim_node_finding",
        "What is wrong with this node.",
        labels.iter().map(|labels| (&labels[..], 1)),
    );
    metrics.text()
}
