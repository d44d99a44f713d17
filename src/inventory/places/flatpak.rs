//! The driver of flatpak: inside an application, and where it is installed.

use super::{Place, Provenance, pattern, user};
use crate::host::Host;
use std::path::PathBuf;

/// The deployment in use of each driver, by architecture and branch.
const DRIVERS: &str = "runtime/org.freedesktop.Platform.GL.nvidia-*/*/*/active";

pub(super) fn places(host: &Host) -> Vec<Place> {
    let mut places = pattern::everywhere(host, &["usr/lib/*-linux-gnu/GL/nvidia-*"], &["lib"], Provenance::Flatpak);
    let mut installations: Vec<PathBuf> = vec!["/var/lib/flatpak".into()];
    installations.extend(user::data(host).map(|data| data.join("flatpak")));
    for installation in installations {
        for root in pattern::expand(host, &installation, DRIVERS) {
            places.extend(pattern::below(host, &root, &["files/lib"], Provenance::Flatpak));
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Machine, dirs};
    use super::*;

    #[test]
    fn inside_and_outside() {
        let runtime = "flatpak/runtime/org.freedesktop.Platform.GL.nvidia-550-120/x86_64/1.4";
        let machine = Machine::with(&[
            "usr/lib/x86_64-linux-gnu/GL/nvidia-550-120/lib",
            &format!("var/lib/{runtime}/abc/files/lib"),
            &format!("h/.local/share/{runtime}/abc/files/lib"),
        ])
        .link(&format!("var/lib/{runtime}/active"), "abc")
        .link(&format!("h/.local/share/{runtime}/active"), "abc")
        .set("HOME", "/h");
        let expected = [
            "/usr/lib/x86_64-linux-gnu/GL/nvidia-550-120/lib".to_owned(),
            format!("/var/lib/{runtime}/active/files/lib"),
            format!("/h/.local/share/{runtime}/active/files/lib"),
        ];
        assert_eq!(dirs(&places(&machine.host())), expected);
    }
}
