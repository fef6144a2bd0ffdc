//! Where this process runs, as far as anybody has said.

use std::collections::BTreeSet;

use holdfast_model::ids::MacAddr;
use holdfast_model::node::NodeIdentity;

/// What is known at start of where we are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Here<'a> {
    /// The instance metadata's answer, when there is one.
    pub identity: Option<&'a NodeIdentity>,
    /// The MACs of the kernel's links, when they were read completely. An instance keeps its primary ENI for life: which
    /// one is here tells whose ledger this is, whatever anybody says.
    pub macs: Option<&'a BTreeSet<MacAddr>>,
}

impl Here<'_> {
    /// Whether the kernel's links speak against an instance with this primary ENI.
    pub fn lacks(&self, primary: MacAddr) -> bool {
        self.macs.is_some_and(|macs| !macs.contains(&primary))
    }
}
