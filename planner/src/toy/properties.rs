//! Random lives of a node, with every fault of the toy EC2.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use holdfast_model::block::Block;
use holdfast_model::brake::Brake;
use holdfast_model::cloud::Api;
use holdfast_model::config::{AddressMode, WarmTargets};
use holdfast_model::eni_config::{AppliedEniConfig, EniConfig};
use holdfast_model::ids::{SecurityGroupId, SubnetId};
use holdfast_model::lease::Lease;
use holdfast_model::pool::Family;
use holdfast_model::warm::WarmMode;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::toy::cloud;
use crate::toy::subnet::{ToySubnet, tagged};
use crate::toy::{Fate, Toy, by_address, by_eni, by_prefix};

const ROLE: &str = "kubernetes.io/role/cni";

/// Two that are tagged, and one that is not.
fn others() -> BTreeMap<SubnetId, ToySubnet> {
    [ToySubnet::nth(1, &[(ROLE, "1")]), ToySubnet::nth(2, &[(ROLE, "1")]), ToySubnet::nth(3, &[])].into()
}

#[derive(Clone, Debug)]
enum Op {
    Add(u32),
    Delete(usize),
    DeleteAll,
    Round,
    Sleep(u64),
    Restart,
    Reboot,
    SubnetFull,
    SubnetEmpties,
    BlocksLeft(u32),
    Switch(AddressMode),
    /// The addresses of new pods are of this family.
    Family(Family),
    Targets(WarmTargets),
    WarmMode(WarmMode),
    /// Custom networking, by what its ENIConfig says.
    Custom(Option<AppliedEniConfig>),
    Discovery(bool),
    /// So many addresses are left in a subnet besides the node's own.
    OtherLeft(u8, u32),
    /// The tag of a subnet, which is seen with the next read.
    Tagged(u8, &'static str),
    Brake(Brake),
    Cordon(bool),
    /// The wall clock is set, by so many milliseconds.
    Clock(i64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (1..30_u32).prop_map(Op::Add),
        3 => (0..50_usize).prop_map(Op::Delete),
        1 => Just(Op::DeleteAll),
        8 => Just(Op::Round),
        4 => (1..90_000_u64).prop_map(Op::Sleep),
        1 => Just(Op::Restart),
        1 => Just(Op::Reboot),
        1 => Just(Op::SubnetFull),
        1 => Just(Op::SubnetEmpties),
        1 => (0..3_u32).prop_map(Op::BlocksLeft),
        1 => mode().prop_map(Op::Switch),
        1 => family().prop_map(Op::Family),
        1 => warm().prop_map(Op::Targets),
        1 => warm_mode().prop_map(Op::WarmMode),
        1 => (0..3_u64).prop_map(|hours| Op::Sleep(hours * 3_600_000 + 600_000)),
        1 => brake().prop_map(Op::Brake),
        1 => any::<bool>().prop_map(Op::Cordon),
        1 => (-40_000_000_000..40_000_000_000_i64).prop_map(Op::Clock),
        1 => applied().prop_map(Op::Custom),
        1 => any::<bool>().prop_map(Op::Discovery),
        1 => (1..4_u8, 0..40_u32).prop_map(|(nth, left)| Op::OtherLeft(nth, left)),
        1 => (0..4_u8, tag()).prop_map(|(nth, tag)| Op::Tagged(nth, tag)),
    ]
}

fn tag() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just(""), Just("0"), Just("1")]
}

fn applied() -> impl Strategy<Value = Option<AppliedEniConfig>> {
    let is = |(nth, groups): (u8, Vec<u8>)| {
        AppliedEniConfig::Is(EniConfig {
            name: "zone".to_owned(),
            subnet: SubnetId::new(format!("subnet-{nth}")),
            security_groups: groups.iter().map(|nth| SecurityGroupId::new(format!("sg-{nth}"))).collect(),
        })
    };
    prop_oneof![
        3 => Just(None),
        4 => (1..5_u8, proptest::collection::vec(1..4_u8, 0..3)).prop_map(is).prop_map(Some),
        1 => Just(Some(AppliedEniConfig::Untold)),
        1 => Just(Some(AppliedEniConfig::Missing { name: "zone".to_owned() })),
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

fn mode() -> impl Strategy<Value = AddressMode> {
    prop_oneof![Just(AddressMode::Secondary), Just(AddressMode::Prefix)]
}

fn family() -> impl Strategy<Value = Family> {
    prop_oneof![3 => Just(Family::V4), 1 => Just(Family::V6)]
}

/// With what a node begins.
#[derive(Clone, Debug)]
struct Start {
    warm: WarmTargets,
    mode: AddressMode,
    family: Family,
    custom: Option<AppliedEniConfig>,
    discovery: bool,
    warm_mode: WarmMode,
    max_enis: Option<u32>,
}

fn start() -> impl Strategy<Value = Start> {
    let max_enis = prop_oneof![3 => Just(None), 1 => (1..4_u32).prop_map(Some)];
    let all = (warm(), mode(), family(), applied(), any::<bool>(), warm_mode(), max_enis);
    all.prop_map(|(warm, mode, family, custom, discovery, warm_mode, max_enis)| Start {
        warm,
        mode,
        family,
        custom,
        discovery,
        warm_mode,
        max_enis,
    })
}

impl Start {
    fn toy(&self, instance_type: &str) -> Toy {
        let mut toy = Toy::new(instance_type, self.warm);
        toy.cloud.others = others();
        toy.switch(self.mode);
        toy.config.eni_config.value.clone_from(&self.custom);
        toy.config.subnet_discovery.value = self.discovery;
        toy.config.warm_mode.value = self.warm_mode;
        toy.config.max_enis.value = self.max_enis;
        to_family(&mut toy, self.family);
        toy
    }
}

/// Who waits waits for what is wanted now.
fn to_family(toy: &mut Toy, family: Family) {
    let waiting = toy.waiting();
    toy.set_waiting(0);
    toy.config.family.value = family;
    if family == Family::V6 {
        // It has one mode, and no custom networking: the settings refuse anything else.
        toy.switch(AddressMode::Prefix);
        toy.config.eni_config.value = None;
    }
    toy.set_waiting(waiting);
}

fn brake() -> impl Strategy<Value = Brake> {
    prop_oneof![2 => Just(Brake::None), 1 => Just(Brake::Release), 1 => Just(Brake::All)]
}

fn warm_mode() -> impl Strategy<Value = WarmMode> {
    prop_oneof![Just(WarmMode::Static), Just(WarmMode::Adaptive)]
}

fn warm() -> impl Strategy<Value = WarmTargets> {
    prop_oneof![
        (0..3_u32).prop_map(by_eni),
        (0..3_u32).prop_map(by_prefix),
        (0..4_u32, 1..8_u32).prop_map(|(warm, minimum)| by_address(warm, minimum)),
        (1..4_u32).prop_map(|warm| by_address(warm, 0)),
    ]
}

fn live(toy: &mut Toy, ops: &[Op]) {
    for op in ops {
        let called = toy.cloud.calls.len();
        match op {
            Op::Add(count) => toy.add_pods(*count),
            Op::Delete(nth) => toy.delete_pod(*nth),
            Op::DeleteAll => toy.delete_all_pods(),
            Op::Round => {
                toy.round();
            }
            Op::Sleep(ms) => {
                toy.sleep(Duration::from_millis(*ms));
                toy.serve();
            }
            Op::Restart => toy.restart(),
            Op::Reboot => toy.reboot(),
            Op::SubnetFull => toy.cloud.subnet_free = 0,
            Op::SubnetEmpties => (toy.cloud.subnet_free, toy.cloud.blocks_free) = (1000, 50),
            Op::BlocksLeft(count) => toy.cloud.blocks_free = *count,
            // As the settings have it.
            Op::Switch(_) | Op::Custom(_) if toy.config.family.value == Family::V6 => {}
            Op::Switch(mode) => toy.switch(*mode),
            Op::Family(family) => to_family(toy, *family),
            Op::Targets(warm) => toy.config.warm.value = *warm,
            Op::WarmMode(mode) => toy.config.warm_mode.value = *mode,
            Op::Custom(applied) => {
                if toy.config.eni_config.value != *applied {
                    toy.observed.made_otherwise();
                }
                toy.config.eni_config.value.clone_from(applied);
            }
            Op::Discovery(on) => toy.config.subnet_discovery.value = *on,
            Op::OtherLeft(nth, left) => {
                let others = toy.cloud.others.values_mut().skip(usize::from(nth - 1));
                others.take(1).for_each(|other| (other.free, other.blocks) = (*left, *left / 16));
            }
            Op::Tagged(0, tag) => toy.cloud.own_tags = tagged(&[(ROLE, tag)]),
            Op::Tagged(nth, tag) => {
                let others = toy.cloud.others.values_mut().skip(usize::from(nth - 1));
                others.take(1).for_each(|other| other.tags = tagged(&[(ROLE, tag)]));
            }
            Op::Brake(brake) => toy.config.brake.value = *brake,
            Op::Cordon(cordoned) => toy.observed.cordoned = *cordoned,
            Op::Clock(by) => toy.set_clock(*by),
        }
        assert_held_back(toy, called);
    }
}

/// Whether all ENIs are made from the same as new ones are, so that they carry as much as the type can: one that is left over from
/// what was wanted before grows no more.
fn made_alike(toy: &Toy) -> bool {
    toy.config.eni_config.value.is_none() && toy.cloud.enis.values().all(|eni| for_pods(toy, &eni.subnet))
}

/// Whether new pods get their addresses of this subnet.
fn for_pods(toy: &Toy, subnet: &SubnetId) -> bool {
    let own = subnet.as_str() == "subnet-1";
    let tags =
        if own { Some(&toy.cloud.own_tags) } else { toy.cloud.others.get(subnet).map(|other| &other.tags) };
    let tag = tags.and_then(|tags| tags.get(ROLE)).map_or("", String::as_str);
    let found = toy.config.subnet_discovery.value && tag == "1";
    match &toy.config.eni_config.value {
        None if !toy.config.subnet_discovery.value => own,
        None => found || (own && tag != "0"),
        Some(AppliedEniConfig::Is(config)) => found || *subnet == config.subnet,
        Some(_) => !own,
    }
}

/// With custom networking there is nothing on the primary and in other subnets but what pods of before have.
fn assert_where_it_is_to_be(toy: &Toy) {
    let Some(AppliedEniConfig::Is(_)) = &toy.config.eni_config.value else { return };
    if toy.config.family.value == Family::V6 {
        // What it has of IPv4 stays as it is.
        return;
    }
    for (id, eni) in &toy.cloud.enis {
        let primary = id.as_str() == "eni-primary";
        if for_pods(toy, &eni.subnet) && !primary {
            continue;
        }
        let of_ipv4 = cloud::view(id, eni);
        for net in of_ipv4.blocks().filter(|net| Family::of(net.addr()) == Family::V4) {
            let used = toy.cloud.leased.iter().any(|ip| net.contains(ip));
            assert!(used, "{net} on {id} in {} is nobody's: {:?}", eni.subnet, toy.last);
        }
        let empty = eni.secondary.is_empty() && eni.prefixes.is_empty();
        assert!(primary || !empty, "{id} in {} is nobody's: {:?}", eni.subnet, toy.last);
    }
}

/// What somebody has forbidden was not called for since so many calls.
fn assert_held_back(toy: &Toy, called: usize) {
    let brake = toy.config.brake.value;
    let cordoned = toy.observed.cordoned;
    let forbidden = |api: &Api| match api {
        Api::UnassignPrivateIpAddresses | Api::DeleteNetworkInterface => brake.keeps(),
        Api::DetachNetworkInterface => brake.keeps() || cordoned,
        _ => brake.is_silent(),
    };
    let calls = &toy.cloud.calls[called..];
    assert!(!calls.iter().any(forbidden), "{brake}, cordoned {cordoned}: {calls:?}");
}

/// Whether it has units of IPv4 besides those that it wants.
fn is_mixed(toy: &Toy) -> bool {
    let other =
        |block: &Block| block.occupies() && block.family() == Family::V4 && block.unit() != toy.unit();
    toy.ledger.blocks.values().any(other)
}

/// Who still waits cannot be served by what the node can have.
fn assert_served(toy: &Toy) {
    if toy.config.family.value == Family::V6 {
        assert_eq!(toy.waiting(), 0, "POOL-PROGRESS: {:?}", toy.last);
        return;
    }
    // With pods in blocks of the other unit it can carry fewer, or more.
    let mixed = is_mixed(toy);
    let limits = &toy.cloud.limits;
    let enis = toy.config.max_enis.value.unwrap_or(u32::MAX).min(limits.enis_on(0));
    let capacity = toy.unit().of(enis * limits.pod_addresses_per_eni()).brings();
    let leased = toy.ledger.leases.values().flat_map(Lease::addresses).filter(IpAddr::is_ipv4).count();
    if toy.waiting() > 0 && !mixed && made_alike(toy) {
        // Of more ENIs than there may be now none is taken from under its pods.
        assert!(leased >= capacity as usize, "POOL-PROGRESS: {} wait and {:?}", toy.waiting(), toy.last);
    }
}

/// What was changed in EC2 since so many calls.
fn changes(toy: &Toy, since: usize) -> Vec<Api> {
    let looks = [Api::DescribeNetworkInterfaces, Api::DescribeSubnets, Api::DescribeInstanceTypes];
    toy.cloud.calls[since..].iter().filter(|api| !looks.contains(api)).copied().collect()
}

/// The most that may be changed in EC2 until a node is as it is wanted: each of its ENIs goes and another one comes, with a call
/// for each of what they have.
const MOST_CHANGES: usize = 60;

/// The most that may be changed while the demand stays as it is: by a start, which has forgotten what was refused where, and by
/// thirty pods that are replaced, some of which leave a unit or an ENI empty.
const MOST_WHEN_CALM: (usize, usize) = (4, 12);

/// The demand stays as it is, one pod after the other is replaced, and the process starts anew meanwhile.
fn assert_calm(toy: &mut Toy) {
    let served = toy.waiting() == 0;
    for _ in 0..2 {
        let before = toy.cloud.calls.len();
        // Who has made way with all that he had begins as a new node does.
        let most = if toy.ledger.blocks.is_empty() { MOST_CHANGES } else { MOST_WHEN_CALM.0 };
        toy.restart();
        toy.run_to_rest();
        let made = changes(toy, before);
        assert!(made.len() <= most, "a start at rest: {made:?}");
    }
    let before = toy.cloud.calls.len();
    let moves = !made_alike(toy) || is_mixed(toy);
    for nth in 0..30 {
        if served && !toy.ledger.leases.is_empty() {
            toy.delete_pod(nth * 7);
            toy.add_pods(1);
        }
        toy.sleep(Duration::from_secs(60));
        toy.run_to_rest();
    }
    let made = changes(toy, before);
    // New pods take other ENIs and other units where something else is wanted than what the old ones have.
    let most = if moves { MOST_CHANGES } else { MOST_WHEN_CALM.1 };
    assert!(made.len() <= most, "thirty pods were replaced: {made:?}");
}

fn assert_all_well(toy: &mut Toy) {
    let before = toy.cloud.calls.len();
    toy.config.brake.value = Brake::None;
    toy.observed.cordoned = false;
    toy.fates = Box::new(|| Fate::Fine);
    (toy.cloud.subnet_free, toy.cloud.blocks_free) = (1000, 50);
    for other in toy.cloud.others.values_mut() {
        (other.free, other.blocks) = (1000, 50);
    }
    toy.run_to_rest();
    // What a stale read hid, the next full one shows.
    toy.sleep(Duration::from_secs(7 * 3600));
    toy.run_to_rest();
    let made = changes(toy, before);
    assert!(made.len() <= MOST_CHANGES, "{}: {made:?}", made.len());
    assert_eq!(toy.planned().steps, [], "what was planned for is there");
    toy.assert_in_agreement();
    assert_where_it_is_to_be(toy);
    assert_served(toy);
    // What it has of the other family stays.
    let ipv4 = toy.config.family.value == Family::V4;
    let unit =
        |block: &&Block| block.occupies() && block.family() == Family::V4 && block.unit() != toy.unit();
    // What is left over elsewhere serves on until it is empty.
    let wanted = |block: &&Block| for_pods(toy, &toy.ledger.enis[&block.eni].source.subnet);
    let others = || toy.ledger.blocks.values().filter(unit).filter(wanted);
    let idle_others = others().filter(|block| !toy.ledger.is_somebodys(block));
    // While it is not known what is wanted nothing goes.
    let known = matches!(toy.config.eni_config.value, None | Some(AppliedEniConfig::Is(_)));
    assert!(
        !ipv4 || !known || idle_others.count() == 0,
        "what is of the other unit goes when nobody uses it: {:?}",
        toy.last
    );
    // No oscillation: left alone for a day, it only looks.
    toy.cloud.calls.clear();
    for _ in 0..24 {
        toy.sleep(Duration::from_secs(3600));
        toy.run_to_rest();
    }
    let gives_back = |api: &Api| {
        let given =
            [Api::UnassignPrivateIpAddresses, Api::DetachNetworkInterface, Api::DeleteNetworkInterface];
        // What was learned is forgotten with time, and nothing is learned that would be more.
        toy.config.warm_mode.value == WarmMode::Adaptive && given.contains(api)
    };
    let looks = |api: &Api| [Api::DescribeNetworkInterfaces, Api::DescribeSubnets].contains(api);
    assert!(
        toy.cloud.calls.iter().all(|api| looks(api) || gives_back(api)),
        "oscillates: {:?}",
        toy.cloud.calls
    );
    assert_calm(toy);
}

/// So many plans are made and carried out by each of the two tests with faults, so that it is 100,000 in all.
const ROUNDS: u32 = 50_000;

/// Lives of random nodes, until so many plans were made in all.
fn lives_with_faults(instance_type: &'static str) {
    let input = (start(), proptest::collection::vec(op(), 1..60), proptest::collection::vec(fate(), 1..80));
    let rounds = Cell::new(0_u32);
    let config = ProptestConfig { cases: 50, failure_persistence: None, ..ProptestConfig::default() };
    while rounds.get() < ROUNDS {
        let before = rounds.get();
        let mut runner = TestRunner::new(config.clone());
        let lived = runner.run(&input, |(start, ops, fates)| {
            let mut toy = start.toy(instance_type);
            let mut turn = 0;
            toy.fates = Box::new(move || {
                turn += 1;
                fates[turn % fates.len()]
            });
            live(&mut toy, &ops);
            assert_all_well(&mut toy);
            rounds.set(rounds.get().saturating_add(toy.planned_rounds()));
            Ok(())
        });
        lived.unwrap_or_else(|failed| panic!("{failed}"));
        assert!(rounds.get() > before, "each life has its plans");
    }
}

#[test]
fn any_life_with_faults_ends_well_on_a_small_node() {
    lives_with_faults("t3.small");
}

#[test]
fn any_life_with_faults_ends_well_on_a_larger_node() {
    lives_with_faults("t3.medium");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_life_without_faults_ends_well(start in start(), ops in proptest::collection::vec(op(), 1..60)) {
        let mut toy = start.toy("t3.medium");
        live(&mut toy, &ops);
        assert_all_well(&mut toy);
    }
}
