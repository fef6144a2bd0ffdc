//! What a start makes of the ledger it finds.

use std::collections::BTreeSet;

use holdfast_model::ids::MacAddr;
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::node::NodeIdentity;
use holdfast_model::time::Now;

use crate::desired::Desired;

/// What is known at start of where we are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Here<'a> {
    /// The instance metadata's answer, when there is one.
    pub identity: Option<&'a NodeIdentity>,
    /// The MACs of the kernel's links, when they were read: a ledger whose primary ENI is not among them is
    /// another instance's.
    pub macs: Option<&'a BTreeSet<MacAddr>>,
}

/// What kind of start it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// The ledger is empty.
    Fresh,
    /// The process was restarted: sandboxes may be alive.
    SameBoot,
    /// The node was restarted: all sandboxes are gone.
    NewBoot,
    /// The ledger is another instance's and was forgotten.
    Foreign,
}

/// The result of [`recover`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// What kind of start it is.
    pub kind: Recovery,
    /// Changes to commit before anything else is done.
    pub changes: Vec<Change>,
}

/// Brings the ledger to this boot and this instance. Call it at start, and again when the identity is learnt;
/// repeating it changes nothing.
pub fn recover(_desired: &Desired<'_>, _ledger: &Ledger, _here: Here<'_>, _now: &Now) -> Recovered {
    unimplemented!("being written")
}
