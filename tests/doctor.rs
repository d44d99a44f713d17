//! `cudashim doctor`: each finding on a machine that has it, and none on one that has not.

mod driver;

use crate::support::world::World;
use cudashim::Host;
use cudashim::doctor::{Ask, Finding, Remedy, Report, examine};
use cudashim::driver::{Devices, Machine};
use cudashim::facts::Severity;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

/// A machine to be examined: its files in a directory, its environment, what its driver says.
pub(crate) struct Patient {
    pub(crate) world: World,
    env: BTreeMap<OsString, OsString>,
    devices: Devices,
}

impl Patient {
    /// One with nothing on it.
    pub(crate) fn new() -> Self {
        Self { world: World::new(), env: BTreeMap::new(), devices: Devices::default() }
    }

    /// With a file.
    pub(crate) fn file(self, path: &str, text: &str) -> Self {
        let path = self.world.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// With a symbolic link.
    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        let path = self.world.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
        self
    }

    /// With a file of these rights.
    pub(crate) fn node(self, path: &str, mode: u32) -> Self {
        let path = self.file(path, "").world_path(path);
        fs::set_permissions(&path.1, fs::Permissions::from_mode(mode)).unwrap();
        path.0
    }

    fn world_path(self, path: &str) -> (Self, std::path::PathBuf) {
        let path = self.world.path(path);
        (self, path)
    }

    /// Without a file, or a whole directory.
    pub(crate) fn without(self, path: &str) -> Self {
        let path = self.world.path(path);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
        self
    }

    /// With a variable.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// With what its driver says.
    pub(crate) fn says(mut self, devices: Devices) -> Self {
        self.devices = devices;
        self
    }

    /// With an environment at `/venv` that has this torch.
    pub(crate) fn torch(self, version: &str, cuda: &str) -> Self {
        self.world.venv("venv").torch(version, Some(cuda), &[], &[]);
        self
    }

    pub(crate) fn host(&self) -> Host {
        Host::new(self.world.root().to_owned(), self.env.clone(), "/".into())
    }

    /// What its doctor says.
    pub(crate) fn report(&self) -> Report {
        let mut ask = Ask::default();
        ask.python = self.world.path("venv").is_dir().then(|| "/venv".into());
        ask.devices = self.devices.clone();
        examine(&self.host(), &ask).unwrap()
    }

    /// The ids of what is found, worst first.
    pub(crate) fn ids(&self) -> Vec<(&'static str, Severity)> {
        self.report().findings.iter().map(|finding| (finding.id, finding.severity)).collect()
    }

    /// The finding that comes first.
    pub(crate) fn first(&self) -> Finding {
        let report = self.report();
        report.findings.first().cloned().unwrap_or_else(|| panic!("nothing is found: {:?}", report.machine))
    }
}

/// The lines for a shell among the remedies.
pub(crate) fn commands(finding: &Finding) -> Vec<&str> {
    let line = |remedy| match remedy {
        &Remedy::Command(ref line) => Some(line.as_str()),
        _ => None,
    };
    finding.remedies.iter().filter_map(line).collect()
}

/// What is recorded of a machine reads back as it was, and is judged alike.
#[test]
fn a_recorded_machine_is_the_machine() {
    let patient = driver::healthy("535.261.03").file(".dockerenv", "").set("LD_LIBRARY_PATH", "/opt/x");
    let report = patient.report();
    let text = report.machine.to_json().unwrap();
    let again = Machine::from_json(&text).unwrap();
    assert_eq!(again, report.machine);
    let mut ask = Ask::default();
    ask.recorded = Some(again);
    let elsewhere = Patient::new();
    let read = examine(&elsewhere.host(), &ask).unwrap();
    assert_eq!(read.driver, report.driver);
    // What is not known of is skipped, what is missing was not seen, and a later format is refused.
    assert_eq!(Machine::from_json(r#"{"schema":1,"later":[1]}"#).unwrap(), Machine::default());
    assert!(Machine::from_json(r#"{"schema":2}"#).unwrap_err().to_string().contains("format 2"));
    assert!(Machine::from_json("[").is_err());
}
