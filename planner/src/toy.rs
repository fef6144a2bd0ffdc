//! A small world for tests: an EC2 with rules, an engine without concurrency, and a clock that is told.
//!
//! After every single change of the ledger the invariants are checked, and the toy EC2 refuses to be told to
//! take anything away from under a pod. At each lease the truth is asked: the address must be where the ledger
//! says, and must have rested.

mod arrivals;
mod cards;
pub(crate) mod cloud;
mod hands;
mod oracle;
mod properties;
mod round;
pub(crate) mod subnet;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use holdfast_model::block::Unit;
use holdfast_model::cloud::{AttachmentView, CloudRead};
use holdfast_model::config::{AddressMode, Config, Setting, WarmTargets};
use holdfast_model::eni::EniPhase;
use holdfast_model::ids::{BootId, InstanceId, IntentId, MacAddr, SecurityGroupId, SubnetId, VpcId};
use holdfast_model::invariants;
use holdfast_model::lease::Lease;
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::limits::InstanceLimits;
use holdfast_model::node::NodeIdentity;
use holdfast_model::pool::{Family, PoolKey};
use holdfast_model::sandbox::SandboxKey;
use holdfast_model::time::{BootTime, Now, WallTime};
use ipnet::IpNet;

use crate::{
    Choice, Desired, Ended, Here, Observed, Plan, Recovery, Shortage, Step, activate, begin_release, cut_off,
    finish_release, free_addresses, open_lease, recover, report,
};
use cloud::ToyCloud;

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Fine,
    Throttled,
    LostBefore,
    LostAfter,
    NotSent,
    KilledBefore,
    KilledAfter,
    /// For reads: an answer this many seconds old.
    Stale(u8),
}

/// Decides the fate of each call in turn.
pub(crate) type Fates = Box<dyn FnMut() -> Fate>;

pub(crate) struct Toy {
    pub(crate) config: Config,
    pub(crate) limits: Option<InstanceLimits>,
    pub(crate) cloud: ToyCloud,
    pub(crate) ledger: Ledger,
    pub(crate) observed: Observed,
    pub(crate) now: Now,
    pub(crate) fates: Fates,
    pub(crate) last: Plan,
    /// ADDs that wait for an address on each card.
    each: u32,
    freed: BTreeMap<IpAddr, u64>,
    /// Intents whose call left, whatever came of it.
    left: BTreeSet<IntentId>,
    next: u64,
    /// Rounds since time went on, and in all.
    rounds: (u32, u32),
    /// What happens while time passes.
    life: Option<arrivals::Life>,
}

/// How many rounds there may be without a pause, and in all: a test whose end never comes fails, and does not hang.
const MOST_ROUNDS: (u32, u32) = (500, 50_000);

pub(crate) fn identity(instance_type: &str) -> NodeIdentity {
    NodeIdentity {
        instance: InstanceId::new("i-1"),
        instance_type: instance_type.to_owned(),
        region: "eu-central-1".to_owned(),
        zone: "eu-central-1a".to_owned(),
        vpc: VpcId::new("vpc-1"),
        vpc_cidrs: vec!["10.0.0.0/16".parse().unwrap()],
        primary_mac: MacAddr([2, 0, 0, 0, 0, 0]),
        primary_ipv4: "10.0.0.4".parse().unwrap(),
        subnet: SubnetId::new("subnet-1"),
        subnet_cidr: "10.0.0.0/18".parse().unwrap(),
        security_groups: vec![SecurityGroupId::new("sg-1")],
    }
}

pub(crate) const fn by_address(warm_ips: u32, minimum_ips: u32) -> WarmTargets {
    WarmTargets { warm_enis: 1, warm_ips, minimum_ips, warm_prefixes: 1 }
}

pub(crate) const fn by_eni(warm_enis: u32) -> WarmTargets {
    WarmTargets { warm_enis, warm_ips: 0, minimum_ips: 0, warm_prefixes: 1 }
}

pub(crate) const fn by_prefix(warm_prefixes: u32) -> WarmTargets {
    WarmTargets { warm_enis: 1, warm_ips: 0, minimum_ips: 0, warm_prefixes }
}

pub(crate) fn now_at(seconds: u64) -> Now {
    Now {
        boot: BootId::new("boot-1"),
        boottime: BootTime(seconds * 1000),
        wall: WallTime(1_750_000_000_000 + seconds * 1000),
    }
}

impl Toy {
    pub(crate) fn new(instance_type: &str, warm: WarmTargets) -> Self {
        let limits = InstanceLimits::of(instance_type).unwrap();
        let config = Config { warm: Setting::from_environment(warm), ..Config::default() };
        Self::of(instance_type, limits, config)
    }

    /// On a node of a type that EC2 told of.
    fn of(instance_type: &str, limits: InstanceLimits, config: Config) -> Self {
        let mut toy = Self {
            config,
            limits: Some(limits.clone()),
            cloud: ToyCloud::new(limits),
            ledger: Ledger::default(),
            observed: Observed::default(),
            now: now_at(1000),
            fates: Box::new(|| Fate::Fine),
            last: Plan::default(),
            each: 0,
            freed: BTreeMap::new(),
            left: BTreeSet::new(),
            next: 0,
            rounds: (0, 0),
            life: None,
        };
        toy.cloud.at = toy.now.wall.0;
        let kind = toy.start(&identity(instance_type));
        assert_eq!(kind, Recovery::Fresh);
        toy
    }

    /// One whose pods get their addresses out of prefixes.
    pub(crate) fn with_prefixes(instance_type: &str, warm: WarmTargets) -> Self {
        let mut toy = Self::new(instance_type, warm);
        toy.config.mode = Setting::from_environment(AddressMode::Prefix);
        toy
    }

    /// One whose pods have IPv6 addresses.
    pub(crate) fn with_ipv6(instance_type: &str) -> Self {
        let mut toy = Self::with_prefixes(instance_type, by_prefix(1));
        toy.config.family = Setting::from_environment(Family::V6);
        toy
    }

    /// In what its pool is given its addresses.
    pub(crate) fn unit(&self) -> Unit {
        Desired { config: &self.config, limits: self.limits.clone() }.unit()
    }

    /// The settings are changed under the running node.
    pub(crate) fn switch(&mut self, mode: AddressMode) {
        self.config.mode.value = mode;
    }

    pub(crate) fn commit(&mut self, changes: &[Change]) {
        self.ledger.apply_all(changes);
        if self.life.is_some() {
            // What a day's thousands of changes lead to the random lives check.
            return;
        }
        let found = invariants::check(&self.ledger, Some(&self.cloud.limits));
        assert_eq!(found, [], "after {changes:?}");
    }

    pub(crate) fn with_desired<T>(&self, f: impl FnOnce(&Desired<'_>) -> T) -> T {
        f(&Desired { config: &self.config, limits: self.limits.clone() })
    }

    pub(crate) fn start(&mut self, identity: &NodeIdentity) -> Recovery {
        self.observed = Observed::default();
        // In the toy's kernel everything is explained.
        self.observed.traces.looked = true;
        self.commit(&cut_off(&self.ledger, &self.now));
        let here = Here { identity: Some(identity), macs: None };
        let recovered = self.with_desired(|desired| recover(desired, &self.ledger, here, &self.now));
        self.commit(&recovered.changes);
        let again = self.with_desired(|desired| recover(desired, &self.ledger, here, &self.now));
        assert_eq!(again.changes, [], "recovering twice changes nothing");
        recovered.kind
    }

    /// The process dies and starts again.
    pub(crate) fn restart(&mut self) {
        let waiting = self.waiting();
        let identity = self.ledger.node.as_ref().unwrap().identity.clone();
        self.start(&identity);
        // The runtime asks again.
        self.set_waiting(waiting);
    }

    /// The node starts anew: its pods are gone, its clock begins again.
    pub(crate) fn reboot(&mut self) {
        self.next += 1;
        let held: Vec<IpAddr> = self.ledger.leases.values().flat_map(Lease::addresses).collect();
        self.now.boot = BootId::new(format!("reboot-{}", self.next));
        self.now.boottime = BootTime(5000);
        self.now.wall = WallTime(self.now.wall.0 + 60_000);
        self.cloud.at += 60_000;
        let booted = self.cloud.at - self.now.boottime.0;
        for ip in held {
            self.freed.insert(ip, booted);
        }
        self.cloud.leased.clear();
        let identity = self.ledger.node.as_ref().unwrap().identity.clone();
        self.set_waiting(0);
        assert_eq!(self.start(&identity), Recovery::NewBoot);
    }

    pub(crate) fn sleep(&mut self, by: Duration) {
        let by = u64::try_from(by.as_millis()).unwrap();
        if self.life.is_some() {
            return self.live_through(by);
        }
        self.now.boottime.0 += by;
        self.now.wall.0 += by;
        self.cloud.at += by;
        self.rounds.0 = 0;
    }

    /// Somebody sets the wall clock, by so much.
    pub(crate) fn set_clock(&mut self, by_ms: i64) {
        self.now.wall = WallTime(self.now.wall.0.saturating_add_signed(by_ms));
    }

    /// How many plans were made and carried out.
    pub(crate) fn planned_rounds(&self) -> u32 {
        self.rounds.1
    }

    /// Nothing that must always hold is broken.
    pub(crate) fn assert_sound(&self) {
        let found = invariants::check(&self.ledger, Some(&self.cloud.limits));
        assert_eq!(found, [], "after {:?}", self.last);
    }

    /// The pool that its pods are served from.
    pub(crate) fn pool(&self) -> PoolKey {
        PoolKey::first(self.config.family.value)
    }

    /// ADDs that wait for one address.
    pub(crate) fn waiting(&self) -> u32 {
        self.observed.waiting_for(self.pool()).saturating_sub(self.each)
    }

    pub(crate) fn set_waiting(&mut self, count: u32) {
        self.observed.waiting = BTreeMap::from([(self.pool(), count + self.each)]);
        for card in self.cards() {
            self.observed.waiting.entry(PoolKey::v4_on(card)).or_insert(self.each);
        }
    }

    pub(crate) fn add_pods(&mut self, count: u32) {
        self.set_waiting(self.waiting() + count);
        self.serve();
    }

    /// The addresses that can be leased.
    pub(crate) fn free(&self) -> Vec<Choice> {
        let pool = self.pool();
        self.with_desired(|desired| free_addresses(pool, desired, &self.ledger, &self.observed, &self.now))
    }

    /// The address that the next ADD gets, or what it is told.
    pub(crate) fn choose(&self) -> Result<Choice, Shortage> {
        let pool = self.pool();
        self.free().into_iter().next().ok_or_else(|| {
            let report =
                self.with_desired(|desired| report(pool, desired, &self.ledger, &self.observed, &self.now));
            report.shortage(self.config.add_hold.value, &self.now)
        })
    }

    /// Gives addresses to waiting ADDs, as far as there are any.
    pub(crate) fn serve(&mut self) {
        while self.each > 0 {
            let Some(choices) = self.choose_each() else { break };
            let singles = self.waiting();
            self.lease(&choices);
            self.each -= 1;
            self.set_waiting(singles);
        }
        while self.waiting() > 0 {
            let Ok(choice) = self.choose() else { return };
            self.lease(&[choice]);
            self.set_waiting(self.waiting() - 1);
        }
    }

    fn lease(&mut self, choices: &[Choice]) {
        self.next += 1;
        for choice in choices {
            assert!(
                self.cloud.carries(&choice.eni, choice.address),
                "PROVEN-ASSIGNED: {choice:?} is not so in EC2"
            );
            if let Some(freed) = self.freed.get(&choice.address) {
                assert!(self.cloud.at - freed >= 30_000, "COOLDOWN-DURABLE: {choice:?} freed at {freed}");
            }
        }
        let request = Self::request_for(&format!("c{}", self.next), choices.len());
        let sandbox = request.sandbox.clone();
        let changes = open_lease(&self.ledger, choices, request, &self.now).expect("a choice is free");
        self.cloud.leased.extend(choices.iter().map(|choice| choice.address));
        self.commit(&changes);
        let changes = activate(&self.ledger, &sandbox);
        self.commit(&changes);
        self.was_served(&sandbox);
    }

    pub(crate) fn delete_pod(&mut self, nth: usize) {
        let keys: Vec<SandboxKey> = self.ledger.leases.keys().cloned().collect();
        if keys.is_empty() {
            return;
        }
        self.delete(&keys[nth % keys.len()]);
    }

    /// Its pod ends.
    pub(crate) fn delete(&mut self, key: &SandboxKey) {
        let ended = Ended::asked(&self.ledger.leases[key]);
        let addresses: Vec<IpAddr> = self.ledger.leases[key].addresses().collect();
        let changes = begin_release(&self.ledger, &ended, &self.now);
        self.commit(&changes);
        let changes = self.with_desired(|desired| {
            finish_release(desired, &self.ledger, &self.observed.traces, key, &self.now)
        });
        for address in addresses {
            self.cloud.leased.remove(&address);
            self.freed.insert(address, self.cloud.at);
        }
        self.commit(&changes);
    }

    pub(crate) fn delete_all_pods(&mut self) {
        for _ in 0..self.ledger.leases.len() {
            self.delete_pod(0);
        }
        assert_eq!(self.ledger.leases.len(), 0, "each deletion ends a lease");
    }

    /// Looks at the kernel: what is attached here has a link.
    pub(crate) fn look(&mut self) {
        let here = |at: &AttachmentView| at.instance == InstanceId::new("i-1");
        let attached = self.cloud.enis.values().filter(|eni| eni.attachment.as_ref().is_some_and(here));
        let macs = attached.map(|eni| eni.mac).collect();
        self.observed.links_seen(&self.ledger, &macs, &self.now);
    }

    /// Takes in what there is to learn from.
    pub(crate) fn learn(&mut self) {
        let desired = Desired { config: &self.config, limits: self.limits.clone() };
        crate::learn(&desired, &self.ledger, &mut self.observed, &self.now);
    }

    /// Bits that differ each time.
    fn draw(&mut self) -> u64 {
        self.next += 1;
        self.next.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16
    }

    /// Runs until nothing is left to do for a good while.
    pub(crate) fn run_to_rest(&mut self) {
        let mut quiet_since = self.now.boottime;
        for _ in 0..2000 {
            let acted = self.round();
            // A subnet that runs low is looked at again and again.
            let only_looks =
                self.last.steps.iter().all(|step| matches!(step, Step::Read(CloudRead::ZoneSubnets { .. })));
            if !only_looks {
                quiet_since = self.now.boottime;
            } else if self.now.boottime.since(quiet_since) > Duration::from_secs(2 * 3600) {
                return;
            }
            if acted {
                continue;
            }
            match self.last.next_look {
                Some(next) if next.since(self.now.boottime) < Duration::from_secs(3600) => {
                    self.sleep(next.since(self.now.boottime));
                    self.serve();
                }
                _ => return,
            }
        }
        panic!("does not come to rest: {:?}\n{:?}", self.last, self.observed);
    }

    /// Blocks for pods in EC2 per attached ENI, most first.
    pub(crate) fn shape(&self) -> Vec<usize> {
        let blocks = |eni: &cloud::ToyEni| eni.secondary.len() + eni.nets().count();
        let mut shape: Vec<usize> = self.cloud.attached().map(blocks).collect();
        shape.sort_by_key(|count| std::cmp::Reverse(*count));
        shape
    }

    /// Ledger and EC2 agree, and nothing of ours hangs about unattached.
    pub(crate) fn assert_in_agreement(&self) {
        assert!(self.ledger.intents.is_empty(), "open intents at rest: {:?}", self.ledger.intents);
        for (id, eni) in &self.cloud.enis {
            assert!(
                eni.attachment.is_some(),
                "NO-ORPHAN: {id} hangs about; ledger: {:?}",
                self.ledger.enis.get(id)
            );
            let record = &self.ledger.enis[id];
            assert!(
                matches!(record.phase, EniPhase::Attached { delete_on_termination: true, .. }),
                "{record:?}"
            );
            let booked = self.ledger.blocks_on(id).filter(|block| block.occupies());
            let booked: BTreeSet<IpNet> = booked.map(|block| block.net).collect();
            let addresses = eni.secondary.iter().map(|ip| IpNet::from(*ip));
            let there: BTreeSet<IpNet> = addresses.chain(eni.nets()).collect();
            assert_eq!(booked, there, "{id}");
        }
        for record in self.ledger.enis.values().filter(|record| record.holds_slot()) {
            assert!(self.cloud.enis.contains_key(&record.id), "{record:?} is not in EC2");
        }
    }
}

/// The changes that change something: all but notes.
pub(crate) fn writes(changes: &[Change]) -> Vec<&Change> {
    changes.iter().filter(|change| !matches!(change, Change::Journal(_))).collect()
}
