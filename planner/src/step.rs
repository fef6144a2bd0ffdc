//! What a plan is made of.

use std::collections::BTreeMap;

use holdfast_model::cloud::{Api, CloudChange, CloudRead};
use holdfast_model::host::EniWiring;
use holdfast_model::ids::{EniId, IntentId};
use holdfast_model::leak::LeakCall;
use holdfast_model::ledger::{Change, Ledger};

/// One step. The steps of a plan are independent of each other: they may be carried out in parallel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make this change an intent ([`crate::open`] with a fresh id), commit, send, [`crate::settle`].
    Open(CloudChange),
    /// Send the call of this open intent again; its outcome is unknown or it was never sent.
    Repeat(IntentId),
    /// Read, and [`crate::adopt()`] the answer.
    Read(CloudRead),
    /// Add these tags, and tell [`crate::Observed::tagged`] or [`crate::Observed::untagged`].
    Tag {
        /// To which.
        eni: EniId,
        /// Those that it lacks.
        tags: BTreeMap<String, String>,
    },
    /// Ask this of EC2, and tell [`crate::Observed::leaks_listed`], [`crate::Observed::leaks_lived`],
    /// [`crate::Observed::leak_gone`] or [`crate::Observed::leak_failed`].
    Leak(LeakCall),
    /// Ask EC2 what this instance type can carry, and tell [`crate::Observed::limits_told`] or [`crate::Observed::limits_untold`].
    AskLimits {
        /// The node's type.
        instance_type: String,
    },
    /// Set the ENI up in the kernel and read it back.
    SetUpEni(EniWiring),
    /// Commit these changes together; nothing in the world changes by them.
    Adjust(Vec<Change>),
}

impl Step {
    /// The change of EC2 that it asks for, if it does.
    pub(crate) fn change<'a>(&'a self, ledger: &'a Ledger) -> Option<&'a CloudChange> {
        match self {
            Self::Open(change) => Some(change),
            Self::Repeat(id) => ledger.intents.get(id).map(|intent| &intent.change),
            _ => None,
        }
    }

    /// The call of EC2 that it is, if it is one.
    pub(crate) fn api(&self, ledger: &Ledger) -> Option<Api> {
        match self {
            Self::Open(change) => Some(change.api()),
            Self::Repeat(id) => ledger.intents.get(id).map(|intent| intent.change.api()),
            Self::Read(read) => Some(read.api()),
            Self::Leak(call) => Some(call.api()),
            Self::Tag { .. } => Some(Api::CreateTags),
            Self::AskLimits { .. } => Some(Api::DescribeInstanceTypes),
            Self::SetUpEni(_) | Self::Adjust(_) => None,
        }
    }
}
