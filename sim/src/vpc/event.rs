//! What the fabric must follow: changes of attachments, addresses and the VPC itself, in the order in which they happen.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::ids::{EniId, InstanceId, Mac, SubnetId, VpcId};

/// All addresses of one ENI.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EniAddresses {
    /// IPv4, the primary one first.
    pub ipv4: Vec<Ipv4Addr>,
    /// /28 prefixes.
    pub ipv4_prefixes: Vec<Ipv4Net>,
    /// IPv6.
    pub ipv6: Vec<Ipv6Addr>,
    /// /80 prefixes.
    pub ipv6_prefixes: Vec<Ipv6Net>,
}

/// A change that the network has to follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum VpcEvent {
    /// The interface appears in the instance.
    AttachmentVisible {
        /// Where.
        instance: InstanceId,
        /// What.
        eni: EniId,
        /// Its MAC.
        mac: Mac,
        /// Place on the card.
        device_index: u32,
        /// Card.
        network_card: u32,
        /// Its subnet.
        subnet: SubnetId,
        /// Its addresses at this moment.
        addresses: EniAddresses,
        /// Whether the network drops packets from other source addresses.
        source_dest_check: bool,
    },
    /// The addresses of a visible interface are now these.
    AddressesChanged {
        /// Where.
        instance: InstanceId,
        /// What.
        eni: EniId,
        /// All its addresses now.
        addresses: EniAddresses,
    },
    /// The source/destination check of a visible interface changed.
    SourceDestCheckChanged {
        /// Where.
        instance: InstanceId,
        /// What.
        eni: EniId,
        /// The new value.
        enabled: bool,
    },
    /// The interface leaves the instance.
    Detached {
        /// From where.
        instance: InstanceId,
        /// What.
        eni: EniId,
        /// Its MAC.
        mac: Mac,
    },
    /// The instance is off; its interfaces were reported as detached before.
    InstanceStopped {
        /// Which.
        instance: InstanceId,
    },
    /// The instance boots; its interfaces are reported as visible after this.
    InstanceStarted {
        /// Which.
        instance: InstanceId,
    },
    /// The instance is over; its interfaces were reported as detached before.
    InstanceTerminated {
        /// Which.
        instance: InstanceId,
    },
    /// There is a new subnet; what is in it is reported after this.
    SubnetAdded {
        /// In which VPC.
        vpc: VpcId,
        /// Which.
        subnet: SubnetId,
        /// Its IPv4 block.
        ipv4: Option<Ipv4Net>,
        /// Its IPv6 block.
        ipv6: Option<Ipv6Net>,
    },
    /// A VPC has one more IPv4 block; subnets in it are reported after this.
    CidrAdded {
        /// Which VPC.
        vpc: VpcId,
        /// The block.
        cidr: Ipv4Net,
    },
}

impl VpcEvent {
    /// Whose event it is; `None`: of no single instance.
    pub fn instance(&self) -> Option<InstanceId> {
        match self {
            Self::AttachmentVisible { instance, .. }
            | Self::AddressesChanged { instance, .. }
            | Self::SourceDestCheckChanged { instance, .. }
            | Self::Detached { instance, .. }
            | Self::InstanceStopped { instance }
            | Self::InstanceStarted { instance }
            | Self::InstanceTerminated { instance } => Some(*instance),
            Self::SubnetAdded { .. } | Self::CidrAdded { .. } => None,
        }
    }
}

/// Events that nobody has taken yet.
#[derive(Debug, Default)]
pub(super) struct Events {
    next: u64,
    by_instance: BTreeMap<Option<InstanceId>, Vec<(u64, VpcEvent)>>,
}

impl Events {
    pub(super) fn push(&mut self, event: VpcEvent) {
        self.by_instance.entry(event.instance()).or_default().push((self.next, event));
        self.next += 1;
    }

    /// Takes those of one instance, in order.
    pub(super) fn take_of(&mut self, instance: InstanceId) -> Vec<VpcEvent> {
        let events = self.by_instance.remove(&Some(instance)).unwrap_or_default();
        events.into_iter().map(|(_, event)| event).collect()
    }

    /// Takes all, in the order in which they happened.
    pub(super) fn take(&mut self) -> Vec<VpcEvent> {
        let mut events: Vec<_> = std::mem::take(&mut self.by_instance).into_values().flatten().collect();
        events.sort_by_key(|(number, _)| *number);
        events.into_iter().map(|(_, event)| event).collect()
    }
}
