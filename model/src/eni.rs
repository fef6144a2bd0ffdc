//! ENIs as the ledger keeps them.
//!
//! ```text
//!   CreateEni intent ──answer──> Available ──AttachEni──> Attached ──(empty, surplus)──> Draining
//!                                    │                     ^  <────(wanted after all)──────── │
//!                                    │                     │                                │ DetachEni
//!                              DeleteEni (unwanted)        └── found attached (adopted)     v
//!                                    v                                                   Detached
//!                                  Gone <──────────────────────DeleteEni────────────────────┘
//! ```
//!
//! One that others detached goes back to Available with what is on it; where pods live on it, it stays Attached and closed
//! for their sake; a read of it tells what it is after them.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::ids::{AttachmentId, EniId, IntentId, MacAddr, SecurityGroupId, SubnetId};
use crate::time::BootTime;

/// Where an ENI sits on its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EniSlot {
    /// The network card, zero on instances with one.
    pub card: u8,
    /// The device index on that card. Card 0, device 0 is the primary ENI.
    pub device: u16,
}

impl EniSlot {
    /// The slot of every instance's primary ENI.
    pub const PRIMARY: Self = Self { card: 0, device: 0 };

    /// The kernel routing table that carries this ENI's traffic: main (254) for the primary, `device + 1` on
    /// card 0, `10000 + 100 * card + device` on the others; upstream's numbers, so a node can be taken over.
    pub fn route_table(self) -> u32 {
        match (self.card, self.device) {
            (0, 0) => 254,
            (0, device) => u32::from(device) + 1,
            (card, device) => 10_000 + 100 * u32::from(card) + u32::from(device),
        }
    }
}

/// Where an ENI is reached from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EniPlace {
    /// A device of the instance.
    Device(EniSlot),
    /// A branch of a trunk ENI, by its VLAN tag.
    Branch {
        /// The trunk.
        trunk: EniId,
        /// The tag of its packets on the trunk, 1 to 4094.
        vlan: u16,
    },
}

impl EniPlace {
    /// The place of every instance's primary ENI.
    pub const PRIMARY: Self = Self::Device(EniSlot::PRIMARY);

    /// The slot that it takes up; a branch takes none.
    pub fn slot(&self) -> Option<EniSlot> {
        match self {
            Self::Device(slot) => Some(*slot),
            Self::Branch { .. } => None,
        }
    }

    /// The kernel routing table that carries this ENI's traffic. A branch's is `100 + vlan`, upstream's number.
    pub fn route_table(&self) -> u32 {
        match self {
            Self::Device(slot) => slot.route_table(),
            Self::Branch { vlan, .. } => 100 + u32::from(*vlan),
        }
    }
}

/// What an ENI is made from: it decides where its addresses come from and what may reach them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EniSource {
    /// Its subnet.
    pub subnet: SubnetId,
    /// Of the primary its security groups, as EC2 last showed them. Of others those that we gave it, as far as nobody has set others
    /// since; `None`: somebody has, or it was not shown yet.
    pub security_groups: Option<BTreeSet<SecurityGroupId>>,
}

/// What kind of interface EC2 says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EniKind {
    /// An ordinary interface.
    Standard,
    /// Carries the branch ENIs of pods; takes no addresses for the pool.
    Trunk,
    /// Elastic Fabric Adapter with an IP network beside it; supplies addresses, is never freed.
    Efa,
    /// Elastic Fabric Adapter without one.
    EfaOnly,
}

/// Whether an ENI is ours to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Management {
    /// Ours: we assign, lease and free.
    Managed,
    /// Attached by somebody else and marked so, or of a kind we cannot use: left alone, and counted against
    /// the instance's limit.
    Unmanaged,
    /// Ours, and closed to new leases.
    Excluded,
}

/// How far an ENI has come. See the diagram at the top of this module.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EniPhase {
    /// Exists, is ours, is not attached.
    Available,
    /// Attached to this instance by an authoritative answer.
    Attached {
        /// The binding.
        attachment: AttachmentId,
        /// Whether EC2 deletes the ENI with the instance. Until this is set, the end of the instance leaks it.
        delete_on_termination: bool,
    },
    /// Attached, chosen to be given back: takes no leases, and is detached when the last address has cooled.
    Draining {
        /// The binding.
        attachment: AttachmentId,
    },
    /// Detached, by us or by others, not yet deleted.
    Detached,
    /// Deleted. Kept for a while because describes lag: a late view must not bring it back.
    Gone,
}

/// One ENI of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EniRecord {
    /// EC2's id.
    pub id: EniId,
    /// By which the kernel's link is found.
    pub mac: MacAddr,
    /// Where it sits, or where it is to be attached.
    pub place: EniPlace,
    /// Its kind.
    pub kind: EniKind,
    /// Whether it is ours to use.
    pub management: Management,
    /// How far it has come.
    pub phase: EniPhase,
    /// What it is made from.
    pub source: EniSource,
    /// Its first address, never leased. An IPv6-only ENI has none.
    pub primary_ipv4: Option<Ipv4Addr>,
    /// The intent that created it, when we did.
    pub created_by: Option<IntentId>,
    /// When it reached its phase, under the boot of the node record.
    pub since: BootTime,
    /// When EC2 was last asked to change it or its addresses, or answered such a call. A read that began
    /// earlier proves nothing about it.
    pub changed: BootTime,
}

impl EniRecord {
    /// Whether this is the instance's first ENI, which is never detached.
    pub fn is_primary(&self) -> bool {
        self.place == EniPlace::PRIMARY
    }

    /// The slot that it takes up, or is to take up, on the instance.
    pub fn slot(&self) -> Option<EniSlot> {
        self.place.slot()
    }

    /// The attachment, while there is one.
    pub fn attachment(&self) -> Option<&AttachmentId> {
        match &self.phase {
            EniPhase::Attached { attachment, .. } | EniPhase::Draining { attachment } => Some(attachment),
            EniPhase::Available | EniPhase::Detached | EniPhase::Gone => None,
        }
    }

    /// Whether it takes new leases, as far as the ledger knows: ours, of a kind that carries pods, attached.
    pub fn serves_pods(&self) -> bool {
        self.management == Management::Managed
            && matches!(self.kind, EniKind::Standard | EniKind::Efa)
            && matches!(self.phase, EniPhase::Attached { .. })
    }

    /// Whether it takes up one of the instance's slots.
    pub fn holds_slot(&self) -> bool {
        !matches!(self.phase, EniPhase::Detached | EniPhase::Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::{EniPlace, EniSlot};
    use crate::ids::EniId;

    #[test]
    fn route_tables_are_upstreams() {
        for (card, device, table) in [(0, 0, 254), (0, 1, 2), (0, 7, 8), (1, 1, 10_101), (2, 3, 10_203)] {
            let place = EniPlace::Device(EniSlot { card, device });
            assert_eq!(place.route_table(), table, "card {card} device {device}");
        }
        assert_eq!(EniPlace::Branch { trunk: EniId::new("eni-t"), vlan: 7 }.route_table(), 107);
    }
}
