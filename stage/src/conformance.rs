//! Kubernetes' own end-to-end suite on a stage that is up.
//!
//! ```text
//!   e2e.test --list-images ── names ── ctr images tag, on each node
//!   ginkgo -p … e2e.test, in the network of the control plane ── report.json ── report ── limits ── table
//! ```
//!
//! What came of it is judged by pure functions: `report` reads it, `limits` says what may fail, `table` writes it down.

mod images;
mod limits;
mod report;
mod run;
mod table;

pub use limits::{LIMITS, Limit, complaints};
pub use report::{Outcome, State, Test};
pub use run::{carry_out, keep_logs};
pub use table::{Head, table};

use crate::plan::Plugin;

/// Which tests are meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Choice {
    /// Of all conformance tests of networking those whose names this regular expression finds; `None`: all.
    pub focus: Option<String>,
}

impl Choice {
    /// The labels that a test must bear, as ginkgo has them.
    pub(crate) const LABELS: &str = "sig-network && Conformance";

    /// Whether a test of this name is in the set that is run when nothing is left out. Judged by the name, and not by the
    /// labels by which tests are chosen, so that a test that was not chosen is missed.
    pub(crate) fn is_meant(name: &str) -> bool {
        name.contains("[sig-network]") && name.contains("[Conformance]")
    }
}

/// What came of the suite on the stage with this network.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The pods' network.
    pub plugin: Plugin,
    /// What came of it.
    pub outcome: Outcome,
}
