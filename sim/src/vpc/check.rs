//! The rules of EC2 that hold at every instant, checked from the objects up.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::SimVpc;
use super::ids::{InstanceId, Mac};
use super::model::{Eni, EniState};
use super::op::Due;
use super::response::{AttachmentStatus, InstanceState};
use super::subnet::{Holder, Subnet, prefix, prefix6};

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

/// Subnets up to this many addresses have their free count checked address by address.
const COUNTED_UP_TO: u32 = 1 << 12;

impl SimVpc {
    /// Every broken rule; empty while the simulator is right.
    pub fn check(&self) -> Vec<Violation> {
        let mut found = Findings(Vec::new());
        self.check_addresses(&mut found);
        self.world.subnets.values().for_each(|subnet| check_free(subnet, &mut found));
        self.check_enis(&mut found);
        self.world.instances.keys().for_each(|instance| self.check_instance(instance, &mut found));
        self.check_due(&mut found);
        found.0
    }

    /// What ENIs show and what subnets hold is the same, each address once.
    fn check_addresses(&self, found: &mut Findings) {
        for subnet in self.world.subnets.values() {
            let enis: Vec<&Eni> =
                self.world.enis.values().map(AsRef::as_ref).filter(|eni| eni.subnet == subnet.id).collect();
            let (mut v4, mut v4_prefixes) = (BTreeMap::new(), BTreeMap::new());
            let (mut v6, mut v6_prefixes) = (BTreeMap::new(), BTreeMap::new());
            for eni in enis {
                for address in &eni.ipv4 {
                    found.unless(v4.insert(*address, eni.id.clone()).is_none(), "unique-address", address);
                }
                for net in &eni.ipv4_prefixes {
                    found.unless(v4_prefixes.insert(*net, eni.id.clone()).is_none(), "unique-prefix", net);
                }
                for address in &eni.ipv6 {
                    found.unless(v6.insert(*address, eni.id.clone()).is_none(), "unique-address", address);
                }
                for net in &eni.ipv6_prefixes {
                    found.unless(v6_prefixes.insert(*net, eni.id.clone()).is_none(), "unique-prefix", net);
                }
            }
            let held: BTreeMap<_, _> = subnet
                .held
                .iter()
                .filter_map(|(address, holder)| match holder {
                    Holder::Eni(eni) => Some((*address, eni.clone())),
                    Holder::Foreign => None,
                })
                .collect();
            let held_prefixes: BTreeMap<_, _> =
                subnet.held_prefixes.iter().map(|(first, eni)| (prefix(*first), eni.clone())).collect();
            let held6_prefixes: BTreeMap<_, _> =
                subnet.held6_prefixes.iter().map(|(first, eni)| (prefix6(*first), eni.clone())).collect();
            found.unless(held == v4, "subnet-agrees", format_args!("{} addresses", subnet.id));
            found.unless(
                held_prefixes == v4_prefixes,
                "subnet-agrees",
                format_args!("{} prefixes", subnet.id),
            );
            found.unless(subnet.held6 == v6, "subnet-agrees", format_args!("{} IPv6", subnet.id));
            found.unless(held6_prefixes == v6_prefixes, "subnet-agrees", format_args!("{} /80", subnet.id));
            for (address, inside) in subnet.held.keys().filter_map(|a| Some((a, subnet.ipv4?.contains(a)))) {
                found.unless(inside, "inside-subnet", address);
                let in_prefix = v4_prefixes.keys().any(|net| net.contains(address));
                found.unless(!in_prefix, "address-outside-prefixes", address);
            }
            for net in v4_prefixes.keys() {
                found.unless(subnet.ipv4.is_some_and(|block| block.contains(net)), "inside-subnet", net);
                found.unless(net.addr() == net.network(), "prefix-aligned", net);
            }
            for address in v6.keys() {
                found.unless(
                    subnet.ipv6.is_some_and(|block| block.contains(address)),
                    "inside-subnet",
                    address,
                );
                let in_prefix = v6_prefixes.keys().any(|net| net.contains(address));
                found.unless(!in_prefix, "address-outside-prefixes", address);
            }
            for net in v6_prefixes.keys() {
                found.unless(subnet.ipv6.is_some_and(|block| block.contains(net)), "inside-subnet", net);
                found.unless(net.addr() == net.network(), "prefix-aligned", net);
            }
        }
    }

    fn check_enis(&self, found: &mut Findings) {
        let mut macs = BTreeSet::<Mac>::new();
        for (id, eni) in &self.world.enis {
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
                !eni.ipv4.is_empty() || subnet.ipv4.is_none() || eni.interface_type == "efa-only";
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
            let bound = self.world.eni_of_attachment(visible).and_then(Eni::attachment);
            let plugged = bound.is_some_and(|a| a.status != AttachmentStatus::Detaching);
            found.unless(plugged, "visible-is-attached", visible);
        }
    }

    fn check_instance(&self, id: &InstanceId, found: &mut Findings) {
        let instance = &self.world.instances[id];
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
            let (v4, v6) =
                (eni.ipv4.len() + eni.ipv4_prefixes.len(), eni.ipv6.len() + eni.ipv6_prefixes.len());
            found.unless(v4 <= kind.ipv4_per_eni as usize, "ipv4-limit", &eni.id);
            found.unless(v6 <= kind.ipv6_per_eni as usize, "ipv6-limit", &eni.id);
            let prefixes = eni.ipv4_prefixes.len() + eni.ipv6_prefixes.len();
            found.unless(prefixes == 0 || kind.supports_prefixes(), "prefixes-need-nitro", &eni.id);
        }
    }

    /// Every state that ends by itself has its end scheduled, and nothing is overdue.
    fn check_due(&self, found: &mut Findings) {
        for ((at, _), due) in &self.due {
            found.unless(*at > self.now, "nothing-overdue", format_args!("{due:?} at {at:?}"));
        }
        let scheduled = |wanted: Due| self.due.values().any(|due| *due == wanted);
        for (id, eni) in &self.world.enis {
            let ends = match &eni.state {
                EniState::Pending => scheduled(Due::Created(id.clone())),
                EniState::Available => true,
                EniState::Bound(a) => match a.status {
                    AttachmentStatus::Attaching => scheduled(Due::Attached(a.attachment_id.clone())),
                    AttachmentStatus::Attached => true,
                    AttachmentStatus::Detaching => scheduled(Due::Detached(a.attachment_id.clone())),
                },
            };
            found.unless(ends, "ends-by-itself", id);
        }
    }
}

/// The free count, address by address.
fn check_free(subnet: &Subnet, found: &mut Findings) {
    let Some(net) = subnet.ipv4 else { return };
    let size = 1_u32 << (32 - net.prefix_len());
    if size > COUNTED_UP_TO {
        return;
    }
    let base = u32::from(net.network());
    let free = (4..size - 1).map(|offset| std::net::Ipv4Addr::from(base + offset)).filter(|address| {
        !subnet.held.contains_key(address)
            && !subnet.held_prefixes.keys().any(|first| prefix(*first).contains(address))
    });
    let counted = free.count();
    found.unless(
        counted == subnet.free() as usize,
        "free-count",
        format_args!("{} says {} and has {counted}", subnet.id, subnet.free()),
    );
}

struct Findings(Vec<Violation>);

impl Findings {
    fn unless(&mut self, holds: bool, rule: &'static str, detail: impl fmt::Display) {
        if !holds {
            self.0.push(Violation { rule, detail: detail.to_string() });
        }
    }
}
