//! Whose an address is: how the metadata service, which is one for all nodes, knows who asks, and how neighbour discovery
//! knows who is asked for.
//!
//! In life the hypervisor knows it by the link. Here the router does: a packet comes in only from an address that its
//! link has, and an answer goes out only where that address is, so nobody gets an answer that is meant for another.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdfast_datapath::netlink::MacAddr;
use ipnet::{IpNet, Ipv6Net};

use crate::server::ImdsClient;
use crate::vpc::{EniId, InstanceId};

/// The ENIs that have a link, and their addresses. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Residents(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    homes: BTreeMap<IpNet, EniId>,
    enis: BTreeMap<EniId, Home>,
    hop_limits: BTreeMap<InstanceId, u8>,
}

/// An ENI with a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Home {
    pub(super) instance: InstanceId,
    pub(super) mac: MacAddr,
    /// Index of the router's end.
    pub(super) link: u32,
    /// The IPv6 block of its subnet.
    pub(super) ipv6: Option<Ipv6Net>,
}

impl Residents {
    /// Sets how far metadata gets for an instance.
    pub(super) fn limit(&self, instance: &InstanceId, hops: u8) {
        self.inner().hop_limits.insert(*instance, hops);
    }

    /// An ENI has a link from now on, and no address yet.
    pub(super) fn move_in(&self, eni: &EniId, home: Home) {
        self.inner().enis.insert(*eni, home);
    }

    /// It has none any more. Gives the addresses that were its own.
    pub(super) fn move_out(&self, eni: &EniId) -> Vec<IpNet> {
        let mut inner = self.inner();
        inner.enis.remove(eni);
        let lost: Vec<IpNet> =
            inner.homes.iter().filter(|(_, home)| *home == eni).map(|(net, _)| *net).collect();
        for net in &lost {
            inner.homes.remove(net);
        }
        lost
    }

    /// These addresses are this ENI's from now on.
    pub(super) fn settle(&self, net: IpNet, eni: &EniId) {
        self.inner().homes.insert(net, *eni);
    }

    /// They are no longer, unless another ENI has got them since.
    pub(super) fn leave(&self, net: IpNet, eni: &EniId) {
        let mut inner = self.inner();
        if inner.homes.get(&net) == Some(eni) {
            inner.homes.remove(&net);
        }
    }

    /// The link-layer address of the ENI that has just these addresses.
    pub(super) fn mac_of(&self, net: &IpNet) -> Option<MacAddr> {
        let inner = self.inner();
        Some(inner.enis.get(inner.homes.get(net)?)?.mac)
    }

    /// The ENI that has this address.
    pub(super) fn who_has(&self, address: IpAddr) -> Option<Home> {
        let inner = self.inner();
        let (_, eni) = inner.homes.iter().find(|(net, _)| net.contains(&address))?;
        inner.enis.get(eni).cloned()
    }

    /// The ENI at the other end of a link.
    pub(super) fn behind(&self, link: u32) -> Option<Home> {
        self.inner().enis.values().find(|home| home.link == link).cloned()
    }

    /// Whose metadata whoever has this address gets.
    pub(super) fn client(&self, address: IpAddr) -> Option<ImdsClient> {
        let instance = self.who_has(address)?.instance;
        let hop_limit = self.inner().hop_limits.get(&instance).copied()?;
        Some(ImdsClient { instance, hop_limit })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_moved_is_not_taken_along_by_its_former_eni() {
        let residents = Residents::default();
        let home = |instance: &str, link| Home {
            instance: InstanceId::new(instance),
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            link,
            ipv6: None,
        };
        let (first, second) = (EniId::new("eni-1"), EniId::new("eni-2"));
        residents.move_in(&first, home("i-1", 1));
        residents.move_in(&second, home("i-2", 2));
        residents.limit(&InstanceId::new("i-1"), 1);
        residents.limit(&InstanceId::new("i-2"), 2);
        let net: IpNet = "10.0.0.16/28".parse().unwrap();
        let who = || residents.client("10.0.0.17".parse().unwrap()).map(|client| client.instance);
        residents.settle(net, &first);
        assert_eq!(who(), Some(InstanceId::new("i-1")));
        residents.settle(net, &second);
        residents.leave(net, &first);
        assert_eq!(residents.move_out(&first), []);
        assert_eq!(who(), Some(InstanceId::new("i-2")));
        assert_eq!(residents.move_out(&second), [net]);
        assert_eq!(who(), None);
        assert_eq!(residents.client("10.0.0.32".parse().unwrap()), None);
        assert_eq!(residents.behind(2), None);
    }
}
