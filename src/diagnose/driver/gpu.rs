//! Whether an assumed driver supports the GPUs, whatever runs on them. A driver that reports a GPU supports it.

use super::super::{Case, Finding, Remedy};
use crate::driver::{Device, Support, support};
use crate::tables::Severity;

/// The findings, one for each kind of GPU.
pub(super) fn findings(case: &Case<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    for device in case.driver.devices().iter().filter(|_| case.driver.assumed) {
        found.extend(unsupported(case, device).filter(|finding| !found.contains(finding)));
    }
    found
}

fn unsupported(case: &Case<'_>, device: &Device) -> Option<Finding> {
    let driver = case.driver.driver_version()?;
    let support = support(device, &driver, case.driver.kernel.flavour);
    let says = support.says(device, &driver)?;
    let found = match &support {
        Support::With { .. } => case.finding("kernel-module-flavour")?,
        _ => case.finding("gpu-unsupported")?,
    };
    let found = if support.is_refused() { found } else { found.severity(Severity::Fact) };
    let compute = device.compute.map(|compute| format!(", compute capability {compute}")).unwrap_or_default();
    let found = found.because(says).seen("device", format!("{}{compute}", device.name));
    Some(found.healed_by(support.remedy().map(Remedy::action)))
}
