//! EC2, as far as the pool needs it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use holdfast_model::block::{Ask, Unit};
use holdfast_model::cloud::{
    Api, AttachmentStatus, AttachmentView, CloudAnswer, CloudChange, CloudRead, EniView,
};
use holdfast_model::eni::{EniKind, EniSlot};
use holdfast_model::ids::{AttachmentId, ClientToken, EniId, InstanceId, MacAddr, SecurityGroupId, SubnetId};
use holdfast_model::limits::InstanceLimits;
use holdfast_model::subnet::SubnetView;

use holdfast_model::pool::Family;
use ipnet::{IpNet, Ipv4AddrRange, Ipv4Net, Ipv6Net};

use super::subnet::ToySubnet;
use crate::Fault;

/// A detachment takes this long.
const DETACHING_MS: u64 = 3000;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ToyEni {
    pub(crate) mac: MacAddr,
    pub(crate) primary: Ipv4Addr,
    pub(crate) secondary: BTreeSet<IpAddr>,
    pub(crate) prefixes: BTreeSet<Ipv4Net>,
    pub(crate) ipv6_prefixes: BTreeSet<Ipv6Net>,
    pub(crate) groups: BTreeSet<SecurityGroupId>,
    pub(crate) subnet: SubnetId,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) kind: EniKind,
    pub(crate) attachment: Option<AttachmentView>,
    pub(crate) detached_at: u64,
}

pub(crate) struct ToyCloud {
    pub(crate) enis: BTreeMap<EniId, ToyEni>,
    /// Addresses under a live pod: taking one away fails the test.
    pub(crate) leased: BTreeSet<IpAddr>,
    pub(crate) calls: Vec<Api>,
    pub(crate) subnet_free: u32,
    /// Wholly free prefixes among them.
    pub(crate) blocks_free: u32,
    /// The tags of the node's own subnet.
    pub(crate) own_tags: BTreeMap<String, String>,
    /// Other subnets of its zone.
    pub(crate) others: BTreeMap<SubnetId, ToySubnet>,
    /// Free /80s.
    pub(crate) ipv6_free: u32,
    next_ipv6: u32,
    /// Whether the node's type can do prefixes.
    pub(crate) does_prefixes: bool,
    /// Whether it says what the node's type can carry.
    pub(crate) tells_limits: bool,
    /// The groups that the metadata service shows: the primary's.
    pub(crate) groups: BTreeSet<SecurityGroupId>,
    /// The ranges of subnets that it tells when it is asked.
    pub(crate) ranges: BTreeMap<SubnetId, Ipv4Net>,
    /// Until then no read shows the primary.
    pub(crate) primary_hidden_until: u64,
    /// ENIs that take fewer addresses than their type says.
    pub(crate) takes: BTreeMap<EniId, usize>,
    /// The account may have no further ENI.
    pub(crate) quota_used_up: bool,
    /// Links of secondary ENIs do not appear.
    pub(crate) links_late: bool,
    /// Slots that something sits in which no read shows.
    pub(crate) haunted: BTreeSet<EniSlot>,
    /// Calls that it refused.
    pub(crate) refused: u32,
    /// ENIs that it was asked to delete.
    pub(crate) asked_to_delete: BTreeSet<EniId>,
    /// Actions that the role may not take.
    pub(crate) denied: BTreeSet<Api>,
    /// The tag without which the role may do nothing with an ENI.
    pub(crate) only_tagged: Option<&'static str>,
    pub(crate) at: u64,
    pub(crate) limits: InstanceLimits,
    tokens: BTreeMap<ClientToken, EniId>,
    past: VecDeque<(u64, BTreeMap<EniId, ToyEni>)>,
    next: u32,
    reusable: Vec<IpAddr>,
    next_prefix: u32,
    reusable_prefixes: Vec<Ipv4Net>,
    breaks_up: bool,
}

impl ToyCloud {
    pub(crate) fn new(limits: InstanceLimits) -> Self {
        let mut cloud = Self {
            enis: BTreeMap::new(),
            leased: BTreeSet::new(),
            calls: Vec::new(),
            subnet_free: 10_000,
            blocks_free: 1000,
            own_tags: BTreeMap::new(),
            others: BTreeMap::new(),
            ipv6_free: 1000,
            next_ipv6: 0,
            does_prefixes: true,
            tells_limits: true,
            groups: [SecurityGroupId::new("sg-1")].into(),
            ranges: BTreeMap::new(),
            primary_hidden_until: 0,
            takes: BTreeMap::new(),
            quota_used_up: false,
            links_late: false,
            haunted: BTreeSet::new(),
            refused: 0,
            asked_to_delete: BTreeSet::new(),
            denied: BTreeSet::new(),
            only_tagged: None,
            at: 0,
            limits,
            tokens: BTreeMap::new(),
            past: VecDeque::new(),
            next: 4,
            reusable: Vec::new(),
            next_prefix: 0,
            reusable_prefixes: Vec::new(),
            breaks_up: false,
        };
        cloud.attach_foreign("eni-primary", 0, EniKind::Standard, &[]);
        cloud
    }

    /// An ENI that is there without our doing.
    pub(crate) fn attach_foreign(&mut self, id: &str, device: u16, kind: EniKind, tags: &[(&str, &str)]) {
        self.attach_foreign_at(id, EniSlot { card: 0, device }, kind, tags);
    }

    /// The same on any card.
    pub(crate) fn attach_foreign_at(
        &mut self,
        id: &str,
        slot: EniSlot,
        kind: EniKind,
        tags: &[(&str, &str)],
    ) {
        let primary = self.address();
        let attachment = AttachmentView {
            id: AttachmentId::new(format!("eni-attach-{id}")),
            instance: InstanceId::new("i-1"),
            slot,
            delete_on_termination: true,
            status: AttachmentStatus::Attached,
        };
        let eni = ToyEni {
            mac: MacAddr([2, 0, 0, 0, slot.card, u8::try_from(slot.device).unwrap()]),
            primary,
            secondary: BTreeSet::new(),
            prefixes: BTreeSet::new(),
            ipv6_prefixes: BTreeSet::new(),
            groups: self.groups.clone(),
            subnet: SubnetId::new("subnet-1"),
            tags: tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            kind,
            attachment: Some(attachment),
            detached_at: 0,
        };
        self.enis.insert(EniId::new(id), eni);
    }

    /// EC2 likes to give out again what was given back last.
    fn address(&mut self) -> Ipv4Addr {
        if let Some(IpAddr::V4(again)) = self.reusable.pop() {
            return again;
        }
        let address = Ipv4Addr::from(0x0a00_0000 + self.next);
        self.next += 1;
        address
    }

    fn take(&mut self, count: u32) -> Option<BTreeSet<IpAddr>> {
        self.subnet_free = self.subnet_free.checked_sub(count)?;
        Some((0..count).map(|_| IpAddr::V4(self.address())).collect())
    }

    /// A prefix: what was given back last, also where it was given back one by one; else from where no single address
    /// comes, as out of a reservation.
    fn prefix(&mut self) -> Ipv4Net {
        if let Some(again) = self.reusable_prefixes.pop() {
            return again;
        }
        let block = |ip: &IpAddr| match ip {
            IpAddr::V4(ip) => Ipv4Net::new(*ip, 28).unwrap().trunc(),
            IpAddr::V6(_) => unreachable!(),
        };
        let mut free: BTreeMap<Ipv4Net, u32> = BTreeMap::new();
        for ip in &self.reusable {
            *free.entry(block(ip)).or_default() += 1;
        }
        if let Some((net, _)) = free.into_iter().find(|(_, count)| *count == 16) {
            self.reusable.retain(|ip| block(ip) != net);
            return net;
        }
        self.next_prefix += 1;
        Ipv4Net::new(Ipv4Addr::from(0x0a00_2000 + 16 * self.next_prefix), 28).unwrap()
    }

    fn lacks(ask: Ask) -> Fault {
        match ask.unit {
            Unit::Address => Fault::SubnetFull,
            Unit::Prefix | Unit::Ipv6Prefix => Fault::NoFreeBlock,
        }
    }

    /// The zone's subnets, as reads show them.
    pub(crate) fn zone(&mut self) -> Vec<SubnetView> {
        self.calls.push(Api::DescribeSubnets);
        let own = SubnetView {
            id: SubnetId::new("subnet-1"),
            ipv4: Some("10.0.0.0/18".parse().unwrap()),
            free: self.subnet_free,
            tags: self.own_tags.clone(),
        };
        std::iter::once(own).chain(self.others.iter().map(|(id, subnet)| subnet.view(id))).collect()
    }

    fn give_in(
        &mut self,
        subnet: &SubnetId,
        ask: Ask,
    ) -> Result<(BTreeSet<IpAddr>, BTreeSet<Ipv4Net>), Fault> {
        match self.others.get_mut(subnet) {
            Some(other) => other.give(ask),
            None => self.give(ask),
        }
    }

    /// What is asked for, all or nothing.
    fn give(&mut self, ask: Ask) -> Result<(BTreeSet<IpAddr>, BTreeSet<Ipv4Net>), Fault> {
        if ask.unit == Unit::Address {
            return Ok((self.take(ask.count).ok_or(Fault::SubnetFull)?, BTreeSet::new()));
        }
        if !self.does_prefixes {
            return Err(Fault::Rejected);
        }
        let left = self.blocks_free.checked_sub(ask.count).ok_or(Fault::NoFreeBlock)?;
        self.subnet_free = self.subnet_free.checked_sub(ask.brings()).ok_or(Fault::NoFreeBlock)?;
        self.blocks_free = left;
        Ok((BTreeSet::new(), (0..ask.count).map(|_| self.prefix()).collect()))
    }

    fn take_back(&mut self, net: IpNet) {
        if let Some(other) = self.others.values_mut().find(|other| other.has(net)) {
            return other.take_back(net);
        }
        match net {
            IpNet::V4(prefix) if prefix.prefix_len() < 32 => {
                self.subnet_free += 16;
                self.blocks_free += 1;
                // Every other one is broken up.
                self.breaks_up = !self.breaks_up;
                if self.breaks_up {
                    self.reusable
                        .extend(Ipv4AddrRange::new(prefix.network(), prefix.broadcast()).map(IpAddr::V4));
                } else {
                    self.reusable_prefixes.push(prefix);
                }
            }
            address => {
                self.subnet_free += 1;
                self.reusable.push(address.addr());
            }
        }
    }

    fn is_unused(&self, net: IpNet) -> bool {
        !self.leased.iter().any(|ip| net.contains(ip))
    }

    fn settle_detachments(&mut self) {
        for eni in self.enis.values_mut() {
            let detaching = eni.attachment.as_ref().is_some_and(|a| a.status == AttachmentStatus::Detaching);
            if detaching && self.at >= eni.detached_at + DETACHING_MS {
                eni.attachment = None;
            }
        }
    }

    pub(crate) fn perform(
        &mut self,
        change: &CloudChange,
        token: &ClientToken,
    ) -> Result<CloudAnswer, Fault> {
        self.settle_detachments();
        self.remember();
        self.calls.push(change.api());
        let answer = self.change(change, token);
        self.remember();
        answer
    }

    /// Adds tags.
    pub(crate) fn tag(&mut self, eni: &EniId, tags: &BTreeMap<String, String>) -> Result<(), Fault> {
        self.calls.push(Api::CreateTags);
        if self.denied.contains(&Api::CreateTags) {
            return Err(Fault::Denied);
        }
        let eni = self.enis.get_mut(eni).ok_or(Fault::NotFound)?;
        eni.tags.extend(tags.clone());
        self.remember();
        Ok(())
    }

    fn change(&mut self, change: &CloudChange, token: &ClientToken) -> Result<CloudAnswer, Fault> {
        let per_eni = self.limits.pod_addresses_per_eni() as usize;
        let bare = |tag: &str| {
            let eni = change.eni().and_then(|id| self.enis.get(id));
            eni.is_some_and(|eni| !eni.tags.contains_key(tag))
        };
        if self.denied.contains(&change.api()) || self.only_tagged.is_some_and(bare) {
            return Err(Fault::Denied);
        }
        match change {
            CloudChange::CreateEni { subnet, ask, security_groups, tags, .. } => {
                if let Some(id) = self.tokens.get(token).cloned() {
                    return match self.enis.get(&id) {
                        Some(eni) => Ok(CloudAnswer::Created(view(&id, eni))),
                        None => Err(Fault::Rejected),
                    };
                }
                assert!(ask.count as usize <= per_eni);
                if self.quota_used_up {
                    return Err(Fault::EniQuota);
                }
                let own = subnet.as_str() == "subnet-1";
                if !own && !self.others.contains_key(subnet) {
                    return Err(Fault::NotFound);
                }
                let free = self.others.get(subnet).map_or(self.subnet_free, |other| other.free);
                if free <= ask.brings() {
                    return Err(Self::lacks(*ask));
                }
                let (secondary, prefixes) = self.give_in(subnet, *ask)?;
                let (primary, _) = self.give_in(subnet, Ask::addresses(1))?;
                let number = self.tokens.len() + 1;
                let id = EniId::new(format!("eni-{number:04}"));
                self.tokens.insert(token.clone(), id.clone());
                let Some(IpAddr::V4(primary)) = primary.first().copied() else { unreachable!() };
                let eni = ToyEni {
                    mac: MacAddr([2, 9, 0, 0, (number >> 8) as u8, number as u8]),
                    primary,
                    secondary,
                    prefixes,
                    ipv6_prefixes: BTreeSet::new(),
                    groups: security_groups.iter().cloned().collect(),
                    subnet: subnet.clone(),
                    tags: tags.clone(),
                    kind: EniKind::Standard,
                    attachment: None,
                    detached_at: 0,
                };
                self.enis.insert(id.clone(), eni);
                Ok(CloudAnswer::Created(view(&id, &self.enis[&id])))
            }
            CloudChange::AttachEni { eni, instance, slot } => {
                let held: Vec<EniSlot> =
                    self.enis.values().filter_map(|eni| eni.attachment.as_ref()).map(|a| a.slot).collect();
                let found = self.enis.get_mut(eni).ok_or(Fault::NotFound)?;
                if found.attachment.is_some() {
                    return Err(Fault::Conflict);
                }
                if held.contains(slot) || self.haunted.contains(slot) {
                    return Err(Fault::SlotTaken);
                }
                let on_card = held.iter().filter(|other| other.card == slot.card).count();
                if on_card >= self.limits.enis_on(slot.card) as usize {
                    return Err(Fault::AttachmentLimit);
                }
                self.next += 1;
                let id = AttachmentId::new(format!("eni-attach-{}", self.next));
                found.attachment = Some(AttachmentView {
                    id: id.clone(),
                    instance: instance.clone(),
                    slot: *slot,
                    delete_on_termination: false,
                    status: AttachmentStatus::Attached,
                });
                Ok(CloudAnswer::Attached(id))
            }
            CloudChange::SetDeleteOnTermination { eni, .. } => {
                let found = self.enis.get_mut(eni).ok_or(Fault::NotFound)?;
                let attachment = found.attachment.as_mut().ok_or(Fault::Conflict)?;
                attachment.delete_on_termination = true;
                Ok(CloudAnswer::Done)
            }
            CloudChange::SetSecurityGroups { eni, groups } => {
                self.enis.get_mut(eni).ok_or(Fault::NotFound)?.groups = groups.clone();
                Ok(CloudAnswer::Done)
            }
            CloudChange::Assign { eni, ask } => {
                if ask.unit == Unit::Ipv6Prefix {
                    return self.give_ipv6(eni, ask.count);
                }
                let found = self.enis.get(eni).ok_or(Fault::NotFound)?;
                let held = found.secondary.len() + found.prefixes.len();
                let takes = self.takes.get(eni).copied().unwrap_or(per_eni);
                if held + ask.count as usize > takes {
                    return Err(Fault::AddressLimit);
                }
                let subnet = found.subnet.clone();
                let (addresses, prefixes) = self.give_in(&subnet, *ask)?;
                let found = self.enis.get_mut(eni).ok_or(Fault::NotFound)?;
                found.secondary.extend(&addresses);
                found.prefixes.extend(&prefixes);
                let addresses = addresses.into_iter().map(IpNet::from);
                Ok(CloudAnswer::Assigned(addresses.chain(prefixes.into_iter().map(IpNet::V4)).collect()))
            }
            CloudChange::Unassign { eni, nets } => {
                for net in nets {
                    assert!(self.is_unused(*net), "SAFE-INUSE: {net} is unassigned under a pod");
                }
                let found = self.enis.get_mut(eni).ok_or(Fault::NotFound)?;
                if !nets.iter().all(|net| view(eni, found).shows(*net)) {
                    return Err(Fault::Rejected);
                }
                found.secondary.retain(|ip| !nets.contains(&IpNet::from(*ip)));
                found.prefixes.retain(|prefix| !nets.contains(&IpNet::V4(*prefix)));
                for net in nets {
                    self.take_back(*net);
                }
                Ok(CloudAnswer::Done)
            }
            CloudChange::DetachEni { eni, attachment } => {
                let at = self.at;
                let found = self.enis.get_mut(eni).ok_or(Fault::NotFound)?;
                for net in view(eni, found).blocks() {
                    let leased = self.leased.iter().any(|ip| net.contains(ip));
                    assert!(!leased, "SAFE-INUSE: {eni} is detached under {net}");
                }
                match &mut found.attachment {
                    Some(own) if &own.id == attachment && own.status == AttachmentStatus::Attached => {
                        own.status = AttachmentStatus::Detaching;
                        found.detached_at = at;
                        Ok(CloudAnswer::Done)
                    }
                    _ => Err(Fault::Conflict),
                }
            }
            CloudChange::DeleteEni { eni } => {
                self.asked_to_delete.insert(eni.clone());
                let found = self.enis.get(eni).ok_or(Fault::NotFound)?;
                if found.attachment.is_some() {
                    return Err(Fault::Conflict);
                }
                let gone = self.enis.remove(eni).unwrap();
                self.take_back(IpAddr::V4(gone.primary).into());
                for net in view(eni, &gone).blocks() {
                    self.take_back(net);
                }
                Ok(CloudAnswer::Done)
            }
        }
    }

    fn remember(&mut self) {
        if self.past.back().is_none_or(|(_, enis)| *enis != self.enis) {
            self.past.push_back((self.at, self.enis.clone()));
        }
        while self.past.len() > 64 {
            self.past.pop_front();
        }
    }

    pub(crate) fn read(&mut self, read: &CloudRead, age_ms: u64) -> Vec<EniView> {
        self.calls.push(read.api());
        self.settle_detachments();
        self.remember();
        let then = self.at.saturating_sub(age_ms);
        let enis = self
            .past
            .iter()
            .rev()
            .find(|(at, _)| *at <= then)
            .or_else(|| self.past.front())
            .map_or(&self.enis, |(_, enis)| enis);
        let hidden = self.at < self.primary_hidden_until;
        enis.iter()
            .filter(|(id, _)| !(hidden && id.as_str() == "eni-primary"))
            .filter(|(id, eni)| match read {
                CloudRead::InstanceEnis { .. } => eni.attachment.is_some(),
                CloudRead::Enis { enis } => enis.contains(id),
                CloudRead::Subnets { .. } | CloudRead::ZoneSubnets { .. } => false,
                CloudRead::AvailableEnis { instance } => {
                    eni.attachment.is_none()
                        && eni.tags.get(holdfast_model::cloud::TAG_INSTANCE).map(String::as_str)
                            == Some(instance.as_str())
                }
            })
            .map(|(id, eni)| view(id, eni))
            .collect()
    }

    pub(crate) fn attached(&self) -> impl Iterator<Item = &ToyEni> {
        self.enis
            .values()
            .filter(|eni| eni.attachment.as_ref().is_some_and(|a| a.status == AttachmentStatus::Attached))
    }

    /// As the metadata service shows them.
    pub(crate) fn shown_groups(&self) -> BTreeMap<MacAddr, BTreeSet<SecurityGroupId>> {
        self.attached().map(|eni| (eni.mac, eni.groups.clone())).collect()
    }

    /// As the metadata service shows them.
    pub(crate) fn shown_prefixes(&self) -> BTreeMap<(MacAddr, Family), BTreeSet<IpNet>> {
        let of = |eni: &ToyEni, family| {
            let shown = eni.nets().filter(|net| Family::of(net.addr()) == family).collect();
            ((eni.mac, family), shown)
        };
        self.attached().flat_map(|eni| Family::ALL.map(|family| of(eni, family))).collect()
    }

    fn give_ipv6(&mut self, eni: &EniId, count: u32) -> Result<CloudAnswer, Fault> {
        let most = self.limits.ipv6_per_eni.unwrap_or(0) as usize;
        let found = self.enis.get_mut(eni).ok_or(Fault::NotFound)?;
        if found.ipv6_prefixes.len() + count as usize > most {
            return Err(Fault::AddressLimit);
        }
        if self.ipv6_free < count {
            return Err(Fault::NoFreeBlock);
        }
        self.ipv6_free -= count;
        let given: Vec<Ipv6Net> = (0..count).map(|number| ipv6_prefix(self.next_ipv6 + number)).collect();
        self.next_ipv6 += count;
        found.ipv6_prefixes.extend(&given);
        Ok(CloudAnswer::Assigned(given.into_iter().map(IpNet::V6).collect()))
    }

    pub(crate) fn is_attached(&self, id: &EniId) -> bool {
        self.enis.get(id).is_some_and(|eni| eni.attachment.is_some())
    }

    pub(crate) fn carries(&self, id: &EniId, ip: IpAddr) -> bool {
        self.enis.get(id).is_some_and(|eni| {
            view(id, eni).blocks().any(|net| net.contains(&ip))
                && eni.attachment.as_ref().is_some_and(|a| a.status == AttachmentStatus::Attached)
        })
    }

    pub(crate) fn count(&self, api: Api) -> usize {
        self.calls.iter().filter(|call| **call == api).count()
    }
}

/// The nth /80 that the toy gives.
pub(crate) fn ipv6_prefix(nth: u32) -> Ipv6Net {
    let [_, _, high, low] = nth.to_be_bytes();
    let bits = u16::from_be_bytes([high, low]);
    Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, bits, 0, 0, 0), 80)
}

impl ToyEni {
    /// Its delegated prefixes.
    pub(crate) fn nets(&self) -> impl Iterator<Item = IpNet> {
        let of_ipv6 = self.ipv6_prefixes.iter().copied().map(IpNet::V6);
        self.prefixes.iter().copied().map(IpNet::V4).chain(of_ipv6)
    }
}

pub(crate) fn view(id: &EniId, eni: &ToyEni) -> EniView {
    EniView {
        id: id.clone(),
        mac: eni.mac,
        kind: eni.kind,
        subnet: eni.subnet.clone(),
        security_groups: eni.groups.clone(),
        primary_ipv4: Some(eni.primary),
        secondary: eni.secondary.iter().copied().collect(),
        prefixes: eni.nets().collect(),
        tags: eni.tags.clone(),
        attachment: eni.attachment.clone(),
    }
}
