//! One random run: each step is done on both sides, then both are compared.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::vpc::response::NetworkInterface;
use holdfast_sim::vpc::{
    BoxConfig, CallError, Caller, EniId, FullSubnet, InstanceId, InstanceSpec, Micros, Operation, Reply,
    SimVpc, SubnetId, SubnetSpec, Tags, Timing,
};
use ipnet::Ipv4Net;

use super::follower::Follower;
use super::reference::{
    ATTACH_TAKES, CREATE_TAKES, DETACH_TAKES, Fate, LINK_APPEARS, MS, Reasons, RefBinding, RefEni, Reference,
    SUBNETS, TYPES,
};
use super::steps::Step;

pub struct Run {
    pub sim: SimVpc,
    pub subnets: Vec<SubnetId>,
    pub instances: Vec<InstanceId>,
    pub reference: Reference,
    pub follower: Follower,
    pub calls: usize,
}

impl Run {
    pub fn new(seed: u64) -> Self {
        let ms = |micros: u64| Duration::from_micros(micros);
        let timing = Timing {
            create_takes: ms(CREATE_TAKES),
            attach_takes: ms(ATTACH_TAKES),
            link_appears: ms(LINK_APPEARS),
            detach_takes: ms(DETACH_TAKES),
            ..Timing::default()
        };
        let mut sim = SimVpc::new(BoxConfig {
            seed,
            timing,
            full_subnet: FullSubnet::Documented,
            ..BoxConfig::default()
        });
        let vpc = sim.add_vpc(&["10.0.0.0/16".parse().unwrap()], None, Tags::new()).unwrap();
        let subnet = |net: &&str| {
            sim.add_subnet(SubnetSpec {
                vpc,
                availability_zone: "us-west-2a".to_owned(),
                ipv4: Some(net.parse().unwrap()),
                ipv6: None,
                tags: Tags::new(),
            })
            .unwrap()
        };
        let subnets: Vec<SubnetId> = SUBNETS.iter().map(subnet).collect();
        let instance = |(kind, ..): &(&str, usize, usize, u32, usize, bool)| {
            sim.run_instance(InstanceSpec {
                instance_type: (*kind).to_owned(),
                subnet: subnets[0],
                security_groups: Vec::new(),
                private_ip: None,
                ipv6_address_count: 0,
                tags: Tags::new(),
            })
            .unwrap()
        };
        let instances: Vec<InstanceId> = TYPES.iter().map(instance).collect();
        let mut enis = BTreeMap::new();
        for eni in sim.authoritative().network_interfaces() {
            let attachment = eni.attachment.clone().unwrap();
            let place = instances.iter().position(|id| *id == attachment.instance_id).unwrap();
            let bound = RefBinding {
                attachment: attachment.attachment_id,
                instance: place,
                card: 0,
                device: 0,
                since: 0,
                detached_at: None,
                delete_on_termination: true,
            };
            let ips = vec![eni.primary_ip().unwrap()];
            let id = eni.network_interface_id;
            enis.insert(
                id,
                RefEni { subnet: 0, ips, prefixes: Vec::new(), pending_until: 0, bound: Some(bound) },
            );
        }
        let mut reference = Reference {
            now: 0,
            ever: enis.keys().copied().collect(),
            enis,
            ended: BTreeSet::new(),
            ghosts: BTreeSet::new(),
            tokens: BTreeMap::new(),
            harms: Vec::new(),
            lags: Vec::new(),
            past: Vec::new(),
        };
        reference.remember();
        Self { sim, subnets, instances, reference, follower: Follower::default(), calls: 0 }
    }

    pub fn eni(&self, index: u8) -> EniId {
        let ever = &self.reference.ever;
        ever[usize::from(index) % ever.len()]
    }

    /// Makes the call and holds its answer against the reasons. True when it must have taken effect.
    pub fn call(&mut self, caller: u8, operation: impl Into<Operation>, reasons: &Reasons) -> (bool, Reply) {
        let caller = Caller::instance(&self.instances[usize::from(caller)]);
        let operation = operation.into();
        let fate = self.reference.fate(operation.action().is_read());
        let reply = self.sim.serve(&caller, operation.clone());
        self.calls += 1;
        assert_eq!(self.sim.log().records().len(), self.calls);
        let code = match &reply.result {
            Ok(_) => Ok(()),
            Err(CallError::Dropped) => Err(None),
            Err(CallError::Api(error)) => Err(Some(error.code.as_str())),
        };
        let effect = match fate {
            Fate::Refused(shown) => {
                assert_eq!(code, Err(shown), "{operation:?}");
                false
            }
            Fate::AnswerLost => {
                assert_eq!(code, Err(None), "{operation:?}");
                reasons.is_empty()
            }
            Fate::Untouched => {
                match code {
                    Ok(()) => assert!(reasons.is_empty(), "{operation:?} succeeded against {reasons:?}"),
                    Err(Some(code)) => {
                        assert!(reasons.contains(code), "{operation:?}: {code}, not {reasons:?}");
                    }
                    Err(None) => panic!("{operation:?} was dropped without a fault"),
                }
                code.is_ok()
            }
        };
        (effect, reply)
    }

    pub fn truth(&self, id: &EniId) -> NetworkInterface {
        self.sim.authoritative().network_interface(id).unwrap()
    }

    /// Takes over what EC2 chose for an ENI, after holding it against what was free before.
    pub fn learn(&mut self, id: &EniId, addresses: usize, prefixes: usize) {
        let truth = self.truth(id);
        let known = &self.reference.enis[id];
        let free = self.reference.free(known.subnet);
        let new: Vec<Ipv4Addr> = truth
            .private_ip_addresses
            .iter()
            .map(|ip| ip.address)
            .filter(|ip| !known.ips.contains(ip))
            .collect();
        assert_eq!(new.len(), addresses, "{truth:?}");
        assert!(new.iter().all(|address| free.contains(address)), "{new:?} were not free");
        let blocks = self.reference.free_blocks(known.subnet);
        let new_prefixes: Vec<Ipv4Addr> = truth
            .ipv4_prefixes
            .iter()
            .map(Ipv4Net::network)
            .filter(|first| !known.prefixes.contains(first))
            .collect();
        assert_eq!(new_prefixes.len(), prefixes, "{truth:?}");
        assert!(new_prefixes.iter().all(|first| blocks.contains(first)), "{new_prefixes:?} were not free");
        let known = self.reference.enis.get_mut(id).unwrap();
        known.ips.extend(new);
        known.prefixes.extend(new_prefixes);
    }

    pub fn step(&mut self, step: &Step) {
        match *step {
            Step::Create { caller, subnet, addresses, prefixes, token } => {
                self.create(caller, subnet, addresses, prefixes, token);
            }
            Step::Attach { caller, eni, instance, card, device } => {
                let id = self.eni(eni);
                self.attach(caller, &id, usize::from(instance), u32::from(card), u32::from(device));
            }
            Step::Detach { caller, eni, force } => self.detach(caller, &self.eni(eni), force),
            Step::Delete { caller, eni } => self.delete(caller, &self.eni(eni)),
            Step::DeleteOnTermination { caller, eni, value } => {
                self.delete_on_termination(caller, &self.eni(eni), value);
            }
            Step::Assign { caller, eni, count } => self.assign(caller, &self.eni(eni), count, 0),
            Step::AssignPrefixes { caller, eni, count } => self.assign(caller, &self.eni(eni), 0, count),
            Step::AssignThis { caller, eni, host, move_it } => {
                self.assign_this(caller, &self.eni(eni), host, move_it);
            }
            Step::Unassign { caller, eni, place } => self.unassign(caller, &self.eni(eni), place, false),
            Step::UnassignPrefix { caller, eni, place } => self.unassign(caller, &self.eni(eni), place, true),
            Step::List { caller, page } => self.list(caller, page),
            Step::Terminate { instance } => self.terminate(usize::from(instance)),
            Step::Harm { kind, times } => self.harm(kind, times),
            Step::DescribeLag { ms } => {
                self.reference.lags.push(u64::from(ms) * MS);
                self.sim
                    .set_fault(Fault::new(FaultKind::DescribeLags { by: Duration::from_millis(ms.into()) }))
                    .unwrap();
            }
            Step::Heal => {
                self.sim.clear_faults();
                self.reference.harms.clear();
                self.reference.lags.clear();
            }
            Step::Wait { ms } => {
                let now = self.reference.now + u64::from(ms) * MS;
                self.sim.advance_to(Micros(now));
                self.reference.settle(now);
            }
        }
        self.compare();
    }

    /// Everything that both sides know must be equal.
    pub fn compare(&mut self) {
        assert_eq!(self.sim.check(), []);
        let view = self.sim.authoritative();
        for (place, id) in self.subnets.iter().enumerate() {
            let said = view.subnet(id).unwrap().available_ip_address_count as usize;
            assert_eq!(said, self.reference.free(place).len(), "free addresses of {}", SUBNETS[place]);
        }
        let truth = view.network_interfaces();
        assert_eq!(truth.len(), self.reference.enis.len());
        for eni in &truth {
            let known = &self.reference.enis[&eni.network_interface_id];
            let ips: Vec<Ipv4Addr> = eni.private_ip_addresses.iter().map(|ip| ip.address).collect();
            assert_eq!(ips, known.ips);
            let prefixes: Vec<Ipv4Addr> = eni.ipv4_prefixes.iter().map(Ipv4Net::network).collect();
            assert_eq!(prefixes, known.prefixes);
            self.compare_binding(eni, known);
        }
        self.follower.follow(self.sim.drain_events());
        for eni in &truth {
            let known = &self.reference.enis[&eni.network_interface_id];
            let visible = known.bound.as_ref().is_some_and(|b| {
                let at_once = (b.card, b.device) == (0, 0);
                b.detached_at.is_none() && (at_once || b.since + LINK_APPEARS <= self.reference.now)
            });
            let link = self.follower.links.get(&eni.network_interface_id);
            assert_eq!(link.is_some(), visible, "the link of {}", eni.network_interface_id);
            if let Some((_, ips, prefixes)) = link {
                assert_eq!((ips, *prefixes), (&known.ips, known.prefixes.len()), "what the fabric was told");
            }
        }
    }

    pub fn compare_binding(&self, eni: &NetworkInterface, known: &RefEni) {
        let now = self.reference.now;
        let expected = match &known.bound {
            Some(bound) if bound.detached_at.is_some() => "detaching",
            Some(bound) if bound.device == 0 && bound.card == 0 => "in-use",
            Some(bound) if bound.since + ATTACH_TAKES > now => "attaching",
            Some(_) => "in-use",
            // Pending ends with the time, or with an attachment.
            None if eni.status.as_str() == "pending" && known.pending_until > now => "pending",
            None => "available",
        };
        assert_eq!(eni.status.as_str(), expected, "{}", eni.network_interface_id);
        let shown = eni
            .attachment
            .as_ref()
            .map(|a| (a.attachment_id, a.network_card_index, a.device_index, a.delete_on_termination));
        let expected =
            known.bound.as_ref().map(|b| (b.attachment, b.card, b.device, b.delete_on_termination));
        assert_eq!(shown, expected);
    }
}
