//! Whose an address is: how the metadata service, which is one for all nodes, knows who asks.
//!
//! In life the hypervisor knows it by the link. Here the router does: a packet comes in only from an address that its
//! link has, and an answer goes out only where that address is, so nobody gets an answer that is meant for another.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;

use crate::server::ImdsClient;
use crate::vpc::{EniId, InstanceId};

/// The addresses that the router delivers, and who has them. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Residents(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    homes: BTreeMap<IpNet, (EniId, InstanceId)>,
    hop_limits: BTreeMap<InstanceId, u8>,
}

impl Residents {
    /// Sets how far metadata gets for an instance.
    pub(super) fn limit(&self, instance: &InstanceId, hops: u8) {
        self.inner().hop_limits.insert(instance.clone(), hops);
    }

    /// These addresses are this ENI's from now on.
    pub(super) fn settle(&self, net: IpNet, eni: &EniId, instance: &InstanceId) {
        self.inner().homes.insert(net, (eni.clone(), instance.clone()));
    }

    /// They are no longer, unless another ENI has got them since.
    pub(super) fn leave(&self, net: IpNet, eni: &EniId) {
        let mut inner = self.inner();
        if inner.homes.get(&net).is_some_and(|(home, _)| home == eni) {
            inner.homes.remove(&net);
        }
    }

    /// An ENI has gone, and all its addresses.
    pub(super) fn move_out(&self, eni: &EniId) {
        self.inner().homes.retain(|_, (home, _)| home != eni);
    }

    /// Whose metadata whoever has this address gets.
    pub(super) fn client(&self, address: IpAddr) -> Option<ImdsClient> {
        let inner = self.inner();
        let (_, (_, instance)) = inner.homes.iter().find(|(net, _)| net.contains(&address))?;
        let hop_limit = inner.hop_limits.get(instance).copied()?;
        Some(ImdsClient { instance: instance.clone(), hop_limit })
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
        let (first, second) = (EniId::new("eni-1"), EniId::new("eni-2"));
        let (one, two) = (InstanceId::new("i-1"), InstanceId::new("i-2"));
        residents.limit(&one, 1);
        residents.limit(&two, 2);
        let net: IpNet = "10.0.0.16/28".parse().unwrap();
        let who = || residents.client("10.0.0.17".parse().unwrap()).map(|client| client.instance);
        residents.settle(net, &first, &one);
        assert_eq!(who(), Some(one.clone()));
        residents.settle(net, &second, &two);
        residents.leave(net, &first);
        residents.move_out(&first);
        assert_eq!(who(), Some(two));
        residents.move_out(&second);
        assert_eq!(who(), None);
        assert_eq!(residents.client("10.0.0.32".parse().unwrap()), None);
    }
}
