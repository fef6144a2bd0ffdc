//! A node with several network cards: what the toy does for it, and random lives on it.

use std::time::Duration;

use holdfast_model::cloud::{Api, TAG_INSTANCE, TAG_NO_MANAGE};
use holdfast_model::config::{AddressMode, Config, Setting, WarmTargets};
use holdfast_model::eni::{EniKind, EniSlot};
use holdfast_model::ids::MacAddr;
use holdfast_model::ledger::Change;
use holdfast_model::limits::{Hypervisor, InstanceLimits, ToldLimits};
use holdfast_model::pool::PoolKey;
use holdfast_model::sandbox::{NetnsRef, PodRef, SandboxKey, SandboxNames};
use proptest::prelude::*;

use crate::toy::{Fate, Toy, by_address};
use crate::{Choice, HostEnd, LeaseRequest, free_addresses, managed_cards};

/// A type that nobody knows by heart.
const TYPE: &str = "toy.cards";

impl Toy {
    /// A node with so many ENIs on each of its cards, all of which are managed.
    pub(crate) fn on_cards(enis: &[u32], ipv4_per_eni: u32, warm: WarmTargets) -> Self {
        let limits = InstanceLimits {
            hypervisor: Some(Hypervisor::Nitro),
            ..InstanceLimits::of_addresses(enis.to_vec(), ipv4_per_eni)
        };
        let config = Config {
            warm: Setting::from_environment(warm),
            multi_nic: Setting::from_environment(true),
            ..Config::default()
        };
        let mut toy = Self::of(TYPE, limits.clone(), config);
        toy.ledger.apply(&Change::PutTypeLimits(ToldLimits { instance_type: TYPE.to_owned(), limits }));
        toy
    }

    /// The cards that pods get addresses on.
    pub(crate) fn cards(&self) -> Vec<u8> {
        self.with_desired(|desired| managed_cards(desired, &self.ledger)).unwrap_or_default()
    }

    /// ADDs that want an address on each card.
    pub(crate) fn add_pods_on_each(&mut self, count: u32) {
        let singles = self.waiting();
        self.each += count;
        self.set_waiting(singles);
        self.serve();
    }

    /// How many of them wait.
    pub(crate) fn waiting_for_each(&self) -> u32 {
        self.each
    }

    /// Nobody waits any more.
    pub(crate) fn add_nobody(&mut self) {
        self.each = 0;
        self.set_waiting(0);
    }

    /// What an ADD asks for that wants so many interfaces.
    pub(crate) fn request_for(container: &str, interfaces: usize) -> LeaseRequest {
        let sandbox = SandboxKey::from(SandboxNames {
            container_id: container.into(),
            ifname: "eth0".into(),
            network: "aws-cni".into(),
        });
        let end = |number: usize| HostEnd { veth: format!("eni{container}.{number}"), mac: MacAddr([2; 6]) };
        LeaseRequest {
            sandbox,
            pod: PodRef { namespace: "default".into(), name: "web-0".into(), uid: None },
            netns: NetnsRef { path: format!("/run/netns/{container}"), inode: 1 },
            ends: (0..interfaces).map(end).collect(),
            mtu: 9001,
            trace: None,
        }
    }

    /// Whoever waits for addresses on each card gives up: they are not served any more.
    fn give_up_each(&mut self) {
        let singles = self.waiting();
        self.each = 0;
        self.set_waiting(singles);
    }

    /// An address of each card, if all have one.
    pub(crate) fn choose_each(&self) -> Option<Vec<Choice>> {
        let first = |card| {
            let pool = PoolKey::v4_on(card);
            let free = self.with_desired(|desired| {
                free_addresses(pool, desired, &self.ledger, &self.observed, &self.now)
            });
            free.into_iter().next()
        };
        self.cards().into_iter().map(first).collect()
    }

    /// ENIs in EC2 and addresses or prefixes for pods on them, card by card.
    pub(crate) fn shape_of(&self, card: u8) -> (usize, usize) {
        let here =
            |eni: &&crate::toy::cloud::ToyEni| eni.attachment.as_ref().is_some_and(|at| at.slot.card == card);
        let blocks = |eni: &crate::toy::cloud::ToyEni| eni.secondary.len() + eni.prefixes.len();
        let enis = || self.cloud.enis.values().filter(here);
        (enis().count(), enis().map(blocks).sum())
    }
}

#[derive(Clone, Debug)]
enum Op {
    AddOne(u32),
    AddEach(u32),
    Delete(usize),
    DeleteAll,
    Round,
    Sleep(u64),
    Restart,
    Reboot,
    SubnetFull,
    SubnetEmpties,
    Cards(bool),
    Mode(AddressMode),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (1..6_u32).prop_map(Op::AddOne),
        3 => (1..6_u32).prop_map(Op::AddEach),
        3 => (0..50_usize).prop_map(Op::Delete),
        1 => Just(Op::DeleteAll),
        8 => Just(Op::Round),
        4 => (1..90_000_u64).prop_map(Op::Sleep),
        1 => Just(Op::Restart),
        1 => Just(Op::Reboot),
        1 => Just(Op::SubnetFull),
        1 => Just(Op::SubnetEmpties),
        1 => any::<bool>().prop_map(Op::Cards),
        1 => prop_oneof![Just(AddressMode::Secondary), Just(AddressMode::Prefix)].prop_map(Op::Mode),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        10 => Just(Fate::Fine),
        1 => Just(Fate::Throttled),
        1 => Just(Fate::LostBefore),
        1 => Just(Fate::LostAfter),
        2 => Just(Fate::NotSent),
        1 => Just(Fate::KilledBefore),
        1 => Just(Fate::KilledAfter),
        3 => (1..20_u8).prop_map(Fate::Stale),
    ]
}

fn live(toy: &mut Toy, ops: &[Op]) {
    for op in ops {
        match op {
            Op::AddOne(count) => toy.add_pods(*count),
            Op::AddEach(count) => {
                if toy.config.multi_nic.value {
                    toy.add_pods_on_each(*count);
                }
            }
            Op::Delete(nth) => toy.delete_pod(*nth),
            Op::DeleteAll => toy.delete_all_pods(),
            Op::Round => drop(toy.round()),
            Op::Sleep(ms) => {
                toy.sleep(Duration::from_millis(*ms));
                toy.serve();
            }
            Op::Restart => toy.restart(),
            Op::Reboot => {
                toy.give_up_each();
                toy.reboot();
            }
            Op::SubnetFull => toy.cloud.subnet_free = 0,
            Op::SubnetEmpties => (toy.cloud.subnet_free, toy.cloud.blocks_free) = (1000, 50),
            Op::Cards(on) => {
                // Who asked for all of them is refused.
                toy.give_up_each();
                let before = toy.config.clone();
                toy.config.multi_nic.value = *on;
                let now = toy.now.clone();
                toy.observed.reconfigured(&before, &toy.config.clone(), &now);
            }
            Op::Mode(mode) => toy.switch(*mode),
        }
    }
}

/// Each card is as the pods on it want it.
fn assert_all_well(toy: &mut Toy) {
    toy.fates = Box::new(|| Fate::Fine);
    (toy.cloud.subnet_free, toy.cloud.blocks_free) = (1000, 50);
    toy.run_to_rest();
    toy.sleep(Duration::from_secs(7 * 3600));
    toy.run_to_rest();
    toy.assert_in_agreement();
    for lease in toy.ledger.leases.values() {
        let cards: Vec<u8> = lease.faces.iter().map(|face| face.place.slot().unwrap().card).collect();
        assert!(cards.windows(2).all(|two| two[0] < two[1]), "one of each card: {cards:?}");
    }
    let managed = toy.cards();
    // With pods in blocks of the other unit a card can carry fewer.
    let others = |block: &&holdfast_model::block::Block| block.occupies() && block.unit() != toy.unit();
    let mixed = toy.ledger.blocks.values().any(|block| others(&block));
    let full = |card: u8| {
        let most =
            toy.cloud.limits.enis_on(card) as usize * toy.cloud.limits.pod_addresses_per_eni() as usize;
        toy.shape_of(card).1 >= most
    };
    if toy.waiting_for_each() > 0 && !mixed {
        assert!(managed.iter().any(|card| full(*card)), "POOL-PROGRESS: {:?}", toy.last);
    }
    if toy.waiting() > 0 && !mixed {
        assert!(full(0), "POOL-PROGRESS: {} wait and {:?}", toy.waiting(), toy.last);
    }
    for card in (0..3).filter(|card| !managed.contains(card)) {
        let leased = toy.ledger.leases.values().flat_map(|lease| &lease.faces);
        let used = leased.filter(|face| face.place.slot().unwrap().card == card).count();
        assert!(toy.shape_of(card).0 == 0 || used > 0, "card {card} is not managed, and keeps an ENI");
    }
    // Left alone for a day, it only looks.
    toy.cloud.calls.clear();
    for _ in 0..24 {
        toy.sleep(Duration::from_secs(3600));
        toy.run_to_rest();
    }
    assert!(
        toy.cloud.calls.iter().all(|api| *api == Api::DescribeNetworkInterfaces),
        "oscillates: {:?}",
        toy.cloud.calls
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_life_on_several_cards_ends_well(
        warm in (0..3_u32, 1..6_u32).prop_map(|(warm, minimum)| by_address(warm, minimum)),
        ops in proptest::collection::vec(op(), 1..60),
        fates in proptest::collection::vec(fate(), 1..80),
        enis in proptest::collection::vec(1..4_u32, 2..4),
    ) {
        // The primary and one more, or nothing could be seen to be full.
        let mut toy = Toy::on_cards(&enis, 4, warm);
        let mut turn = 0;
        toy.fates = Box::new(move || {
            turn += 1;
            fates[turn % fates.len()]
        });
        live(&mut toy, &ops);
        assert_all_well(&mut toy);
    }

    #[test]
    fn any_life_without_faults_on_several_cards_ends_well(
        warm in (0..3_u32, 1..6_u32).prop_map(|(warm, minimum)| by_address(warm, minimum)),
        ops in proptest::collection::vec(op(), 1..60),
        enis in proptest::collection::vec(1..4_u32, 2..4),
    ) {
        let mut toy = Toy::on_cards(&enis, 4, warm);
        live(&mut toy, &ops);
        assert_all_well(&mut toy);
    }
}

/// What others have on a card takes its room, whether it is ours to use or not.
#[test]
fn foreign_enis_count_on_their_own_card() {
    let mut toy = Toy::on_cards(&[3, 2, 2], 4, by_address(1, 0));
    let kept = [(TAG_NO_MANAGE, "true")];
    toy.cloud.attach_foreign_at("eni-kept", EniSlot { card: 1, device: 0 }, EniKind::Standard, &kept);
    let ours = [(TAG_INSTANCE, "i-1")];
    toy.cloud.attach_foreign_at("eni-fabric", EniSlot { card: 2, device: 0 }, EniKind::EfaOnly, &ours);
    toy.run_to_rest();
    assert_eq!(toy.cards(), [0, 1], "what has nothing but EFA without IP is its owner's");
    assert_eq!((toy.shape_of(1).0, toy.shape_of(2).0), (2, 1));
    // Beside an ENI with IP the card serves.
    toy.cloud.attach_foreign_at("eni-beside", EniSlot { card: 2, device: 1 }, EniKind::Efa, &ours);
    toy.sleep(Duration::from_secs(7 * 3600));
    toy.run_to_rest();
    assert_eq!(toy.cards(), [0, 1, 2]);
    toy.add_pods_on_each(3);
    toy.run_to_rest();
    assert_eq!((toy.waiting_for_each(), toy.ledger.leases.len()), (0, 3));
    // One more than the cards have room for.
    toy.add_pods_on_each(1);
    toy.run_to_rest();
    assert_eq!((toy.waiting_for_each(), toy.ledger.leases.len()), (1, 3));
}
