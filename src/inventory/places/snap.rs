//! The driver of snapd: its directory, and the content snaps for graphics.

use super::{Place, Provenance, pattern, user};
use crate::host::Host;

/// Below `$SNAP`, inside an application.
const INSIDE: [&str; 3] = ["gpu-2404/usr/lib/*-linux-gnu", "graphics/usr/lib/*-linux-gnu", "gpu-2404/lib/*-linux-gnu"];

/// Snaps with NVIDIA libraries, from outside.
const OUTSIDE: [&str; 3] = ["var/lib/snapd/lib", "snap/cuda-*/current/usr/lib", "snap/nvidia-*/current/usr/lib"];

pub(super) fn places(host: &Host) -> Vec<Place> {
    let mut places = Vec::new();
    if let Some(snap) = user::named(host, "SNAP") {
        places.extend(pattern::below(host, &snap, &INSIDE, Provenance::Snap));
    }
    places.extend(pattern::everywhere(host, &OUTSIDE, &["gl", "gl32", "*-linux-gnu"], Provenance::Snap));
    places
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Machine, dirs};
    use super::*;

    #[test]
    fn inside_and_outside() {
        let machine = Machine::with(&[
            "snap/app/1/gpu-2404/usr/lib/x86_64-linux-gnu",
            "var/lib/snapd/lib/gl",
            "snap/nvidia-core22/7/usr/lib/x86_64-linux-gnu",
        ])
        .link("snap/nvidia-core22/current", "7")
        .set("SNAP", "/snap/app/1");
        let expected = [
            "/snap/app/1/gpu-2404/usr/lib/x86_64-linux-gnu",
            "/var/lib/snapd/lib/gl",
            "/snap/nvidia-core22/current/usr/lib/x86_64-linux-gnu",
        ];
        assert_eq!(dirs(&places(&machine.host())), expected);
    }
}
