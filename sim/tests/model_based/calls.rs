//! The single steps, done on both sides.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::vpc::request::{
    AssignPrivateIpAddresses, AttachNetworkInterface, AttachmentChange, CreateNetworkInterface,
    DeleteNetworkInterface, DescribeNetworkInterfaces, DetachNetworkInterface,
    ModifyNetworkInterfaceAttribute, UnassignPrivateIpAddresses,
};
use holdfast_sim::vpc::{AttachmentId, EniId, ErrorCode, Response};
use ipnet::Ipv4Net;

use super::reference::{CREATE_TAKES, Reasons, RefBinding, RefEni, Reference, SUBNETS};
use super::run::Run;
use super::steps::Harm;

impl Run {
    pub fn create(&mut self, caller: u8, subnet: u8, addresses: u8, prefixes: u8, token: Option<u8>) {
        let place = usize::from(subnet);
        let operation = CreateNetworkInterface {
            subnet_id: self.subnets[place],
            secondary_private_ip_address_count: (addresses > 0).then_some(i64::from(addresses)),
            ipv4_prefix_count: (prefixes > 0).then_some(i64::from(prefixes)),
            client_token: token.map(|token| format!("token-{token}")),
            ..Default::default()
        };
        let asked = (subnet, addresses, prefixes);
        let before = token.and_then(|token| self.reference.tokens.get(&token).copied());
        if let Some((first, eni)) = before {
            let mismatch =
                if first == asked { Reasons::new() } else { Reasons::from(["IdempotentParameterMismatch"]) };
            let (_, reply) = self.call(caller, operation, &mismatch);
            if let Ok(Response::CreateNetworkInterface(created)) = reply.result {
                assert_eq!(created.network_interface.network_interface_id, eni, "one token, one ENI");
            }
            return;
        }
        let mut reasons = self.reference.against_creation(place, addresses, prefixes);
        // The primary address may land in the last free block: then both answers are right.
        let blocks = self.reference.free_blocks(place).len();
        let tight = prefixes > 0 && blocks <= usize::from(prefixes);
        if prefixes > 0 && blocks < usize::from(prefixes) {
            reasons.insert("InsufficientCidrBlocks");
        }
        let known: BTreeSet<EniId> = self.reference.enis.keys().copied().collect();
        if tight && reasons.is_empty() {
            // Not predictable from outside which block the primary address breaks: leave the case to the unit tests.
            return;
        }
        let (effect, reply) = self.call(caller, operation, &reasons);
        if !effect {
            return;
        }
        let all = self.sim.authoritative().network_interfaces();
        let new: Vec<EniId> =
            all.into_iter().map(|eni| eni.network_interface_id).filter(|id| !known.contains(id)).collect();
        let [id] = &new[..] else { panic!("one creation made {new:?}") };
        if let Ok(Response::CreateNetworkInterface(created)) = reply.result {
            assert_eq!(created.network_interface.network_interface_id, *id);
        }
        let eni = RefEni {
            subnet: place,
            ips: Vec::new(),
            prefixes: Vec::new(),
            pending_until: self.reference.now + CREATE_TAKES,
            bound: None,
        };
        self.reference.enis.insert(*id, eni);
        self.learn(id, 1 + usize::from(addresses), usize::from(prefixes));
        self.reference.ever.push(*id);
        if let Some(token) = token {
            self.reference.tokens.insert(token, (asked, *id));
        }
        self.reference.remember();
    }

    pub fn attach(&mut self, caller: u8, id: &EniId, instance: usize, card: u32, device: u32) {
        let reasons = self.reference.against_attaching(id, instance, card, device);
        let operation = AttachNetworkInterface {
            network_interface_id: *id,
            instance_id: self.instances[instance],
            device_index: i64::from(device),
            network_card_index: Some(i64::from(card)),
        };
        let (effect, _) = self.call(caller, operation, &reasons);
        if effect {
            let attachment = self.truth(id).attachment.unwrap().attachment_id;
            let since = self.reference.now;
            self.reference.enis.get_mut(id).unwrap().bound = Some(RefBinding {
                attachment,
                instance,
                card,
                device,
                since,
                detached_at: None,
                delete_on_termination: false,
            });
        }
    }

    pub fn detach(&mut self, caller: u8, id: &EniId, force: bool) {
        let bound = self.reference.enis.get(id).and_then(|eni| eni.bound.clone());
        let mut reasons = Reasons::new();
        let attachment_id = match &bound {
            None => {
                reasons.insert("InvalidAttachmentID.NotFound");
                AttachmentId::from("eni-attach-0aaaaaaaaaaaaaaaa")
            }
            Some(bound) => {
                if (bound.card, bound.device) == (0, 0) {
                    reasons.insert("OperationNotPermitted");
                }
                if bound.detached_at.is_some() && !force {
                    reasons.insert("IncorrectState");
                }
                bound.attachment
            }
        };
        let (effect, _) = self.call(caller, DetachNetworkInterface { attachment_id, force }, &reasons);
        if effect {
            let now = self.reference.now;
            let bound = &mut self.reference.enis.get_mut(id).unwrap().bound;
            if force {
                let was = bound.take().unwrap();
                if !self.reference.ended.contains(&was.instance) {
                    self.reference.ghosts.insert((was.instance, was.card, was.device));
                }
            } else {
                bound.as_mut().unwrap().detached_at = Some(now);
            }
        }
    }

    pub fn delete(&mut self, caller: u8, id: &EniId) {
        let mut reasons = Reasons::new();
        match self.reference.enis.get(id) {
            None => {
                reasons.insert("InvalidNetworkInterfaceID.NotFound");
            }
            Some(eni) if eni.bound.is_some() => {
                reasons.insert("InvalidParameterValue");
            }
            // An attachment ends the pending state early.
            Some(eni)
                if eni.pending_until > self.reference.now && self.truth(id).status.as_str() == "pending" =>
            {
                reasons.insert("IncorrectState");
            }
            Some(_) => {}
        }
        let operation = DeleteNetworkInterface { network_interface_id: *id };
        if self.call(caller, operation, &reasons).0 {
            self.reference.enis.remove(id);
            self.reference.remember();
        }
    }

    pub fn delete_on_termination(&mut self, caller: u8, id: &EniId, value: bool) {
        let bound = self.reference.enis.get(id).and_then(|eni| eni.bound.clone());
        let mut reasons = Reasons::new();
        if !self.reference.enis.contains_key(id) {
            reasons.insert("InvalidNetworkInterfaceID.NotFound");
        } else if bound.is_none() {
            reasons.insert("InvalidAttachmentID.NotFound");
        }
        let attachment_id = bound
            .map_or_else(|| AttachmentId::from("eni-attach-0aaaaaaaaaaaaaaaa"), |bound| bound.attachment);
        let operation = ModifyNetworkInterfaceAttribute {
            network_interface_id: *id,
            attachment: Some(AttachmentChange {
                attachment_id: Some(attachment_id),
                delete_on_termination: Some(value),
            }),
            ..Default::default()
        };
        if self.call(caller, operation, &reasons).0 {
            let eni = self.reference.enis.get_mut(id).unwrap();
            eni.bound.as_mut().unwrap().delete_on_termination = value;
        }
    }

    pub fn assign(&mut self, caller: u8, id: &EniId, addresses: u8, prefixes: u8) {
        let mut reasons = Reasons::new();
        let slots = usize::from(addresses) + usize::from(prefixes);
        match self.reference.enis.get(id) {
            None => {
                reasons.insert("InvalidNetworkInterfaceID.NotFound");
            }
            Some(eni) => {
                Reference::no_room(eni, slots, &mut reasons);
                if slots == 0 {
                    reasons.insert("MissingParameter");
                }
                if self.reference.free(eni.subnet).len() < usize::from(addresses) {
                    reasons.insert("InsufficientFreeAddressesInSubnet");
                }
                if prefixes > 0 {
                    Reference::no_prefixes(eni, &mut reasons);
                    if self.reference.free_blocks(eni.subnet).len() < usize::from(prefixes) {
                        reasons.insert("InsufficientCidrBlocks");
                    }
                }
            }
        }
        let operation = AssignPrivateIpAddresses {
            network_interface_id: *id,
            secondary_private_ip_address_count: (prefixes == 0).then_some(i64::from(addresses)),
            ipv4_prefix_count: (prefixes > 0).then_some(i64::from(prefixes)),
            ..Default::default()
        };
        if self.call(caller, operation, &reasons).0 {
            self.learn(id, usize::from(addresses), usize::from(prefixes));
        }
    }

    pub fn assign_this(&mut self, caller: u8, id: &EniId, host: u8, move_it: bool) {
        let mut reasons = Reasons::new();
        let mut from = None;
        let known = self.reference.enis.get(id).cloned();
        let subnet = known.as_ref().map_or(0, |eni| eni.subnet);
        let net: Ipv4Net = SUBNETS[subnet].parse().unwrap();
        let size = u32::try_from(net.hosts().count()).unwrap() + 2;
        let address = Ipv4Addr::from(u32::from(net.network()) + u32::from(host) % size);
        match &known {
            None => {
                reasons.insert("InvalidNetworkInterfaceID.NotFound");
            }
            Some(eni) => {
                let holder = self.reference.enis.iter().find(|(_, other)| other.ips.contains(&address));
                match holder {
                    Some((holder, _)) if move_it && holder == id => {}
                    Some((holder, other)) if move_it && other.ips[0] != address => {
                        from = Some(*holder);
                        Reference::no_room(eni, 1, &mut reasons);
                    }
                    Some(_) => {
                        reasons.insert("InvalidParameterValue");
                        Reference::no_room(eni, 1, &mut reasons);
                    }
                    None => {
                        Reference::no_room(eni, 1, &mut reasons);
                        if !Reference::hosts(subnet).contains(&address) {
                            reasons.insert("InvalidParameterValue");
                        } else if !self.reference.free(subnet).contains(&address) {
                            reasons.insert("InvalidIPAddress.InUse");
                        }
                    }
                }
            }
        }
        let operation = AssignPrivateIpAddresses {
            network_interface_id: *id,
            private_ip_addresses: vec![address],
            allow_reassignment: move_it,
            ..Default::default()
        };
        if self.call(caller, operation, &reasons).0 {
            if let Some(from) = from {
                self.reference.enis.get_mut(&from).unwrap().ips.retain(|ip| *ip != address);
            }
            let ips = &mut self.reference.enis.get_mut(id).unwrap().ips;
            if !ips.contains(&address) {
                ips.push(address);
            }
        }
    }

    pub fn unassign(&mut self, caller: u8, id: &EniId, place: u8, prefix: bool) {
        let mut reasons = Reasons::new();
        let known = self.reference.enis.get(id).cloned();
        let held = known.as_ref().map(|eni| if prefix { &eni.prefixes } else { &eni.ips });
        let target = held.and_then(|held| held.get(usize::from(place)).copied());
        if known.is_none() {
            reasons.insert("InvalidNetworkInterfaceID.NotFound");
        } else if target.is_none() || (!prefix && place == 0) {
            reasons.insert("InvalidParameterValue");
        }
        let address = target.unwrap_or(Ipv4Addr::new(10, 0, 3, 0));
        let operation = UnassignPrivateIpAddresses {
            network_interface_id: *id,
            private_ip_addresses: if prefix { Vec::new() } else { vec![address] },
            ipv4_prefixes: if prefix { vec![Ipv4Net::new(address, 28).unwrap()] } else { Vec::new() },
        };
        if self.call(caller, operation, &reasons).0 {
            let eni = self.reference.enis.get_mut(id).unwrap();
            let held = if prefix { &mut eni.prefixes } else { &mut eni.ips };
            held.remove(usize::from(place));
        }
    }

    /// Reads all pages, and holds them against the ids of that moment.
    pub fn list(&mut self, caller: u8, page: u8) {
        let bad = if page < 5 { Reasons::from(["InvalidParameterValue"]) } else { Reasons::new() };
        let mut operation =
            DescribeNetworkInterfaces { max_results: Some(i64::from(page)), ..Default::default() };
        let mut seen = Vec::new();
        loop {
            let Ok(Response::DescribeNetworkInterfaces(answer)) =
                self.call(caller, operation.clone(), &bad).1.result
            else {
                return;
            };
            assert!(answer.items.len() <= usize::from(page));
            seen.extend(answer.items.into_iter().map(|eni| eni.network_interface_id));
            match answer.next_token {
                Some(token) => operation.next_token = Some(token),
                None => break,
            }
        }
        let lag = self.reference.lags.iter().copied().max().unwrap_or(0);
        let moment = self.reference.now.saturating_sub(lag);
        let expected = &self.reference.past.iter().rev().find(|(at, _)| *at <= moment).unwrap().1;
        assert_eq!(seen, expected.iter().copied().collect::<Vec<_>>(), "{lag} us ago");
    }

    pub fn terminate(&mut self, instance: usize) {
        self.sim.terminate_instance(&self.instances[instance]).unwrap();
        if self.reference.ended.insert(instance) {
            self.reference.enis.retain(|_, eni| {
                !eni.bound.as_ref().is_some_and(|b| b.instance == instance && b.delete_on_termination)
            });
            for eni in self.reference.enis.values_mut() {
                if eni.bound.as_ref().is_some_and(|b| b.instance == instance) {
                    eni.bound = None;
                }
            }
            self.reference.remember();
        }
    }

    pub fn harm(&mut self, kind: Harm, times: u8) {
        self.reference.harms.push((kind, times));
        let kind = match kind {
            Harm::RequestLost => FaultKind::RequestLost,
            Harm::AnswerLost => FaultKind::AnswerLost,
            Harm::Throttle => FaultKind::Throttle,
            Harm::ErrorInstead => {
                FaultKind::ErrorInstead { code: ErrorCode::InternalError, message: "oops".to_owned() }
            }
        };
        self.sim.set_fault(Fault::new(kind).times(u32::from(times))).unwrap();
    }
}
