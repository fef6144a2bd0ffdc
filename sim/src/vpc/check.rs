//! The rules of EC2 that hold at every instant, checked from the objects up.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::SimVpc;
use super::family::Family;
use super::ids::{EniId, InstanceId, Mac, SubnetId};
use super::index::Term;
use super::model::EniState;
use super::op::Due;
use super::response::{AttachmentStatus, InstanceState};

type Addresses = BTreeMap<IpAddr, EniId>;
type Prefixes = BTreeMap<IpNet, EniId>;

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Short name of the rule.
    pub rule: &'static str,
    /// What breaks it.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.detail)
    }
}

impl SimVpc {
    /// Every broken rule; empty while the simulator is right.
    pub fn check(&self) -> Vec<Violation> {
        let mut found = Findings(Vec::new());
        self.check_addresses(&mut found);
        self.check_enis(&mut found);
        self.world.instances.iter().for_each(|(instance, _)| self.check_instance(*instance, &mut found));
        self.check_index(&mut found);
        self.check_due(&mut found);
        found.0
    }

    /// What ENIs show and what subnets hold is the same, each address once.
    fn check_addresses(&self, found: &mut Findings) {
        let mut shown: BTreeMap<(SubnetId, Family), (Addresses, Prefixes)> = BTreeMap::new();
        for (id, eni) in self.world.enis.iter() {
            for (family, holding) in [(Family::V4, &eni.v4), (Family::V6, &eni.v6)] {
                let (addresses, prefixes) = shown.entry((eni.subnet, family)).or_default();
                for address in &holding.addresses {
                    found.unless(addresses.insert(*address, *id).is_none(), "unique-address", address);
                }
                for net in &holding.prefixes {
                    found.unless(prefixes.insert(*net, *id).is_none(), "unique-prefix", net);
                    found.unless(net.addr() == net.network(), "prefix-aligned", net);
                }
            }
        }
        for (key, space) in &self.world.spaces {
            let (addresses, prefixes) = shown.remove(key).unwrap_or_default();
            let (subnet, family) = key;
            let held: Addresses = space.held().collect();
            let held_prefixes: Prefixes = space.held_prefixes().collect();
            found.unless(held == addresses, "subnet-agrees", format_args!("{subnet} {family}"));
            found.unless(
                held_prefixes == prefixes,
                "subnet-agrees",
                format_args!("{subnet} {family} prefixes"),
            );
            for address in addresses.keys() {
                let in_prefix = prefixes.keys().any(|net| net.contains(address));
                found.unless(!in_prefix, "address-outside-prefixes", address);
            }
            found.unless(!space.is_touched(), "nothing-half-done", subnet);
            let shown = self.world.subnets.get(subnet);
            let inside = |family| match family {
                Family::V4 => shown.and_then(|subnet| subnet.ipv4).map(IpNet::V4),
                Family::V6 => shown.and_then(|subnet| subnet.ipv6).map(IpNet::V6),
            };
            let block = inside(*family);
            for net in prefixes.keys() {
                found.unless(block.is_some_and(|block| block.contains(net)), "inside-subnet", net);
            }
            for address in addresses.keys() {
                found.unless(block.is_some_and(|block| block.contains(address)), "inside-subnet", address);
            }
            if *family == Family::V4 {
                let told = shown.map(|subnet| u64::from(subnet.free));
                found.unless(
                    told == Some(space.free()),
                    "free-count",
                    format_args!("{subnet} tells {told:?}"),
                );
                let counted = space.counted().unwrap_or(space.free());
                found.unless(counted == space.free(), "free-count", format_args!("{subnet} has {counted}"));
            }
        }
        for (subnet, family) in
            shown.into_iter().filter(|(_, (a, p))| !a.is_empty() || !p.is_empty()).map(|(k, _)| k)
        {
            found.unless(false, "subnet-agrees", format_args!("{subnet} has no {family}"));
        }
    }

    /// Every ENI is found by what it is.
    fn check_index(&self, found: &mut Findings) {
        for (id, eni) in self.world.enis.iter() {
            let by_mac = self.world.index.having(&Term::Mac(eni.mac)).any(|other| other == *id);
            found.unless(by_mac, "found-by-mac", id);
            if let Some(attachment) = eni.attachment() {
                let of_instance = Term::Instance(attachment.instance_id);
                let by_instance = self.world.index.having(&of_instance).any(|other| other == *id);
                found.unless(by_instance, "found-by-instance", id);
            }
        }
    }

    fn check_enis(&self, found: &mut Findings) {
        let mut macs = BTreeSet::<Mac>::new();
        for (id, eni) in self.world.enis.iter() {
            found.unless(*id == eni.id, "key-is-id", id);
            found.unless(macs.insert(eni.mac), "unique-mac", eni.mac);
            let Some(subnet) = self.world.subnets.get(&eni.subnet) else {
                found.unless(false, "subnet-exists", id);
                continue;
            };
            let groups_fit = !eni.groups.is_empty()
                && eni.groups.iter().all(|g| self.world.groups.get(g).is_some_and(|g| g.vpc == subnet.vpc));
            found.unless(groups_fit, "groups-of-vpc", id);
            let has_primary =
                !eni.v4.addresses.is_empty() || subnet.ipv4.is_none() || eni.interface_type == "efa-only";
            found.unless(has_primary, "primary-address", id);
            if let Some(attachment) = eni.attachment() {
                let instance = self.world.instances.get(&attachment.instance_id);
                let alive = instance.is_some_and(|i| i.state != InstanceState::Terminated);
                found.unless(alive, "bound-to-live-instance", id);
                found.unless(instance.is_some_and(|i| i.zone == subnet.zone), "same-zone", id);
                found.unless(instance.is_some_and(|i| i.vpc == subnet.vpc), "same-vpc", id);
            }
        }
        for visible in &self.visible {
            let bound = self.world.eni_of_attachment(*visible).and_then(|eni| eni.attachment());
            let plugged = bound.is_some_and(|a| a.status != AttachmentStatus::Detaching);
            found.unless(plugged, "visible-is-attached", visible);
        }
    }

    fn check_instance(&self, id: InstanceId, found: &mut Findings) {
        let Some(instance) = self.world.instances.get(&id) else { return };
        let enis = self.world.enis_of(id);
        if instance.state == InstanceState::Terminated {
            found.unless(enis.is_empty(), "ended-holds-nothing", id);
            return;
        }
        let kind = &instance.kind;
        let attachments: Vec<_> = enis.iter().filter_map(|eni| eni.attachment()).collect();
        let places: BTreeSet<_> =
            attachments.iter().map(|a| (a.network_card_index, a.device_index)).collect();
        found.unless(places.len() == enis.len(), "one-per-place", id);
        let primary = attachments.first();
        let sound = primary.is_some_and(|a| {
            (a.network_card_index, a.device_index, a.status) == (0, 0, AttachmentStatus::Attached)
        });
        found.unless(sound, "primary-stays", id);
        found.unless(enis.len() <= kind.max_enis as usize, "eni-limit", id);
        for (card, allowed) in kind.network_cards.iter().enumerate() {
            let on_card = attachments.iter().filter(|a| a.network_card_index as usize == card).count();
            found.unless(on_card <= *allowed as usize, "card-limit", id);
        }
        for eni in enis {
            found.unless(eni.v4.slots() <= kind.ipv4_per_eni as usize, "ipv4-limit", eni.id);
            found.unless(eni.v6.slots() <= kind.ipv6_per_eni as usize, "ipv6-limit", eni.id);
            let prefixes = eni.v4.prefixes.len() + eni.v6.prefixes.len();
            found.unless(prefixes == 0 || kind.supports_prefixes(), "prefixes-need-nitro", eni.id);
        }
    }

    /// Every state that ends by itself has its end scheduled, and nothing is overdue.
    fn check_due(&self, found: &mut Findings) {
        for ((at, _), due) in &self.due {
            found.unless(*at > self.now, "nothing-overdue", format_args!("{due:?} at {at:?}"));
        }
        let scheduled = |wanted: Due| self.due.values().any(|due| *due == wanted);
        for (id, eni) in self.world.enis.iter() {
            let ends = match &eni.state {
                EniState::Pending => scheduled(Due::Created(*id)),
                EniState::Available => true,
                EniState::Bound(a) => match a.status {
                    AttachmentStatus::Attaching => scheduled(Due::Attached(a.attachment_id)),
                    AttachmentStatus::Attached => true,
                    AttachmentStatus::Detaching => scheduled(Due::Detached(a.attachment_id)),
                },
            };
            found.unless(ends, "ends-by-itself", id);
        }
    }
}

struct Findings(Vec<Violation>);

impl Findings {
    fn unless(&mut self, holds: bool, rule: &'static str, detail: impl fmt::Display) {
        if !holds {
            self.0.push(Violation { rule, detail: detail.to_string() });
        }
    }
}
