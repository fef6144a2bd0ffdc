//! What the fabric would have built from the events.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use holdfast_sim::vpc::{EniId, InstanceId, VpcEvent};

/// Follows the events as the fabric does.
#[derive(Default)]
pub struct Follower {
    pub links: BTreeMap<EniId, (InstanceId, Vec<Ipv4Addr>, usize)>,
}

impl Follower {
    pub fn follow(&mut self, events: Vec<VpcEvent>) {
        for event in events {
            match event {
                VpcEvent::AttachmentVisible { instance, eni, addresses, .. } => {
                    let link = (instance, addresses.ipv4, addresses.ipv4_prefixes.len());
                    assert!(self.links.insert(eni, link).is_none(), "a link appeared twice");
                }
                VpcEvent::AddressesChanged { eni, addresses, .. } => {
                    let link = self.links.get_mut(&eni).expect("only visible links are told of");
                    (link.1, link.2) = (addresses.ipv4, addresses.ipv4_prefixes.len());
                }
                VpcEvent::Detached { eni, .. } => {
                    assert!(self.links.remove(&eni).is_some(), "an unknown link left");
                }
                VpcEvent::InstanceTerminated { instance } => {
                    assert!(self.links.values().all(|link| link.0 != instance), "it still has links");
                }
                VpcEvent::SourceDestCheckChanged { .. }
                | VpcEvent::InstanceStopped { .. }
                | VpcEvent::InstanceStarted { .. }
                | VpcEvent::SubnetAdded { .. }
                | VpcEvent::CidrAdded { .. } => {}
            }
        }
    }
}
