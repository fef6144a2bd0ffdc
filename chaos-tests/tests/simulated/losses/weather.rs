//! What else is the matter while a daemon lives on what is left of its ledger.

use std::time::Duration;

use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::vpc::Action;

use crate::cloud::Away;
use crate::node::Node;

/// What else is the matter when the daemon starts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    /// Nothing.
    Fair,
    /// Describes show what was.
    DescribesLag,
    /// EC2 does not tell what the instance type carries.
    LimitsLate,
    /// Metadata is another instance's.
    MetadataOfAnother,
    /// Metadata shows the primary ENI only.
    MetadataOmits,
    /// Metadata is away, and with it the credentials.
    MetadataAway,
    /// The role may not look.
    MayNotRead,
    /// The role may not change anything.
    MayNotChange,
}

impl Weather {
    pub(super) const ALL: [Self; 8] = [
        Self::Fair,
        Self::DescribesLag,
        Self::LimitsLate,
        Self::MetadataOfAnother,
        Self::MetadataOmits,
        Self::MetadataAway,
        Self::MayNotRead,
        Self::MayNotChange,
    ];

    pub(super) fn begin(self, three: &[Node]) {
        let node = &three[0];
        let mine = |kind| Fault::new(kind).of_instance(&node.instance);
        let fault = match self {
            Self::Fair => return,
            Self::MetadataOfAnother => return node.mistake_for(three[2].instance),
            Self::MetadataAway => return node.metadata.set(Some(Away::Silent)),
            Self::DescribesLag => Fault::new(FaultKind::DescribeLags { by: Duration::from_secs(20) }),
            Self::LimitsLate => mine(FaultKind::Throttle).on(Action::DescribeInstanceTypes),
            Self::MetadataOmits => mine(FaultKind::ImdsOmitsEni { eni: None }),
            Self::MayNotRead => mine(FaultKind::Deny).on(Action::DescribeNetworkInterfaces),
            Self::MayNotChange => {
                let changes = Action::ALL.iter().filter(|action| !action.is_read());
                changes.fold(mine(FaultKind::Deny), |fault, action| fault.on(*action))
            }
        };
        node.shared.now(|vpc| vpc.set_fault(fault)).unwrap();
    }

    pub(super) fn end(three: &[Node]) {
        let node = &three[0];
        node.shared.now(holdfast_sim::vpc::SimVpc::clear_faults);
        node.mistake_for(node.instance);
        node.metadata.set(None);
    }
}
