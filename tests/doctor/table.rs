//! `docs/FAILURES.md` tells of every finding.
