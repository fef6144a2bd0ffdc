//! The same for a node whose pods have IPv6 addresses.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use holdfast_model::block::Block;
use holdfast_model::cloud::{Api, CloudRead};
use holdfast_model::ids::{EniId, InstanceId};
use holdfast_model::lease::Lease;
use holdfast_model::ledger::Change;
use holdfast_model::limits::{Hypervisor, InstanceLimits};
use holdfast_model::pool::Family;
use holdfast_model::refusal::Refusal;
use holdfast_model::uses::{Suspicion, Use};
use ipnet::IpNet;
use proptest::prelude::*;

use crate::toy::cloud::ipv6_prefix;
use crate::toy::{Fate, Toy};

fn primary() -> EniId {
    EniId::new("eni-primary")
}

fn addresses(toy: &Toy) -> BTreeSet<IpAddr> {
    toy.ledger.leases.values().flat_map(Lease::addresses).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Whatever the targets, and however many pods come: one prefix, no ENI, one call that changes something.
#[test]
fn one_prefix_on_the_primary_serves_all() {
    let mut toy = Toy::with_ipv6("m5.large");
    toy.run_to_rest();
    assert_eq!(toy.shape(), [1]);
    toy.add_pods(700);
    toy.run_to_rest();
    assert_eq!((toy.shape(), toy.waiting(), addresses(&toy).len()), (vec![1], 0, 700));
    let net = IpNet::V6(ipv6_prefix(0));
    assert!(addresses(&toy).iter().all(|ip| net.contains(ip) && *ip != net.network()));
    toy.delete_all_pods();
    toy.sleep(Duration::from_secs(86_400));
    toy.run_to_rest();
    toy.assert_in_agreement();
    assert_eq!(toy.shape(), [1], "it is never given back");
    let changes: Vec<_> =
        toy.cloud.calls.iter().filter(|api| **api != Api::DescribeNetworkInterfaces).collect();
    assert_eq!(changes, [&Api::AssignIpv6Addresses]);
}

#[test]
fn a_freed_address_comes_back_last_and_never_before_it_has_rested() {
    let mut toy = Toy::with_ipv6("m5.large");
    toy.run_to_rest();
    toy.add_pods(3);
    let first = addresses(&toy);
    assert_eq!(first, ["2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:1::3"].map(ip).into());
    toy.delete_all_pods();
    toy.sleep(Duration::from_secs(120));
    toy.add_pods(3);
    assert!(addresses(&toy).is_disjoint(&first), "{:?}", addresses(&toy));
    toy.assert_in_agreement();
}

/// Or every pod that ever was would stay in the ledger.
#[test]
fn the_ledger_does_not_grow_with_the_pods_that_were() {
    let mut toy = Toy::with_ipv6("m5.large");
    toy.run_to_rest();
    for _ in 0..40 {
        toy.add_pods(100);
        assert_eq!(toy.waiting(), 0);
        toy.delete_all_pods();
        toy.sleep(Duration::from_secs(31));
    }
    let uses = toy.ledger.uses.keys().count();
    assert!((1000..1200).contains(&uses), "{uses} of 4000 are remembered");
}

/// Sandboxes that nobody explains: their addresses are passed over, and so is all of a prefix that was found until it has rested.
#[test]
fn what_may_be_in_use_is_passed_over() {
    let mut toy = Toy::with_ipv6("m5.large");
    toy.cloud.enis.get_mut(&primary()).unwrap().ipv6_prefixes.insert(ipv6_prefix(7));
    toy.round();
    toy.add_pods(1);
    assert_eq!(toy.waiting(), 1, "it was there before us, and may have been a pod's a moment ago");
    let told = toy.choose().unwrap_err();
    assert!(matches!(told.cause, Refusal::AllCooling { .. }) && told.hold, "{told:?}");
    toy.run_to_rest();
    assert_eq!((toy.waiting(), toy.cloud.count(Api::AssignIpv6Addresses)), (0, 0));
    let used = "2001:db8:0:1:7::2";
    toy.observed.traces.in_use.insert(ip(used), holdfast_model::host::LinkSeen::default());
    toy.add_pods(3);
    let others = ["2001:db8:0:1:7::1", "2001:db8:0:1:7::3", "2001:db8:0:1:7::4", "2001:db8:0:1:7::5"];
    assert!(addresses(&toy).is_subset(&others.map(ip).into()), "{:?}", addresses(&toy));
    toy.observed.traces.looked = false;
    assert_eq!(toy.free(), [], "before the kernel was looked at");
    toy.observed.traces.looked = true;
    let whole = toy.ledger.blocks.values().find_map(Block::whole).unwrap();
    toy.ledger.apply(&Change::PutUse(whole, Use::Suspect(Suspicion::LedgerRebuilt)));
    assert_eq!(toy.free(), [], "what holds for the whole");
}

/// Others take it away: another one is asked for, and who had an address of it keeps it in the book.
#[test]
fn a_prefix_that_others_took_away_is_made_up_for() {
    let mut toy = Toy::with_ipv6("m5.large");
    toy.run_to_rest();
    toy.add_pods(2);
    let had = addresses(&toy);
    toy.sleep(Duration::from_secs(7200));
    toy.cloud.enis.get_mut(&primary()).unwrap().ipv6_prefixes.clear();
    toy.cloud.leased.clear();
    let began = toy.now.boottime;
    toy.read(&CloudRead::InstanceEnis { instance: InstanceId::new("i-1") }, began, 0);
    toy.run_to_rest();
    toy.add_pods(1);
    assert_eq!(toy.waiting(), 0);
    assert!(had.is_subset(&addresses(&toy)));
    assert_eq!(toy.cloud.enis[&primary()].ipv6_prefixes.len(), 1);
}

#[test]
fn what_stands_in_the_way_is_told_and_passes() {
    type Case = (fn(&mut Toy), fn(&mut Toy), &'static str);
    let cases: [Case; 3] = [
        (|toy| toy.cloud.ipv6_free = 0, |toy| toy.cloud.ipv6_free = 1, "SubnetWithoutIPv6Prefix"),
        (
            |toy| toy.cloud.denied = [Api::AssignIpv6Addresses].into(),
            |toy| toy.cloud.denied.clear(),
            "MissingIAMPermissions",
        ),
        (
            |toy| toy.config.provisioning_disabled.value = true,
            |toy| toy.config.provisioning_disabled.value = false,
            "ProvisioningDisabled",
        ),
    ];
    for (bar, clear, reason) in cases {
        let mut toy = Toy::with_ipv6("m5.large");
        bar(&mut toy);
        toy.add_pods(1);
        for _ in 0..10 {
            toy.round();
        }
        assert_eq!(toy.choose().unwrap_err().cause.reason(), reason);
        assert!(toy.cloud.refused <= 2, "{reason}: it is asked again and again");
        clear(&mut toy);
        toy.sleep(Duration::from_secs(600));
        toy.run_to_rest();
        assert_eq!(toy.waiting(), 0, "{reason}");
    }
}

/// What the primary carries already may leave no room; the type may have none at all.
#[test]
fn a_type_that_cannot_is_told_with_a_way_out() {
    let cases: [fn(&mut InstanceLimits); 2] =
        [|limits| limits.hypervisor = Some(Hypervisor::Xen), |limits| limits.ipv6_per_eni = Some(0)];
    for change in cases {
        let mut toy = Toy::with_ipv6("m5.large");
        change(toy.limits.as_mut().unwrap());
        toy.add_pods(1);
        toy.run_to_rest();
        let cause = toy.choose().unwrap_err().cause;
        assert_eq!(cause.reason(), "IPv6NotSupported");
        assert!(cause.to_string().contains("set ENABLE_IPv6 to false"), "{cause}");
        assert_eq!(toy.cloud.count(Api::AssignIpv6Addresses), 0);
    }
}

/// An ENI of before the switch that cannot be attached is no matter of theirs.
#[test]
fn what_others_pools_wait_for_holds_nobody_up() {
    let mut toy = Toy::with_ipv6("m5.large");
    toy.run_to_rest();
    toy.set_back(Api::AttachNetworkInterface, crate::PauseScope::Api, Some(crate::Fault::Conflict));
    toy.observed.ready_enis.clear();
    toy.add_pods(1);
    let told = toy.choose().unwrap_err();
    assert!(told.hold && !told.hindered, "{told:?}");
    toy.run_to_rest();
    assert_eq!(toy.waiting(), 0);
}

/// Switched under living pods: those keep their addresses, new ones get the other kind, and nothing is given back that is used.
#[test]
fn a_node_that_is_switched_serves_both() {
    let mut toy = Toy::new("m5.large", crate::toy::by_eni(1));
    toy.add_pods(5);
    toy.run_to_rest();
    let before = addresses(&toy);
    toy.config.family.value = Family::V6;
    toy.config.mode.value = holdfast_model::config::AddressMode::Prefix;
    toy.add_pods(5);
    toy.run_to_rest();
    let after = addresses(&toy);
    assert!(before.is_subset(&after));
    assert_eq!(after.iter().filter(|ip| ip.is_ipv6()).count(), 5);
    toy.config.family.value = Family::V4;
    toy.config.mode.value = holdfast_model::config::AddressMode::Secondary;
    toy.add_pods(5);
    toy.run_to_rest();
    let at_last = addresses(&toy);
    assert!(after.is_subset(&at_last));
    assert_eq!(at_last.iter().filter(|ip| ip.is_ipv4()).count(), 10);
    toy.assert_in_agreement();
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Fine),
        1 => Just(Fate::Throttled),
        1 => Just(Fate::LostBefore),
        2 => Just(Fate::LostAfter),
        1 => Just(Fate::NotSent),
        1 => Just(Fate::KilledBefore),
        2 => Just(Fate::KilledAfter),
        3 => (1..20_u8).prop_map(Fate::Stale),
    ]
}

#[derive(Clone, Debug)]
enum Op {
    Add(u32),
    Delete(usize),
    Round,
    Sleep(u64),
    Restart,
    Reboot,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (1..30_u32).prop_map(Op::Add),
        3 => (0..50_usize).prop_map(Op::Delete),
        8 => Just(Op::Round),
        4 => (1..90_000_u64).prop_map(Op::Sleep),
        1 => Just(Op::Restart),
        1 => Just(Op::Reboot),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every address that is leased was shown by EC2, rested, and nobody else's: the toy looks at each. Whatever answers are
    /// lost, and however late views are, there is one prefix, and at rest nothing is called.
    #[test]
    fn any_life_with_faults_has_one_prefix(
        ops in proptest::collection::vec(op(), 1..50),
        fates in proptest::collection::vec(fate(), 1..60),
    ) {
        let mut toy = Toy::with_ipv6("m5.large");
        let mut turn = 0;
        toy.fates = Box::new(move || {
            turn += 1;
            fates[turn % fates.len()]
        });
        for op in ops {
            match op {
                Op::Add(count) => toy.add_pods(count),
                Op::Delete(nth) => toy.delete_pod(nth),
                Op::Round => drop(toy.round()),
                Op::Sleep(ms) => {
                    toy.sleep(Duration::from_millis(ms));
                    toy.serve();
                }
                Op::Restart => toy.restart(),
                Op::Reboot => toy.reboot(),
            }
            prop_assert!(toy.cloud.enis[&primary()].ipv6_prefixes.len() <= 1);
        }
        toy.fates = Box::new(|| Fate::Fine);
        toy.run_to_rest();
        toy.sleep(Duration::from_secs(7 * 3600));
        toy.run_to_rest();
        toy.assert_in_agreement();
        prop_assert_eq!((toy.waiting(), toy.shape()), (0, vec![1]));
        toy.cloud.calls.clear();
        for _ in 0..24 {
            toy.sleep(Duration::from_secs(3600));
            toy.run_to_rest();
        }
        prop_assert!(toy.cloud.calls.iter().all(|api| *api == Api::DescribeNetworkInterfaces));
    }
}
