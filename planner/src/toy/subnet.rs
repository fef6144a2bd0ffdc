//! Subnets besides the node's own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use holdfast_model::block::{Ask, Unit};
use holdfast_model::ids::SubnetId;
use holdfast_model::subnet::SubnetView;
use ipnet::{IpNet, Ipv4Net};

use crate::Fault;

#[derive(Clone, Debug)]
pub(crate) struct ToySubnet {
    net: Ipv4Net,
    pub(crate) free: u32,
    /// Wholly free prefixes.
    pub(crate) blocks: u32,
    pub(crate) tags: BTreeMap<String, String>,
    next: u32,
    next_prefix: u32,
    reusable: Vec<IpNet>,
}

impl ToySubnet {
    /// The nth, of 16,384 addresses; the node's own is the zeroth.
    pub(crate) fn nth(nth: u8, tags: &[(&str, &str)]) -> (SubnetId, Self) {
        assert!((1..4).contains(&nth));
        let net = Ipv4Net::new(Ipv4Addr::new(10, 0, nth * 64, 0), 18).unwrap();
        let subnet = Self {
            net,
            free: 10_000,
            blocks: 500,
            tags: tagged(tags),
            next: 4,
            next_prefix: 0,
            reusable: Vec::new(),
        };
        (SubnetId::new(format!("subnet-{}", nth + 1)), subnet)
    }

    pub(crate) fn net(&self) -> Ipv4Net {
        self.net
    }

    pub(crate) fn has(&self, net: IpNet) -> bool {
        matches!(net, IpNet::V4(net) if self.net.contains(&net))
    }

    fn one(&mut self, unit: Unit) -> IpNet {
        let again = self.reusable.iter().position(|net| (net.prefix_len() == 32) == (unit == Unit::Address));
        if let Some(again) = again {
            return self.reusable.remove(again);
        }
        let base = u32::from(self.net.network());
        if unit == Unit::Address {
            self.next += 1;
            return IpAddr::V4(Ipv4Addr::from(base + self.next)).into();
        }
        self.next_prefix += 1;
        IpNet::V4(Ipv4Net::new(Ipv4Addr::from(base + 8192 + 16 * self.next_prefix), 28).unwrap())
    }

    /// What is asked for, all or nothing.
    pub(crate) fn give(&mut self, ask: Ask) -> Result<(BTreeSet<IpAddr>, BTreeSet<Ipv4Net>), Fault> {
        let lacks = if ask.unit == Unit::Address { Fault::SubnetFull } else { Fault::NoFreeBlock };
        if ask.unit == Unit::Prefix {
            self.blocks = self.blocks.checked_sub(ask.count).ok_or(lacks)?;
        }
        self.free = self.free.checked_sub(ask.brings()).ok_or(lacks)?;
        let (mut addresses, mut prefixes) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..ask.count {
            match self.one(ask.unit) {
                IpNet::V4(prefix) if prefix.prefix_len() < 32 => drop(prefixes.insert(prefix)),
                address => drop(addresses.insert(address.addr())),
            }
        }
        Ok((addresses, prefixes))
    }

    pub(crate) fn take_back(&mut self, net: IpNet) {
        if net.prefix_len() < 32 {
            self.blocks += 1;
            self.free += 16;
        } else {
            self.free += 1;
        }
        self.reusable.push(net);
    }

    pub(crate) fn view(&self, id: &SubnetId) -> SubnetView {
        SubnetView { id: id.clone(), ipv4: Some(self.net), free: self.free, tags: self.tags.clone() }
    }
}

pub(crate) fn tagged(tags: &[(&str, &str)]) -> BTreeMap<String, String> {
    tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
